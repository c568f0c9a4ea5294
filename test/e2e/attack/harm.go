package main

import (
	"errors"
	"fmt"
	"os"
	"runtime"
	"strings"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"
)

func lockThread() { runtime.LockOSThread() }

// done is a list of the calls that were not refused.
type done []string

func (d *done) note(what string, err error) {
	if err == nil {
		*d = append(*d, what)
	}
}

func (d *done) String() string { return strings.Join(*d, ", ") }

func errnoOf(_, _ uintptr, errno unix.Errno) error {
	if errno != 0 {
		return errno
	}
	return nil
}

// signals sends one that the victim counts, in each way.
func signals(t *target) string {
	var d done
	pid := uintptr(t.Victim)
	d.note("kill", unix.Kill(t.Victim, unix.SIGUSR1))
	d.note("tgkill", unix.Tgkill(t.Victim, t.Victim, unix.SIGUSR1))
	info := [16]uint64{}                                      // siginfo_t, 128 bytes
	*(*int32)(unsafe.Pointer(&info[0])) = int32(unix.SIGUSR1) // si_signo
	*(*int32)(unsafe.Add(unsafe.Pointer(&info[0]), 8)) = -1   // si_code SI_QUEUE
	*(*int32)(unsafe.Add(unsafe.Pointer(&info[0]), 16)) = int32(os.Getpid())
	d.note("rt_sigqueueinfo", errnoOf(unix.Syscall(unix.SYS_RT_SIGQUEUEINFO, pid, uintptr(unix.SIGUSR1), uintptr(unsafe.Pointer(&info)))))
	if pidfd, err := unix.PidfdOpen(t.Victim, 0); err == nil {
		d.note("pidfd_send_signal", unix.PidfdSendSignal(pidfd, unix.SIGUSR1, nil, 0))
		unix.Close(pidfd)
	}
	own(t.Victim)
	return d.String()
}

// own has the kernel signal a process for each byte in a pipe; whether it does
// is not told.
func own(pid int) {
	var p [2]int
	if unix.Pipe(p[:]) != nil {
		return
	}
	defer unix.Close(p[0])
	defer unix.Close(p[1])
	for _, set := range [][2]int{{unix.F_SETOWN, pid}, {unix.F_SETSIG, int(unix.SIGUSR2)}, {unix.F_SETFL, unix.O_ASYNC}} {
		if _, err := unix.FcntlInt(uintptr(p[0]), set[0], set[1]); err != nil {
			return
		}
	}
	_, _ = unix.Write(p[1], []byte{1})
}

func limit(t *target) string {
	var d done
	var now unix.Rlimit
	if unix.Prlimit(t.Victim, unix.RLIMIT_NOFILE, nil, &now) == nil {
		d.note("RLIMIT_NOFILE", unix.Prlimit(t.Victim, unix.RLIMIT_NOFILE, &unix.Rlimit{Cur: now.Cur - 1, Max: now.Max}, nil))
	}
	return d.String()
}

func schedule(t *target) string {
	var d done
	d.note("SCHED_BATCH", unix.SchedSetAttr(t.Victim, &unix.SchedAttr{Size: unix.SizeofSchedAttr, Policy: unix.SCHED_BATCH}, 0))
	var zero int32 // sched_priority
	const batch = 3
	d.note("sched_setscheduler", errnoOf(unix.Syscall(unix.SYS_SCHED_SETSCHEDULER, uintptr(t.Victim), batch, uintptr(unsafe.Pointer(&zero)))))
	return d.String()
}

func affinity(t *target) string {
	var d done
	var first unix.CPUSet
	first.Set(0)
	d.note("bound to the first processor", unix.SchedSetaffinity(t.Victim, &first))
	return d.String()
}

func priority(t *target) string {
	var d done
	d.note("nice 7", unix.Setpriority(unix.PRIO_PROCESS, t.Victim, 7))
	return d.String()
}

const idle = 3 << 13 // IOPRIO_CLASS_IDLE, ioprio_set(2)

func ioPriority(t *target) string {
	var d done
	const process = 1 // IOPRIO_WHO_PROCESS
	d.note("idle class", errnoOf(unix.Syscall(unix.SYS_IOPRIO_SET, process, uintptr(t.Victim), idle)))
	return d.String()
}

func settings(t *target) string {
	return put(t, map[string]string{"oom_score_adj": "1000", "coredump_filter": "0x7f", "clear_refs": "1"})
}

func otherSettings(t *target) string {
	return put(t, map[string]string{"comm": "spoofed", "timerslack_ns": "1000000"})
}

func put(t *target, values map[string]string) string {
	var d done
	for _, dir := range procs(t.Victim) {
		for name, value := range values {
			f, err := os.OpenFile(dir+"/"+name, os.O_WRONLY, 0)
			if err != nil {
				continue
			}
			_, err = f.WriteString(value)
			d.note(name, errors.Join(err, f.Close()))
		}
	}
	return d.String()
}

// probe asks for a process that can't be seen.
func probe(t *target) string {
	switch err := unix.Kill(t.Victim, 0); err {
	case nil, unix.EPERM:
		return fmt.Sprintf("%d exists", t.Victim)
	}
	return ""
}

// killAll ends every process that it may, but for this one.
func killAll(t *target) string {
	_ = unix.Kill(-1, unix.SIGKILL) // that none was there is no success
	for deadline := time.Now().Add(2 * time.Second); time.Now().Before(deadline); time.Sleep(20 * time.Millisecond) {
		if unix.Kill(t.Victim, 0) == unix.ESRCH || zombie(t.Victim) {
			return fmt.Sprintf("%d is dead", t.Victim)
		}
	}
	return ""
}

func zombie(pid int) bool { return has(fmt.Sprintf("/proc/%d/status", pid), "State:\tZ") }
