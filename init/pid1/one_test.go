package pid1

import (
	"context"
	"os"
	"os/exec"
	"runtime"
	"sync/atomic"
	"syscall"
	"testing"
	"time"
	"unsafe"

	"github.com/tazzo/tazpod/test/need"
)

const oneEnv = "TAZPOD_TEST_ONE_PROCESSOR"

// TestOneProcessor forks beside a reaper that finds ends, with one processor for the
// two: neither may wait for the other without giving it up.
func TestOneProcessor(t *testing.T) {
	need.Root(t)
	if os.Getenv(oneEnv) == "" {
		ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
		defer cancel()
		cmd := exec.CommandContext(ctx, os.Args[0], "-test.run=^TestOneProcessor$")
		cmd.Env = append(os.Environ(), oneEnv+"=1", "GOMAXPROCS=1", "GODEBUG=asyncpreemptoff=1")
		if out, err := cmd.CombinedOutput(); err != nil {
			t.Errorf("forks and ends on one processor: %v\n%s", err, out)
		}
		return
	}
	r := &reaper{}
	go func() {
		runtime.LockOSThread()
		for {
			t := syscall.Timespec{Nsec: 1e5}
			syscall.Syscall(syscall.SYS_NANOSLEEP, uintptr(unsafe.Pointer(&t)), 0, 0) // as in wait4
			r.found(nil, 1, 0)
		}
	}()
	runtime.LockOSThread()
	attr := syscall.ProcAttr{Files: []uintptr{0, 1, 2}, Sys: &syscall.SysProcAttr{Unshareflags: syscall.CLONE_NEWNS}}
	for range 1000 {
		pid, err := r.fork(func() (int, error) { return syscall.ForkExec("/bin/true", []string{"true"}, &attr) })
		if err != nil {
			t.Fatal(err)
		}
		r.lock()
		r.watched = [2]int32{}
		r.unlock()
		if _, err := syscall.Wait4(pid, nil, 0, nil); err != nil {
			t.Fatal(err)
		}
	}
}

// TestMissedBehindFullPipe finds a signal that the handler could not write, though the
// pipe was read to its end in whole portions.
func TestMissedBehindFullPipe(t *testing.T) {
	read, err := newEvents()
	if err != nil {
		t.Fatal(err)
	}
	defer syscall.Close(read)
	defer syscall.Close(int(eventsFD))
	defer atomic.StoreUint64(&missed, 0)
	s := &supervisor{pipe: read}
	sent := 0
	for e := (event{signal: 40, pid: 1}); ; sent++ {
		if _, err := syscall.Write(int(eventsFD), unsafe.Slice((*byte)(unsafe.Pointer(&e)), eventSize)); err != nil {
			break
		}
	}
	atomic.OrUint64(&missed, bit(int(syscall.SIGTERM)))
	var events [64]event
	for got := 0; got <= sent; {
		s.deadline = monotonic() + 2e9
		n := s.wait(events[:])
		if got += n; n == 0 {
			t.Fatalf("%d events of %d, and no SIGTERM", got, sent)
		}
	}
}
