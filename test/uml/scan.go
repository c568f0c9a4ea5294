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
	return m.scan(m.ram, patterns)
}

// ScanSwap counts the same on the swap device.
func (m *Machine) ScanSwap(patterns ...[]byte) []int {
	m.t.Helper()
	f, err := os.Open(m.swap)
	if err != nil {
		m.t.Fatal(err)
	}
	defer f.Close()
	return m.scan(f, patterns)
}

func (m *Machine) scan(f *os.File, patterns [][]byte) []int {
	m.t.Helper()
	hits, err := count(f, patterns)
	if err != nil {
		m.t.Fatal(err)
	}
	return hits
}

// count skips holes: what was never touched.
func count(f *os.File, patterns [][]byte) ([]int, error) {
	const piece = 16 << 20
	longest := 0
	for _, p := range patterns {
		longest = max(longest, len(p))
	}
	hits, buffer := make([]int, len(patterns)), make([]byte, piece+longest-1)
	for offset := int64(0); ; {
		start, err := unix.Seek(int(f.Fd()), offset, unix.SEEK_DATA)
		if errors.Is(err, unix.ENXIO) {
			return hits, nil
		}
		if err != nil {
			return nil, &os.PathError{Op: "seek", Path: f.Name(), Err: err}
		}
		n, err := f.ReadAt(buffer, start)
		if err != nil && err != io.EOF {
			return nil, err
		}
		for i, p := range patterns {
			hits[i] += starting(buffer[:n], p, piece)
		}
		offset = start + piece
	}
}

// starting counts the occurrences of p in b that start before limit.
func starting(b, p []byte, limit int) (hits int) {
	b = b[:min(len(b), limit+len(p)-1)]
	for {
		i := bytes.Index(b, p)
		if i < 0 {
			return hits
		}
		hits++
		b = b[i+1:]
	}
}
