package main

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"time"

	"github.com/tazzo/tazpod/bench/figure"
)

// measured is what is known of one init.
type measured struct {
	start, stop, signal []time.Duration
	stream, burst       []time.Duration // wall
	streamCPU           []time.Duration
	zombies             int   // most at once in a stream
	resident, shared    int64 // bytes; shared is the proportional size
	threads             int
	wakeUps             int // of all threads, idle, in idleTime
}

// load is load.c, built.
type load struct {
	ctx  context.Context
	path string
}

func (l load) build(dir string) error {
	source0 := filepath.Join(dir, "load.c")
	if err := os.WriteFile(source0, source, 0o600); err != nil {
		return err
	}
	out, err := exec.CommandContext(l.ctx, "gcc", "-O2", "-static", "-pthread", "-o", l.path, source0).CombinedOutput()
	if err != nil {
		return fmt.Errorf("gcc: %w\n%s", err, out)
	}
	return nil
}

// run runs a mode with its child under p and returns the numbers that it prints.
func (l load) run(p *program, mode string, n int) ([]float64, error) {
	args := []string{mode}
	if mode != "time" {
		args = append(args, strconv.Itoa(n))
	}
	args = append(append(args, p.argv...), l.path, "_"+mode, strconv.Itoa(n))
	c := exec.CommandContext(l.ctx, l.path, args...)
	c.Stderr = os.Stderr
	out, err := c.Output()
	if err != nil {
		return nil, fmt.Errorf("%s under %s: %w", mode, p.name, err)
	}
	var numbers []float64
	for _, word := range strings.Fields(string(out)) {
		x, err := strconv.ParseFloat(word, 64)
		if err != nil {
			return nil, fmt.Errorf("%s under %s: %w", mode, p.name, err)
		}
		numbers = append(numbers, x)
	}
	return numbers, nil
}

func micro(x float64) time.Duration { return time.Duration(x * 1e3) }
func milli(x float64) time.Duration { return time.Duration(x * 1e6) }

func (l load) start(p *program) error {
	x, err := l.run(p, "time", 1)
	if err != nil {
		return err
	}
	p.start, p.stop = append(p.start, micro(x[0])), append(p.stop, micro(x[1]))
	return nil
}

func (l load) signals(p *program) error {
	list, err := l.run(p, "signals", *signals / *rounds)
	for _, x := range list {
		p.signal = append(p.signal, micro(x))
	}
	return err
}

func (l load) orphans(p *program, mode string) error {
	x, err := l.run(p, mode, *orphans)
	switch {
	case err != nil:
		return err
	case mode == "burst":
		p.burst = append(p.burst, milli(x[0]))
	default:
		p.stream, p.streamCPU = append(p.stream, milli(x[0])), append(p.streamCPU, milli(x[1]))
		p.zombies = max(p.zombies, int(x[2]))
	}
	return nil
}

const (
	settle   = 3 * time.Second // after the start
	idleTime = 10 * time.Second
)

// idle measures all programs while they have nothing to do.
func idle(ctx context.Context, programs []*program) error {
	pids := map[*program]int{}
	for _, p := range programs {
		c := exec.CommandContext(ctx, p.argv[0], append(p.argv[1:], "sleep", "infinity")...)
		c.SysProcAttr = &syscall.SysProcAttr{Cloneflags: syscall.CLONE_NEWPID}
		if err := c.Start(); err != nil {
			return err
		}
		defer func() {
			_ = c.Process.Kill()
			_ = c.Wait() // it was killed
		}()
		pids[p] = c.Process.Pid
	}
	time.Sleep(settle)
	for p, pid := range pids {
		p.wakeUps = -switches(pid)
	}
	time.Sleep(idleTime)
	for p, pid := range pids {
		proc := fmt.Sprintf("/proc/%d/", pid)
		p.wakeUps += switches(pid)
		p.resident = figure.Kilobytes(proc+"status", "VmRSS")
		p.shared = figure.Kilobytes(proc+"smaps_rollup", "Pss")
		tasks, err := os.ReadDir(proc + "task")
		if err != nil {
			return err
		}
		p.threads = len(tasks)
	}
	return ctx.Err()
}

// switches counts how often the threads of a process have gone to sleep.
func switches(pid int) (sum int) {
	files, _ := filepath.Glob(fmt.Sprintf("/proc/%d/task/*/status", pid)) // the pattern is right
	for _, f := range files {
		text, _ := os.ReadFile(f) // a thread that has ended
		_, after, _ := strings.Cut(string(text), "\nvoluntary_ctxt_switches:")
		number, _, _ := strings.Cut(after, "\n")
		n, _ := strconv.Atoi(strings.TrimSpace(number))
		sum += n
	}
	return sum
}
