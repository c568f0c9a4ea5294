package pid1

import (
	"fmt"
	"os"
	"runtime"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"unsafe"

	"golang.org/x/sys/unix"
)

// queue sends a real-time signal with a value (sigqueue(3)).
func queue(pid int, signal int, value uint64) error {
	var info [128]byte
	*(*event)(unsafe.Pointer(&info)) = event{signal: int32(signal), code: siQueue, pid: int32(os.Getpid()), value: value}
	_, _, errno := syscall.RawSyscall(syscall.SYS_RT_SIGQUEUEINFO, uintptr(pid), uintptr(signal), uintptr(unsafe.Pointer(&info)))
	if errno != 0 {
		return errno
	}
	return nil
}

// count counts the signals that it gets, tells how many of 40 had the value
// that was due, and of SIGUSR1 whether there was any, and ends at SIGTERM.
func count([]string) int {
	runtime.LockOSThread()
	pipe, err := newEvents()
	if err != nil {
		return 98
	}
	shut()
	catch(^uint64(0))
	fmt.Println("ready")
	s := supervisor{pipe: pipe}
	var events [64]event
	total, due, strays, user, over := 0, uint64(0), 0, false, false
	for {
		n := s.wait(events[:])
		for _, e := range events[:n] {
			switch {
			case e.signal == 40:
				if total++; e.value != due {
					strays++
				}
				due = e.value + 1
			case e.signal == int32(unix.SIGUSR1):
				user = true
			case e.signal == int32(unix.SIGTERM):
				over = true
			case e.signal == 41: // behind all of 40
				fmt.Println("counted", total, user, strays)
			}
		}
		if over {
			return 17
		}
	}
}

// TestFlood sends more signals than any pipe holds, from several threads, while
// orphans end: each real-time signal arrives, in order, and what comes once
// arrives too.
func TestFlood(t *testing.T) {
	const orphans = `exec 3>&1; (for ((i = 0; i < 500; i++)); do ( : & ); done; echo orphaned) & exec /proc/$PPID/exe helper count`
	everywhere(t, func(t *testing.T, h how) {
		r := h.start(t, "run", "bash", "-c", orphans)
		r.see("ready\n")
		many := soak(20_000, 90_000) // the user's limit of queued signals is above that
		var stop atomic.Bool
		var flood sync.WaitGroup
		flood.Go(func() {
			for !stop.Load() {
				_ = unix.Kill(r.Process.Pid, unix.SIGUSR1)
			}
		})
		for i := range many {
			if err := queue(r.Process.Pid, 40, uint64(i)); err != nil {
				t.Error(i, err)
				break
			}
		}
		if err := queue(r.Process.Pid, 41, 0); err != nil {
			t.Error(err)
		}
		r.see(fmt.Sprintf("counted %d true ", many))
		r.see("orphaned")
		r.signal(unix.SIGTERM)
		r.want(17)
		stop.Store(true)
		flood.Wait()
	})
}

// TestFair: a signal that comes again and again doesn't keep out those that the
// kernel would hand out after it.
func TestFair(t *testing.T) {
	r := how{}.start(t, "helper", "fair")
	r.want(0)
	r.see("signals 1 15 1 15 \n")
}

// fair gets SIGHUP again whenever it had it, and SIGTERM twice.
func fair([]string) int {
	runtime.LockOSThread()
	pipe, err := newEvents()
	if err != nil {
		return 98
	}
	shut()
	catch(^uint64(0))
	self := func(signal unix.Signal) { _ = unix.Tgkill(os.Getpid(), unix.Gettid(), signal) }
	fmt.Print("signals ")
	s := supervisor{pipe: pipe}
	self(unix.SIGHUP)
	self(unix.SIGTERM)
	for range 4 {
		var events [1]event
		s.wait(events[:])
		fmt.Print(events[0].signal, " ")
		self(unix.Signal(events[0].signal))
	}
	fmt.Println()
	return 0
}

// TestFullPipe: a signal that finds the pipe full, as it may while a command
// starts, is noted.
func TestFullPipe(t *testing.T) {
	r := how{}.start(t, "helper", "full")
	r.want(0)
	r.see("signals 10 15 \n")
}

// fullPipe fills the pipe, gets signals, and prints those that come out of it.
func fullPipe([]string) int {
	pipe, err := newEvents()
	if err != nil {
		return 98
	}
	catch(bit(int(unix.SIGTERM)) | bit(int(unix.SIGUSR1)))
	for err == nil {
		_, err = unix.Write(int(eventsFD), make([]byte, eventSize))
	}
	for _, signal := range []unix.Signal{unix.SIGTERM, unix.SIGUSR1, unix.SIGTERM} {
		_ = unix.Kill(os.Getpid(), signal)
	}
	fmt.Print("signals ")
	s := supervisor{pipe: pipe}
	var events [64]event
	for {
		n := s.read(events[:])
		for _, e := range events[:n] {
			if e.signal != 0 {
				fmt.Print(e.signal, " ")
			}
		}
		if n < len(events) {
			fmt.Println()
			return 0
		}
	}
}
