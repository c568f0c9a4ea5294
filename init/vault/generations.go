package vault

import (
	"errors"
	"io"
	"os"
	"strconv"
	"strings"
	"time"

	"github.com/tazzo/tazpod/init/sys"
	"github.com/tazzo/tazpod/init/wire"
	"golang.org/x/sys/unix"
)

// Earlier generations are vault.img.1, the newest, to vault.img.3. One is kept
// when a session begins to change the vault, and then once in a while: with one
// for every save, a few seconds of a busy session would push out all that
// anybody may want back.
const (
	generations = 3
	keepEvery   = 10 * time.Minute
)

// draftPrefix begins the name of a generation that isn't complete yet.
const draftPrefix = wire.VaultFile + ".new-"

// conflictPrefix begins the name of a generation that could not become the vault
// because something else had changed it.
const conflictPrefix = wire.VaultFile + ".conflict-"

func generation(n int) string { return wire.VaultFile + "." + strconv.Itoa(n) }

// keep gives the generation on disk another name, or a copy where the file
// system has no hard links. It may be interrupted anywhere: vault.img stays.
func (p Place) keep() error {
	now, err := p.stat(wire.VaultFile)
	if errors.Is(err, os.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	if newest, err := p.stat(generation(1)); err == nil && newest.Dev == now.Dev && newest.Ino == now.Ino {
		return nil // kept before, by a save that went no further
	}
	for n := generations; n > 1; n-- {
		if err := p.rename(generation(n-1), generation(n)); err != nil && !errors.Is(err, unix.ENOENT) {
			return err
		}
	}
	err = unix.Linkat(p.fd(), wire.VaultFile, p.fd(), generation(1), 0)
	switch {
	case errors.Is(err, unix.EPERM), errors.Is(err, unix.ENOTSUP), errors.Is(err, unix.ENOSYS), errors.Is(err, unix.EMLINK):
		return p.copyGeneration()
	}
	return p.fail("keep as", generation(1), err)
}

func (p Place) copyGeneration() error {
	src, err := p.open(wire.VaultFile, unix.O_RDONLY)
	if err != nil {
		return err
	}
	defer src.Close()
	name := draftPrefix + "copy"
	dst, err := p.create(name)
	if err != nil {
		return err
	}
	defer dst.Close()
	info, err := src.Stat()
	if err == nil {
		err = dst.Truncate(info.Size())
	}
	if err == nil {
		err = sys.EachData(src, 0, info.Size(), func(offset, length int64) error {
			_, err := io.Copy(io.NewOffsetWriter(dst, offset), io.NewSectionReader(src, offset, length))
			return err
		})
	}
	if err == nil {
		err = dst.Sync()
	}
	if err == nil {
		err = p.rename(name, generation(1))
	}
	if err != nil {
		return errors.Join(err, p.remove(name))
	}
	return nil
}

// sweep removes what saves that were killed left behind. Only the holder of the
// lock calls it. It is only tidying: nothing depends on it.
func (p Place) sweep() {
	fd, err := unix.Openat(p.fd(), ".", unix.O_RDONLY|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
	if err != nil {
		return
	}
	dir := os.NewFile(uintptr(fd), p.Dir.Name())
	defer dir.Close()
	names, _ := dir.Readdirnames(-1)
	for _, name := range names {
		if strings.HasPrefix(name, draftPrefix) {
			_ = p.remove(name)
		}
	}
}
