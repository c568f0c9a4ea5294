package uml

import (
	"flag"
	"fmt"
	"path/filepath"
	"testing"
	"time"
)

// BenchmarkProgram runs a program of the host in a machine, for benchmarks that need
// one: go test -bench Program ./test/uml -args PROGRAM ARGUMENT…
func BenchmarkProgram(b *testing.B) {
	if flag.NArg() == 0 {
		b.Skip("no program is given")
	}
	program := flag.Arg(0) // the guest has a /tmp of its own
	m := Start(b, Options{MemoryMB: 3072, ScratchMB: 4096, Patience: time.Hour, Binds: []string{filepath.Dir(program)}})
	for b.Loop() {
		r := m.Run(flag.Args()...)
		if r.Err() != nil {
			b.Fatal(r.Err())
		}
		fmt.Println(r.Stdout)
	}
}
