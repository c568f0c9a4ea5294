package ext4

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path"
	"time"
)

// Entry describes one name in an image.
type Entry struct {
	Path     string // from the root, which is "."
	Inode    uint32 // the same for every name of one file
	Mode     uint32 // type and permissions as in stat(2)
	UID, GID uint32 // as on disk
	Links    int
	Size     int64 // bytes
	Modified time.Time
	Target   string // of a symbolic link
}

// Walk calls do with every entry of the image, directories before what is in
// them, names in order. It stops at the first error and returns it.
func (fs *FS) Walk(ctx context.Context, do func(Entry) error) error {
	p := fs.newPass(ctx)
	defer p.end()
	n, err := fs.inode(rootInode)
	if err != nil {
		return err
	}
	return p.walk(".", n, 0, do)
}

func (p *pass) walk(at string, n *inode, depth int, do func(Entry) error) error {
	t := n.mtime()
	e := Entry{
		Path: at, Inode: n.num, Mode: uint32(n.mode), UID: n.uid, GID: n.gid,
		Links: int(n.links), Size: n.size, Modified: time.Unix(t.sec, t.nsec),
	}
	if n.isSymlink() {
		target, err := p.target(n)
		if err != nil {
			return within(at, err)
		}
		e.Target = target
	}
	if err := do(e); err != nil || !n.isDir() {
		return err
	}
	entries, err := p.list(n, depth)
	if err != nil {
		return within(at, err)
	}
	for _, e := range entries {
		n, err := p.child(e)
		if err != nil {
			return within(path.Join(at, e.name), err)
		}
		if err := p.walk(path.Join(at, e.name), n, depth+1, do); err != nil {
			return err
		}
	}
	return nil
}

// inPath is an error that already says where it happened.
type inPath struct {
	path string
	err  error
}

func (e *inPath) Error() string { return fmt.Sprintf("%q: %v", e.path, e.err) }
func (e *inPath) Unwrap() error { return e.err }

// within adds the path to an error that has none.
func within(path string, err error) error {
	var in *inPath
	var call *os.PathError
	if errors.As(err, &in) || errors.As(err, &call) || errors.Is(err, context.Canceled) {
		return err
	}
	return &inPath{path, err}
}
