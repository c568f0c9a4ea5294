package engine

import (
	"fmt"
	"os"
	"strings"

	"github.com/docker/docker/api/types/system"
	"golang.org/x/sys/unix"

	"github.com/tazzo/tazpod/init/wire"
)

// MapperError says that the engine's machine can't give a pod device-mapper.
type MapperError struct{ Why, Hint string }

func (e *MapperError) Error() string {
	return fmt.Sprintf("the vault engine %s: %s", wire.EngineDMCrypt, e.Why)
}

// Mapper returns the major number of device-mapper's block devices on the engine's
// machine, which can only be told where that is this one.
func (e *Engine) Mapper(info system.Info) (major int, err error) {
	var here unix.Utsname
	if err := unix.Uname(&here); err != nil {
		return 0, os.NewSyscallError("uname", err)
	}
	kernel := unix.ByteSliceToString(here.Release[:])
	if !strings.HasPrefix(e.Host, "unix://") || info.KernelVersion != kernel {
		return 0, &MapperError{"the container engine at " + e.Host + " is not on this machine's kernel",
			"there, start the pod with plain docker as README.md says, or use the engine " + wire.EngineMemory}
	}
	text, err := os.ReadFile("/proc/devices")
	if err != nil {
		return 0, err
	}
	return mapperIn(text)
}

func mapperIn(devices []byte) (major int, err error) {
	major, ok := wire.BlockMajor(devices, wire.DeviceMapper)
	if !ok {
		return 0, &MapperError{"this machine has no device-mapper (/proc/devices)",
			"modprobe dm_crypt, or use the engine " + wire.EngineMemory}
	}
	return major, nil
}
