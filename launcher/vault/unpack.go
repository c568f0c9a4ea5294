package vault

import (
	"archive/tar"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path"
)

// emptyDir makes a directory for its user alone, or takes one without files.
func emptyDir(path string) (*os.Root, error) {
	if err := os.Mkdir(path, 0o700); err != nil && !errors.Is(err, os.ErrExist) {
		return nil, err
	}
	root, err := os.OpenRoot(path)
	if err != nil {
		return nil, &UsageError{err}
	}
	entries, err := fs.ReadDir(root.FS(), ".")
	if err == nil && len(entries) > 0 {
		err = &UsageError{fmt.Errorf("%s is not empty: choose another directory", path)}
	}
	if err == nil {
		err = root.Chmod(".", 0o700)
	}
	if err != nil {
		root.Close()
		return nil, err
	}
	return root, nil
}

// emptied takes away what was unpacked: a part of a vault in clear is of no use.
func emptied(root *os.Root) error {
	entries, err := fs.ReadDir(root.FS(), ".")
	for _, e := range entries {
		err = errors.Join(err, root.RemoveAll(e.Name()))
	}
	return err
}

// unpack writes what a tar archive holds below root, and nothing elsewhere, whatever
// its names and links are. Directories get their modes and times last.
func unpack(root *os.Root, archive io.Reader) error {
	var dirs []*tar.Header
	for r := tar.NewReader(archive); ; {
		h, err := r.Next()
		if err == io.EOF {
			break
		}
		if err == nil {
			h.Name = path.Clean(h.Name)
			err = unpackOne(root, h, r)
		}
		if err != nil {
			return err
		}
		if h.Typeflag == tar.TypeDir {
			dirs = append(dirs, h)
		}
	}
	var errs []error
	for i := len(dirs) - 1; i >= 0; i-- {
		errs = append(errs, finish(root, dirs[i]))
	}
	return errors.Join(errs...)
}

func unpackOne(root *os.Root, h *tar.Header, content io.Reader) error {
	switch h.Typeflag {
	case tar.TypeDir:
		return root.Mkdir(h.Name, 0o700)
	case tar.TypeSymlink:
		return root.Symlink(h.Linkname, h.Name)
	case tar.TypeLink:
		return root.Link(path.Clean(h.Linkname), h.Name)
	case tar.TypeReg:
		f, err := root.OpenFile(h.Name, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
		if err != nil {
			return err
		}
		w := &sparse{file: f}
		_, err = io.Copy(w, content)
		return errors.Join(err, f.Truncate(w.size), f.Close(), finish(root, h))
	}
	return fmt.Errorf("%q is of a kind that isn't exported", h.Name)
}

func finish(root *os.Root, h *tar.Header) error {
	return errors.Join(root.Chmod(h.Name, fs.FileMode(h.Mode&0o777)), root.Chtimes(h.Name, h.ModTime, h.ModTime))
}
