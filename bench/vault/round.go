package main

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	mathrand "math/rand/v2"
	"os"
	"path/filepath"
	"strconv"
	"time"
)

// content is what is kept: noise, which nothing can compress or leave out.
type content struct {
	Name  string
	Files int
	Size  int // bytes, of each
}

// The first inGuest of them are done in User-Mode Linux, too: there every system
// call of 10,000 files takes its time.
var contents = []content{
	{"1 MB in 100 files", 100, 10_000},
	{"20 MB in 200 files", 200, 100_000},
	{"200 MB in 200 files", 200, 1_000_000},
	{"10 MB in 10,000 files", 10_000, 1_000},
}

const (
	inGuest    = 3
	capacity   = 512 << 20      // bytes, of what has one
	perDir     = 50             // files
	changing   = "changing"     // the file that is written before each save
	passphrase = "not a secret" // of noise
)

// fill makes the files in dir.
func (c content) fill(dir string) error {
	noise := make([]byte, c.Size)
	for i := range c.Files {
		rand.Read(noise) // never fails
		sub := filepath.Join(dir, "dir-"+strconv.Itoa(i/perDir))
		if err := os.MkdirAll(sub, 0o700); err != nil {
			return err
		}
		if err := os.WriteFile(filepath.Join(sub, "file-"+strconv.Itoa(i)), noise, 0o600); err != nil {
			return err
		}
	}
	return nil
}

// A way keeps files encrypted in a directory.
type way interface {
	String() string
	// prepare makes what is opened then, with the files of tree.
	prepare(ctx context.Context, dir, tree string) error
	// round opens it, changes a file, saves that and closes it. It notes how long
	// each took.
	round(ctx context.Context, dir string, note func(what string, d time.Duration)) error
}

// figures are by way, content and what was done.
type figures map[string]map[string]map[string][]time.Duration

func (f figures) of(way, content string) map[string][]time.Duration {
	if f[way] == nil {
		f[way] = map[string]map[string][]time.Duration{}
	}
	if f[way][content] == nil {
		f[way][content] = map[string][]time.Duration{}
	}
	return f[way][content]
}

// measure lets all ways do all contents in turn, in another order each round. The
// first round only warms up.
func measure(ctx context.Context, ways []way, contents []content, rounds int) (f figures, err error) {
	top, err := os.MkdirTemp(scratch(), "tazpod-bench-")
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, os.RemoveAll(top)) }()
	type job struct {
		way
		content
		dir string
	}
	var jobs []job
	for _, c := range contents {
		say("making %s", c.Name)
		tree, err := ramDir()
		if err != nil {
			return nil, err
		}
		err = c.fill(tree)
		for _, w := range ways {
			dir := filepath.Join(top, strconv.Itoa(len(jobs)))
			err = errors.Join(err, os.Mkdir(dir, 0o700))
			if err == nil {
				err = w.prepare(ctx, dir, tree)
			}
			jobs = append(jobs, job{w, c, dir})
		}
		if err = errors.Join(err, os.RemoveAll(tree)); err != nil {
			return nil, err
		}
	}
	f = figures{}
	for i := range rounds + 1 {
		if i == 1 {
			f = figures{}
		}
		say("round %d of %d", i, rounds)
		mathrand.Shuffle(len(jobs), func(a, b int) { jobs[a], jobs[b] = jobs[b], jobs[a] })
		for _, j := range jobs {
			times := f.of(j.way.String(), j.Name)
			err := j.round(ctx, j.dir, func(what string, d time.Duration) { times[what] = append(times[what], d) })
			if err != nil {
				return nil, fmt.Errorf("%v, %s: %w", j.way, j.Name, err)
			}
		}
	}
	return f, nil
}

// scratch is a directory on a disk: the guest's, or that of temporary files.
func scratch() string {
	if *guest != "" {
		return "/scratch"
	}
	return os.TempDir()
}

// ramDir is a new directory in RAM.
func ramDir() (string, error) { return os.MkdirTemp("/dev/shm", "tazpod-bench-") }

// change writes the file that changes, with other content each time.
func change(tree string) error {
	return os.WriteFile(filepath.Join(tree, changing), []byte(time.Now().String()), 0o600)
}
