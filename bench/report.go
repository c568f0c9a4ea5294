package main

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"time"

	"github.com/docker/docker/api/types/system"

	"github.com/tazzo/tazpod/bench/figure"
)

// describe says where the figures come from.
func describe(info system.Info, before, after string) {
	fmt.Printf("Machine: %d × %s, %.1f GB; kernel %s; engine %s %s with %s on %s. Load average %s before, %s after. %d rounds.\n\n",
		info.NCPU, figure.Processor(), float64(info.MemTotal)/1e9, info.KernelVersion, info.Name, info.ServerVersion, info.CgroupDriver,
		info.Driver, before, after, *rounds)
}

// report prints the table.
func report(m measured, inside map[string][]event, alone map[string][]time.Duration, fresh, used int64) error {
	t := figure.Table{}
	t.Times("`docker exec POD true` alone, through the API", 0, m[exec1])
	t.Times("`docker exec POD true` alone, by docker's program", 0, m[execProgram])
	t.Times("**join**: `true` in an open ghost, from opening the SSH channel to its exit status", 20*time.Millisecond, m[joining])
	t.Times("the same with a fresh carrier and login", 0, m[arriving])
	t.Times("the same by the launcher: `tazpod ghost -- true`", 0, m[launching])

	outside := figure.Median(m[filesOutside])
	t.Times("5,000 files of 1 KiB made, read and deleted on the container's own file system, by `docker exec`", 0, m[filesOutside])
	t.Times("**files**: the same in a ghost's home", outside, m[filesInside])

	var open []time.Duration
	var kdf, prepare, start []time.Duration
	for i, e := range inside["opened"] {
		kdf = append(kdf, milliseconds(e.KDF))
		prepare = append(prepare, milliseconds(e.Took-e.KDF))
		start = append(start, milliseconds(inside["ghost started"][i].Took))
		open = append(open, m[opening][i]-kdf[i])
	}
	t.Times("**open**: from the passphrase to the first session's first output, without the key derivation", 100*time.Millisecond, open)
	t.Times("its part in `init/vault`: header, decrypting, filling the tree", 0, prepare)
	t.Times("its part in `init/ghost`: the ghost, and its first session", 0, start)
	t.Times("the key derivation that was taken off", 0, kdf)

	t.Times("**tear-down**: from the last session's end to the locked vault, nothing changed", 250*time.Millisecond, m[ending])
	t.Times("the same with a file changed just before, so that a generation is saved", 250*time.Millisecond, m[saving])
	t.Times("its part: kill the ghost, zero and unmount its RAM", 0, took(inside["ghost ended"]))
	t.Times("its part: save a generation", 0, took(inside["saved"]))
	t.Times("its part: zero the vault's tree, forget the key", 0, took(inside["locked"]))
	t.Times("`init/vault` alone: open 1 MB, key derivation of 5 ms", 0, alone["BenchmarkOpen"])
	t.Times("`init/vault` alone: save 1 MB with one file changed", 0, alone["BenchmarkSave"])

	size, err := initSize()
	if err != nil {
		return err
	}
	t.Bytes("`tazpod-init` on disk", 12e6, size)
	t.Bytes("both supervisor processes, resident, idle after the start", 20e6, fresh)
	t.Bytes("the same after all rounds", 20e6, used)
	t.Print()
	return nil
}

func milliseconds(n float64) time.Duration { return time.Duration(n * float64(time.Millisecond)) }

func took(events []event) (d []time.Duration) {
	for _, e := range events {
		d = append(d, milliseconds(e.Took))
	}
	return d
}

// vaultAlone runs the benchmarks of init/vault, one iteration a time, since
// their own figure is a mean.
func vaultAlone(ctx context.Context, n int) (map[string][]time.Duration, error) {
	say("opening and saving vaults without a pod")
	cmd := exec.CommandContext(ctx, "go", "test", "-run", "^$", "-bench", "^Benchmark(Open|Save)$", "-benchtime", "1x",
		"-count", strconv.Itoa(n), "./init/vault")
	cmd.Stderr = os.Stderr
	out, err := cmd.Output()
	if err != nil {
		return nil, fmt.Errorf("%s: %w\n%s", cmd, err, out)
	}
	times := map[string][]time.Duration{}
	for line := range strings.Lines(string(out)) {
		fields := strings.Fields(line) // BenchmarkOpen-2  1  123456 ns/op
		if len(fields) < 4 || fields[3] != "ns/op" {
			continue
		}
		name, _, _ := strings.Cut(fields[0], "-")
		ns, err := strconv.ParseFloat(fields[2], 64)
		if err != nil {
			return nil, err
		}
		times[name] = append(times[name], time.Duration(ns))
	}
	return times, nil
}
