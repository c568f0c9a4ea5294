package pid1

import (
	"runtime"
	"strconv"
	"sync/atomic"
	"syscall"
	"unsafe"
)

// The reaper is one thread asleep in wait4(-1). Nothing else in this process
// waits for children, so no status can be stolen.
//
// Orphans come in storms. After the fourth end in quick succession the reaper
// lets them gather for two milliseconds and then takes them all, and again until
// there were none: one wake-up for many, and SIGCHLD at its default costs none.
// Meanwhile it doesn't tell the Go scheduler that it sleeps: that would keep a
// thread of the runtime looking after it fifty times in a millisecond. Nor do
// reaper and supervisor wait for each other by what Go has for that, which could
// want another thread to run the one that is woken (see spareThreads).
type reaper struct {
	// forking is 1 from before a fork until its child is in watched, so that a
	// child that ends at once isn't taken for an orphan.
	forking atomic.Uint32
	watched [2]int32

	warn   bool     // log every orphan
	again  uint32   // a futex: 1 when there may be children again
	events [3]event // of one sweep: both watched children, and that none is left
}

const (
	gather        = 2e6 // ns
	storm         = 4   // ends in a row, each within gather of the one before
	reportAtLeast = 256 // ends, before watched ones among them are reported
)

// wake makes the reaper look for children again after it reported that none is
// left.
func (r *reaper) wake() {
	atomic.StoreUint32(&r.again, 1)
	futexWake(&r.again)
}

// sleep waits for wake.
func (r *reaper) sleep() {
	for !atomic.CompareAndSwapUint32(&r.again, 1, 0) {
		futexWait(&r.again, 0)
	}
}

func (r *reaper) lock() {
	for !r.forking.CompareAndSwap(0, 1) {
		pause()
		runtime.Gosched() // on one processor the other side needs ours
	}
}

func (r *reaper) unlock() { r.forking.Store(0) }

// run reaps for ever, once there is a child. Signals are for the main thread.
func (r *reaper) run() {
	runtime.LockOSThread()
	setMask(^uint64(0))
	r.sleep()
	var last int64
	row := 0
	for {
		var status syscall.WaitStatus
		pid, err := syscall.Wait4(-1, &status, syscall.WUNTRACED, nil)
		now := monotonic()
		if row++; now-last >= gather {
			row = 0
		}
		last = now
		for n := r.sweep(pid, status, err); row >= storm && n > 0; {
			pause()
			n = r.sweep(waitNoHang())
			last = monotonic()
		}
	}
}

// sweep takes the ended child that it is given and every other one, and returns
// how many there were. When no child is left it waits for wake.
func (r *reaper) sweep(pid int, status syscall.WaitStatus, err error) (n int) {
	events := r.events[:0]
	for ; err == nil && pid > 0; pid, status, err = waitNoHang() {
		n++
		events = r.found(events, pid, status)
		if n%reportAtLeast == 0 || len(events) == len(r.watched) {
			report(events)
			events = events[:0]
		}
	}
	if err != syscall.ECHILD {
		report(events)
		return n
	}
	report(append(events, event{}))
	r.sleep()
	return 0
}

// found adds the change of a watched child. A process id isn't given out again
// before all others were, so the supervisor may signal it until it has read
// this event.
func (r *reaper) found(events []event, pid int, status syscall.WaitStatus) []event {
	r.lock()
	defer r.unlock()
	for i, w := range r.watched {
		if w != int32(pid) {
			continue
		}
		if !status.Stopped() {
			r.watched[i] = 0
		}
		return append(events, event{pid: int32(pid), status: uint32(status)})
	}
	if r.warn && !status.Stopped() {
		note("warn", "orphan reaped", "pid", strconv.Itoa(pid), "status", describe(status))
	}
	return events
}

// fork runs start and watches the child that it returns.
func (r *reaper) fork(start func() (int, error)) (int, error) {
	r.lock()
	defer r.unlock()
	pid, err := start()
	if err != nil {
		return 0, err
	}
	for i, w := range r.watched {
		if w == 0 {
			r.watched[i] = int32(pid)
			break
		}
	}
	r.wake()
	return pid, nil
}

// pause sleeps two milliseconds without the runtime's timers, which would keep
// descriptors and a poller for it.
func pause() {
	t := syscall.Timespec{Nsec: gather}
	syscall.RawSyscall(syscall.SYS_NANOSLEEP, uintptr(unsafe.Pointer(&t)), 0, 0) // a signal may cut it short
}

// waitNoHang is wait4(2) for any child that has ended or stopped; pid is 0 when
// none has.
func waitNoHang() (pid int, status syscall.WaitStatus, err error) {
	id, _, errno := syscall.RawSyscall6(syscall.SYS_WAIT4, ^uintptr(0), uintptr(unsafe.Pointer(&status)),
		syscall.WUNTRACED|syscall.WNOHANG, 0, 0, 0)
	if errno != 0 {
		return 0, 0, errno
	}
	return int(id), status, nil
}

// monotonic is nanoseconds on a clock that stands still in suspend.
func monotonic() int64 {
	t := clock(1) // CLOCK_MONOTONIC
	return t.Nano()
}
