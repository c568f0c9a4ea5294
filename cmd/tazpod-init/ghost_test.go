package main

import (
	"os"
	"testing"

	"github.com/creack/pty"

	"github.com/tazzo/tazpod/test/need"
)

// TestPrivateTerminal: the passphrase is asked for only on a terminal that
// nobody but root can read.
func TestPrivateTerminal(t *testing.T) {
	need.Root(t)
	for _, c := range []struct {
		uid  int
		mode os.FileMode
		want bool
	}{
		{0, 0o600, true},
		{0, 0o620, true}, // mesg(1)'s, as devpts makes them
		{0, 0o622, false},
		{0, 0o640, false},
		{0, 0o604, false},
		{1000, 0o600, false},
	} {
		err := func() error {
			master, slave, err := pty.Open()
			if err != nil {
				t.Fatal(err)
			}
			defer master.Close()
			defer slave.Close()
			if err := slave.Chown(c.uid, 0); err != nil {
				t.Fatal(err)
			}
			if err := slave.Chmod(c.mode); err != nil {
				t.Fatal(err)
			}
			was := os.Stdin
			defer func() { os.Stdin = was }()
			os.Stdin = slave
			return private()
		}()
		if (err == nil) != c.want {
			t.Errorf("private(uid %d, mode %o) = %v; want private %v", c.uid, c.mode, err, c.want)
		}
	}
}
