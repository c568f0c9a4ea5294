// Package uml runs tests on a kernel of their own, User-Mode Linux: what needs
// device-mapper, swap or a look at all of a machine's memory works there without
// the host's leave, and ends with the test.
//
//	test ── linux.uml (a process; its memory is a deleted file)
//	  │        └─ init.sh: / = the host's files, read-only, under an overlay in RAM
//	  ├─ job's number ──(serial line)──► runs dir/NUMBER/argv
//	  └─ number, status ◄──────────────  leaves dir/NUMBER/{out,err}
//
// The kernel is Debian's 6.1, with one CPU; starting a program takes 30 ms.
package uml

import (
	"cmp"
	"os"
	"testing"
	"time"

	"github.com/tazzo/tazpod/test/need"
)

// Options say what the machine has.
type Options struct {
	MemoryMB  int           // 512 if 0
	ScratchMB int           // of ext4 on /scratch; if 0, /scratch is in RAM
	SwapMB    int           // of a swap device; 0 for none
	Binds     []string      // the host's directories that the guest can write to, at the same paths
	Patience  time.Duration // how long it may take for anything; 4 minutes if 0
	Kernel    []string      // more parameters, such as "init_on_free=1"
}

// Machine is a running guest. It is killed at the end of the test.
type Machine struct {
	t    testing.TB
	dir  string   // of the host; its directory shared is the guest's /run/uml
	ram  *os.File // physical memory
	swap string   // what the swap device is; empty if there is none
	jobs jobs

	patience time.Duration
}

// Start boots a machine. Everything in it sees the host's files; what it writes
// outside of Binds vanishes with it.
func Start(t testing.TB, o Options) *Machine {
	t.Helper()
	need.UML(t)
	if o.MemoryMB == 0 {
		o.MemoryMB = 512
	}
	m := &Machine{t: t, dir: t.TempDir(), patience: cmp.Or(o.Patience, usualPatience)}
	booted := m.jobs.expect(bootJob)
	parameters, err := m.prepare(o)
	if err == nil {
		err = m.boot(o, parameters)
	}
	if err != nil {
		t.Fatal(err)
	}
	m.await(booted, "booting")
	if m.ram, err = m.memory(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { m.ram.Close() })
	return m
}

// Run boots a machine for a single command.
func Run(t testing.TB, o Options, argv ...string) Result {
	t.Helper()
	return Start(t, o).Run(argv...)
}
