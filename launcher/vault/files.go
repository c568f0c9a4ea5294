package vault

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"

	"github.com/alecthomas/kingpin/v2"
	"golang.org/x/sys/unix"

	"github.com/tazzo/tazpod/init/wire"
	"github.com/tazzo/tazpod/launcher/dial"
)

func backup(c *kingpin.CmdClause) func(Front) (int, error) {
	file := c.Arg("file", "Where to; it must not exist.").Required().String()
	header := headerFlag(c)
	return func(front Front) (int, error) {
		request := wire.VaultRequest{Command: wire.VaultBackup, Header: *header}
		err := newFile(*file, func(f *os.File) error {
			w := &sparse{file: f}
			_, err := visit(front, request, answers{}, dial.Desk{Source: dial.Nobody(), Out: w})
			return errors.Join(err, f.Truncate(w.size))
		})
		if err == nil {
			front.Tell("wrote " + *file)
		}
		return 0, err
	}
}

func headerFlag(c *kingpin.CmdClause) *bool {
	return c.Flag("header", "The header alone: for a vault whose own is damaged.").Bool()
}

// newFile makes a file that is whole, and on the disk, or isn't there. It never
// replaces one.
func newFile(path string, write func(*os.File) error) error {
	exists := &UsageError{fmt.Errorf("%s exists: choose another name", path)}
	if _, err := os.Lstat(path); err == nil {
		return exists
	}
	f, err := os.CreateTemp(filepath.Dir(path), "."+filepath.Base(path)+".*")
	if err != nil {
		return err
	}
	defer os.Remove(f.Name())
	defer f.Close()
	err = write(f)
	if err == nil {
		err = f.Sync()
	}
	if err == nil {
		err = unix.Renameat2(unix.AT_FDCWD, f.Name(), unix.AT_FDCWD, path, unix.RENAME_NOREPLACE)
	}
	if errors.Is(err, unix.EINVAL) || errors.Is(err, unix.ENOSYS) { // not on every file system
		err = os.Link(f.Name(), path)
	}
	if errors.Is(err, os.ErrExist) {
		return exists
	}
	if err != nil {
		return err
	}
	dir, err := os.Open(filepath.Dir(path))
	if err != nil {
		return err
	}
	defer dir.Close()
	return dir.Sync()
}

// sparse leaves holes where it is given zeroes, which most of a vault is.
type sparse struct {
	file *os.File
	size int64 // bytes, so far
}

func (s *sparse) Write(p []byte) (int, error) {
	for piece := range slices.Chunk(p, 4096) {
		if bytes.Count(piece, []byte{0}) < len(piece) {
			if _, err := s.file.WriteAt(piece, s.size); err != nil {
				return 0, err
			}
		}
		s.size += int64(len(piece))
	}
	return len(p), nil
}

func restore(c *kingpin.CmdClause) func(Front) (int, error) {
	file := c.Arg("file", "A backup.").Required().String()
	header := headerFlag(c)
	flags := yesFlag(c)
	return func(front Front) (int, error) {
		f, err := os.Open(*file)
		if err != nil {
			return 0, err
		}
		defer f.Close()
		info, err := f.Stat()
		if err != nil {
			return 0, err
		}
		if !info.Mode().IsRegular() || info.Size() == 0 {
			return 0, &UsageError{fmt.Errorf("%s is no backup: it is empty, or no file", *file)}
		}
		request := wire.VaultRequest{Command: wire.VaultRestore, Header: *header, Size: info.Size()}
		return done(visit(front, request, flags.get(), dial.Desk{In: bufio.NewReader(f)}))
	}
}

func export(c *kingpin.CmdClause) func(Front) (int, error) {
	dir := c.Arg("dir", "Where to; it must not exist, or be empty.").Required().String()
	flags := yesFlag(c)
	return func(front Front) (int, error) {
		path, err := filepath.Abs(*dir)
		if err != nil {
			return 0, err
		}
		into, err := emptyDir(path)
		if err != nil {
			return 0, err
		}
		defer into.Close()
		r, w := io.Pipe()
		unpacked := make(chan error, 1)
		go func() {
			err := unpack(into, r)
			r.CloseWithError(err)
			unpacked <- err
		}()
		_, err = visit(front, wire.VaultRequest{Command: wire.VaultExport, To: path}, flags.get(), dial.Desk{Out: w})
		w.CloseWithError(err)
		if err = errors.Join(err, <-unpacked); err != nil {
			return 0, errors.Join(err, emptied(into))
		}
		front.Tell("the vault's files are in " + path + ", in clear")
		return 0, nil
	}
}
