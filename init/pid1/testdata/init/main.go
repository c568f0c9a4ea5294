// Command init is tazpod-init with nothing but its first process, built as the
// real one is: for tests of what a test binary can't show.
package main

import (
	"os"
	"syscall"

	_ "github.com/tazzo/tazpod/init/pid1"
)

// main is for "helper namespace ARGS", as in the test binary: the first process of
// a fresh PID namespace mounts its /proc and becomes ARGS.
func main() {
	if err := syscall.Mount("proc", "/proc", "proc", 0, ""); err != nil {
		panic(err)
	}
	panic(syscall.Exec("/proc/self/exe", append([]string{"tazpod-init"}, os.Args[3:]...), os.Environ()))
}
