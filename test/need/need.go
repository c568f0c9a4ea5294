// Package need says what a test can't do without. A missing thing skips the
// test and names how to get it; TAZPOD_REQUIRE, a comma-separated list such as
// "root,docker,uml", turns the skips of those kinds into failures.
package need

import (
	"net"
	"os"
	"os/exec"
	"slices"
	"strings"
	"testing"
)

// Root needs uid 0 with the right to make namespaces and mounts.
func Root(t testing.TB) {
	t.Helper()
	if os.Geteuid() != 0 {
		missing(t, "root", "this test needs root: run it with sudo or in a privileged container")
	}
}

// Docker needs an engine that answers.
func Docker(t testing.TB) {
	t.Helper()
	socket := "/var/run/docker.sock"
	if host, ok := strings.CutPrefix(os.Getenv("DOCKER_HOST"), "unix://"); ok {
		socket = host
	}
	c, err := net.Dial("unix", socket)
	if err != nil {
		missing(t, "docker", "this test needs a Docker engine ("+err.Error()+"): run make setup")
		return
	}
	c.Close()
}

// DeviceMapper needs /dev/mapper/control.
func DeviceMapper(t testing.TB) {
	t.Helper()
	if _, err := os.Stat("/dev/mapper/control"); err != nil {
		missing(t, "dm", "this test needs device-mapper: run it in User-Mode Linux")
	}
}

// UML needs User-Mode Linux, and to be root to start it.
func UML(t testing.TB) {
	t.Helper()
	for _, name := range []string{"linux.uml", "insmod"} {
		if _, err := exec.LookPath(name); err != nil {
			missing(t, "uml", "this test needs User-Mode Linux ("+err.Error()+"): run make setup")
		}
	}
	Root(t)
}

// Command needs programs on the PATH. They count as of kind "root": what
// installs the one gives the other.
func Command(t testing.TB, names ...string) {
	t.Helper()
	for _, name := range names {
		if _, err := exec.LookPath(name); err != nil {
			missing(t, "root", "this test needs the program "+name+": run make setup")
		}
	}
}

// Checkout needs another project's source, at the path that a variable holds.
func Checkout(t testing.TB, variable, project string) string {
	t.Helper()
	path := os.Getenv(variable)
	if path == "" {
		missing(t, "peers", "this test needs a checkout of "+project+": set "+variable+" to its path")
	}
	return path
}

func missing(t testing.TB, kind, why string) {
	t.Helper()
	if slices.Contains(strings.Split(os.Getenv("TAZPOD_REQUIRE"), ","), kind) {
		t.Fatalf("%s (TAZPOD_REQUIRE has %s)", why, kind)
	}
	t.Skip(why)
}
