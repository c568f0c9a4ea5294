// Command vault measures opening and saving vaults side by side with other ways to
// keep the same files encrypted, and prints one Markdown table. It needs root,
// cryptsetup, e2fsprogs and openssl, and User-Mode Linux for the kernel's dm-crypt.
//
//	round on this machine: init/vault, tar | openssl
//	round in User-Mode Linux: init/vault, dm-crypt with ext4 (this program with -guest)
package main

import (
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"runtime"
	"syscall"

	"github.com/tazzo/tazpod/bench/figure"
)

var (
	rounds = flag.Int("n", 21, "rounds on this machine; a third of that, 3 at least, in User-Mode Linux")
	guest  = flag.String("guest", "", "be the part in User-Mode Linux for the content of that name")
	peak   = flag.String("peak", "", "print what opening and saving the vault in that directory takes in memory")
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

func run(ctx context.Context) error {
	switch {
	case *peak != "":
		return printPeak(ctx, *peak)
	case *guest != "":
		return runGuest(ctx, *guest)
	}
	before := figure.Load()
	here, err := measure(ctx, []way{&ours{}, &pipe{}}, contents, *rounds)
	if err != nil {
		return err
	}
	inUML, err := measureUML(ctx, max(3, *rounds/3))
	if err != nil {
		say("%v", err) // the rest is worth having; those rows say that they are missing
	}
	if err := ctx.Err(); err != nil {
		return err
	}
	ciphers, err := measureCiphers(ctx, *rounds)
	if err != nil {
		return err
	}
	kdf, err := measureKDF(ctx, max(3, *rounds/3))
	if err != nil {
		return err
	}
	peaks, err := measurePeaks(ctx)
	if err != nil {
		return err
	}
	fmt.Printf("Machine: %d × %s, %.1f GB; kernel %s. Load average %s before, %s after. %d rounds.\n\n", runtime.NumCPU(), figure.Processor(),
		float64(figure.Kilobytes("/proc/meminfo", "MemTotal"))/1e9, figure.Kernel(), before, figure.Load(), *rounds)
	report(here, inUML, ciphers, kdf, peaks)
	return nil
}

// runGuest prints its figures as JSON.
func runGuest(ctx context.Context, name string) error {
	for _, c := range contents {
		if c.Name == name {
			figures, err := measure(ctx, []way{&ours{}, &dmcrypt{}}, []content{c}, *rounds)
			return errors.Join(err, json.NewEncoder(os.Stdout).Encode(figures))
		}
	}
	return fmt.Errorf("no content %q", name)
}

func say(format string, args ...any) { fmt.Fprintf(os.Stderr, "bench: "+format+"\n", args...) }
