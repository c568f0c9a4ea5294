package sys

import (
	"fmt"
	"os"
	"slices"
	"strings"
	"syscall"

	"golang.org/x/sys/unix"
)

// GhostNamespaces are the namespaces of a ghost that take privilege to make.
const GhostNamespaces = unix.CLONE_NEWNS | unix.CLONE_NEWPID | unix.CLONE_NEWIPC | unix.CLONE_NEWUTS | unix.CLONE_NEWCGROUP

// Namespaces decodes clone(2) flags.
func Namespaces(flags uintptr) string {
	var names []string
	for _, n := range []struct {
		flag uintptr
		name string
	}{
		{unix.CLONE_NEWNS, "CLONE_NEWNS"}, {unix.CLONE_NEWPID, "CLONE_NEWPID"}, {unix.CLONE_NEWIPC, "CLONE_NEWIPC"},
		{unix.CLONE_NEWUTS, "CLONE_NEWUTS"}, {unix.CLONE_NEWCGROUP, "CLONE_NEWCGROUP"}, {unix.CLONE_NEWUSER, "CLONE_NEWUSER"},
	} {
		if flags&n.flag != 0 {
			names = append(names, n.name)
		}
	}
	return strings.Join(names, "|")
}

// IDs is a map of user or group ids: what a user namespace calls Inside is
// Outside to the namespace above. Everything else that both sides can have is
// the same on both.
type IDs struct{ Inside, Outside uint32 }

// allIDs is the number of valid ids; the one after them means "none".
const allIDs = 1<<32 - 1

// Extents spells the map out for ids below limit, as uid_map wants it
// (user_namespaces(7)): the exception first, then the identity on what is left
// when neither the inner nor the outer side of the exception is used twice.
func (m IDs) Extents(limit uint32) []syscall.SysProcIDMap {
	cuts := []uint32{m.Inside, m.Outside}
	slices.Sort(cuts)
	extents := []syscall.SysProcIDMap{{ContainerID: int(m.Inside), HostID: int(m.Outside), Size: 1}}
	start := uint32(0)
	for _, cut := range append(cuts, limit) {
		end := min(cut, limit)
		if end > start {
			extents = append(extents, syscall.SysProcIDMap{ContainerID: int(start), HostID: int(start), Size: int(end - start)})
		}
		start = max(start, end+1)
		if cut >= limit {
			break
		}
	}
	return extents
}

// Mapped is a map of ids as a process finds it in its own user namespace.
type Mapped []syscall.SysProcIDMap

// MappedIDs reads /proc/self/uid_map or gid_map.
func MappedIDs(path string) (Mapped, error) {
	text, err := os.ReadFile(path)
	if err != nil {
		return nil, err
	}
	var m Mapped
	for line := range strings.Lines(string(text)) {
		var e syscall.SysProcIDMap
		if _, err := fmt.Sscan(line, &e.ContainerID, &e.HostID, &e.Size); err != nil {
			return nil, fmt.Errorf("%s: %w", path, err)
		}
		m = append(m, e)
	}
	return m, nil
}

// Has tells whether id exists in the namespace.
func (m Mapped) Has(id uint32) bool {
	return slices.ContainsFunc(m, func(e syscall.SysProcIDMap) bool {
		return int(id) >= e.ContainerID && int(id)-e.ContainerID < e.Size
	})
}

// Full tells whether it is the first user namespace's map: nothing is mapped
// away and nothing missing.
func (m Mapped) Full() bool {
	return len(m) == 1 && m[0] == syscall.SysProcIDMap{Size: allIDs}
}

// Limit is the first id from which on nothing is mapped.
func (m Mapped) Limit() uint32 {
	limit := 0
	for _, e := range m {
		limit = max(limit, e.ContainerID+e.Size)
	}
	return uint32(limit)
}

// SignalProcess sends a signal through a pidfd, which never means another
// process. A process that is gone already is no error.
func SignalProcess(pidfd *os.File, signal unix.Signal) error {
	err := unix.PidfdSendSignal(int(pidfd.Fd()), signal, nil, 0)
	if err == unix.ESRCH {
		return nil
	}
	return os.NewSyscallError("pidfd_send_signal", err)
}
