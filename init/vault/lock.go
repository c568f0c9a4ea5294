package vault

import (
	"errors"
	"fmt"
	"io"
	"os"
	"strings"

	"github.com/tazzo/tazpod/init/sys"
	"golang.org/x/sys/unix"
)

// lockFile is what one opener locks. It isn't vault.img, which a save replaces,
// and it is never removed: whoever waits for a removed file waits for nothing.
// It holds the name of the pod that has the vault open.
const lockFile = "vault.lock"

// takeLock returns the locked file; closing it, or dying, releases the lock.
func (p Place) takeLock() (*sys.File, error) {
	f, err := p.openLock()
	if err != nil {
		return nil, fmt.Errorf("lock the vault: %w", err)
	}
	err = sys.Lock(f.File)
	switch {
	case errors.Is(err, sys.ErrLocked):
		defer f.Close()
		if who := holder(f); who != "" {
			return nil, fmt.Errorf("%s: %w by pod %s", p.Dir.Name(), ErrInUse, who)
		}
		return nil, fmt.Errorf("%s: %w", p.Dir.Name(), ErrInUse)
	case errors.Is(err, unix.ENOLCK), errors.Is(err, unix.ENOTSUP), errors.Is(err, unix.ENOSYS), errors.Is(err, unix.EINVAL):
		// No locks here. Each save still checks that it replaces the
		// generation that it started from.
	case err != nil:
		f.Close()
		return nil, err
	}
	p.sign(f)
	return f, nil
}

func (p Place) openLock() (*sys.File, error) {
	f, err := p.create(lockFile)
	if !errors.Is(err, os.ErrExist) {
		return f, err
	}
	if f, err = p.open(lockFile, unix.O_RDWR); err != nil {
		return nil, err
	}
	if err := plain(f.File); err != nil {
		f.Close()
		return nil, &os.PathError{Op: "open", Path: p.path(lockFile), Err: err}
	}
	return f, nil
}

var errSeveralNames = errors.New("it has several names")

// plain refuses a file with other names: it could be any file of the vault's
// owner, and it will be written to.
func plain(f *os.File) error {
	if _, err := regular(f); err != nil {
		return err
	}
	st, err := sys.Stat(f)
	if err == nil && st.Nlink > 1 {
		err = errSeveralNames
	}
	return err
}

// sign says who has the lock, for people. That it can't, on a full disk say, is
// no reason not to open.
func (p Place) sign(f *sys.File) {
	name := p.Pod
	if name == "" {
		name, _ = os.Hostname()
	}
	if f.Truncate(0) == nil {
		_, _ = f.WriteAt([]byte(name+"\n"), 0)
	}
}

// holder reads what sign wrote, as something that may be printed.
func holder(f io.ReaderAt) string {
	line := make([]byte, 80)
	n, err := f.ReadAt(line, 0)
	if err != nil && err != io.EOF {
		return ""
	}
	name, _, _ := strings.Cut(string(line[:n]), "\n")
	return strings.Map(func(r rune) rune {
		if r <= ' ' || r > '~' {
			return '?'
		}
		return r
	}, name)
}

func unlock(f *sys.File) error {
	_ = f.Truncate(0) // only for people
	return f.Close()
}
