package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"time"

	"golang.org/x/sys/unix"

	"github.com/tazzo/tazpod/bench/figure"
	"github.com/tazzo/tazpod/init/vault"
)

// peaks are the most memory that opening a vault and saving it take, in bytes.
type peaks struct {
	Open, Save int64 // resident, of the process that does it
	Programs   int64 // resident, of the largest program that it runs; without a key derivation
	Files      int64 // in RAM: the tree, and while it is saved its copy and its image
}

// measurePeaks does each content in a process of its own.
func measurePeaks(ctx context.Context) (map[string]peaks, error) {
	say("memory")
	self, err := os.Executable()
	if err != nil {
		return nil, err
	}
	all := map[string]peaks{}
	for _, c := range contents {
		p, err := peaksOf(ctx, self, c)
		if err != nil {
			return nil, fmt.Errorf("memory for %s: %w", c.Name, err)
		}
		all[c.Name] = p
	}
	return all, nil
}

func peaksOf(ctx context.Context, self string, c content) (p peaks, err error) {
	dir, err := os.MkdirTemp("", "tazpod-bench-")
	if err != nil {
		return p, err
	}
	defer func() { err = errors.Join(err, os.RemoveAll(dir)) }()
	tree, err := ramDir()
	if err != nil {
		return p, err
	}
	err = errors.Join(c.fill(tree), (&ours{}).prepare(ctx, dir, tree), os.RemoveAll(tree))
	if err != nil {
		return p, err
	}
	cmd := exec.CommandContext(ctx, self, "-peak", dir)
	cmd.Stderr = os.Stderr
	out, err := cmd.Output()
	if err != nil {
		return p, err
	}
	return p, json.Unmarshal(out, &p)
}

// printPeak opens and saves the vault in dir, once.
func printPeak(ctx context.Context, dir string) error {
	var p peaks
	before := shared()
	stop, most := make(chan bool), make(chan int64)
	go func() {
		top := int64(0)
		for tick := time.NewTicker(time.Millisecond); ; {
			select {
			case <-tick.C:
				top = max(top, shared())
			case <-stop:
				most <- top
				return
			}
		}
	}()
	err := (&ours{}).open(ctx, dir, func(v *vault.Vault, tree string) error {
		p.Open = figure.Kilobytes("/proc/self/status", "VmHWM")
		// From here on it counts anew (proc_pid_clear_refs(5)).
		if err := os.WriteFile("/proc/self/clear_refs", []byte("5"), 0); err != nil {
			return err
		}
		if err := os.WriteFile(filepath.Join(tree, changing), []byte("x"), 0o600); err != nil {
			return err
		}
		_, err := v.Save(ctx)
		p.Save = figure.Kilobytes("/proc/self/status", "VmHWM")
		return err
	})
	close(stop)
	p.Files = <-most - before
	var usage unix.Rusage
	if err := errors.Join(err, unix.Getrusage(unix.RUSAGE_CHILDREN, &usage)); err != nil {
		return err
	}
	p.Programs = usage.Maxrss << 10
	return json.NewEncoder(os.Stdout).Encode(p)
}

// shared is what all files in the machine's RAM take, in bytes.
func shared() int64 { return figure.Kilobytes("/proc/meminfo", "Shmem") }
