package main

import (
	"fmt"

	"github.com/alecthomas/kingpin/v2"

	"github.com/tazzo/tazpod/init/wire"
)

var versionCommand = command{"version", "Print the version.", false, false,
	func(*kingpin.CmdClause) func(*call) (int, error) {
		return func(*call) (int, error) {
			_, err := fmt.Println("tazpod", wire.Version())
			return wire.ExitOK, err
		}
	}}
