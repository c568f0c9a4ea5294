package ext4

import (
	"bytes"
	"context"
	"errors"
	"os"
	"slices"
	"strconv"

	"golang.org/x/sys/unix"

	"github.com/tazzo/tazpod/init/sys"
)

// DiffError says what Verify found to differ first.
type DiffError struct {
	Path string // from the root, which is "."
	What string
}

func (e *DiffError) Error() string {
	return strconv.Quote(e.Path) + ": image and tree differ: " + e.What
}

// Verify compares every file of the image with the tree root: names, types,
// modes, owners (by ids), sizes, modification times, contents, targets,
// attributes, access lists, and which names are hard links of each other. It
// leaves out what Extract leaves out. The first difference is a *DiffError; a
// tree that changes meanwhile is one, or an *os.PathError.
func (fs *FS) Verify(ctx context.Context, root *os.File, ids IDMap) error {
	v := &verification{
		pass: fs.newPass(ctx), ids: ids, buffer: make([]byte, chunk),
		files: map[uint32]fileID{}, inodes: map[fileID]uint32{},
	}
	defer v.end()
	defer clear(v.buffer)
	d, err := openRoot(root)
	if err != nil {
		return err
	}
	defer d.Close()
	n, err := fs.inode(rootInode)
	if err != nil {
		return err
	}
	st, err := d.stat(".")
	if err != nil {
		return err
	}
	if err := v.same(d, ".", ".", n, st); err != nil {
		return err
	}
	return v.dir(d, n, 0)
}

type fileID struct{ dev, ino uint64 }

type verification struct {
	*pass
	ids    IDMap
	buffer []byte // of the tree's side
	files  map[uint32]fileID
	inodes map[fileID]uint32
}

// dir compares what is in a directory.
func (v *verification) dir(d folder, n *inode, depth int) error {
	entries, err := v.list(n, depth)
	if err != nil {
		return within(d.path, err)
	}
	names, err := d.names()
	if err != nil {
		return err
	}
	if depth == 0 {
		if entries, names, err = v.dropBoth(d, entries, names); err != nil {
			return within(d.path, err)
		}
	}
	for len(entries) > 0 || len(names) > 0 {
		switch {
		case len(names) == 0 || len(entries) > 0 && entries[0].name < names[0]:
			n, err := v.child(entries[0])
			if err != nil {
				return within(d.join(entries[0].name), err)
			}
			if !n.special() {
				return &DiffError{d.join(entries[0].name), "only in the image"}
			}
			entries = entries[1:]
		case len(entries) == 0 || names[0] < entries[0].name:
			st, err := d.stat(names[0])
			if err != nil {
				return err
			}
			if !special(st.Mode) {
				return &DiffError{d.join(names[0]), "only in the tree"}
			}
			names = names[1:]
		default:
			if err := v.entry(d, entries[0], depth); err != nil {
				return within(d.join(names[0]), err)
			}
			entries, names = entries[1:], names[1:]
		}
	}
	return nil
}

// dropBoth leaves an empty lost+found out on both sides.
func (v *verification) dropBoth(d folder, entries []dirent, names []string) ([]dirent, []string, error) {
	entries, err := v.dropLostAndFound(entries)
	i, found := slices.BinarySearch(names, LostAndFound)
	kept := slices.ContainsFunc(entries, func(e dirent) bool { return e.name == LostAndFound })
	if err != nil || !found || kept {
		return entries, names, err
	}
	sub, err := d.open(LostAndFound)
	if err != nil {
		return entries, names, nil // not a directory: a difference
	}
	defer sub.Close()
	inside, err := sub.names()
	if err == nil && len(inside) == 0 {
		names = slices.Delete(names, i, i+1)
	}
	return entries, names, err
}

func special(mode uint32) bool {
	t := mode & unix.S_IFMT
	return t != unix.S_IFDIR && t != unix.S_IFREG && t != unix.S_IFLNK
}

func (v *verification) entry(d folder, e dirent, depth int) error {
	if err := v.ctx.Err(); err != nil {
		return err
	}
	n, err := v.child(e)
	if err != nil {
		return err
	}
	st, err := d.stat(e.name)
	if err != nil || n.special() && special(st.Mode) {
		return err
	}
	where := d.join(e.name)
	if err := v.same(d, e.name, where, n, st); err != nil {
		return err
	}
	if n.isDir() {
		sub, err := d.open(e.name)
		if err != nil {
			return err
		}
		defer sub.Close()
		return v.dir(sub, n, depth+1)
	}
	if known, err := v.linked(where, n, st); known || err != nil {
		return err
	}
	if n.isSymlink() {
		return v.link(d, e.name, where, n)
	}
	return v.content(d, e.name, where, n)
}

