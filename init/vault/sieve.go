package vault

import (
	"errors"
	"fmt"
	"path"
	"strconv"

	"github.com/tazzo/tazpod/init/vault/ext4"
	"golang.org/x/sys/unix"
)

// LeftOut is something in the tree that no vault can hold: everything else is
// saved, and this is not.
type LeftOut struct {
	Path string // from the tree's top; empty when Why stands for several
	Why  string
}

// String is for people's terminals: a ghost's user chose the path.
func (l LeftOut) String() string {
	const half = 60 // bytes
	short := l.Path
	switch {
	case short == "":
		return l.Why
	case len(short) > 2*half:
		short = short[:half] + "…" + short[len(short)-half:]
	}
	return strconv.Quote(short) + ": " + l.Why
}

// mostLeftOut is how many are told by name.
const mostLeftOut = 20

// sieve decides what of a tree is saved. Each walk has its own, and all decide
// alike, so that what is left out makes no difference between a tree and what
// was saved of it.
type sieve struct {
	links   map[uint64]int // names of files with several, by inode
	dirs    map[string]int // directories in a directory
	special int            // devices, sockets and FIFOs: there is nothing in them
	out     []LeftOut
	more    int
}

func newSieve() *sieve { return &sieve{links: map[uint64]int{}, dirs: map[string]int{}} }

// errLeftOut tells walk to go on behind an entry.
var errLeftOut = errors.New("left out")

// take is errLeftOut for what is not saved.
func (s *sieve) take(e *entry) error {
	dir := e.kind() == unix.S_IFDIR
	switch {
	case e.special():
		s.special++
		return errLeftOut
	case len(e.path) > ext4.MaxPath:
		return s.leaveOut(e, "its path has %d bytes, a vault holds up to %d", len(e.path), ext4.MaxPath)
	case e.path == ext4.LostAndFound && !dir:
		return s.leaveOut(e, "the vault's file system keeps this name for a directory of its own")
	case e.kind() == unix.S_IFREG && e.Size > ext4.MaxFile:
		return s.leaveOut(e, "it is longer than the 16 TiB that a vault can hold, holes included")
	case dir && e.path != ".":
		if s.dirs[path.Dir(e.path)]++; s.dirs[path.Dir(e.path)] > ext4.MaxLinks-2 { // "." and its own name
			return s.leaveOut(e, "there are %d directories before it, as many as a vault holds in one", ext4.MaxLinks-2)
		}
	case !dir && e.Nlink > 1:
		if s.links[e.Ino]++; s.links[e.Ino] > ext4.MaxLinks {
			return s.leaveOut(e, "the file has %d names before it, as many as a vault holds", ext4.MaxLinks)
		}
	}
	return nil
}

func (s *sieve) leaveOut(e *entry, format string, args ...any) error {
	if len(s.out) < mostLeftOut {
		s.out = append(s.out, LeftOut{e.path, fmt.Sprintf(format, args...)})
	} else {
		s.more++
	}
	return errLeftOut
}

// attributes are those of e, or none when they don't fit.
func (s *sieve) attributes(e *entry) ([]attribute, error) {
	attrs, err := e.attributes()
	total := 0
	for _, a := range attrs {
		total += ext4.AttrSize(a.name, len(a.value))
	}
	if total > ext4.MaxAttrs {
		_ = s.leaveOut(e, "its %d extended attributes take more than the %d bytes that a vault has for them; the rest of it is saved", len(attrs), ext4.MaxAttrs)
		return nil, err
	}
	return attrs, err
}

// list is what was left out, for people.
func (s *sieve) list() []LeftOut {
	if s.more == 0 {
		return s.out
	}
	return append(s.out, LeftOut{Why: fmt.Sprintf("and %d more", s.more)})
}
