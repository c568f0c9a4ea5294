package pid1

import (
	"math/bits"
	"sync/atomic"
	"syscall"
	"unsafe"
)

// Signals go round os/signal: it has no SIGPROF and no signal 34 (SIGRTMIN),
// can't tell who sent one, and wakes two goroutines for each. Here a handler of
// a few instructions writes the kernel's siginfo to a pipe, on which the main
// thread sleeps.
//
//	sender ── kill(2) ──► handler (any thread) ── write ──► pipe ── ppoll ──► supervisor
//	                                      reaper ── write ──►
//
// A flood must not fill the pipe, or what comes next would be lost, a SIGTERM
// too. So signals wait where the kernel keeps them, in the order and number that
// signal(7) promises: the main thread lets them in in ppoll alone, one at a
// time, and any other thread that gets one is closed to all by the handler.

const (
	firstQueued = 32 // real-time signals, of which each one sent counts
	lastSignal  = 64
)

// event is what the pipe carries: the first 32 bytes of a siginfo (sigaction(2)),
// or, with signal 0, a child's end that the reaper found.
type event struct {
	signal int32
	_      int32
	code   int32 // where the signal came from; below 1: from a process
	_      int32
	pid    int32  // sender, or the child; 0 with signal 0: no child is left
	status uint32 // sender's uid, or the child's wait status
	value  uint64 // sigqueue(3)
}

const eventSize = int(unsafe.Sizeof(event{}))

// Set by newEvents, read by the handler.
var (
	eventsFD int64 // the pipe's write end
	//lint:ignore U1000 the assembly reads it
	faultHandler uintptr // the Go runtime's handler
)

// Shared with the handler.
var (
	//lint:ignore U1000 the assembly reads it
	afterwards uint64 // signals that it blocks on the thread that it interrupted
	missed     uint64 // signals that found the pipe full
)

// closed are the signals that wait until the main thread asks for them. The
// faults of this process itself are not among them: blocked, they would end it
// without a word.
const closed = ^uint64(1<<(syscall.SIGILL-1) | 1<<(syscall.SIGBUS-1) | 1<<(syscall.SIGFPE-1) | 1<<(syscall.SIGSEGV-1) | 1<<(syscall.SIGSYS-1))

// shut closes this thread to signals, and each other one from the next that it
// gets.
func shut() {
	afterwards = closed
	setMask(closed)
}

// lift sets this thread's mask to what a child shall inherit, until lower is
// called with lift's result. The handler doesn't change it meanwhile: a flood
// can fill the pipe, and then real-time signals count once each.
func lift(mask uint64) (old uint64) {
	afterwards = 0
	return setMask(mask)
}

func lower(old uint64) {
	setMask(old)
	afterwards = closed
}

// takeMissed turns a signal that found the pipe full into an event.
func takeMissed() (e event, ok bool) {
	set := atomic.LoadUint64(&missed)
	if set == 0 {
		return event{}, false
	}
	number := 1 + bits.TrailingZeros64(set)
	atomic.AndUint64(&missed, ^bit(number))
	return event{signal: int32(number)}, true
}

// handlerPC is the handler's address, from the assembly.
var handlerPC uintptr

// action is the kernel's struct sigaction.
type action struct {
	handler  uintptr
	flags    uint64
	restorer uintptr
	mask     uint64
}

const (
	actionDefault = 0 // SIG_DFL
	actionIgnore  = 1 // SIG_IGN
	siQueue       = -1
)

func bit(signal int) uint64 { return 1 << (signal - 1) }

func sigaction(signal int, set, old *action) {
	// It fails for no valid signal but KILL and STOP, which nobody asks for.
	syscall.RawSyscall6(syscall.SYS_RT_SIGACTION, uintptr(signal), uintptr(unsafe.Pointer(set)), uintptr(unsafe.Pointer(old)), 8, 0, 0)
}

// setMask sets the calling thread's mask of blocked signals and returns the old one.
func setMask(mask uint64) uint64 {
	var old uint64
	syscall.RawSyscall6(syscall.SYS_RT_SIGPROCMASK, sigSetmask, uintptr(unsafe.Pointer(&mask)), uintptr(unsafe.Pointer(&old)), 8, 0, 0)
	return old
}

