package sys

import (
	"fmt"
	"os"
	"strconv"
	"strings"
	"syscall"
	"unsafe"

	"golang.org/x/sys/unix"
)

// KeepCapabilities leaves every thread of this process with the given
// capabilities and none other, none of them inheritable or ambient, and an
// empty bounding set: nothing that it executes can have any. It needs a
// program built without cgo.
func KeepCapabilities(keep ...uintptr) error {
	for c := uintptr(0); ; c++ {
		_, _, errno := syscall.AllThreadsSyscall6(unix.SYS_PRCTL, unix.PR_CAPBSET_DROP, c, 0, 0, 0, 0)
		if errno == unix.EINVAL && c > unix.CAP_WAKE_ALARM { // past the kernel's last
			break
		}
		if errno != 0 {
			return fmt.Errorf("drop capability %d from the bounding set: %w", c, os.NewSyscallError("prctl", errno))
		}
	}
	if _, _, errno := syscall.AllThreadsSyscall6(unix.SYS_PRCTL, unix.PR_CAP_AMBIENT, unix.PR_CAP_AMBIENT_CLEAR_ALL, 0, 0, 0, 0); errno != 0 {
		return os.NewSyscallError("prctl PR_CAP_AMBIENT_CLEAR_ALL", errno)
	}
	var data [2]unix.CapUserData
	for _, c := range keep {
		data[c/32].Effective |= 1 << (c % 32)
		data[c/32].Permitted |= 1 << (c % 32)
	}
	header := unix.CapUserHeader{Version: unix.LINUX_CAPABILITY_VERSION_3}
	_, _, errno := syscall.AllThreadsSyscall(unix.SYS_CAPSET, uintptr(unsafe.Pointer(&header)), uintptr(unsafe.Pointer(&data[0])), 0)
	if errno != 0 {
		return os.NewSyscallError("capset", errno)
	}
	return nil
}

// NoNewPrivileges makes set-user-ID bits and file capabilities mean nothing to
// this process and to all that it will execute, in every thread.
func NoNewPrivileges() error {
	if _, _, errno := syscall.AllThreadsSyscall6(unix.SYS_PRCTL, unix.PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0, 0); errno != 0 {
		return os.NewSyscallError("prctl PR_SET_NO_NEW_PRIVS", errno)
	}
	return nil
}

// Undumpable keeps everybody of the same user from tracing this process,
// reading its memory or its /proc files, and the kernel from dumping it. It
// ends with the next execve.
func Undumpable() error {
	return os.NewSyscallError("prctl PR_SET_DUMPABLE", unix.Prctl(unix.PR_SET_DUMPABLE, 0, 0, 0, 0))
}

// NoCoreDumps limits core files to one byte, for this process and all that it
// will execute: a limit of zero still feeds a core_pattern that is a pipe
// (core(5)), a limit of one doesn't.
func NoCoreDumps() error {
	return os.NewSyscallError("setrlimit RLIMIT_CORE", unix.Setrlimit(unix.RLIMIT_CORE, &unix.Rlimit{Cur: 1, Max: 1}))
}

// Status is what the kernel says of a thread's privileges
// (/proc/PID/task/TID/status, proc_pid_status(5)).
type Status struct {
	UIDs, GIDs, Groups                                []int // real, effective, saved, file system
	Inheritable, Permitted, Effective, Bound, Ambient uint64
	NoNewPrivs, Seccomp                               int
	Ignored, Blocked                                  uint64 // signals, bit n-1 for signal n
}

// ReadStatus reads a status file.
func ReadStatus(path string) (Status, error) {
	text, err := os.ReadFile(path)
	if err != nil {
		return Status{}, err
	}
	var s Status
	for line := range strings.Lines(string(text)) {
		name, value, _ := strings.Cut(line, ":")
		value = strings.TrimSpace(value)
		mask := func(to *uint64) { *to, err = strconv.ParseUint(value, 16, 64) }
		number := func(to *int) { *to, err = strconv.Atoi(value) }
		numbers := func(to *[]int) {
			for _, f := range strings.Fields(value) {
				var n int
				if n, err = strconv.Atoi(f); err != nil {
					return
				}
				*to = append(*to, n)
			}
		}
		switch name {
		case "Uid":
			numbers(&s.UIDs)
		case "Gid":
			numbers(&s.GIDs)
		case "Groups":
			numbers(&s.Groups)
		case "CapInh":
			mask(&s.Inheritable)
		case "CapPrm":
			mask(&s.Permitted)
		case "CapEff":
			mask(&s.Effective)
		case "CapBnd":
			mask(&s.Bound)
		case "CapAmb":
			mask(&s.Ambient)
		case "NoNewPrivs":
			number(&s.NoNewPrivs)
		case "Seccomp":
			number(&s.Seccomp)
		case "SigIgn":
			mask(&s.Ignored)
		case "SigBlk":
			mask(&s.Blocked)
		}
		if err != nil {
			return Status{}, fmt.Errorf("%s: %s: %w", path, name, err)
		}
	}
	return s, nil
}
