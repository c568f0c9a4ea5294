package sys

import (
	"os"
	"runtime"
	"unsafe"

	"golang.org/x/sys/unix"
)

// What a ghost's sessions may not call although Linux would let some of it be
// tried without a capability. Each is a door between namespaces, a way around
// the mount table or the process table, or a kernel feature that has mostly
// been used by exploits. EPERM, as if a capability were missing.
var denied = []uintptr{
	// other namespaces and roots
	unix.SYS_UNSHARE, unix.SYS_SETNS, unix.SYS_PIVOT_ROOT, unix.SYS_CHROOT,
	unix.SYS_MOUNT, unix.SYS_UMOUNT2, unix.SYS_OPEN_TREE, unix.SYS_OPEN_TREE_ATTR, unix.SYS_MOVE_MOUNT, unix.SYS_FSOPEN,
	unix.SYS_FSCONFIG, unix.SYS_FSMOUNT, unix.SYS_FSPICK, unix.SYS_MOUNT_SETATTR, unix.SYS_OPEN_BY_HANDLE_AT,
	// other processes
	unix.SYS_PROCESS_VM_READV, unix.SYS_PROCESS_VM_WRITEV, unix.SYS_PIDFD_GETFD, unix.SYS_KCMP,
	unix.SYS_PERF_EVENT_OPEN, unix.SYS_BPF, unix.SYS_USERFAULTFD,
	// keyrings belong to a user id, not to a ghost
	unix.SYS_KEYCTL, unix.SYS_ADD_KEY, unix.SYS_REQUEST_KEY,
	// the machine
	unix.SYS_KEXEC_LOAD, unix.SYS_KEXEC_FILE_LOAD, unix.SYS_INIT_MODULE, unix.SYS_FINIT_MODULE, unix.SYS_DELETE_MODULE,
	unix.SYS_REBOOT, unix.SYS_SWAPON, unix.SYS_SWAPOFF, unix.SYS_ACCT, unix.SYS_QUOTACTL, unix.SYS_QUOTACTL_FD, unix.SYS_SYSLOG,
}

// Absent calls get ENOSYS, so that libraries fall back on what can be filtered:
// clone3's flags lie in memory that a filter can't read, and a ring's requests
// pass no filter at all.
var absent = []uintptr{unix.SYS_CLONE3, unix.SYS_IO_URING_SETUP, unix.SYS_IO_URING_ENTER, unix.SYS_IO_URING_REGISTER}

const (
	newNamespaces = unix.CLONE_NEWUSER | unix.CLONE_NEWNET | GhostNamespaces

	// Offsets in struct seccomp_data (seccomp(2)), both architectures being
	// little-endian.
	dataNumber   = 0
	dataArch     = 4
	dataArgument = 16 // low half of the first
	dataSecond   = 24 // and of the second

	x32Bit = 1 << 30 // in the number of a call; no other call has one this high

	deny   = unix.SECCOMP_RET_ERRNO | uint32(unix.EPERM)
	lack   = unix.SECCOMP_RET_ERRNO | uint32(unix.ENOSYS)
	kill   = unix.SECCOMP_RET_KILL_PROCESS
	permit = unix.SECCOMP_RET_ALLOW
)

// sessionFilter is the program: each rule is a test that skips the rule's own
// few instructions when it doesn't apply, so that no jump is ever far.
//
// A foreign architecture (i386 on x86_64) has other numbers for the same calls,
// and x32 the same ones with a bit set: both are killed rather than listed twice.
//
// fcntl: a lease on a file makes others wait who open it, and serve opens every
// file to save it and to zero it.
//
// ptrace: BPF can't see whose process is meant, only what is asked. A tracer's
// own child asks to be traced (PTRACE_TRACEME: gdb, delve, strace's fallback);
// only tracing a process that didn't ask takes PTRACE_ATTACH or PTRACE_SEIZE,
// and those are denied.
func sessionFilter(arch uint32) []unix.SockFilter {
	load := func(offset uint32) unix.SockFilter {
		return unix.SockFilter{Code: unix.BPF_LD | unix.BPF_W | unix.BPF_ABS, K: offset}
	}
	test := func(kind uint16, k uint32, yes, no uint8) unix.SockFilter {
		return unix.SockFilter{Code: unix.BPF_JMP | kind | unix.BPF_K, Jt: yes, Jf: no, K: k}
	}
	give := func(action uint32) unix.SockFilter {
		return unix.SockFilter{Code: unix.BPF_RET | unix.BPF_K, K: action}
	}
	p := []unix.SockFilter{
		load(dataArch), test(unix.BPF_JEQ, arch, 1, 0), give(kill),
		load(dataNumber), test(unix.BPF_JGE, x32Bit, 0, 1), give(kill),
	}
	rule := func(nr uintptr, body ...unix.SockFilter) {
		p = append(p, test(unix.BPF_JEQ, uint32(nr), 0, uint8(len(body))))
		p = append(p, body...)
	}
	rule(unix.SYS_CLONE, load(dataArgument),
		test(unix.BPF_JSET, newNamespaces, 1, 0), give(permit), give(deny))
	rule(unix.SYS_PTRACE, load(dataArgument),
		test(unix.BPF_JEQ, unix.PTRACE_ATTACH, 2, 0), test(unix.BPF_JEQ, unix.PTRACE_SEIZE, 1, 0), give(permit), give(deny))
	rule(unix.SYS_FCNTL, load(dataSecond),
		test(unix.BPF_JEQ, unix.F_SETLEASE, 2, 0), test(unix.BPF_JEQ, unix.F_NOTIFY, 1, 0), give(permit), give(deny))
	for _, nr := range denied {
		rule(nr, give(deny))
	}
	for _, nr := range absent {
		rule(nr, give(lack))
	}
	return append(p, give(permit))
}

// FilterSessions installs the filter in every thread of this process, for good
// and for all that it will execute. It needs NoNewPrivileges first.
func FilterSessions() error {
	filter := sessionFilter(auditArch)
	program := unix.SockFprog{Len: uint16(len(filter)), Filter: &filter[0]}
	thread, _, errno := unix.Syscall(unix.SYS_SECCOMP, unix.SECCOMP_SET_MODE_FILTER, unix.SECCOMP_FILTER_FLAG_TSYNC,
		uintptr(unsafe.Pointer(&program)))
	runtime.KeepAlive(filter)
	if errno == 0 && thread != 0 { // the thread that could not take it over
		errno = unix.ESRCH
	}
	if errno != 0 {
		return os.NewSyscallError("seccomp SECCOMP_SET_MODE_FILTER", errno)
	}
	return nil
}

// FilterAction asks whether the kernel knows a filter's action (Linux 4.14 for
// killing a process).
func FilterAction(action uint32) error {
	const getActionAvailable = 2 // SECCOMP_GET_ACTION_AVAIL, seccomp(2)
	_, _, errno := unix.Syscall(unix.SYS_SECCOMP, getActionAvailable, 0, uintptr(unsafe.Pointer(&action)))
	if errno != 0 {
		return os.NewSyscallError("seccomp SECCOMP_GET_ACTION_AVAIL", errno)
	}
	return nil
}
