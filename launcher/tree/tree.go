// Package tree opens what lies in a directory that others may write to: a
// project. Programs in its pod do, also while the launcher reads.
//
// It never leaves the directory and never follows a symbolic link, neither in
// the last component of a path nor before it, nor one that is swapped in
// meanwhile. It trusts the path of the directory itself.
package tree

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
)

var (
	// ErrLink is returned for a symbolic link where a file or directory is wanted.
	ErrLink = errors.New("is a symbolic link, which could lead anywhere")
	// ErrSpecial is returned for what is neither a file nor a directory.
	ErrSpecial = errors.New("is not a regular file")

	errSwapped = errors.New("was replaced while it was opened")
)

// Tree is an open directory.
type Tree struct {
	root *os.Root
	path string
}

// Open opens the directory at path, through links if there are any.
func Open(path string) (*Tree, error) {
	root, err := os.OpenRoot(path)
	if err != nil {
		return nil, err
	}
	return &Tree{root, path}, nil
}

// Close closes the directory.
func (t *Tree) Close() error { return t.root.Close() }

// Path is the path of what is called name in the directory, for messages.
func (t *Tree) Path(name string) string { return filepath.Join(t.path, name) }

// Dir opens a directory below t; "." is t itself, once more.
func (t *Tree) Dir(name string) (*Tree, error) {
	at, err := t.enter(".")
	for _, part := range parts(name) {
		if err != nil {
			return nil, err
		}
		var next *Tree
		next, err = at.enter(part)
		at.Close()
		at = next
	}
	return at, err
}

// Make is Dir that makes what is missing, with the owner of t.
func (t *Tree) Make(name string, mode fs.FileMode) (*Tree, error) {
	info, err := t.root.Stat(".")
	if err != nil {
		return nil, t.fail("stat", ".", err)
	}
	at, err := t.enter(".")
	for _, part := range parts(name) {
		if err != nil {
			return nil, err
		}
		err = at.root.Mkdir(part, mode)
		made := err == nil
		if err != nil && !errors.Is(err, fs.ErrExist) {
			err = at.fail("mkdir", part, err)
			at.Close()
			return nil, err
		}
		var next *Tree
		next, err = at.enter(part)
		at.Close()
		at = next
		if err == nil && made {
			if err = at.own(info); err != nil {
				at.Close()
			}
		}
	}
	return at, err
}

// own gives the directory to the owner in info. Who isn't root makes files of
// their own anyway.
func (t *Tree) own(info fs.FileInfo) error {
	st, ok := info.Sys().(*syscall.Stat_t)
	if !ok || os.Geteuid() != 0 {
		return nil
	}
	d, err := t.root.Open(".")
	if err != nil {
		return t.fail("open", ".", err)
	}
	defer d.Close()
	return d.Chown(int(st.Uid), int(st.Gid))
}

// File opens a regular file below t for reading.
func (t *Tree) File(name string) (*os.File, error) {
	at, err := t.Dir(filepath.Dir(filepath.Clean(name)))
	if err != nil {
		return nil, err
	}
	defer at.Close()
	base := filepath.Base(name)
	info, err := at.Stat(base)
	if err != nil {
		return nil, err
	}
	if !info.Mode().IsRegular() {
		return nil, at.fail("open", base, wrong(info))
	}
	// Not blocking: a FIFO could have taken its place.
	f, err := at.root.OpenFile(base, os.O_RDONLY|syscall.O_NONBLOCK, 0)
	if err != nil {
		return nil, at.fail("open", base, err)
	}
	if opened, err := f.Stat(); err != nil || !os.SameFile(info, opened) {
		f.Close()
		return nil, at.fail("open", base, errors.Join(err, errSwapped))
	}
	return f, nil
}

// Read returns the content of a regular file of at most limit bytes.
func (t *Tree) Read(name string, limit int64) ([]byte, error) {
	f, err := t.File(name)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	data, err := io.ReadAll(io.LimitReader(f, limit+1))
	if err == nil && int64(len(data)) > limit {
		err = fmt.Errorf("longer than %d KiB", limit>>10)
	}
	if err != nil {
		return nil, fmt.Errorf("%s: %w", t.Path(name), err)
	}
	return data, nil
}

// Write makes a new file; kept is set if there is anything of that name, which
// stays as it is.
func (t *Tree) Write(name, content string) (kept bool, err error) {
	f, err := t.root.OpenFile(name, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o644)
	if errors.Is(err, fs.ErrExist) {
		return true, nil
	}
	if err != nil {
		return false, t.fail("open", name, err)
	}
	_, err = f.WriteString(content)
	return false, errors.Join(err, f.Close())
}

// Names lists the directory, sorted.
func (t *Tree) Names() ([]string, error) {
	d, err := t.root.Open(".")
	if err != nil {
		return nil, t.fail("open", ".", err)
	}
	defer d.Close()
	names, err := d.Readdirnames(-1)
	slices.Sort(names)
	return names, err
}

// Stat describes an entry of the directory, a link as itself.
func (t *Tree) Stat(name string) (fs.FileInfo, error) {
	info, err := t.root.Lstat(name)
	return info, t.fail("stat", name, err)
}

// Link reads where a symbolic link points to.
func (t *Tree) Link(name string) (string, error) {
	target, err := t.root.Readlink(name)
	return target, t.fail("readlink", name, err)
}

// enter opens a directory of t. os.Root follows a link that stays inside, so
// what was opened must be what was looked at.
func (t *Tree) enter(name string) (*Tree, error) {
	info, err := t.Stat(name)
	if err != nil {
		return nil, err
	}
	if !info.IsDir() {
		if info.Mode()&fs.ModeSymlink != 0 {
			return nil, t.fail("open", name, ErrLink)
		}
		return nil, t.fail("open", name, syscall.ENOTDIR)
	}
	root, err := t.root.OpenRoot(name)
	if err != nil {
		return nil, t.fail("open", name, err)
	}
	opened, err := root.Stat(".")
	if err != nil || !os.SameFile(info, opened) {
		root.Close()
		return nil, t.fail("open", name, errors.Join(err, errSwapped))
	}
	return &Tree{root, t.Path(name)}, nil
}

// fail puts the whole path into an error of os.Root, which knows only the end.
func (t *Tree) fail(op, name string, err error) error {
	if err == nil {
		return nil
	}
	var inner *fs.PathError
	if errors.As(err, &inner) {
		err = inner.Err
	}
	return &fs.PathError{Op: op, Path: t.Path(name), Err: err}
}

func wrong(info fs.FileInfo) error {
	if info.Mode()&fs.ModeSymlink != 0 {
		return ErrLink
	}
	return ErrSpecial
}

// parts are the components of a path; .. stays one, and os.Root refuses it.
func parts(name string) []string {
	name = filepath.Clean(name)
	if name == "." {
		return nil
	}
	return strings.Split(filepath.ToSlash(name), "/")
}
