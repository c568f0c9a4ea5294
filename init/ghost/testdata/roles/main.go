// Roles is the program that tests start: the package's roles, and what tests
// need another process for. A test binary can't be it, since with cgo (-race)
// the Go runtime can't change every thread's privileges.
package main

import (
	"fmt"
	"os"

	"github.com/tazzo/tazpod/init/ghost"
)

func main() {
	roles := map[string]func() error{
		"ghost": ghost.RoleGhost, "keeper": ghost.RoleKeeper, "hold": ghost.RoleHold,
		"calls": calls, "x32": x32, "attack": attack, "serve": serve, "probe": probe, "say": sayLock,
	}
	if err := roles[os.Args[2]](); err != nil {
		fmt.Fprintln(os.Stderr, os.Args[2]+":", err)
		os.Exit(1)
	}
}
