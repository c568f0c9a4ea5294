// Roles is the program whose roles tests start when their own binary has cgo
// in it (-race), in which the Go runtime can't change every thread.
package main

import (
	"fmt"
	"os"

	"github.com/tazzo/tazpod/init/ghost"
)

func main() {
	roles := map[string]func() error{"ghost": ghost.RoleGhost, "keeper": ghost.RoleKeeper, "hold": ghost.RoleHold}
	if err := roles[os.Args[2]](); err != nil {
		fmt.Fprintln(os.Stderr, os.Args[2]+":", err)
		os.Exit(1)
	}
}
