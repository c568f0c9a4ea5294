package main

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
)

// measureUML builds this program for the guest, and runs it there by the harness
// of test/uml, which is part of a test. On an error it returns what it has.
func measureUML(ctx context.Context, rounds int) (figures, error) {
	dir, err := os.MkdirTemp("", "tazpod-bench-")
	if err != nil {
		return nil, err
	}
	defer os.RemoveAll(dir)
	program := filepath.Join(dir, "vault")
	build := exec.CommandContext(ctx, "go", "build", "-o", program, "./bench/vault")
	build.Env, build.Stderr = append(os.Environ(), "CGO_ENABLED=0"), os.Stderr
	if err := build.Run(); err != nil {
		return nil, err
	}
	all := figures{}
	for _, c := range contents[:inGuest] {
		say("%s in User-Mode Linux", c.Name)
		test := exec.CommandContext(ctx, "go", "test", "-run", "^$", "-bench", "^BenchmarkProgram$", "-benchtime", "1x", "-timeout", "0", "./test/uml",
			"-args", program, "-guest", c.Name, "-n", strconv.Itoa(rounds))
		test.Stderr = os.Stderr
		out, err := test.Output()
		if err != nil {
			return all, fmt.Errorf("%s: %w\n%s", test, err, out)
		}
		found := false
		for line := range bytes.Lines(out) {
			var f figures
			if json.Unmarshal(line, &f) != nil {
				continue // what go test says
			}
			found = true
			for way, times := range f {
				all.of(way, c.Name)
				maps.Copy(all[way], times)
			}
		}
		if !found {
			return all, fmt.Errorf("%s: no figures\n%s", test, out)
		}
	}
	return all, nil
}
