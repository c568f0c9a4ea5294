// Command bench measures a pod side by side with `docker exec` alone, and
// prints one Markdown table. It uses the built programs, a real engine and the
// same code as the launcher.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"syscall"

	"github.com/tazzo/tazpod/bench/figure"
	"github.com/tazzo/tazpod/launcher/engine"
)

var (
	rounds = flag.Int("n", 51, "rounds; each opens two ghosts")
	image  = flag.String("image", "base", "image of the pod")
	bin    = flag.String("bin", "bin", "directory with tazpod and tazpod-init")
)

func main() {
	flag.Parse()
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGINT, syscall.SIGTERM)
	defer stop()
	if err := run(ctx); err != nil {
		fmt.Fprintln(os.Stderr, "bench: error:", err)
		os.Exit(1)
	}
}

func run(ctx context.Context) (err error) {
	before := figure.Load()
	e, err := engine.Open(ctx, os.Getenv)
	if err != nil {
		return err
	}
	defer e.Close()
	vault, err := vaultAlone(ctx, *rounds)
	if err != nil {
		return err
	}
	p, err := newPod(ctx, e)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, p.remove()) }()
	fresh, err := p.memory(ctx)
	if err != nil {
		return err
	}
	if err := p.fill(ctx); err != nil {
		return err
	}
	var m measured
	for i := range *rounds + 1 {
		if i == 1 {
			m = measured{} // the first round only warmed up
		}
		say("round %d of %d", i, *rounds)
		for _, changing := range []bool{false, true} {
			if err := p.round(ctx, &m, changing); err != nil {
				return err
			}
		}
	}
	used, err := p.memory(ctx)
	if err != nil {
		return err
	}
	inside, err := p.events(ctx)
	if err != nil {
		return err
	}
	info, err := e.Info(ctx)
	if err != nil {
		return err
	}
	describe(info, before, figure.Load())
	return report(m, inside, vault, fresh, used)
}

func say(format string, args ...any) { fmt.Fprintf(os.Stderr, "bench: "+format+"\n", args...) }
