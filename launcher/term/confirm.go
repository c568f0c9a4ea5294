package term

import (
	"context"
	"errors"
	"io"
	"os"
	"strings"

	"golang.org/x/sys/unix"
)

// Confirm asks a question to which only y and yes are a yes; the end of the
// input is a no. Keys typed before the question are no answer to it. The error is
// the cause of ctx when that is done first.
func (t *Terminal) Confirm(ctx context.Context, question string) (bool, error) {
	answer, err := t.Line(ctx, question)
	if errors.Is(err, io.EOF) {
		return false, nil
	}
	answer = strings.ToLower(strings.TrimSpace(answer))
	return answer == "y" || answer == "yes", err
}

// Line asks for a line, which is shown as it is typed. It returns io.EOF when the
// input ends, the cause of ctx when that is done. Keys typed before the question are
// no answer to it.
func (t *Terminal) Line(ctx context.Context, question string) (string, error) {
	if ctx.Err() != nil {
		return "", context.Cause(ctx)
	}
	lines := *t.saved
	lines.Lflag |= unix.ECHO | unix.ICANON | unix.ISIG
	lines.Iflag |= unix.ICRNL
	if err := unix.IoctlSetTermios(int(t.file.Fd()), unix.TCSETSF, &lines); err != nil {
		return "", os.NewSyscallError("tcsetattr", err)
	}
	defer func() { _ = unix.IoctlSetTermios(int(t.file.Fd()), unix.TCSETS, t.saved) }() // fails only when the terminal is gone
	t.write(question)
	stop, cancel, err := os.Pipe()
	if err != nil {
		return "", err
	}
	defer stop.Close()
	end := context.AfterFunc(ctx, func() { cancel.Close() })
	defer func() {
		if end() {
			cancel.Close()
		}
	}()
	answer, err := t.line(stop)
	if err != nil {
		t.write("\n")
	}
	if errors.Is(err, errStopped) {
		err = context.Cause(ctx)
	}
	return answer, err
}

// line reads what is typed up to the end of the line, or until stop is at its end.
func (t *Terminal) line(stop *os.File) (string, error) {
	var line []byte
	var b [1]byte
	for {
		if err := waitForKey(t.file, stop); err != nil {
			return "", err
		}
		n, err := t.file.Read(b[:])
		if err != nil || n == 0 {
			return "", io.EOF // the terminal went away, or Ctrl-D
		}
		if b[0] == '\n' {
			return string(line), nil
		}
		line = append(line, b[0])
	}
}
