package main

import (
	"io"
	"net"
	"os"

	"github.com/alecthomas/kingpin/v2"

	"github.com/tazzo/tazpod/init/control"
	"github.com/tazzo/tazpod/init/wire"
)

// connectCommand carries the control channel over standard input and output,
// for `docker exec -i` and OpenSSH's ProxyCommand. It passes ciphertext on and
// understands none of it.
var connectCommand = command{"connect", "Carry the control channel (SSH) over standard input and output.", false,
	func(c *kingpin.CmdClause) func([]string) (int, error) {
		return func([]string) (int, error) {
			socket, err := net.Dial("unix", wire.Socket)
			if err != nil {
				if why, hint, ok := control.Unreachable(err); ok {
					return wire.ExitFailure, &exit{wire.ExitFailure, why, hint}
				}
				return wire.ExitFailure, err
			}
			go func() {
				_, _ = io.Copy(socket, os.Stdin) // either way the carrier is gone
				socket.Close()
			}()
			_, _ = io.Copy(os.Stdout, socket)
			return wire.ExitOK, nil
		}
	}}
