package ghost

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

func TestStatuses(t *testing.T) {
	c := prepare(t)
	must(t, os.WriteFile(c.Workspace+"/text", []byte("no program"), 0o755), os.WriteFile(c.Workspace+"/plain", nil, 0o644))
	must(t, os.Mkdir(c.Workspace+"/private", 0o700)) // root's
	g := start(t, c)
	for _, e := range []struct {
		config SessionConfig
		want   Status
	}{
		{SessionConfig{Argv: []string{"true"}}, Status{}},
		{SessionConfig{Argv: []string{"/bin/sh", "-c", "exit 37"}}, Status{Code: 37}},
		{SessionConfig{Argv: []string{"/bin/sh", "-c", "kill -TERM $$"}}, Status{Signal: syscall.SIGTERM}},
		{SessionConfig{Argv: []string{"/bin/sh", "-c", "kill -SEGV $$"}}, Status{Signal: syscall.SIGSEGV}},
		{SessionConfig{Argv: []string{"nonesuch"}}, Status{Code: 127, Message: "nonesuch: command not found"}},
		{SessionConfig{Argv: []string{""}}, Status{Code: 127, Message: ": command not found"}},
		{SessionConfig{Argv: []string{"/nonesuch"}}, Status{Code: 127, Message: "/nonesuch: no such file or directory"}},
		{SessionConfig{Argv: []string{"./plain"}}, Status{Code: 126, Message: "./plain: permission denied"}},
		{SessionConfig{Argv: []string{"./text"}}, Status{Code: 126, Message: "./text: exec format error"}},
		{SessionConfig{Argv: []string{"/etc"}}, Status{Code: 126, Message: "/etc: is a directory"}},
		{SessionConfig{Argv: []string{"true"}, Dir: "/nonesuch"}, Status{Code: 125, Message: "/nonesuch: no such file or directory"}},
		{SessionConfig{Argv: []string{"true"}, Dir: "/workspace/private"}, Status{Code: 125, Message: "/workspace/private: permission denied"}},
		{SessionConfig{Argv: []string{"true"}, Env: []string{"PATH=/nonesuch"}}, Status{Code: 127, Message: "true: command not found"}},
		{SessionConfig{Argv: []string{"true", strings.Repeat("x", 140<<10)}}, Status{Code: 126, Message: "true: argument list too long"}},
		{SessionConfig{Argv: []string{"true", strings.Repeat("x", 100<<10), strings.Repeat("y", 100<<10)}}, Status{}},
	} {
		for _, e.config.Terminal = range []*Size{nil, {80, 24}} {
			s, err := g.Session(e.config)
			if err != nil {
				t.Fatal(err)
			}
			if got := s.Wait(); got != e.want {
				t.Errorf("status of %.40q (terminal %v) = %+v; want %+v", e.config.Argv, e.config.Terminal != nil, got, e.want)
			}
			must(t, s.Signal(syscall.SIGTERM)) // it is over: nothing happens
			s.Close()
		}
	}
}

func TestBytesArriveUnchanged(t *testing.T) {
	g := start(t, prepare(t))
	odd := string([]byte{'a', 0xff, '\n', 0xc3, '"'})
	s, err := g.Session(SessionConfig{Argv: []string{"/bin/sh", "-c", `printf %s "$1" "$ODD"; cat; printf %s err >&2`, "sh", odd}, Env: []string{"ODD=" + odd}})
	must(t, err)
	defer s.Close()
	input := bytes.Repeat([]byte{0, 1, 4, 255}, 100<<10)
	go func() {
		_, _ = s.Stdin.Write(input)
		s.Stdin.Close()
	}()
	out, err := io.ReadAll(s.Stdout)
	must(t, err)
	if want := odd + odd + string(input); string(out) != want {
		t.Errorf("output of %d bytes differs from what was sent (%d bytes)", len(out), len(want))
	}
	errs, err := io.ReadAll(s.Stderr)
	must(t, err)
	if string(errs) != "err" {
		t.Errorf("errors = %q; want %q", errs, "err")
	}
}

// terminal is a session on a terminal and what it has printed.
type terminal struct {
	*Session
	t    *testing.T
	seen strings.Builder
}

