package pid1

import (
	"runtime"
	"sync"
	"syscall"
)

// The reaper is one thread asleep in wait4(-1). Nothing else in this process
// waits for children, so no status can be stolen.
//
// Orphans come in storms. After the fourth end in quick succession the reaper
// lets them gather for two milliseconds and then takes them all: one wake-up
// for many, and SIGCHLD at its default costs none.
type reaper struct {
	// forking is held from before a fork until its child is in watched, so that
	// a child that ends at once isn't taken for an orphan.
	forking sync.Mutex
	watched [2]int32

	again chan struct{} // there may be children again
}

const (
	gather      = 2e6 // ns
	storm       = 4   // ends in a row, each within gather of the one before
	sweepAtMost = 256 // ends, before watched ones among them are reported
)

func newReaper() *reaper { return &reaper{again: make(chan struct{}, 1)} }

// wake makes the reaper look for children again after it reported that none is
// left.
func (r *reaper) wake() {
	select {
	case r.again <- struct{}{}:
	default:
	}
}

// run reaps for ever. Signals are for the main thread.
func (r *reaper) run() {
	runtime.LockOSThread()
	setMask(^uint64(0))
	events := make([]event, 0, len(r.watched)+1)
	var last int64
	row := 0
	for {
		var status syscall.WaitStatus
		pid, err := syscall.Wait4(-1, &status, syscall.WUNTRACED, nil)
		now := monotonic()
		if now-last < gather {
			row++
		} else {
			row = 0
		}
		if row >= storm {
			pause()
			now = monotonic()
		}
		last = now
		events = events[:0]
		for n := 0; ; n++ {
			if err == syscall.ECHILD {
				events = append(events, event{})
				break
			}
			if err == nil && pid > 0 {
				events = r.found(events, pid, status)
			}
			if err == nil && pid == 0 || n >= sweepAtMost || len(events) >= len(r.watched) {
				break
			}
			pid, err = syscall.Wait4(-1, &status, syscall.WUNTRACED|syscall.WNOHANG, nil)
		}
		none := len(events) > 0 && events[len(events)-1].pid == 0
		report(events)
		if none {
			<-r.again
		}
	}
}

// found adds the change of a watched child. A process id isn't given out again
// before all others were, so the supervisor may signal it until it has read
// this event.
func (r *reaper) found(events []event, pid int, status syscall.WaitStatus) []event {
	r.forking.Lock()
	defer r.forking.Unlock()
	for i, w := range r.watched {
		if w != int32(pid) {
			continue
		}
		if !status.Stopped() {
			r.watched[i] = 0
		}
		return append(events, event{pid: int32(pid), status: uint32(status)})
	}
	return events
}

// fork runs start and watches the child that it returns.
func (r *reaper) fork(start func() (int, error)) (int, error) {
	r.forking.Lock()
	defer r.forking.Unlock()
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
	_ = syscall.Nanosleep(&t, nil) // a signal may cut it short
}

// monotonic is nanoseconds on a clock that stands still in suspend.
func monotonic() int64 {
	t := clock(1) // CLOCK_MONOTONIC
	return t.Nano()
}
