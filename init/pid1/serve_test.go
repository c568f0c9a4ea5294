package pid1

import (
	"encoding/json"
	"fmt"
	"os"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/tazzo/tazpod/test/need"
)

// state waits until the pod's StateFile, in its own mount namespace, is as ok
// wants it.
func (r *run) state(ok func(s State) bool) {
	r.t.Helper()
	var s State
	var err error
	for end := time.Now().Add(patience); time.Now().Before(end); time.Sleep(time.Millisecond) {
		var text []byte
		if text, err = os.ReadFile(fmt.Sprintf("/proc/%d/root%s", r.Process.Pid, StateFile)); err != nil {
			continue
		}
		s = State{}
		if err = json.Unmarshal(text, &s); err != nil {
			r.t.Fatalf("%s: %v", text, err)
		}
		if ok(s) {
			return
		}
	}
	r.t.Fatalf("state is %+v, %v", s, err)
}

func pod(t *testing.T, serve string, args ...string) *run {
	h := how{namespace: true, env: []string{"FAKE_SERVE=" + serve, `TAZPOD_POD={"name":"try"}`}}
	return h.start(t, append([]string{"pid1"}, args...)...)
}

func TestPodRunsUntilTold(t *testing.T) {
	for _, signal := range []unix.Signal{unix.SIGTERM, unix.SIGINT} {
		r := pod(t, "")
		r.see(`serve {"private_mounts":true} {"name":"try"}`)
		r.state(func(s State) bool { return s.Running && s.PID > 1 && s.Restarts == 0 && s.Last == "" })
		for _, other := range []unix.Signal{unix.SIGHUP, unix.SIGUSR1, unix.SIGWINCH, unix.SIGQUIT} {
			r.signal(other)
		}
		r.signal(signal)
		r.see("serve saved")
		r.want(0)
		if out := r.out.String(); strings.Count(out, "serve got") != 1 {
			t.Errorf("serve got more than its stop:\n%s", out)
		}
	}
}

func TestServeIsToldWhenTheCommandEnds(t *testing.T) {
	in, out, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	h := how{namespace: true}
	r := h.command(t, "pid1", "bash", "-c", "read x; exit 12")
	r.Stdin, r.Stdout, r.Stderr = in, r.out, r.out
	if err := r.Start(); err != nil {
		t.Fatal(err)
	}
	in.Close()
	r.watch()
	r.see(`serve {"private_mounts":true}`)
	out.Close()
	r.want(12)
	if out := r.out.String(); !strings.Contains(out, "serve saved") {
		t.Errorf("serve was not let save:\n%s", out)
	}
}

// TestStopReachesBoth sends the stop to serve at once, also while the command
// takes its time.
func TestStopReachesBoth(t *testing.T) {
	r := pod(t, "", "bash", "-c", `trap 'until [ -e /run/go ]; do sleep 0.02; done; exit 13' TERM; echo ready; `+forever)
	r.see("ready")
	r.see("serve {")
	r.signal(unix.SIGTERM)
	r.see("serve saved")
	if err := os.WriteFile(fmt.Sprintf("/proc/%d/root/run/go", r.Process.Pid), nil, 0o666); err != nil {
		t.Fatal(err)
	}
	r.want(13)
}

func TestStubbornServeIsKilled(t *testing.T) {
	r := pod(t, "stubborn", "--grace=200ms")
	r.see("serve stubborn")
	r.signal(unix.SIGTERM)
	r.want(128 + 9)

	r = pod(t, "stubborn", "--grace=200ms", "sh", "-c", "exit 3")
	r.want(3)
}

func TestServeIsStartedAgain(t *testing.T) {
	r := pod(t, "exit=3")
	for _, wait := range []string{"0.1s", "0.2s", "0.4s"} {
		line := r.see(`"restart_in":"` + wait + `"`)
		if !strings.Contains(line, `"event":"serve ended","error":"exit status 3"`) {
			t.Errorf("log says\n%s", line)
		}
	}
	r.state(func(s State) bool {
		return !s.Running && s.Restarts == 3 && s.BackOff == 400 && s.Last == "exit status 3"
	})
	r.signal(unix.SIGTERM)
	r.want(0)

	r = pod(t, "")
	r.see("serve {")
	if err := unix.Kill(hostPID(t, r), unix.SIGKILL); err != nil {
		t.Fatal(err)
	}
	r.see(`"error":"signal killed"`)
	r.out.cut(`"error":"signal killed"`)
	r.see("serve {")
	r.state(func(s State) bool { return s.Running && s.Restarts == 1 && s.Last == "signal killed" })
	r.signal(unix.SIGTERM)
	r.see("serve saved")
	r.want(0)
}

// hostPID is the process id of serve as we see it: the pod's only child.
func hostPID(t *testing.T, r *run) int {
	t.Helper()
	list := below(processes(), r.Process.Pid)
	if len(list) != 1 {
		t.Fatalf("pod has %d processes; want serve alone", len(list))
	}
	return list[0].pid
}

func TestBackOff(t *testing.T) {
	s := server{started: monotonic()}
	for i, want := range []int64{100, 200, 400, 800, 1600, 3200, 6400, 10000, 10000} {
		if s.note("x"); s.state.BackOff != want {
			t.Errorf("back-off %d is %d ms; want %d", i, s.state.BackOff, want)
		}
	}
	s.started -= int64(healthy)
	if s.note("x"); s.state.BackOff != 100 {
		t.Errorf("back-off after a minute of health is %d ms; want 100", s.state.BackOff)
	}
}

// TestPrivateMountsRefused drops the capability that a mount namespace takes.
func TestPrivateMountsRefused(t *testing.T) {
	need.Command(t, "setpriv")
	exe, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	r := how{namespace: true}.start(t, "run", "setpriv", "--bounding-set", "-sys_admin", exe, "pid1")
	r.see(`serve {"private_mounts":false,"refused":"unshare CLONE_NEWNS: operation not permitted"}`)
	r.signal(unix.SIGTERM)
	r.want(0)
}

func TestPodWithoutRoot(t *testing.T) {
	built := build(t)
	h := how{path: built, uid: 1000}
	r := h.start(t, "pid1")
	r.want(16)
	r.see("hint: leave out --user")
	r = h.start(t, "pid1", "sh", "-c", "id -u; exit 4")
	r.want(4)
	r.see("1000\n")
	r.see("serve not started")
}
