// Command pid1 measures `tazpod-init run` beside tini, dumb-init, catatonit and
// docker-init, each as the first process of a PID namespace, and prints one
// Markdown table. It needs root and a C compiler: what times the inits, and runs
// under them, is load.c, so that no garbage collector and no scheduler but the
// kernel's is in the figures.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"runtime"
	"syscall"

	"github.com/tazzo/tazpod/bench/figure"

	_ "embed"
)

var (
	starts  = flag.Int("n", 200, "starts of each init")
	orphans = flag.Int("orphans", 20000, "orphans in a stream, and in bursts")
	signals = flag.Int("signals", 500, "signals")
	rounds  = flag.Int("rounds", 5, "rounds of everything but starts")
	bin     = flag.String("bin", "bin", "directory with tazpod-init")
)

//go:embed testdata/load.c
var source []byte

// program is an init: how to start it, and what was measured.
type program struct {
	name string
	argv []string
	measured
}

func main() {
	flag.Parse()
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGINT, syscall.SIGTERM)
	defer stop()
	if err := run(ctx); err != nil {
		fmt.Fprintln(os.Stderr, "bench: error:", err)
		os.Exit(1)
	}
}

func run(ctx context.Context) error {
	before := figure.Load()
	ours, err := filepath.Abs(filepath.Join(*bin, "tazpod-init"))
	if err != nil {
		return err
	}
	programs := []*program{{name: "tazpod-init run", argv: []string{ours, "run", "--"}}}
	for _, name := range []string{"tini", "dumb-init", "catatonit", "docker-init"} {
		path, err := exec.LookPath(name)
		if err != nil {
			return fmt.Errorf("%w: apt-get install tini dumb-init catatonit docker.io", err)
		}
		programs = append(programs, &program{name: name, argv: []string{path, "--"}})
	}
	dir, err := os.MkdirTemp("", "bench-pid1-")
	if err != nil {
		return err
	}
	defer os.RemoveAll(dir)
	l := load{ctx, filepath.Join(dir, "load")}
	if err := l.build(dir); err != nil {
		return err
	}
	if err := idle(ctx, programs); err != nil {
		return err
	}
	for range *starts {
		for _, p := range shuffled(programs) {
			if err := l.start(p); err != nil {
				return err
			}
		}
	}
	for range *rounds {
		for _, p := range shuffled(programs) {
			if err := errors.Join(l.signals(p), l.orphans(p, "stream"), l.orphans(p, "burst")); err != nil {
				return err
			}
		}
	}
	fmt.Printf("Machine: %d × %s; kernel %s. Load average %s before, %s after. %d starts, %d rounds of %d signals and %d orphans.\n\n",
		runtime.NumCPU(), figure.Processor(), figure.Kernel(), before, figure.Load(), *starts, *rounds, *signals / *rounds, *orphans)
	report(programs)
	return nil
}

func shuffled(list []*program) []*program {
	out := make([]*program, len(list))
	for i, j := range rand.Perm(len(list)) {
		out[i] = list[j]
	}
	return out
}
