package main

import (
	"io"
	"net"
	"os"
	"time"
)

// runtimeDir is where programs of a user keep their sockets, if it exists.
const runtimeDir = "/run/user/1000"

var (
	paths    = []string{"/tmp/ghost.sock", runtimeDir + "/ghost.sock"}
	abstract = "@ghost-of-the-isolation-suite"
	local    = "127.0.0.1:47113"
)

// listen answers every connection with the secret.
func listen(value string) error {
	for _, address := range append([]string{abstract, local}, paths...) {
		network := "unix"
		if address == local {
			network = "tcp"
		}
		l, err := net.Listen(network, address)
		if err != nil && address == paths[1] {
			if _, err := os.Stat(runtimeDir); err != nil {
				continue
			}
		}
		if err != nil {
			return err
		}
		go func() {
			for {
				c, err := l.Accept()
				if err != nil {
					return
				}
				_, _ = io.WriteString(c, value) // who has gone doesn't get it
				c.Close()
			}
		}()
	}
	return nil
}

func ask(network, address string) string {
	c, err := net.DialTimeout(network, address, patience)
	if err != nil {
		return ""
	}
	defer c.Close()
	_ = c.SetDeadline(time.Now().Add(patience))
	text, _ := io.ReadAll(c) // as far as it goes
	return string(secret.Find(text))
}

func pathSockets(*target) string {
	for _, path := range paths {
		if s := ask("unix", path); s != "" {
			return s
		}
	}
	return ""
}

func abstractSocket(*target) string { return ask("unix", abstract) }
func port(*target) string           { return ask("tcp", local) }
