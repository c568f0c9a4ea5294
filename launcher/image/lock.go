package image

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

const lockedAgain = 200 * time.Millisecond // between two tries

// lock waits until no other launcher of this user builds the image: the engine
// would take every step twice. It ends with the process, too (flock(2)).
func (b *Builder) lock(ctx context.Context, tag string) (unlock func(), err error) {
	if b.Locks == "" {
		return func() {}, nil
	}
	if err := os.MkdirAll(b.Locks, 0o700); err != nil {
		return nil, err
	}
	f, err := os.OpenFile(filepath.Join(b.Locks, strings.NewReplacer("/", "-", ":", "-").Replace(tag)+".lock"), os.O_RDWR|os.O_CREATE|unix.O_NOFOLLOW, 0o600)
	if err != nil {
		return nil, err
	}
	for waiting := false; ; waiting = true {
		err := unix.Flock(int(f.Fd()), unix.LOCK_EX|unix.LOCK_NB)
		if err == nil {
			return func() { f.Close() }, nil
		}
		if !errors.Is(err, unix.EWOULDBLOCK) {
			f.Close()
			return nil, os.NewSyscallError("flock", err)
		}
		if !waiting {
			b.Progress.note("another tazpod builds " + tag + "; waiting for it")
		}
		select {
		case <-ctx.Done():
			f.Close()
			return nil, ctx.Err()
		case <-time.After(lockedAgain):
		}
	}
}