// same compares what an inode says of itself.
func (v *verification) same(d folder, name, where string, n *inode, st unix.Stat_t) error {
	diff := func(what string) error { return &DiffError{where, what} }
	mode := uint32(n.mode)
	if n.isSymlink() { // Linux knows no permissions of a link
		mode, st.Mode = mode&unix.S_IFMT, st.Mode&unix.S_IFMT
	}
	switch {
	case mode != st.Mode:
		return diff("mode")
	case n.uid != v.ids.toDisk(st.Uid) || n.gid != v.ids.toDisk(st.Gid):
		return diff("owner")
	case n.mtime() != clampStamp(st.Mtim):
		return diff("modification time")
	case n.isRegular() && n.size != st.Size:
		return diff("size")
	}
	ours, err := v.xattrs(n)
	if err != nil {
		return err
	}
	theirs, err := d.xattrs(name)
	if err != nil {
		return err
	}
	for _, a := range theirs {
		if a.name == aclAccess || a.name == aclDefault {
			aclMap(a.value, v.ids.toDisk)
		}
	}
	if !slices.EqualFunc(ours, theirs, func(a, b attr) bool {
		return a.name == b.name && bytes.Equal(a.value, b.value)
	}) {
		return diff("attributes")
	}
	return nil
}

// linked compares which names are one file; known says that its content has
// been compared under another name.
func (v *verification) linked(where string, n *inode, st unix.Stat_t) (known bool, err error) {
	if n.links == 1 && st.Nlink == 1 {
		return false, nil
	}
	id := fileID{uint64(st.Dev), st.Ino}
	file, seen := v.files[n.num]
	num, had := v.inodes[id]
	if seen != had || seen && (file != id || num != n.num) {
		return false, &DiffError{where, "hard links"}
	}
	v.files[n.num], v.inodes[id] = id, n.num
	return seen, nil
}

func (v *verification) link(d folder, name, where string, n *inode) error {
	ours, err := v.target(n)
	if err != nil {
		return err
	}
	m, err := unix.Readlinkat(d.fd(), name, v.buffer[:unix.PathMax])
	if err != nil {
		return d.fail("readlink", name, err)
	}
	if ours != string(v.buffer[:m]) {
		return &DiffError{where, "target"}
	}
	return nil
}

func (v *verification) content(d folder, name, where string, n *inode) error {
	f, err := d.openFile(name, unix.O_RDONLY|unix.O_NOATIME, 0)
	if errors.Is(err, unix.EPERM) {
		f, err = d.openFile(name, unix.O_RDONLY, 0)
	}
	if err != nil {
		return err
	}
	defer f.Close()
	done := int64(0)
	err = v.each(n, func(piece []byte, at int64) error {
		if err := v.zero(f, where, done, at); err != nil {
			return err
		}
		theirs := v.buffer[:len(piece)]
		if _, err := f.ReadAt(theirs, at); err != nil {
			return d.fail("read", name, err)
		}
		if !bytes.Equal(piece, theirs) {
			return &DiffError{where, "content"}
		}
		done = at + int64(len(piece))
		return nil
	})
	if err != nil {
		return err
	}
	return v.zero(f, where, done, n.size)
}

// zero checks that the bytes from from to to of the tree's file are zero,
// passing over its holes.
func (v *verification) zero(f *os.File, where string, from, to int64) error {
	return sys.EachData(v.ctx, f, from, to, func(at, left int64) error {
		for left > 0 {
			if err := v.ctx.Err(); err != nil {
				return err
			}
			piece := v.buffer[:min(int64(len(v.buffer)), left)]
			if _, err := f.ReadAt(piece, at); err != nil {
				return &os.PathError{Op: "read", Path: strconv.Quote(where), Err: err}
			}
			for _, b := range piece {
				if b != 0 {
					return &DiffError{where, "content"}
				}
			}
			at, left = at+int64(len(piece)), left-int64(len(piece))
		}
		return nil
	})
}
