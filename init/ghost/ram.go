package ghost

import (
	"fmt"
	"os"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/tazzo/tazpod/init/sys"
)

// MountRAM mounts a file system on path, a directory, that never leaves RAM
// (sys.NewRAM). size is in bytes, a quarter of the memory that the pod may use if 0.
func MountRAM(path string, size int64) error {
	if size == 0 {
		size = Memory() / 4
	}
	target, err := sys.OpenPath(nil, path, unix.O_DIRECTORY)
	if err != nil {
		return err
	}
	defer target.Close()
	mount, _, err := sys.NewRAM(size)
	if err != nil {
		return err
	}
	defer mount.Close()
	return sys.Attach(mount, target)
}

// UnmountRAM takes away what MountRAM mounted, at once for this mount
// namespace even if something still uses it.
func UnmountRAM(path string) error {
	return sys.Detach(path)
}

// inRAM is nil when f lies on a file system that MountRAM could have mounted.
func inRAM(f *os.File) error {
	var fs unix.Statfs_t
	if err := unix.Fstatfs(int(f.Fd()), &fs); err != nil {
		return &os.PathError{Op: "fstatfs", Path: f.Name(), Err: err}
	}
	if fs.Type != unix.TMPFS_MAGIC && fs.Type != unix.RAMFS_MAGIC {
		return fmt.Errorf("%s is not in RAM", f.Name())
	}
	return nil
}

// Memory is how many bytes this pod may use: the machine's, or less if its
// control group says so.
func Memory() int64 {
	limit := int64(1) << 30 // what a machine has that tells nothing
	var info unix.Sysinfo_t
	if unix.Sysinfo(&info) == nil {
		limit = int64(info.Totalram) * int64(info.Unit)
	}
	for _, path := range []string{"/sys/fs/cgroup/memory.max", "/sys/fs/cgroup/memory/memory.limit_in_bytes"} {
		text, err := os.ReadFile(path)
		if err != nil {
			continue
		}
		if n, err := strconv.ParseInt(strings.TrimSpace(string(text)), 10, 64); err == nil && n > 0 {
			limit = min(limit, n)
		}
	}
	return limit
}
