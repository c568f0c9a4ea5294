package main

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/docker/docker/api/types/system"
)

// describe says where the figures come from.
func describe(info system.Info, before, after string) {
	model := runtime.GOARCH
	cpus, _ := os.ReadFile("/proc/cpuinfo") // the architecture says enough without
	for line := range strings.Lines(string(cpus)) {
		if name, value, _ := strings.Cut(line, ":"); strings.TrimSpace(name) == "model name" {
			model = strings.TrimSpace(value)
			break
		}
	}
	fmt.Printf("Machine: %d × %s, %.1f GB; kernel %s; engine %s %s with %s on %s. Load average %s before, %s after. %d rounds.\n\n",
		info.NCPU, model, float64(info.MemTotal)/1e9, info.KernelVersion, info.Name, info.ServerVersion, info.CgroupDriver,
		info.Driver, before, after, *rounds)
}

func load() string {
	text, err := os.ReadFile("/proc/loadavg")
	if err != nil {
		return "unknown"
	}
	one, _, _ := strings.Cut(string(text), " ")
	return one
}

// report prints the table.
func report(m measured, inside map[string][]event, alone map[string][]time.Duration, fresh, used int64) error {
	t := table{}
	t.times("`docker exec POD true` alone, through the API", 0, m[exec1])
	t.times("`docker exec POD true` alone, by docker's program", 0, m[execProgram])
	t.times("**join**: `true` in an open ghost, from opening the SSH channel to its exit status", 20*time.Millisecond, m[joining])
	t.times("the same with a fresh carrier and login", 0, m[arriving])
	t.times("the same by the launcher: `tazpod ghost -- true`", 0, m[launching])

	outside := median(m[filesOutside])
	t.times("5,000 files of 1 KiB made, read and deleted on the container's own file system, by `docker exec`", 0, m[filesOutside])
	t.times("**files**: the same in a ghost's home", outside, m[filesInside])

	var open []time.Duration
	var kdf, prepare, start []time.Duration
	for i, e := range inside["opened"] {
		kdf = append(kdf, milliseconds(e.KDF))
		prepare = append(prepare, milliseconds(e.Took-e.KDF))
		start = append(start, milliseconds(inside["ghost started"][i].Took))
		open = append(open, m[opening][i]-kdf[i])
	}
	t.times("**open**: from the passphrase to the first session's first output, without the key derivation", 100*time.Millisecond, open)
	t.times("its part in `init/vault`: header, decrypting, filling the tree", 0, prepare)
	t.times("its part in `init/ghost`: the ghost, and its first session", 0, start)
	t.times("the key derivation that was taken off", 0, kdf)

	t.times("**tear-down**: from the last session's end to the locked vault, nothing changed", 250*time.Millisecond, m[ending])
	t.times("the same with a file changed just before, so that a generation is saved", 250*time.Millisecond, m[saving])
	t.times("its part: kill the ghost, zero and unmount its RAM", 0, took(inside["ghost ended"]))
	t.times("its part: save a generation", 0, took(inside["saved"]))
	t.times("its part: zero the vault's tree, forget the key", 0, took(inside["locked"]))
	t.times("`init/vault` alone: open 1 MB, key derivation of 5 ms", 0, alone["BenchmarkOpen"])
	t.times("`init/vault` alone: save 1 MB with one file changed", 0, alone["BenchmarkSave"])

	size, err := initSize()
	if err != nil {
		return err
	}
	t.bytes("`tazpod-init` on disk", 12e6, size)
	t.bytes("both supervisor processes, resident, idle after the start", 20e6, fresh)
	t.bytes("the same after all rounds", 20e6, used)
	t.print()
	return nil
}

func milliseconds(n float64) time.Duration { return time.Duration(n * float64(time.Millisecond)) }

func took(events []event) (d []time.Duration) {
	for _, e := range events {
		d = append(d, milliseconds(e.Took))
	}
	return d
}

// table is one for people and for Markdown.
type table [][5]string

func (t *table) times(what string, limit time.Duration, d []time.Duration) {
	if len(d) == 0 {
		*t = append(*t, [5]string{what, "", "not measured", "", "0"})
		return
	}
	middle, high := median(d), slices.Sorted(slices.Values(d))[len(d)*9/10]
	target := ""
	if limit > 0 {
		target = verdict(middle <= limit, "≤ "+show(limit))
	}
	*t = append(*t, [5]string{what, target, show(middle), show(high), strconv.Itoa(len(d))})
}

func median(d []time.Duration) time.Duration { return slices.Sorted(slices.Values(d))[len(d)/2] }

func (t *table) bytes(what string, limit, n int64) {
	size := func(n int64) string { return fmt.Sprintf("%.1f MB", float64(n)/1e6) }
	*t = append(*t, [5]string{what, verdict(n <= limit, "≤ "+size(limit)), size(n), "", "1"})
}

func verdict(met bool, target string) string {
	if met {
		return target + ": met"
	}
	return target + ": **missed**"
}

func show(d time.Duration) string {
	return strconv.FormatFloat(float64(d)/float64(time.Millisecond), 'f', 1, 64) + " ms"
}

func (t table) print() {
	fmt.Println("| what | target | median | 90 % within | n |")
	fmt.Println("|---|---|---:|---:|---:|")
	for _, row := range t {
		fmt.Println("| " + strings.Join(row[:], " | ") + " |")
	}
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
