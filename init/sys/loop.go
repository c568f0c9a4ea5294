package sys

import (
	"fmt"
	"os"
	"strings"
	"unsafe"

	"golang.org/x/sys/unix"
)

// LoopControl is where loop devices are asked for.
const LoopControl = "/dev/loop-control"

// FreeLoop returns the number of a loop device that nobody uses, which somebody
// else may do a moment later.
func FreeLoop(control *os.File) (number int, err error) {
	err = Control(control, func(fd int) (err error) {
		number, err = unix.IoctlRetInt(fd, unix.LOOP_CTL_GET_FREE)
		return err
	})
	return number, pathError("ioctl LOOP_CTL_GET_FREE", control.Name(), err)
}

// LoopDevice returns the device number of a loop device: with partitions there is
// more than one of them for each.
func LoopDevice(number int) (uint64, error) {
	path := fmt.Sprintf("/sys/block/loop%d/dev", number)
	text, err := os.ReadFile(path)
	if err != nil {
		return 0, err
	}
	var major, minor uint32
	if _, err := fmt.Sscanf(strings.TrimSpace(string(text)), "%d:%d", &major, &minor); err != nil {
		return 0, fmt.Errorf("%s: %w", path, err)
	}
	return unix.Mkdev(major, minor), nil
}

// ConfigureLoop makes file the content of a loop device, for as long as somebody
// has the device open, past the page cache where the file allows that
// (include/uapi/linux/loop.h, Linux 5.8). EBUSY: somebody else was faster.
func ConfigureLoop(loop, file *os.File) error {
	err := Control(file, func(fd int) error {
		config := unix.LoopConfig{Fd: uint32(fd), Info: unix.LoopInfo64{Flags: unix.LO_FLAGS_AUTOCLEAR | unix.LO_FLAGS_DIRECT_IO}}
		return ioctl(loop, unix.LOOP_CONFIGURE, unsafe.Pointer(&config))
	})
	return pathError("ioctl LOOP_CONFIGURE", loop.Name(), err)
}

// OpenBlock opens a block device by its number, whatever /dev holds: by a node in
// a file system that is attached nowhere, so that none is left, whenever the
// process ends. It takes the capability MKNOD, and the leave of the devices
// control group (EPERM).
func OpenBlock(device uint64) (*os.File, error) {
	name := fmt.Sprintf("block device %d:%d", unix.Major(device), unix.Minor(device))
	mount, err := NewMount("tmpfs", NoSUID|NoExec, "source=tazpod", "mode=0700")
	if err != nil {
		return nil, err
	}
	defer mount.Close()
	at := int(mount.Fd())
	if err := unix.Mknodat(at, "node", unix.S_IFBLK|0o600, int(device)); err != nil {
		return nil, pathError("mknod", name, err)
	}
	fd, err := unix.Openat(at, "node", unix.O_RDWR|unix.O_CLOEXEC, 0)
	if err != nil {
		return nil, pathError("open", name, err)
	}
	return os.NewFile(uintptr(fd), name), nil
}
