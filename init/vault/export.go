package vault

import (
	"archive/tar"
	"context"
	"io"
	"os"

	"golang.org/x/sys/unix"
)

// mostHoles is how long a file may be that is mostly holes: an archive has them as
// zeroes.
const mostHoles = 1 << 30 // bytes

// Export writes the files below tree to w as a tar archive (pax), in clear. Owners
// are left out: the files are for whoever unpacks them. Devices, sockets and FIFOs
// are left out, too.
func Export(ctx context.Context, tree *os.File, w io.Writer) error {
	t := tar.NewWriter(w)
	names := map[uint64]string{} // of files with several, by inode
	buffer := make([]byte, 128<<10)
	defer clear(buffer)
	err := walk(ctx, tree, func(e *entry) error {
		if e.special() || e.path == "." {
			return nil
		}
		return exportEntry(ctx, t, e, names, buffer)
	})
	if err != nil {
		return err
	}
	return t.Close()
}

func exportEntry(ctx context.Context, t *tar.Writer, e *entry, names map[uint64]string, buffer []byte) error {
	header := &tar.Header{Name: e.path, Mode: int64(e.Mode & 0o777), ModTime: e.modified(), Format: tar.FormatPAX}
	first, again := names[e.Ino]
	switch {
	case e.kind() == unix.S_IFDIR:
		header.Typeflag, header.Name = tar.TypeDir, e.path+"/"
	case again && e.Nlink > 1:
		header.Typeflag, header.Linkname = tar.TypeLink, first
	case e.kind() == unix.S_IFLNK:
		n, err := unix.Readlinkat(int(e.dir.Fd()), e.name, buffer)
		if err != nil {
			return e.fail("readlink", err)
		}
		header.Typeflag, header.Linkname = tar.TypeSymlink, string(buffer[:n])
	default:
		names[e.Ino] = e.path
		return exportFile(ctx, t, e, header, buffer)
	}
	return t.WriteHeader(header)
}

// exportFile takes as much of a file as it had when its header was written: what
// another program cuts off meanwhile are zeroes.
func exportFile(ctx context.Context, t *tar.Writer, e *entry, header *tar.Header, buffer []byte) error {
	fd, err := unix.Openat(int(e.dir.Fd()), e.name, unix.O_RDONLY|unix.O_NOFOLLOW|unix.O_NONBLOCK|unix.O_CLOEXEC, 0)
	if err != nil {
		return e.fail("open", err)
	}
	f := e.file(fd)
	defer f.Close()
	s, err := regular(f)
	if err != nil {
		return e.fail("open", errMoving)
	}
	if e.Size > mostHoles && e.Blocks*512 < e.Size/2 {
		return e.fail("export", ErrHoles)
	}
	header.Typeflag, header.Size = tar.TypeReg, s.size
	if err := t.WriteHeader(header); err != nil {
		return err
	}
	for left := s.size; left > 0; {
		if err := ctx.Err(); err != nil {
			return err
		}
		p := buffer[:min(left, int64(len(buffer)))]
		n, err := f.ReadAt(p, s.size-left)
		if err != nil && err != io.EOF {
			return e.fail("read", err)
		}
		clear(p[n:])
		if _, err := t.Write(p); err != nil {
			return err
		}
		left -= int64(len(p))
	}
	return nil
}
