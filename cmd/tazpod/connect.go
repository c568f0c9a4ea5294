package main

import (
	"fmt"
	"io"
	"os"

	"github.com/alecthomas/kingpin/v2"
	"golang.org/x/crypto/ssh"

	"github.com/tazzo/tazpod/init/wire"
	"github.com/tazzo/tazpod/launcher/dial"
	"github.com/tazzo/tazpod/launcher/engine"
	"github.com/tazzo/tazpod/launcher/project"
)

// connectCommand carries ciphertext: it is what OpenSSH's ProxyCommand runs, and
// with --host-key its KnownHostsCommand.
var connectCommand = command{"connect", "Carry SSH to a pod over standard input and output, for OpenSSH's ProxyCommand.", false, false,
	func(c *kingpin.CmdClause) func(*call) (int, error) {
		name := c.Arg("pod", "The pod's name; without it, the pod of this project.").String()
		hostKey := c.Flag("host-key", "Print the pod's host key for HOST as a line of known_hosts instead.").PlaceHolder("HOST").String()
		return func(c *call) (int, error) {
			e, pod, err := c.named(*name)
			if err != nil {
				return 0, err
			}
			if *hostKey != "" {
				key, err := e.HostKey(c.ctx, pod)
				if err != nil {
					return 0, err
				}
				_, err = fmt.Printf("%s %s", *hostKey, ssh.MarshalAuthorizedKey(key))
				return wire.ExitOK, err
			}
			carrier, err := e.Connect(c.ctx, pod)
			if err != nil {
				return 0, err
			}
			go func() {
				_, _ = io.Copy(carrier, os.Stdin) // either way no more comes
				_ = carrier.CloseWrite()
			}()
			n, err := io.Copy(os.Stdout, carrier)
			if n == 0 { // it could not even begin
				if why, _ := carrier.Why(); why != "" {
					fmt.Fprintln(os.Stderr, dial.Printable(why))
					return wire.ExitFailure, nil
				}
			}
			return wire.ExitOK, err
		}
	}}

// named finds a running pod by its container's name, or this project's.
func (c *call) named(name string) (*engine.Engine, *engine.Pod, error) {
	if name == "" {
		p, err := c.here(project.Overrides{})
		if err != nil {
			return nil, nil, err
		}
		pod, err := p.running()
		return p.engine, pod, err
	}
	e, err := engine.Open(c.ctx, os.Getenv)
	if err != nil {
		return nil, nil, err
	}
	pod, err := e.Find(c.ctx, name)
	if err == nil && !pod.Running() {
		err = &exit{0, fmt.Errorf("the pod %s is not running (%s)", name, pod.State), "tazpod up in its project starts it"}
	}
	return e, pod, err
}
