package device

import (
	"errors"
	"fmt"
	"os"

	"github.com/tazzo/tazpod/init/sys"
	"github.com/tazzo/tazpod/init/wire"
	"golang.org/x/sys/unix"
)

// Hint is the flag that a pod lacks for err, which its kernel or engine returned
// to this package; empty if err is about something else.
func Hint(err error) string {
	var path *os.PathError
	if !errors.As(err, &path) {
		return ""
	}
	has := func(errnos ...unix.Errno) bool {
		for _, e := range errnos {
			if path.Err == e {
				return true
			}
		}
		return false
	}
	switch {
	case (path.Path == sys.MapperControl || path.Path == sys.LoopControl) && has(unix.ENOENT, unix.EPERM, unix.ENXIO, unix.ENODEV):
		return "start the pod with --device " + path.Path
	case path.Op == "mknod" && has(unix.EPERM):
		return "start the pod with --cap-add MKNOD"
	case path.Op == "open" && has(unix.EPERM):
		return fmt.Sprintf("start the pod with --device-cgroup-rule 'b 7:* rw' and --device-cgroup-rule 'b %s:* rw'", major())
	case has(unix.EPERM, unix.EACCES):
		return "start the pod with --cap-add SYS_ADMIN, on an engine that runs as root without user namespaces"
	case path.Op == "ioctl DM_TABLE_LOAD crypt" && has(unix.EINVAL):
		return "on the host: modprobe dm_crypt; its log (dmesg) tells more"
	}
	return ""
}

// major is that of device-mapper's block devices, for people and command lines.
func major() string {
	text, _ := os.ReadFile("/proc/devices") // hidden is unknown
	if n, ok := wire.BlockMajor(text, wire.DeviceMapper); ok {
		return fmt.Sprint(n)
	}
	return "MAJOR"
}

// Probe tries what Open takes, without making anything: that a device is not
// there, or has nothing in it, is told from not being allowed.
func Probe() error {
	control, err := os.OpenFile(sys.MapperControl, os.O_RDWR, 0)
	if err != nil {
		return err
	}
	defer control.Close()
	if err := sys.MapperVersion(control); err != nil {
		return err
	}
	loop, err := os.OpenFile(sys.LoopControl, os.O_RDWR, 0)
	if err != nil {
		return err
	}
	loop.Close()
	text, err := os.ReadFile("/proc/devices")
	if err != nil {
		return err
	}
	mapper, ok := wire.BlockMajor(text, wire.DeviceMapper)
	if !ok {
		return &os.PathError{Op: "find device-mapper in", Path: "/proc/devices", Err: unix.ENODEV}
	}
	for _, device := range []uint64{firstLoop, unix.Mkdev(uint32(mapper), noMinor)} {
		f, err := sys.OpenBlock(device)
		if err == nil {
			f.Close()
		} else if !errors.Is(err, unix.ENXIO) && !errors.Is(err, unix.ENODEV) {
			return err
		}
	}
	return nil
}

const (
	firstLoop = 7 << 8    // Documentation/admin-guide/devices.txt; another could be made by looking for it
	noMinor   = 1<<20 - 1 // the last one, which no mapping has
)
