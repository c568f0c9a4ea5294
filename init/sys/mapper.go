package sys

import (
	"os"
	"unsafe"

	"github.com/tazzo/tazpod/init/locked"
	"golang.org/x/sys/unix"
)

// Device-mapper is driven by ioctls on its control device, each about one mapping
// by name (include/uapi/linux/dm-ioctl.h). A mapping has up to two tables: the
// one that is loaded becomes the one in use when the mapping is resumed.

// MapperControl is device-mapper's control device.
const MapperControl = "/dev/mapper/control"

// mapperVersion is of the interface: the kernel takes every older minor one.
var mapperVersion = [3]uint32{unix.DM_VERSION_MAJOR, 0, 0}

// udevFlags keep the machine's udev from looking into a mapping, or making links
// to what is in it: DM_UDEV_DISABLE_{SUBSYSTEM,DISK,OTHER}_RULES_FLAG and
// DM_UDEV_PRIMARY_SOURCE_FLAG, in the upper half of what the kernel hands on in
// its event (libdevmapper.h).
const udevFlags = (0x2 | 0x4 | 0x8 | 0x40) << 16

// Mapping is what the kernel says of one.
type Mapping struct {
	Device uint64 // its number
	Open   int    // by how many it is held open
}

// MapperVersion asks whether the control device answers.
func MapperVersion(control *os.File) error {
	_, err := mapper(control, "DM_VERSION", unix.DM_VERSION, "", unix.DmIoctl{})
	return err
}

// CreateMapping makes a mapping without a table. EBUSY: there is one of that name
// or of that UUID.
func CreateMapping(control *os.File, name, uuid string) (Mapping, error) {
	var arg unix.DmIoctl
	copy(arg.Uuid[:], uuid)
	return mapper(control, "DM_DEV_CREATE", unix.DM_DEV_CREATE, name, arg)
}

// LoadTable gives a mapping a table of one target over size bytes. The kernel
// zeroes its copies of the parameters, and this its own.
func LoadTable(control *os.File, name, target string, size int64, parameters []byte) error {
	const head = int(unsafe.Sizeof(unix.DmIoctl{}))
	const spec = int(unsafe.Sizeof(unix.DmTargetSpec{}))
	length := (head + spec + len(parameters) + 1 + 7) &^ 7
	buffer, err := locked.New(length)
	if err != nil {
		return err
	}
	defer buffer.Destroy()
	t := unix.DmTargetSpec{Length: uint64(size / 512)} // dm-ioctl.h counts in 512 bytes
	copy(t.Target_type[:], target)
	arg := unix.DmIoctl{Version: mapperVersion, Data_size: uint32(length), Data_start: uint32(head), Target_count: 1, Flags: unix.DM_SECURE_DATA_FLAG}
	copy(arg.Name[:], name)
	for _, part := range [][]byte{bytesOf(&arg), bytesOf(&t), parameters, make([]byte, length-head-spec-len(parameters))} {
		if _, err := buffer.Write(part); err != nil {
			return err
		}
	}
	return pathError("ioctl DM_TABLE_LOAD "+target, name, ioctl(control, unix.DM_TABLE_LOAD, unsafe.Pointer(&buffer.Bytes()[0])))
}

// ResumeMapping puts the loaded table in the place of the one in use, if there is
// one, after it has done what it was asked for. With discard, what a file system
// still has in mind for the old table doesn't count.
func ResumeMapping(control *os.File, name string, discard bool) error {
	arg := unix.DmIoctl{Event_nr: udevFlags}
	if discard {
		arg.Flags = unix.DM_SKIP_LOCKFS_FLAG | unix.DM_NOFLUSH_FLAG
	}
	_, err := mapper(control, "DM_DEV_SUSPEND", unix.DM_DEV_SUSPEND, name, arg)
	return err
}

// RemoveMapping removes a mapping: at once, and EBUSY if it is open, or deferred,
// when it is open no longer.
func RemoveMapping(control *os.File, name string, deferred bool) error {
	arg := unix.DmIoctl{Event_nr: udevFlags}
	if deferred {
		arg.Flags = unix.DM_DEFERRED_REMOVE
	}
	_, err := mapper(control, "DM_DEV_REMOVE", unix.DM_DEV_REMOVE, name, arg)
	return err
}

// StatMapping looks at a mapping. ENXIO: there is none.
func StatMapping(control *os.File, name string) (Mapping, error) {
	return mapper(control, "DM_DEV_STATUS", unix.DM_DEV_STATUS, name, unix.DmIoctl{})
}

func mapper(control *os.File, op string, request uintptr, name string, arg unix.DmIoctl) (Mapping, error) {
	arg.Version, arg.Data_size = mapperVersion, uint32(unsafe.Sizeof(arg))
	copy(arg.Name[:], name)
	err := ioctl(control, request, unsafe.Pointer(&arg))
	return Mapping{arg.Dev, int(arg.Open_count)}, pathError("ioctl "+op, name, err)
}

func ioctl(f *os.File, request uintptr, arg unsafe.Pointer) error {
	return Control(f, func(fd int) error {
		for {
			_, _, errno := unix.Syscall(unix.SYS_IOCTL, uintptr(fd), request, uintptr(arg))
			switch errno {
			case 0:
				return nil
			case unix.EINTR:
				continue
			}
			return errno
		}
	})
}

// bytesOf is the memory of *p.
func bytesOf[T any](p *T) []byte { return unsafe.Slice((*byte)(unsafe.Pointer(p)), unsafe.Sizeof(*p)) }
