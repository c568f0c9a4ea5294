package ghost

import (
	"errors"
	"os"

	"golang.org/x/sys/unix"

	"github.com/tazzo/tazpod/init/sys"
)

// readOnly binds a part of the ghost's proc over itself.
func (b *builder) readOnly(target string) error {
	at, err := b.open(target)
	if errors.Is(err, unix.ENOENT) { // this kernel has none
		return nil
	}
	if err != nil {
		return err
	}
	defer at.Close()
	return attach(at, at, false, sys.ReadOnly|sys.NoSUID|sys.NoDev|sys.NoExec)
}

// mask covers a file with /dev/null and a directory with an empty one.
func (b *builder) mask(target string) error {
	at, err := b.open(target)
	if errors.Is(err, unix.ENOENT) {
		return nil
	}
	if err != nil {
		return err
	}
	defer at.Close()
	var st unix.Stat_t
	if err := unix.Fstat(int(at.Fd()), &st); err != nil {
		return &os.PathError{Op: "fstat", Path: target, Err: err}
	}
	if st.Mode&unix.S_IFMT == unix.S_IFDIR {
		return attach(b.empty, at, false, sys.ReadOnly|sys.NoSUID|sys.NoDev|sys.NoExec)
	}
	null, err := b.open("/dev/null")
	if err != nil {
		return err
	}
	defer null.Close()
	return attach(null, at, false, sys.NoSUID|sys.NoExec)
}
