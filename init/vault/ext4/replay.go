package ext4

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"strings"
	"time"

	"github.com/tazzo/tazpod/init/sys"
)

// Preen checks all of the file system on a device in place, brings it up to date
// with its journal, and corrects what can be without losing anything, by e2fsck
// -pf. It wraps ErrCorrupt when more than that is broken: Replay may repair it.
func Preen(ctx context.Context, device *os.File) (corrected bool, err error) {
	out, status, err := e2fsck(ctx, device, "-pf")
	switch {
	case err != nil:
		return false, err
	case status&^(fsckCorrected|fsckReboot) == 0:
		return status != 0, nil
	case status&fsckUncorrected != 0:
		return false, corrupt("e2fsck: %s", lastLine(out))
	}
	return false, fmt.Errorf("e2fsck: exit status %d: %s", status, lastLine(out))
}

// e2fsck's exit status, see e2fsck(8): bits of what it found.
const (
	fsckCorrected   = 1
	fsckReboot      = 2
	fsckUncorrected = 4
)

// fsckTime is what e2fsck may take of an image that can be hostile.
const fsckTime = 5 * time.Minute

// Replay brings an image up to date with its journal and repairs what is
// broken, in place, by e2fsck -fy. It returns an error if e2fsck leaves errors,
// or takes minutes.
func Replay(ctx context.Context, image *os.File) error {
	out, status, err := e2fsck(ctx, image, "-fy")
	if err == nil && status&^(fsckCorrected|fsckReboot) != 0 {
		err = fmt.Errorf("e2fsck: exit status %d: %s", status, lastLine(out))
	}
	return err
}

// Check looks for errors in an image without changing it (e2fsck -fn), and returns
// how much is in it, in e2fsck's words. It wraps ErrCorrupt when there are some.
func Check(ctx context.Context, image *os.File) (string, error) {
	out, status, err := e2fsck(ctx, image, "-fn")
	if err == nil && status != 0 {
		err = corrupt("%s", lastLine(out))
	}
	_, counts, _ := strings.Cut(lastLine(out), ": ") // behind the label
	return counts, err
}

func e2fsck(ctx context.Context, image *os.File, flags string) (out string, status int, err error) {
	ctx, cancel := context.WithTimeoutCause(ctx, fsckTime, fmt.Errorf("%w: checking it takes more than %v", ErrCorrupt, fsckTime))
	defer cancel()
	out, err = e2fsprogs(ctx, "e2fsck", []*os.File{image}, flags, sys.FdPath(firstFile))
	var exit *exec.ExitError
	if errors.As(err, &exit) && exit.Exited() {
		return out, exit.ExitCode(), nil
	}
	if err != nil {
		err = fmt.Errorf("e2fsck: %w: %s", err, lastLine(out))
	}
	return out, 0, err
}
