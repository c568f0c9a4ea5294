package e2e

import (
	"os/exec"
	"strings"
	"testing"
	"time"

	"github.com/tazzo/tazpod/init/wire"
)

// The rows of PID 1's behaviour for which a container makes a difference. The
// others, and these in a bare namespace, are tests of init/pid1.

// first is the command line of a container of the base image.
func first(p *project, flags ...string) []string {
	return append(append([]string{"docker", "run", "--name", p.name, "--label", "io.tazpod.test=1"}, flags...), "tazpod/base")
}

func TestFirstStatus(t *testing.T) {
	p := newProject(t)
	for _, c := range []struct {
		want int
		args []string
	}{
		{7, []string{"sh", "-c", "exit 7"}},
		{128 + 9, []string{"sh", "-c", "kill -9 $$"}},
		{wire.ExitNotFound, []string{"no-such-program"}},
		{wire.ExitNotExecutable, []string{"/etc"}},
	} {
		run(t, append(first(p, "--rm"), c.args...)...).status(c.want)
	}
}

// TestFirstOnTerminal types at the command of `docker run -it`.
func TestFirstOnTerminal(t *testing.T) {
	p := newProject(t)
	args := append(first(p, "-it", "--rm"), "bash", "--norc", "-i")
	term := onTerminal(t, exec.Command(args[0], args[1:]...))
	term.ready()
	term.foreground()
	term.send("\x1a")
	term.expect("Stopped")
	term.expect("\nbash")
	term.send("fg\n")
	term.expect("exec sleep 1000'")
	term.send("\x03")
	term.expect("^C")
	term.expect("$ ")
	term.send("echo st''atus $?\n")
	term.expect("status 130")
	term.send("exit 9\n")
	equal(t, "status", term.end(), 9)
}

// TestFirstStops: orphans of `docker exec` are reaped, signals arrive, and the
// end comes within the grace period, whatever the processes think of it.
func TestFirstStops(t *testing.T) {
	p := newProject(t)
	run(t, append(first(p, "-d", "-e", "TAZPOD_GRACE=1s"), "sh", "-c", `
		trap 'echo told' USR1; trap '' TERM; echo ready; while :; do sleep 0.05; done`)...).ok()
	p.logs("ready")
	p.inPod("0", "sh", "-c", "for i in 1 2 3 4 5 6 7 8 9; do (: &); done; (setsid sh -c \"trap '' TERM HUP; sleep 1000\" >/dev/null 2>&1 &)").ok()
	for deadline := time.Now().Add(patience); strings.Contains(p.inPod("0", "sh", "-c", "ps -eo stat=").ok(), "Z"); {
		if time.Now().After(deadline) {
			t.Fatal("zombies stay")
		}
	}
	run(t, "docker", "kill", "-s", "USR1", p.name).ok()
	p.logs("told")
	start := time.Now()
	run(t, "docker", "stop", "-t", "20", p.name).ok()
	if took := time.Since(start); took > soon {
		t.Errorf("it took %v; want a second, the grace period", took)
	}
	equal(t, "status", strings.TrimSpace(run(t, "docker", "inspect", "-f", "{{.State.ExitCode}}", p.name).ok()), "137")
	p.logs(`"event":"killed"`)
}

// logs waits until the pod has written text.
func (p *project) logs(text string) {
	p.t.Helper()
	for deadline := time.Now().Add(patience); ; time.Sleep(20 * time.Millisecond) {
		out := run(p.t, "docker", "logs", p.name).both()
		if strings.Contains(out, text) {
			return
		}
		if time.Now().After(deadline) {
			p.t.Fatalf("no %q in the log:\n%s", text, out)
		}
	}
}

// TestCrashLoop: one crash of the supervisor is no reason for alarm, two are.
func TestCrashLoop(t *testing.T) {
	p := newProject(t)
	run(t, first(p, "-d")...).ok()
	healthy := func() result { return p.inPod("0", wire.Binary, "healthcheck") }
	for _, want := range []int{0, 0, wire.ExitFailure} {
		for deadline := time.Now().Add(patience); p.inPod("0", wire.Binary, "status").code != 0; time.Sleep(20 * time.Millisecond) {
			if time.Now().After(deadline) {
				t.Fatal("the supervisor doesn't come back")
			}
		}
		r := healthy()
		r.status(want)
		if want != 0 && !strings.Contains(r.stderr, "ended 2 times, last with: signal killed") {
			t.Errorf("healthcheck says %s", r.stderr)
		}
		killServe(p)
	}
}
