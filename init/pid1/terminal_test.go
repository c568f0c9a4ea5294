package pid1

import (
	"errors"
	"io"
	"os"
	"os/exec"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/creack/pty"
	"golang.org/x/sys/unix"

	"github.com/tazzo/tazpod/test/need"
)

// typist sits at a terminal.
type typist struct {
	*run
	master *os.File
}

// atTerminal starts argv as the leader of a session on a new terminal.
func atTerminal(t *testing.T, h how, argv ...string) *typist {
	t.Helper()
	need.Command(t, "bash")
	r := h.command(t, argv...)
	if h.path == "" && !h.namespace {
		exe, err := os.Executable()
		if err != nil {
			t.Fatal(err)
		}
		r.Env = append(r.Env, "INIT="+exe)
		r.Cmd = &exec.Cmd{Path: "/bin/bash", Args: append([]string{"bash"}, argv...), Env: r.Env, SysProcAttr: r.SysProcAttr}
	}
	blocking, slave, err := pty.Open()
	if err != nil {
		t.Fatal(err)
	}
	fd, err := unix.FcntlInt(blocking.Fd(), unix.F_DUPFD_CLOEXEC, 0)
	if err != nil {
		t.Fatal(err)
	}
	blocking.Close()
	if err := unix.SetNonblock(fd, true); err != nil { // so that Close ends a Read
		t.Fatal(err)
	}
	master := os.NewFile(uintptr(fd), "terminal")
	t.Cleanup(func() { master.Close() })
	r.Stdin, r.Stdout, r.Stderr = slave, slave, slave
	r.Env = append(r.Env, "PS1=@ ", "TERM=dumb")
	r.SysProcAttr.Setsid, r.SysProcAttr.Setctty = true, true
	if err := r.Start(); err != nil {
		t.Fatal(err)
	}
	slave.Close()
	go func() {
		_, err := io.Copy(r.out, master)
		if err != nil && !errors.Is(err, syscall.EIO) && !errors.Is(err, os.ErrClosed) {
			t.Error(err)
		}
	}()
	r.watch()
	return &typist{r, master}
}

// types text and waits for the answer, forgetting what came before it.
func (p *typist) types(text, answer string) {
	p.t.Helper()
	if _, err := p.master.WriteString(text); err != nil {
		p.t.Fatal(err)
	}
	p.sees(answer)
}

func (p *typist) sees(answer string) {
	p.t.Helper()
	p.see(answer)
	p.out.cut(answer)
}

const (
	ctrlC = "\x03"
	ctrlD = "\x04"
	ctrlS = "\x13"
	ctrlZ = "\x1a"
)

// TestShellOnThePodsTerminal is `docker run -it IMAGE bash`: job control works,
// Ctrl-C and Ctrl-Z reach the right process and nobody else.
func TestShellOnThePodsTerminal(t *testing.T) {
	p := atTerminal(t, how{namespace: true}, "pid1", "bash", "--norc", "--noediting", "-i")
	p.sees("@ ")
	p.types("id -u; stat -c %u $(tty)\n", "1000\r\n1000\r\n@ ")
	p.types("ps -o pgid=,tpgid= -p $$ | (read a b; [ $a = $$ ] && echo own group)\n", "own group\r\n@ ")
	p.types("(trap 'echo caught' INT; sleep 1000; echo over)\n", "over)\r\n")
	p.untilForeground("sleep")
	p.types(ctrlC, "@ ")
	p.types("sleep 1000\n", "\n")
	p.untilForeground("sleep")
	p.types(ctrlZ, "Stopped")
	p.sees("@ ")
	p.types("jobs -r | wc -l; fg\n", "0\r\nsleep 1000\r\n")
	p.untilForeground("sleep")
	p.types(ctrlC, "@ ")
	p.types("echo status $?\n", "status 130\r\n@ ")
	p.types("exit 9\n", "exit")
	p.want(9)
	if strings.Contains(p.out.String(), `"role":"pid1"`) {
		t.Errorf("log lines on the user's terminal:\n%s", p.out)
	}
}

