package main

import (
	"fmt"
	"runtime/debug"

	"github.com/alecthomas/kingpin/v2"

	"github.com/tazzo/tazpod/init/wire"
)

var versionCommand = command{"version", "Print the version.", false, false,
	func(*kingpin.CmdClause) func(*call) (int, error) {
		return func(*call) (int, error) {
			_, err := fmt.Println("tazpod", version())
			return wire.ExitOK, err
		}
	}}

// version comes from the build: the module's version, or the commit.
func version() string {
	info, ok := debug.ReadBuildInfo()
	if !ok {
		return "unknown"
	}
	if info.Main.Version != "" && info.Main.Version != "(devel)" {
		return info.Main.Version
	}
	for _, s := range info.Settings {
		if s.Key == "vcs.revision" {
			return s.Value[:min(len(s.Value), 12)]
		}
	}
	return "development"
}
