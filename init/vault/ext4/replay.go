package ext4

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"strings"

	"github.com/tazzo/tazpod/init/sys"
)

// e2fsck's exit status, see e2fsck(8): bits of what it found.
const (
	fsckCorrected = 1
	fsckReboot    = 2
)

// Replay brings an image up to date with its journal and repairs what is
// broken, in place, by e2fsck -fy. It returns an error if e2fsck leaves errors.
func Replay(ctx context.Context, image *os.File) error {
	out, err := e2fsprogs(ctx, "e2fsck", []*os.File{image}, "-fy", sys.FdPath(firstFile))
	var exit *exec.ExitError
	if err == nil || errors.As(err, &exit) && exit.Exited() && exit.ExitCode()&^(fsckCorrected|fsckReboot) == 0 {
		return nil
	}
	return fmt.Errorf("e2fsck: %w: %s", err, lastLine(out))
}

// Check looks for errors in an image without changing it (e2fsck -fn), and returns
// how much is in it, in e2fsck's words. It wraps ErrCorrupt when there are some.
func Check(ctx context.Context, image *os.File) (string, error) {
	out, err := e2fsprogs(ctx, "e2fsck", []*os.File{image}, "-fn", sys.FdPath(firstFile))
	var exit *exec.ExitError
	if errors.As(err, &exit) && exit.Exited() {
		return "", corrupt("%s", lastLine(out))
	}
	if err != nil {
		return "", fmt.Errorf("e2fsck: %w: %s", err, lastLine(out))
	}
	_, counts, _ := strings.Cut(lastLine(out), ": ") // behind the label
	return counts, nil
}