// untilForeground waits until name runs in the foreground.
func (p *typist) untilForeground(name string) {
	p.t.Helper()
	conn, err := p.master.SyscallConn()
	if err != nil {
		p.t.Fatal(err)
	}
	for end := time.Now().Add(patience); time.Now().Before(end); time.Sleep(time.Millisecond) {
		group := 0
		if err := conn.Control(func(fd uintptr) { group, err = foreground(int(fd)) }); err != nil {
			p.t.Fatal(err)
		}
		for _, q := range processes() {
			if its, err := syscall.Getpgid(q.pid); q.name == name && err == nil && its == group {
				return
			}
		}
	}
	p.t.Fatalf("%s didn't come to the foreground; output:\n%s", name, p.out)
}

// TestStopWhereNobodyContinues: a command on PID 1's terminal that Ctrl-Z stops
// goes on, as it would without an init.
func TestStopWhereNobodyContinues(t *testing.T) {
	p := atTerminal(t, how{namespace: true}, "run", "cat")
	p.types("one\n", "one\r\none\r\n")
	p.types(ctrlZ, "^Z")
	p.types("two\n", "two\r\n")
	p.sees("two\r\n")
	p.types(ctrlD, "")
	p.want(0)
}

// TestUnderAShell is `tazpod-init run CMD` as a job of an interactive shell.
func TestUnderAShell(t *testing.T) {
	p := atTerminal(t, how{}, "--norc", "--noediting", "-i")
	p.sees("@ ")
	p.types("$INIT run cat\n", "\n")
	p.types("one\n", "one\r\none\r\n")
	p.types(ctrlZ, "Stopped")
	p.sees("@ ")
	p.types("fg\n", "run cat\r\n")
	p.types("two\n", "two\r\ntwo\r\n")
	p.types(ctrlD, "@ ")
	p.types("echo status $?\n", "status 0\r\n@ ")

	// In the background it stops when it reads the terminal, and fg gives it that.
	p.types("$INIT run cat &\n", "@ ")
	p.types("until jobs | grep Stopped; do sleep 0.02; done\n", "Stopped")
	p.sees("@ ")
	p.types("fg\n", "run cat\r\n")
	p.types("three\n", "three\r\nthree\r\n")
	p.types(ctrlC, "@ ")
	p.types("echo status $?\n", "status 130\r\n@ ")

	// Ctrl-Z stops the whole job, bg lets it go on, the terminal is the shell's.
	p.types("$INIT run bash -c 'trap \"echo on; exit 4\" CONT; echo ready; while :; do sleep 0.02; done' | cat\n", "ready\r\n")
	p.types(ctrlZ, "Stopped")
	p.sees("@ ")
	p.types("bg\n", "on\r\n")
	p.types("\nwait; echo waited\n", "waited\r\n@ ")

	// stdin is no terminal, yet the command reads it.
	p.types("echo list | $INIT run bash -c 'read a; read b < /dev/tty; echo $a $b'\n", "\n")
	p.types("typed\n", "list typed\r\n@ ")

	// A command killed while it has the terminal gives it back.
	p.types("$INIT run bash -c 'kill -9 $$'\n", "@ ")
	p.types("echo status $?\n", "status 137\r\n@ ")
	p.types("exit 3\n", "exit")
	p.want(3)
}

// TestSignalMaskOnTerminal: taking the terminal leaves no trace in the command's
// signals.
func TestSignalMaskOnTerminal(t *testing.T) {
	p := atTerminal(t, how{namespace: true}, "run", "grep", "-E", "^Sig(Blk|Ign)", "/proc/self/status")
	p.sees("SigBlk:\t0000000000000000\r\nSigIgn:\t0000000000000000\r\n")
	p.want(0)
}

// TestHangUp takes the terminal away.
func TestHangUp(t *testing.T) {
	p := atTerminal(t, how{namespace: true}, "run", "bash", "-c", "trap 'exit 21' HUP; echo ready; while :; do sleep 0.02; done")
	p.sees("ready")
	p.master.Close()
	p.want(21)
}
