package main

import (
	"fmt"
	"os"
	"strconv"

	"github.com/alecthomas/kingpin/v2"

	"github.com/tazzo/tazpod/init/wire"
)

var loginCommand = command{"login", "Log in to Infisical for pull, in the ghost; the login stays in the vault.", false, false,
	func(c *kingpin.CmdClause) func(*call) (int, error) {
		flags, profile := declarePassphrase(c), profileFlag(c)
		address := c.Flag("url", "The server, instead of the one in secrets.yml.").PlaceHolder("URL").String()
		id := c.Flag("client-id", "Of the machine identity (Universal Auth).").PlaceHolder("ID").String()
		secretFD := c.Flag("client-secret-fd", "Read the identity's secret from this descriptor instead of the terminal.").PlaceHolder("N").String()
		tokenFD := c.Flag("token-fd", "Log in with the access token that this descriptor has.").PlaceHolder("N").String()
		return func(c *call) (int, error) {
			argv := []string{"login"}
			for _, flag := range [][2]string{{"--url", *address}, {"--client-id", *id}} {
				if flag[1] != "" {
					argv = append(argv, flag[0]+"="+flag[1])
				}
			}
			for name, fd := range map[string]string{"--client-secret-fd": *secretFD, "--token-fd": *tokenFD} {
				if fd == "" {
					continue
				}
				n, err := strconv.ParseUint(fd, 10, 31)
				if err != nil {
					return 0, &exit{wire.ExitUsage, fmt.Errorf("%s: %q is no descriptor", name, fd), "its number, such as 3"}
				}
				argv = append(argv, name+"=0")
				os.Stdin = os.NewFile(uintptr(n), "descriptor "+fd) // the session's input
			}
			return c.inGhost(flags, *profile, argv, nil)
		}
	}}
