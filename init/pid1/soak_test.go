package pid1

import (
	"fmt"
	"os"
	"runtime"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// soak picks the amount of a test: the second with TAZPOD_SOAK=long (make soak).
func soak(usual, long int) int {
	if os.Getenv("TAZPOD_SOAK") == "long" {
		return long
	}
	return usual
}

// holding is what a process holds.
type holding struct{ kB, threads, descriptors int }

func (r *run) holds() (u holding) {
	r.t.Helper()
	dir := fmt.Sprintf("/proc/%d/", r.Process.Pid)
	text, err := os.ReadFile(dir + "status")
	if err != nil {
		r.t.Fatal(err)
	}
	for line := range strings.Lines(string(text)) {
		name, value, _ := strings.Cut(line, ":")
		n, _ := strconv.Atoi(strings.Fields(value + " x")[0]) // not every field is a number
		switch name {
		case "VmRSS":
			u.kB = n
		case "Threads":
			u.threads = n
		}
	}
	open, err := os.ReadDir(dir + "fd")
	if err != nil {
		r.t.Fatal(err)
	}
	u.descriptors = len(open)
	return u
}

// portion is how many signals may be on their way: far less than what a user may
// have queued, or the kernel refuses more.
const portion = 10_000

// TestSoak has an init as it is delivered reap children that aren't its own and
// hand on signals for long: it loses none, and doesn't grow.
func TestSoak(t *testing.T) {
	orphans, signals := soak(3_000, 1_000_000), soak(20_000, 100_000)
	exe, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	r := how{namespace: true, path: build(t)}.start(t, "run", exe, "helper", "soak", strconv.Itoa(orphans))
	r.see("ready\n")
	if err := queue(r.Process.Pid, 41, 0); err != nil { // handed on once all has begun
		t.Fatal(err)
	}
	r.see("begun\n")
	before := r.holds()
	began := time.Now()
	for i := range signals {
		if i%portion == 0 && i > 0 {
			r.see(fmt.Sprintf("counted %d\n", i-portion))
		}
		if err := queue(r.Process.Pid, 40, uint64(i)); err != nil {
			t.Fatal(i, err)
		}
	}
	r.see(fmt.Sprintf("counted %d\n", signals))
	if got, ok := r.out.wait("over\n", time.Duration(soak(1, 60))*patience); !ok {
		t.Fatalf("orphans still come: %s", got)
	}
	after := r.holds()
	t.Logf("%d orphans, %d signals, %v: %+v, then %+v", orphans, signals, time.Since(began).Round(time.Millisecond), before, after)
	if after.kB > before.kB+512 || after.threads > before.threads || after.descriptors != before.descriptors {
		t.Errorf("init has %+v; want no more than %+v", after, before)
	}
	for end := time.Now().Add(patience); ; time.Sleep(time.Millisecond) { // the last ones are still reaped
		children, err := os.ReadFile(fmt.Sprintf("/proc/%[1]d/task/%[1]d/children", r.Process.Pid))
		if err != nil {
			t.Fatal(err)
		}
		if len(strings.Fields(string(children))) == 1 {
			break
		}
		if time.Now().After(end) {
			t.Fatalf("init has the children %s; want the command alone", children)
		}
	}
	r.signal(unix.SIGTERM)
	r.want(17)
}

// soaked gives its parent children that end, and counts signals.
func soaked(args []string) int {
	runtime.LockOSThread()
	pipe, err := newEvents()
	if err != nil {
		return 98
	}
	orphans, err := strconv.Atoi(args[0])
	if err != nil {
		return 98
	}
	shut()
	catch(^uint64(0))
	fmt.Println("ready\ncounted 0")
	go func() {
		for range orphans {
			if err := sibling(); err != 0 {
				fmt.Println("clone", err)
				os.Exit(98)
			}
		}
		fmt.Println("over")
	}()
	s := supervisor{pipe: pipe}
	var events [64]event
	for n := 0; ; {
		for _, e := range events[:s.wait(events[:])] {
			switch e.signal {
			case 40:
				if n++; n%portion == 0 {
					fmt.Println("counted", n)
				}
			case 41:
				fmt.Println("begun")
			case int32(unix.SIGTERM):
				return 17
			}
		}
	}
}

// sibling makes a child of our parent that ends at once.
//
//go:norace
//go:nosplit
func sibling() syscall.Errno {
	pid, _, errno := syscall.RawSyscall6(syscall.SYS_CLONE, unix.CLONE_PARENT|uintptr(unix.SIGCHLD), 0, 0, 0, 0, 0)
	if errno == 0 && pid == 0 {
		for {
			syscall.RawSyscall(syscall.SYS_EXIT_GROUP, 0, 0, 0)
		}
	}
	return errno
}