func openShell(t *testing.T, g *Ghost, argv ...string) *terminal {
	t.Helper()
	s, err := g.Session(SessionConfig{Argv: argv, Terminal: &Size{101, 37}, Env: []string{"TERM=xterm", "PS1=$ ", "PROMPT_COMMAND="}})
	must(t, err)
	t.Cleanup(s.Close)
	return &terminal{Session: s, t: t}
}

func (s *terminal) write(text string) {
	s.t.Helper()
	_, err := s.Stdin.WriteString(text)
	must(s.t, err)
}

// await reads until text has been printed, and forgets all up to there.
func (s *terminal) await(text string) {
	s.t.Helper()
	buffer := make([]byte, 4096)
	must(s.t, s.Stdout.SetReadDeadline(time.Now().Add(20*time.Second)))
	for !strings.Contains(s.seen.String(), text) {
		n, err := s.Stdout.Read(buffer)
		s.seen.Write(buffer[:n])
		if err != nil {
			s.t.Fatalf("waiting for %q: %v; seen %q", text, err, s.seen.String())
		}
	}
	_, rest, _ := strings.Cut(s.seen.String(), text)
	s.seen.Reset()
	s.seen.WriteString(rest)
}

func TestTerminal(t *testing.T) {
	g := start(t, prepare(t))
	s := openShell(t, g, "/bin/bash", "--norc", "-i")
	s.write("stty size; tty; echo $((6*7)); stat -c '%u %g %a' $(tty); ps -o tty= -p $$ 2>/dev/null\n")
	s.await("37 101")
	s.await("/dev/pts/0")
	s.await("42")
	s.await("1000 5 620")
	if err := s.Resize(90, 20); err != nil {
		t.Error(err)
	}
	s.write("stty size; set -o | grep monitor\n")
	s.await("20 90")
	s.await("on") // job control
	// The job says that it runs, in other letters than the terminal echoes.
	const job = "sh -c 'echo run\"\"ning; exec sleep 100'\n"
	s.write(job)
	s.await("running")
	s.write("\x03")
	s.await("^C")
	s.write("echo status $((100+$?))\n")
	s.await("status 230")
	s.write(job)
	s.await("running")
	must(t, s.Signal(syscall.SIGINT)) // the foreground job's, not the shell's
	s.write("echo status $((100+$?))\n")
	s.await("status 230")
	s.write(job)
	s.await("running")
	s.write("\x1a")
	s.await("Stopped")
	s.write("kill %1; exit 3\n")
	s.await("exit")
	s.write("exit 3\n") // in case bash warned of the stopped job
	if got, want := s.Wait(), (Status{Code: 3}); got != want {
		t.Errorf("status = %+v; want %+v", got, want)
	}
	if _, err := io.Copy(io.Discard, s.Stdout); !errors.Is(err, unix.EIO) {
		t.Errorf("reading a terminal that nobody has open = %v; want %v", err, unix.EIO)
	}
}

func TestLoginShell(t *testing.T) {
	c := prepare(t)
	must(t, os.WriteFile(c.Template+"/.profile", []byte("echo read profile as $0\n"), 0o644))
	s := openShell(t, start(t, c))
	s.await("read profile as -")
	s.write("exit\n")
	s.Wait()
}

// TestHangUp: when a terminal's other end closes, its shell and foreground job
// end; what chose to survive that does until the ghost ends.
func TestHangUp(t *testing.T) {
	g := start(t, prepare(t))
	s := openShell(t, g, "/bin/bash", "--norc", "-i")
	s.write("(trap '' HUP; echo back\"\"ground; exec sleep " + nap(1) + ") &\n")
	s.await("background")
	s.write("sh -c 'echo run\"\"ning; exec sleep " + nap(2) + "'\n")
	s.await("running")
	s.Close()
	if got := s.Wait(); got.Signal != syscall.SIGHUP && got.Code != 129 {
		t.Errorf("status after a hang-up = %+v; want SIGHUP or 129", got)
	}
	expect(t, g, listNaps, nap(1))
}

