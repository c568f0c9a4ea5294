package ext4

import (
	"fmt"
	"slices"
	"strings"

	"golang.org/x/sys/unix"
)

// dirent is a directory's entry, its name checked: not empty, no "/" and no NUL
// in it, neither "." nor "..".
type dirent struct {
	name string
	num  uint32
}

// list returns a directory's entries in the order of their names. The directory
// must not have been listed before in this pass; depth is how far it is from
// the root.
//
// A hash tree's inner blocks look like empty entries to who reads the blocks
// in order, by design.
func (p *pass) list(n *inode, depth int) ([]dirent, error) {
	if p.dirs[n.num] {
		return nil, corrupt("directory %d has two parents", n.num)
	}
	if depth > maxDepth {
		return nil, corrupt("directories nested deeper than %d", maxDepth)
	}
	p.dirs[n.num] = true
	l := lister{pass: p, n: n}
	err := l.blocks()
	if n.flags&flagInline != 0 {
		l.out = nil
		err = l.inline()
	}
	if err != nil {
		return nil, err
	}
	slices.SortFunc(l.out, func(a, b dirent) int { return strings.Compare(a.name, b.name) })
	for i := 1; i < len(l.out); i++ {
		if l.out[i].name == l.out[i-1].name {
			return nil, corrupt("directory %d names %q twice", n.num, l.out[i].name)
		}
	}
	return l.out, nil
}

type lister struct {
	*pass
	n   *inode
	out []dirent
}

func (l *lister) blocks() error {
	if l.n.flags&flagInline != 0 {
		return nil
	}
	bs := l.super.blockSize
	runs, err := l.runs(l.n)
	if err != nil {
		return err
	}
	block := make([]byte, bs)
	next := uint64(0)
	for _, r := range runs {
		if r.logical != next {
			return corrupt("directory %d has a hole", l.n.num)
		}
		next += r.count
		for i := range r.count {
			if err := l.readFull(block, int64(r.physical+i)*bs); err != nil {
				return err
			}
			if err := l.entries(block, r.logical+i == 0); err != nil {
				return err
			}
		}
	}
	if int64(next)*bs != l.n.size {
		return corrupt("directory %d has size %d and %d blocks", l.n.num, l.n.size, next)
	}
	return nil
}

// inline lists a directory that lies in its inode: the parent's number, entries
// in the rest of i_block, more entries in the attribute system.data.
func (l *lister) inline() error {
	if err := l.entries(l.n.data()[4:], false); err != nil {
		return err
	}
	more, err := l.inlineRest(l.n)
	if err != nil || len(more) == 0 {
		return err
	}
	return l.entries(more, false)
}

// checksum checks a block whose last entry, made to hold a checksum, is tail.
// A hash tree's blocks may have the remains of one: no entry leads to those.
func (l *lister) checksum(block, tail []byte) error {
	if !l.super.csum() || le.Uint32(tail) != 0 || tail[6] != 0 || tail[7] != 0xDE {
		return nil
	}
	if crc(l.inodeSeed(l.n.num, l.n.raw), block[:len(block)-len(tail)]) != le.Uint32(tail[8:]) {
		return corrupt("checksum of directory %d", l.n.num)
	}
	return nil
}

// entries reads one block of entries; only the very first begins with "." and
// "..".
func (l *lister) entries(b []byte, first bool) error {
	for at, count := 0, 0; at < len(b); count++ {
		rest := b[at:]
		if len(rest) < 8 {
			return corrupt("entry of directory %d", l.n.num)
		}
		size := int(le.Uint16(rest[4:]))
		if size == 0xFFFF || size == 0 && len(b) == 1<<16 { // how 64 KiB is written
			size = 1 << 16
		}
		nameLen := int(rest[6])
		if size < 8 || size%4 != 0 || size > len(rest) || nameLen > size-8 {
			return corrupt("entry of directory %d", l.n.num)
		}
		if num := le.Uint32(rest); num != 0 {
			name := string(rest[8 : 8+nameLen])
			if !(first && (count == 0 && name == "." || count == 1 && name == "..")) {
				if err := l.entry(name, num); err != nil {
					return err
				}
			}
		}
		if size == 12 && size == len(rest) && int64(len(b)) == l.super.blockSize {
			if err := l.checksum(b, rest); err != nil {
				return err
			}
		}
		at += size
	}
	return nil
}

func (l *lister) entry(name string, num uint32) error {
	switch {
	case name == "" || name == "." || name == ".." || strings.ContainsAny(name, "/\x00"):
		return corrupt("directory %d has an entry named %q", l.n.num, name)
	case num < l.super.firstInode || num > l.super.inodes:
		return corrupt("%q is inode %d", name, num)
	}
	if l.names++; l.names > maxNames {
		return fmt.Errorf("%w: more than %d names", ErrUnsupported, maxNames)
	}
	l.out = append(l.out, dirent{name, num})
	return nil
}

// child reads the inode of an entry. Everything but a directory, a regular file
// and a symbolic link is special.
func (p *pass) child(e dirent) (*inode, error) {
	n, err := p.inode(e.num)
	if err != nil {
		return nil, err
	}
	switch n.mode & unix.S_IFMT {
	case unix.S_IFDIR, unix.S_IFREG, unix.S_IFLNK, unix.S_IFIFO, unix.S_IFSOCK, unix.S_IFCHR, unix.S_IFBLK:
	default:
		return nil, corrupt("inode %d has mode %#o", n.num, n.mode)
	}
	if n.flags&flagEAInode != 0 {
		return nil, corrupt("%q is an attribute's inode", e.name)
	}
	return n, nil
}

func (n *inode) special() bool { return !n.isDir() && !n.isRegular() && !n.isSymlink() }

// dropLostAndFound leaves an empty lost+found out of the root's entries.
func (p *pass) dropLostAndFound(entries []dirent) ([]dirent, error) {
	i := slices.IndexFunc(entries, func(e dirent) bool { return e.name == LostAndFound })
	if i < 0 {
		return entries, nil
	}
	n, err := p.child(entries[i])
	if err != nil || !n.isDir() {
		return entries, err
	}
	inside, err := p.list(n, 1)
	if err != nil {
		return nil, err
	}
	if len(inside) > 0 {
		delete(p.dirs, n.num) // it will be listed as any other
		return entries, nil
	}
	return slices.Delete(entries, i, i+1), nil
}
