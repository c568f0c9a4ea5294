package ext4

import (
	"context"
	"os"
	"path"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"
)

// Stats counts what Extract made.
type Stats struct {
	Files, Dirs, Symlinks int
	Links                 int   // further names of files already counted
	Bytes                 int64 // written; holes don't count
	Special               int   // FIFOs, sockets and devices: left out
	LostAttrs             int   // attributes that the tree's file system refused
}

// Extract puts the image's files into the directory root, which must be empty:
// nothing that exists is ever opened or replaced. root itself gets the mode,
// owner, times and attributes of the image's root. Modes, owners (by ids), times
// with nanoseconds, hard and symbolic links, attributes, access lists and holes
// are kept; an empty lost+found is not. Every path is one name below a directory
// that Extract itself has opened.
//
// It needs the rights to chown and to set any mode. On an error root holds a
// part of the files.
func (fs *FS) Extract(ctx context.Context, root *os.File, ids IDMap) (Stats, error) {
	x := &extraction{pass: fs.newPass(ctx), ids: ids, seen: map[uint32]string{}}
	defer x.end()
	top, err := openRoot(root)
	if err != nil {
		return x.stats, err
	}
	defer top.Close()
	x.root = top
	n, err := fs.inode(rootInode)
	if err != nil {
		return x.stats, err
	}
	return x.stats, x.dir(top, n, 0)
}

type extraction struct {
	*pass
	ids   IDMap
	root  folder
	seen  map[uint32]string // path of the first name of a file that has several
	stats Stats
}

// dir fills a directory that is already there, then finishes it: making entries
// changes its times, and its mode and default access list must not apply yet.
func (x *extraction) dir(d folder, n *inode, depth int) error {
	entries, err := x.list(n, depth)
	if err == nil && depth == 0 {
		entries, err = x.dropLostAndFound(entries)
	}
	if err != nil {
		return within(d.path, err)
	}
	for _, e := range entries {
		if err := x.entry(d, e, depth); err != nil {
			return within(d.join(e.name), err)
		}
	}
	x.stats.Dirs++
	return x.finish(d, ".", n)
}

func (x *extraction) entry(d folder, e dirent, depth int) error {
	if err := x.ctx.Err(); err != nil {
		return err
	}
	n, err := x.child(e)
	if err != nil {
		return err
	}
	if n.special() {
		x.stats.Special++
		return nil
	}
	if n.isDir() {
		if err := unix.Mkdirat(d.fd(), e.name, 0o700); err != nil {
			return d.fail("mkdir", e.name, err)
		}
		sub, err := d.open(e.name)
		if err != nil {
			return err
		}
		defer sub.Close()
		return x.dir(sub, n, depth+1)
	}
	if first, ok := x.seen[n.num]; ok {
		x.stats.Links++
		return x.link(first, d, e.name)
	}
	if n.links > 1 {
		x.seen[n.num] = d.join(e.name)
	}
	if n.isSymlink() {
		x.stats.Symlinks++
		target, err := x.target(n)
		if err == nil {
			err = d.fail("symlink", e.name, unix.Symlinkat(target, d.fd(), e.name))
		}
		if err != nil {
			return err
		}
		return x.finish(d, e.name, n)
	}
	x.stats.Files++
	if err := x.file(d, e.name, n); err != nil {
		return err
	}
	return x.finish(d, e.name, n)
}

func (x *extraction) file(d folder, name string, n *inode) error {
	f, err := d.openFile(name, unix.O_WRONLY|unix.O_CREAT|unix.O_EXCL, 0o600)
	if err != nil {
		return err
	}
	defer f.Close()
	end := int64(0)
	err = x.each(n, func(piece []byte, at int64) error {
		m, err := f.WriteAt(piece, at)
		x.stats.Bytes += int64(m)
		end = at + int64(m)
		return err
	})
	if err == nil && end < n.size {
		err = f.Truncate(n.size) // a hole at the end
	}
	return err
}

// link gives a file that was made under the path first another name. The walk
// to it can't leave the tree, nor follow a link.
func (x *extraction) link(first string, d folder, name string) error {
	dir, base := path.Split(first)
	at := x.root.fd()
	for dir = strings.Trim(dir, "/"); dir != ""; {
		part := dir
		if len(part) >= unix.PathMax { // openat2 takes no more at once
			part = part[:strings.LastIndexByte(part[:unix.PathMax-1], '/')]
		}
		dir = strings.TrimPrefix(dir[len(part):], "/")
		fd, err := unix.Openat2(at, part, &unix.OpenHow{
			Flags:   unix.O_PATH | unix.O_DIRECTORY | unix.O_CLOEXEC,
			Resolve: unix.RESOLVE_BENEATH | unix.RESOLVE_NO_SYMLINKS,
		})
		if at != x.root.fd() {
			unix.Close(at)
		}
		if err != nil {
			return &os.PathError{Op: "open", Path: strconv.Quote(part), Err: err}
		}
		at = fd
	}
	err := unix.Linkat(at, base, d.fd(), name, 0)
	if at != x.root.fd() {
		unix.Close(at)
	}
	return d.fail("link "+strconv.Quote(first)+" to", name, err)
}

// finish gives an entry its owner, mode, attributes and times, in this order:
// chown drops set-id bits and capabilities, and everything changes times.
func (x *extraction) finish(d folder, name string, n *inode) error {
	uid, gid := int(x.ids.toTree(n.uid)), int(x.ids.toTree(n.gid))
	if err := unix.Fchownat(d.fd(), name, uid, gid, unix.AT_SYMLINK_NOFOLLOW); err != nil {
		return d.fail("chown", name, err)
	}
	if !n.isSymlink() { // name is an entry just made, so no link is followed
		if err := unix.Fchmodat(d.fd(), name, uint32(n.mode&0o7777), 0); err != nil {
			return d.fail("chmod", name, err)
		}
	}
	attrs, err := x.xattrs(n)
	if err != nil {
		return err
	}
	for _, a := range attrs {
		if a.name == aclAccess || a.name == aclDefault {
			aclMap(a.value, x.ids.toTree)
		}
	}
	lost, err := d.setXattrs(name, attrs)
	x.stats.LostAttrs += lost
	if err != nil {
		return err
	}
	times := []unix.Timespec{n.atime().timespec(), n.mtime().timespec()}
	return d.fail("set times", name, unix.UtimesNanoAt(d.fd(), name, times, unix.AT_SYMLINK_NOFOLLOW))
}