// TestRemnants: without a terminal, what a session's main process leaves in its
// process group gets SIGHUP.
func TestRemnants(t *testing.T) {
	g := start(t, prepare(t))
	_, _, status := sh(t, g, fmt.Sprintf("sleep %s >/dev/null 2>&1 & nohup sleep %s >/dev/null 2>&1 & setsid sleep %s >/dev/null 2>&1 & sleep 0.5; exit 5", nap(1), nap(2), nap(3)))
	if want := (Status{Code: 5}); status != want {
		t.Errorf("status = %+v; want %+v", status, want)
	}
	time.Sleep(50 * time.Millisecond)
	expect(t, g, listNaps, nap(2)+"\n"+nap(3))
}

func TestSignals(t *testing.T) {
	g := start(t, prepare(t))
	s, err := g.Session(SessionConfig{Argv: []string{"/bin/sh", "-c", "trap 'echo got; exit 9' USR1; echo set; while :; do sleep 0.05; done"}})
	must(t, err)
	defer s.Close()
	line := make([]byte, 4)
	_, err = io.ReadFull(s.Stdout, line)
	must(t, err, s.Signal(syscall.SIGUSR1))
	// The group's sleep is killed by it; the shell runs its trap.
	if got, want := s.Wait(), (Status{Code: 9}); got != want {
		t.Errorf("status = %+v; want %+v", got, want)
	}
}

// TestKill: nothing survives, however it tried to get away, and waiting
// sessions learn it.
func TestKill(t *testing.T) {
	c := prepare(t)
	g := start(t, c)
	s, err := g.Session(SessionConfig{Argv: []string{"/bin/sh", "-c", "trap '' HUP TERM INT; setsid nohup sleep " + nap(1) + " >/dev/null 2>&1 & echo up; while :; do sleep 1; done"}})
	must(t, err)
	defer s.Close()
	_, err = io.ReadFull(s.Stdout, make([]byte, 3))
	must(t, err)
	begin := time.Now()
	must(t, g.Kill())
	t.Logf("killed in %v", time.Since(begin))
	if got, want := s.Wait(), (Status{Signal: syscall.SIGKILL, Ended: true}); got != want {
		t.Errorf("status of a session whose ghost ended = %+v; want %+v", got, want)
	}
	if _, err := g.Session(SessionConfig{}); err == nil {
		t.Error("a session started in a ghost that has ended")
	}
	must(t, s.Signal(syscall.SIGTERM), g.Kill())
	if pid := lookFor(t, "sleep\x00"+nap(1)+"\x00"); pid != 0 {
		t.Errorf("process %d survived", pid)
	}
}

// nap is a time to sleep, the n-th of this test run's: what sleeps so long can
// be told from all other processes.
func nap(n int) string { return fmt.Sprintf("%d.%d", 1000+n, os.Getpid()) }

// listNaps lists, in a ghost, who sleeps that long.
const listNaps = `for f in /proc/[0-9]*/cmdline; do tr '\0' ' ' <$f 2>/dev/null; echo; done | sed -n 's/^sleep \(1[0-9]*\.[0-9]*\) $/\1/p' | sort`

// TestNothingLeaks: descriptors, goroutines and mounts are as before.
func TestNothingLeaks(t *testing.T) {
	c := prepare(t)
	count := func() (fds, mounts int) {
		files, err := os.ReadDir("/proc/self/fd")
		must(t, err)
		table, err := os.ReadFile("/proc/self/mountinfo")
		must(t, err)
		return len(files), bytes.Count(table, []byte(filepath.Dir(c.Base)))
	}
	cycle := func() {
		g, err := Start(context.Background(), c)
		must(t, err)
		for range 3 {
			sh(t, g, "true")
		}
		must(t, g.Kill(), UnmountRAM(c.Base), MountRAM(c.Base, 64<<20))
	}
	cycle()
	fds, mounts := count()
	for range 5 {
		cycle()
	}
	time.Sleep(20 * time.Millisecond)
	if nowFds, nowMounts := count(); nowFds != fds || nowMounts != mounts {
		t.Errorf("after five ghosts: %d descriptors, %d mounts; want %d, %d", nowFds, nowMounts, fds, mounts)
	}
}

func TestCancelled(t *testing.T) {
	c := prepare(t)
	ctx, cancel := context.WithTimeout(context.Background(), time.Millisecond)
	defer cancel()
	if _, err := Start(ctx, c); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("Start with an expired context = %v; want %v", err, context.DeadlineExceeded)
	}
}
