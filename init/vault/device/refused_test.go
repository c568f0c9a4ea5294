package device

import (
	"errors"
	"fmt"
	"os"
	"strings"
	"testing"

	"golang.org/x/sys/unix"
)

func TestHint(t *testing.T) {
	for _, c := range []struct {
		op, path string
		errno    unix.Errno
		want     string
	}{
		{"open", "/dev/mapper/control", unix.ENOENT, "--device /dev/mapper/control"},
		{"open", "/dev/mapper/control", unix.EPERM, "--device /dev/mapper/control"},
		{"open", "/dev/loop-control", unix.ENOENT, "--device /dev/loop-control"},
		{"mknod", "block device 7:0", unix.EPERM, "--cap-add MKNOD"},
		{"open", "block device 254:0", unix.EPERM, "--device-cgroup-rule 'b 7:* rw'"},
		{"ioctl DM_DEV_CREATE", "tazpod-1", unix.EACCES, "--cap-add SYS_ADMIN"},
		{"ioctl DM_TABLE_LOAD crypt", "tazpod-1", unix.EINVAL, "modprobe dm_crypt"},
		{"open", "/workspace/.tazpod/vault/vault.img", unix.ENOENT, ""},
		{"ioctl DM_DEV_SUSPEND", "tazpod-1", unix.EIO, ""},
	} {
		got := Hint(fmt.Errorf("vault: %w", &os.PathError{Op: c.op, Path: c.path, Err: c.errno}))
		if got != c.want && (c.want == "" || !strings.Contains(got, c.want)) {
			t.Errorf("Hint(%s %s: %v) = %q; want %q", c.op, c.path, c.errno, got, c.want)
		}
	}
	if got := Hint(errors.New("something else")); got != "" {
		t.Errorf("Hint of another error = %q", got)
	}
}