// dispositions are what a process inherits over exec and hands on: bit n-1 for
// signal n.
type dispositions struct {
	blocked, ignored uint64
}

// kept are the signals whose being ignored a forked child keeps by itself: the
// runtime puts back to their default those that it handles.
const kept = 1<<(syscall.SIGHUP-1) | 1<<(syscall.SIGINT-1) | 1<<(syscall.SIGCONT-1) | 1<<(syscall.SIGTSTP-1) |
	1<<(syscall.SIGTTIN-1) | 1<<(syscall.SIGTTOU-1) | 7<<(32-1)

// inherited reads what this process was started with. The Go runtime has
// already put handlers over most ignored signals and unblocked some, so only
// what the entry point saw before it is complete (entry_amd64.s); without it,
// ignored HUP, INT, TSTP, TTIN, TTOU and 32 to 34 are still to be seen.
func inherited() dispositions {
	if entered != 0 {
		return dispositions{entryBlocked, entryIgnored}
	}
	d := dispositions{ignored: currentlyIgnored()}
	syscall.RawSyscall6(syscall.SYS_RT_SIGPROCMASK, sigSetmask, 0, uintptr(unsafe.Pointer(&d.blocked)), 8, 0, 0)
	return d
}

func currentlyIgnored() (set uint64) {
	for n := 1; n <= lastSignal; n++ {
		var a action
		if sigaction(n, nil, &a); a.handler == actionIgnore {
			set |= bit(n)
		}
	}
	return set
}

// handling is the action that catch installs: the runtime's own, with its flags
// (alternate stack, restart) and restorer, but our handler.
func handling() action {
	var a action
	sigaction(int(syscall.SIGSEGV), nil, &a)
	if a.handler != handlerPC {
		faultHandler = a.handler
	}
	a.handler = handlerPC
	return a
}

// catch installs the handler for the signals in set. KILL and STOP can't be
// caught; CHLD stays at its default, so that a storm of ending orphans
// interrupts nobody (see reaper).
func catch(set uint64) {
	a := handling()
	set &^= bit(int(syscall.SIGKILL)) | bit(int(syscall.SIGSTOP)) | bit(int(syscall.SIGCHLD))
	for n := 1; n <= lastSignal; n++ {
		if set&bit(n) != 0 {
			sigaction(n, &a, nil)
		}
	}
}

// ignore ignores the signals in set, for the command to inherit.
func ignore(set uint64) {
	for n := 1; n <= lastSignal; n++ {
		if set&bit(n) != 0 && n != int(syscall.SIGCHLD) { // that would make the kernel reap
			sigaction(n, &action{handler: actionIgnore}, nil)
		}
	}
}

// catchChild turns the handler for SIGCHLD on or off.
func catchChild(on bool) {
	a := action{handler: actionDefault}
	if on {
		a = handling()
	}
	sigaction(int(syscall.SIGCHLD), &a, nil)
}

// newEvents makes the pipe. Its write end never blocks: a handler that waits
// could stop the thread that it waits for. 2,000 events fit, or 256 where the
// kernel is short of room for pipes.
func newEvents() (read int, err error) {
	var p [2]int
	if err := syscall.Pipe2(p[:], syscall.O_CLOEXEC); err != nil {
		return 0, err
	}
	for _, fd := range p {
		if err := syscall.SetNonblock(fd, true); err != nil {
			return 0, err
		}
	}
	eventsFD = int64(p[1])
	return p[0], nil
}

// report puts the reaper's events on the pipe, all in one write. Handlers may
// have filled it: then wait, a child's status must not be lost.
func report(events []event) {
	if len(events) == 0 {
		return
	}
	b := unsafe.Slice((*byte)(unsafe.Pointer(&events[0])), len(events)*eventSize)
	for {
		_, err := syscall.Write(int(eventsFD), b)
		switch err {
		case nil:
			return
		case syscall.EINTR:
		default:
			pause()
		}
	}
}
