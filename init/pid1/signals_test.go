package pid1

import (
	"fmt"
	"os"
	"strings"
	"syscall"
	"testing"
	"unsafe"

	"golang.org/x/sys/unix"
)

// TestForwardsEverySignal sends each signal from outside and sees it arrive in
// the command.
func TestForwardsEverySignal(t *testing.T) {
	everywhere(t, func(t *testing.T, h how) {
		r := h.start(t, "run", "--grace=forever", "/proc/self/exe", "helper", "catch")
		r.see("ready\n")
		for n := 1; n <= lastSignal; n++ {
			switch n {
			case int(unix.SIGKILL), int(unix.SIGSTOP), int(unix.SIGCHLD), 32, 33: // the last two are the C library's
				continue
			}
			r.signal(syscall.Signal(n))
			r.see(fmt.Sprintf("signal %d 0 ", n))
		}
	})
}

// TestForwardsQueuedSignals loses none of 500 real-time signals that come
// faster than they are handed on, and keeps their values.
func TestForwardsQueuedSignals(t *testing.T) {
	const many = 500
	r := how{}.start(t, "run", "/proc/self/exe", "helper", "catch")
	r.see("ready\n")
	for i := range many {
		var info [128]byte
		*(*event)(unsafe.Pointer(&info)) = event{signal: 40, code: siQueue, pid: int32(os.Getpid()), value: uint64(i)}
		_, _, errno := syscall.RawSyscall(syscall.SYS_RT_SIGQUEUEINFO, uintptr(r.Process.Pid), 40, uintptr(unsafe.Pointer(&info)))
		if errno != 0 {
			t.Fatal(errno)
		}
	}
	for i := range many { // threads may overtake one another
		r.see(fmt.Sprintf("signal 40 -1 %d\n", i))
	}
}

func TestRewrite(t *testing.T) {
	everywhere(t, rewrite)
}

func rewrite(t *testing.T, h how) {
	r := h.start(t, "run", "-r", "TERM:INT", "-rUSR1:RTMIN+3", "--rewrite", "USR2:0", "/proc/self/exe", "helper", "catch")
	r.see("ready\n")
	r.signal(unix.SIGUSR2)
	r.signal(unix.SIGUSR1)
	r.see("signal 37 ")
	r.signal(unix.SIGTERM)
	if out := r.see("signal 2 "); strings.Contains(out, "signal 12 ") {
		t.Errorf("USR2 was not dropped:\n%s", out)
	}
}

func TestGroup(t *testing.T) {
	everywhere(t, group)
}

func group(t *testing.T, h how) {
	for _, c := range []struct{ flag, wait string }{{"--group", "wait; "}, {"-s", ""}} {
		r := h.start(t, "run", "--grace=0", c.flag, "bash", "-c", `
			trap '`+c.wait+`echo shell; exit 0' USR1
			bash -c 'trap "echo member; exit 0" USR1; echo ready; `+forever+`' &
			`+forever)
		r.see("ready\n")
		r.signal(unix.SIGUSR1)
		r.want(0)
		r.alone()
		if got, want := strings.Contains(r.out.String(), "member"), c.flag == "--group"; got != want {
			t.Errorf("%s: signal reached the group = %v; want %v", c.flag, got, want)
		}
	}
}

// TestParentDeath ends the program between the test and the init, whose command
// then gets the signal.
func TestParentDeath(t *testing.T) {
	exe, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	// The init comes to us when its parent ends, for us to wait for.
	if err := unix.Prctl(unix.PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0); err != nil {
		t.Fatal(err)
	}
	defer unix.Prctl(unix.PR_SET_CHILD_SUBREAPER, 0, 0, 0, 0)
	r := how{}.command(t)
	r.Path, r.Args = "/bin/sh", []string{"sh", "-c", exe + " run -p USR1 " + exe + " helper catch & read line"}
	in, err := r.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	r.Stdout = r.out
	if err := r.Start(); err != nil {
		t.Fatal(err)
	}
	r.see("ready\n")
	in.Close() // ends the shell
	r.see("signal 10 ")
	if _, err := r.Process.Wait(); err != nil {
		t.Fatal(err)
	}
	for _, p := range processes() {
		if p.parent == os.Getpid() {
			_ = unix.Kill(p.pid, unix.SIGTERM)
			for _, c := range below(processes(), p.pid) {
				_ = unix.Kill(c.pid, unix.SIGKILL)
			}
			var status unix.WaitStatus
			if _, err := unix.Wait4(p.pid, &status, 0, nil); err != nil || status.ExitStatus() != 128+9 {
				t.Errorf("init ended with %v, %v; want 137", status.ExitStatus(), err)
			}
		}
	}
	_ = r.Wait() // for its output's copy
}

// TestInheritedSignals compares what the command starts with to what a plain
// exec hands on.
func TestInheritedSignals(t *testing.T) {
	built := build(t)
	exe, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	status := []string{"grep", "-E", "^Sig(Blk|Ign)|^ShdPnd", "/proc/self/status"}
	for _, c := range []struct {
		name, ignored, blocked string
		path                   string
	}{
		{"none", "", "0", exe},
		{"nohup", "HUP INT TSTP TTIN TTOU 34", "0", exe},
		{"blocked", "", "18000200", exe}, // what the runtime leaves alone
		{"all", "HUP INT QUIT PIPE TERM CHLD USR1 TSTP TTOU 34 45", "40018024200", built},
		{"faults", "ILL ABRT SYS", "4890", built},
	} {
		t.Run(c.name, func(t *testing.T) {
			wrap := []string{"bash", "-c", "trap '' " + c.ignored + `; exec "$0" "$@"`, exe, "helper", "block", c.blocked}
			if c.ignored == "" {
				wrap = []string{exe, "helper", "block", c.blocked}
			}
			plain := how{wrap: wrap, path: "/bin/" + status[0]}.start(t, status[1:]...)
			plain.want(0)
			plain.alone()
			through := how{wrap: wrap, path: c.path}.start(t, append([]string{"run"}, status...)...)
			through.want(0)
			through.alone()
			if plain.out.String() != through.out.String() {
				t.Errorf("command starts with\n%s; want\n%s", through.out, plain.out)
			}
		})
	}
}
