package term

import (
	"bufio"
	"errors"
	"io"
	"os"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/creack/pty"
	"golang.org/x/sys/unix"
)

// open makes a terminal and returns the side that a person would type on.
func open(t *testing.T) (keys *os.File, terminal *Terminal) {
	t.Helper()
	keys, tty, err := pty.Open()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { keys.Close(); tty.Close() })
	terminal, ok := From(tty)
	if !ok {
		t.Fatal("From(a terminal) = false; want true")
	}
	return keys, terminal
}

// modes reads the terminal's settings.
func modes(t *testing.T, terminal *Terminal) unix.Termios {
	t.Helper()
	m, err := unix.IoctlGetTermios(int(terminal.file.Fd()), unix.TCGETS)
	if err != nil {
		t.Fatal(err)
	}
	return *m
}

type answer struct {
	text string
	err  error
}

// ask starts a question and returns when its prompt is on the screen.
func ask(t *testing.T, keys *os.File, terminal *Terminal) <-chan answer {
	t.Helper()
	answers := make(chan answer, 1)
	go func() {
		b, err := terminal.Passphrase(t.Context(), "Passphrase: ")
		answers <- answer{string(b.Bytes()), err}
		b.Destroy()
	}()
	screen := bufio.NewReader(keys)
	if got, err := screen.ReadString(':'); err != nil || !strings.HasSuffix(got, "Passphrase:") {
		t.Fatalf("screen = %q, %v; want the prompt", got, err)
	}
	time.Sleep(20 * time.Millisecond) // the blank behind the colon
	return answers
}

func TestPassphrase(t *testing.T) {
	for typed, want := range map[string]answer{
		"correct horse\n":       {"correct horse", nil},
		"käse\r":                {"käse", nil}, // a terminal's enter key sends a carriage return
		"wrong\x7f\x7f\x7f\n":   {"wr", nil},
		"forget this\x15this\n": {"this", nil},
		"\n":                    {"", nil},
		"\x04":                  {"", io.EOF},
		"half\x04\x04":          {"", io.EOF},
	} {
		keys, terminal := open(t)
		before := modes(t, terminal)
		answers := ask(t, keys, terminal)
		if modes(t, terminal).Lflag&unix.ECHO != 0 {
			t.Errorf("%q: echo is on at the prompt", typed)
		}
		io.WriteString(keys, typed)
		if got := <-answers; got.text != want.text || !errors.Is(got.err, want.err) {
			t.Errorf("typing %q = %q, %v; want %q, %v", typed, got.text, got.err, want.text, want.err)
		}
		if after := modes(t, terminal); after != before {
			t.Errorf("%q: the terminal's modes are %+v afterwards; want %+v", typed, after, before)
		}
	}
}

func TestPassphraseTooLong(t *testing.T) {
	keys, terminal := open(t)
	answers := ask(t, keys, terminal)
	io.WriteString(keys, strings.Repeat("x", 5000)+"\n")
	if got := <-answers; !errors.Is(got.err, errTooLong) {
		t.Errorf("5000 characters = %d, %v; want %v", len(got.text), got.err, errTooLong)
	}
}

func TestPassphraseEndedBySignal(t *testing.T) {
	for _, s := range []syscall.Signal{syscall.SIGINT, syscall.SIGTERM, syscall.SIGHUP} {
		keys, terminal := open(t)
		before := modes(t, terminal)
		answers := ask(t, keys, terminal)
		io.WriteString(keys, "half of a secr")
		time.Sleep(20 * time.Millisecond)
		if err := syscall.Kill(os.Getpid(), s); err != nil {
			t.Fatal(err)
		}
		got := <-answers
		var ended *SignalError
		if !errors.As(got.err, &ended) || ended.Signal != s {
			t.Errorf("after %v: %v; want a SignalError with it", s, got.err)
		}
		if after := modes(t, terminal); after != before {
			t.Errorf("after %v the terminal's modes are %+v; want %+v", s, after, before)
		}
		if n, err := unix.IoctlGetInt(int(terminal.file.Fd()), unix.TIOCINQ); err != nil || n != 0 {
			t.Errorf("after %v %d typed bytes are left for the shell, %v; want 0", s, n, err)
		}
	}
}

func TestTypeAheadIsNotAnAnswer(t *testing.T) {
	keys, terminal := open(t)
	io.WriteString(keys, "ls\n")
	time.Sleep(20 * time.Millisecond)
	answers := ask(t, keys, terminal)
	io.WriteString(keys, "secret\n")
	if got := <-answers; got.text != "secret" {
		t.Errorf("answer = %q, %v; want what was typed after the prompt", got.text, got.err)
	}
}

func TestRawIsRestored(t *testing.T) {
	_, terminal := open(t)
	before := modes(t, terminal)
	restore, err := terminal.Raw()
	if err != nil {
		t.Fatal(err)
	}
	raw := modes(t, terminal)
	if raw.Lflag&(unix.ECHO|unix.ICANON|unix.ISIG) != 0 || raw.Oflag&unix.ONLCR != 0 {
		t.Errorf("raw modes = %+v; want no echo, lines, signals or line-feed translation", raw)
	}
	restore()
	restore()
	if after := modes(t, terminal); after != before {
		t.Errorf("modes after restore = %+v; want %+v", after, before)
	}
}

func TestSize(t *testing.T) {
	keys, terminal := open(t)
	if got, want := terminal.Size(), (Size{80, 24}); got != want {
		t.Errorf("Size() of a terminal without one = %v; want %v", got, want)
	}
	if err := pty.Setsize(keys, &pty.Winsize{Rows: 50, Cols: 132}); err != nil {
		t.Fatal(err)
	}
	if got, want := terminal.Size(), (Size{132, 50}); got != want {
		t.Errorf("Size() = %v; want %v", got, want)
	}
}

func TestNotATerminal(t *testing.T) {
	f, err := os.Open(os.DevNull)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	if _, ok := From(f); ok {
		t.Error("From(/dev/null) = true; want false")
	}
}
