package dial

import (
	"bytes"
	"context"
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

	"github.com/tazzo/tazpod/launcher/term"
)

func open(t *testing.T, pod *fakePod) *Client {
	t.Helper()
	c, err := Ghost(context.Background(), pod.carrier(t), pod.hostKey, &script{answers: []string{"x"}}, Ask{})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close() })
	return c
}

func TestStatus(t *testing.T) {
	for command, want := range map[string]int{
		"true": 0, "exit 7": 7, "exit 255": 255, "nonesuch-command": 127,
		"kill -KILL $$": 137, "kill -USR1 $$": 138, "kill -TERM $$": 143,
	} {
		got, err := open(t, newPod(t, "x")).Run(command, nil, Streams{In: strings.NewReader(""), Out: io.Discard, Err: io.Discard})
		if got != want || err != nil {
			t.Errorf("Run(%q) = %d, %v; want %d", command, got, err, want)
		}
	}
}

func TestStreamsStayApart(t *testing.T) {
	var out, errs bytes.Buffer
	status, err := open(t, newPod(t, "x")).Run("cat; echo $LC_TEST >&2", []string{"LC_TEST=from here"},
		Streams{In: strings.NewReader("typed"), Out: &out, Err: &errs})
	if status != 0 || err != nil || out.String() != "typed" || errs.String() != "from here\n" {
		t.Errorf("Run() = %d, %v, %q, %q; want 0, the input, the variable", status, err, out.String(), errs.String())
	}
}

func TestLargeOutput(t *testing.T) {
	var out countingWriter
	in := io.LimitReader(zeroes{}, 32<<20)
	status, err := open(t, newPod(t, "x")).Run("cat", nil, Streams{In: in, Out: &out, Err: io.Discard})
	if status != 0 || err != nil || out != 32<<20 {
		t.Errorf("Run(cat) of 32 MiB = %d, %v, %d bytes; want all", status, err, out)
	}
}

type zeroes struct{}

func (zeroes) Read(p []byte) (int, error) { clear(p); return len(p), nil }

type countingWriter int

func (w *countingWriter) Write(p []byte) (int, error) {
	*w += countingWriter(len(p))
	return len(p), nil
}

func TestProgramThatReadsNothing(t *testing.T) {
	r, w := io.Pipe() // never written, never closed
	defer w.Close()
	if status, err := open(t, newPod(t, "x")).Run("exit 3", nil, Streams{In: r, Out: io.Discard, Err: io.Discard}); status != 3 || err != nil {
		t.Errorf("Run() = %d, %v; want 3 although the input is open", status, err)
	}
}

func TestLostConnection(t *testing.T) {
	var lost *LostError
	pod := newPod(t, "x")
	pod.drop = true
	if status, err := open(t, pod).Run("true", nil, Streams{In: strings.NewReader(""), Out: io.Discard, Err: io.Discard}); !errors.As(err, &lost) {
		t.Errorf("Run() = %d, %v; want a LostError", status, err)
	}
	pod = newPod(t, "x")
	c := open(t, pod)
	time.AfterFunc(200*time.Millisecond, pod.kill)
	if status, err := c.Run("sleep 20", nil, Streams{In: strings.NewReader(""), Out: io.Discard, Err: io.Discard}); !errors.As(err, &lost) {
		t.Errorf("Run() in a killed pod = %d, %v; want a LostError", status, err)
	}
}

func TestSignalsPass(t *testing.T) {
	for _, s := range []syscall.Signal{syscall.SIGINT, syscall.SIGTERM, syscall.SIGUSR1} {
		started := make(chan bool)
		go func() {
			<-started
			_ = syscall.Kill(os.Getpid(), s)
		}()
		out := &onWrite{do: func() { close(started) }}
		status, err := open(t, newPod(t, "x")).Run("trap 'exit 40' INT; trap 'exit 41' TERM; trap 'exit 42' USR1; echo; while :; do sleep 0.1; done",
			nil, Streams{In: strings.NewReader(""), Out: out, Err: io.Discard})
		want := map[syscall.Signal]int{syscall.SIGINT: 40, syscall.SIGTERM: 41, syscall.SIGUSR1: 42}[s]
		if status != want || err != nil {
			t.Errorf("after %v: %d, %v; want %d", s, status, err, want)
		}
	}
}

type onWrite struct{ do func() }

func (w *onWrite) Write(p []byte) (int, error) {
	if w.do != nil {
		w.do()
		w.do = nil
	}
	return len(p), nil
}

