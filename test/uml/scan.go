package uml

import (
	"bytes"
	"errors"
	"io"
	"os"

	"golang.org/x/sys/unix"
)

// Scan counts how often each pattern occurs in the machine's physical memory:
// in what programs and the kernel use, and in what they used before.
func (m *Machine) Scan(patterns ...[]byte) []int {
	m.t.Helper()
	return m.count(m.ram, patterns)
}

// ScanSwap counts the same on the swap device.
func (m *Machine) ScanSwap(patterns ...[]byte) []int {
	m.t.Helper()
	f, err := os.Open(m.swap)
	if err != nil {
		m.t.Fatal(err)
	}
	defer f.Close()
	return m.count(f, patterns)
}

func (m *Machine) count(f *os.File, patterns [][]byte) []int {
	m.t.Helper()
	hits := make([]int, len(patterns))
	if err := search(f, patterns, func(i int, _ []byte) { hits[i]++ }); err != nil {
		m.t.Fatal(err)
	}
	return hits
}

// search tells found of each place where patterns[i] starts, with what stands
// before it. It skips holes: what was never touched.
func search(f *os.File, patterns [][]byte, found func(i int, before []byte)) error {
	const piece = 16 << 20
	longest := 1
	for _, p := range patterns {
		longest = max(longest, len(p))
	}
	buffer := make([]byte, piece+longest-1)
	for next := int64(0); ; next += piece {
		start, err := unix.Seek(int(f.Fd()), next, unix.SEEK_DATA)
		if errors.Is(err, unix.ENXIO) {
			return nil
		}
		if err != nil {
			return &os.PathError{Op: "seek", Path: f.Name(), Err: err}
		}
		next = start
		n, err := f.ReadAt(buffer, start)
		if err != nil && err != io.EOF {
			return err
		}
		for i, p := range patterns {
			eachIndex(buffer[:n], p, piece, func(at int) { found(i, buffer[:at]) })
		}
	}
}

// eachIndex tells found of each occurrence of p in b that starts before limit.
func eachIndex(b, p []byte, limit int, found func(at int)) {
	b = b[:min(len(b), limit+len(p)-1)]
	for at := 0; ; at++ {
		i := bytes.Index(b[at:], p)
		if i < 0 {
			return
		}
		at += i
		found(at)
	}
}
