package main

import (
	"fmt"
	"os"
	"unsafe"

	"golang.org/x/sys/unix"
)

// Attacker and victim are the same program without relocation, so each knows
// where these lie in the other's memory.
var (
	held     [64]byte // the victim's secret
	scribble [64]byte // what others have written to the victim
)

const scribbled = "written by the attacker"

func address(b *[64]byte) uintptr { return uintptr(unsafe.Pointer(b)) }

func attach(t *target) string {
	if err := unix.PtraceAttach(t.Victim); err != nil {
		return ""
	}
	return stopped(t.Victim)
}

func seize(t *target) string {
	if err := unix.PtraceSeize(t.Victim); err != nil {
		return ""
	}
	if err := unix.PtraceInterrupt(t.Victim); err != nil {
		return ""
	}
	return stopped(t.Victim)
}

// stopped waits for a tracee, looks into it and lets it go.
func stopped(pid int) string {
	if _, err := unix.Wait4(pid, nil, unix.WALL, nil); err != nil {
		return ""
	}
	b := make([]byte, len(held))
	_, err := unix.PtracePeekData(pid, address(&held), b)
	if err := unix.PtraceDetach(pid); err != nil {
		return ""
	}
	if err != nil {
		return "stopped"
	}
	return "stopped, and read " + string(secret.Find(b))
}

func vectors(ours []byte, theirs *[64]byte) ([]unix.Iovec, []unix.RemoteIovec) {
	local := unix.Iovec{Base: &ours[0]}
	local.SetLen(len(ours))
	return []unix.Iovec{local}, []unix.RemoteIovec{{Base: address(theirs), Len: len(ours)}}
}

func readMemory(t *target) string {
	b := make([]byte, len(held))
	local, remote := vectors(b, &held)
	if _, err := unix.ProcessVMReadv(t.Victim, local, remote, 0); err != nil {
		return ""
	}
	return string(secret.Find(b))
}

func writeMemory(t *target) string {
	local, remote := vectors([]byte(scribbled), &scribble)
	if _, err := unix.ProcessVMWritev(t.Victim, local, remote, 0); err != nil {
		return ""
	}
	return scribbled
}

func writeMemoryFile(t *target) string {
	for _, dir := range procs(t.Victim) {
		f, err := os.OpenFile(dir+"/mem", os.O_WRONLY, 0)
		if err != nil {
			continue
		}
		defer f.Close()
		if _, err := f.WriteAt([]byte(scribbled), int64(address(&scribble))); err == nil {
			return scribbled
		}
	}
	return ""
}

func stealFile(t *target) string {
	pidfd, err := unix.PidfdOpen(t.Victim, 0)
	if err != nil {
		return ""
	}
	defer unix.Close(pidfd)
	for n := range 64 {
		fd, err := unix.PidfdGetfd(pidfd, n, 0)
		if err != nil {
			continue
		}
		b := make([]byte, 256)
		length, _ := unix.Pread(fd, b, 0) // a pipe has no offset
		unix.Close(fd)
		if s := secret.Find(b[:max(length, 0)]); s != nil {
			return string(s)
		}
	}
	return ""
}

func compare(t *target) string {
	const vm = 1 // KCMP_VM
	order, _, errno := unix.Syscall6(unix.SYS_KCMP, uintptr(os.Getpid()), uintptr(t.Victim), vm, 0, 0, 0)
	if errno != 0 {
		return ""
	}
	return fmt.Sprintf("address spaces compare as %d", order)
}

func perf(t *target) string {
	attr := unix.PerfEventAttr{Type: unix.PERF_TYPE_SOFTWARE, Config: unix.PERF_COUNT_SW_TASK_CLOCK,
		Bits: unix.PerfBitExcludeKernel | unix.PerfBitExcludeHv}
	attr.Size = uint32(unsafe.Sizeof(attr))
	fd, err := unix.PerfEventOpen(&attr, t.Victim, -1, -1, unix.PERF_FLAG_FD_CLOEXEC)
	if err != nil {
		return ""
	}
	unix.Close(fd)
	return "its clock can be read"
}

func robustList(t *target) string {
	var head, length uintptr
	_, _, errno := unix.Syscall(unix.SYS_GET_ROBUST_LIST, uintptr(t.Victim), uintptr(unsafe.Pointer(&head)), uintptr(unsafe.Pointer(&length)))
	if errno != 0 {
		return ""
	}
	return fmt.Sprintf("its list begins at %#x", head)
}