// terminal starts a session on a new terminal; what is typed goes to keys.
func terminal(t *testing.T, c *Client, command string) (keys *os.File, result <-chan error, status *int) {
	t.Helper()
	keys, tty, err := pty.Open()
	if err != nil {
		t.Fatal(err)
	}
	if err := pty.Setsize(keys, &pty.Winsize{Cols: 100, Rows: 30}); err != nil {
		t.Fatal(err)
	}
	before, err := unix.IoctlGetTermios(int(tty.Fd()), unix.TCGETS)
	if err != nil {
		t.Fatal(err)
	}
	here, ok := term.From(tty)
	if !ok {
		t.Fatal("From(terminal) = false")
	}
	t.Setenv("TERM", "xterm-256color")
	status = new(int)
	ended := make(chan error, 1)
	go func() {
		var err error
		*status, err = c.Run(command, nil, Streams{In: tty, Out: tty, Err: tty, Terminal: here})
		after, terr := unix.IoctlGetTermios(int(tty.Fd()), unix.TCGETS)
		if terr == nil && *after != *before {
			err = errors.Join(err, errors.New("the terminal is not as it was"))
		}
		ended <- err
	}()
	t.Cleanup(func() { keys.Close(); tty.Close() })
	return keys, ended, status
}

// expect reads the screen up to text.
func expect(t *testing.T, screen io.Reader, text string) {
	t.Helper()
	var seen []byte
	one := make([]byte, 1)
	for !bytes.HasSuffix(seen, []byte(text)) {
		if _, err := screen.Read(one); err != nil {
			t.Fatalf("screen ends after %q; want %q", seen, text)
		}
		seen = append(seen, one[0])
	}
}

func TestTerminal(t *testing.T) {
	keys, ended, status := terminal(t, open(t, newPod(t, "x")), `
		trap 'stty size' WINCH
		echo $TERM; stty size; tty >/dev/null && echo is a terminal
		read line; echo got $line
		while :; do sleep 0.1; done`)
	expect(t, keys, "xterm-256color\r\n30 100\r\nis a terminal\r\n")
	io.WriteString(keys, "hello\r")
	expect(t, keys, "got hello\r\n")
	if err := pty.Setsize(keys, &pty.Winsize{Cols: 140, Rows: 50}); err != nil {
		t.Fatal(err)
	}
	if err := syscall.Kill(os.Getpid(), syscall.SIGWINCH); err != nil { // it isn't our controlling terminal
		t.Fatal(err)
	}
	expect(t, keys, "50 140\r\n")
	io.WriteString(keys, "\x03") // ends the program, not us
	if err := <-ended; err != nil || *status != 130 {
		t.Errorf("Ctrl-C: %d, %v; want 130", *status, err)
	}
}

func TestTerminalIsRestored(t *testing.T) {
	pod := newPod(t, "x")
	keys, ended, _ := terminal(t, open(t, pod), "echo up; sleep 20")
	expect(t, keys, "up\r\n")
	pod.kill()
	var lost *LostError
	if err := <-ended; !errors.As(err, &lost) || strings.Contains(err.Error(), "not as it was") {
		t.Errorf("after the pod was killed: %v; want a LostError alone", err)
	}
	for _, s := range []syscall.Signal{syscall.SIGTERM, syscall.SIGHUP} {
		keys, ended, status := terminal(t, open(t, newPod(t, "x")), "echo up; sleep 20")
		expect(t, keys, "up\r\n")
		if err := syscall.Kill(os.Getpid(), s); err != nil {
			t.Fatal(err)
		}
		if err := <-ended; err != nil || *status != 128+int(s) {
			t.Errorf("after %v: %d, %v; want %d", s, *status, err, 128+int(s))
		}
	}
}

func TestQuoteSurvivesAShell(t *testing.T) {
	for _, args := range [][]string{
		{"a"}, {""}, {"a b", "c"}, {"it's"}, {"$HOME", "`x`", "\\", "\"", "*", "~", "a=b", "#", "!"},
		{"line\nfeed\ttab"}, {"ünïcode", "\xff\xfe"}, {"-n", "--", "@%+:,./-_"},
	} {
		out, err := exec.Command("sh", "-c", `printf '%s\0' `+Quote(args)).Output()
		if got, want := string(out), strings.Join(args, "\x00")+"\x00"; err != nil || got != want {
			t.Errorf("a shell reads %q as %q, %v", Quote(args), got, err)
		}
	}
}
