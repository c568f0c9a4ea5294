package term

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/signal"
	"syscall"

	"golang.org/x/sys/unix"

	"github.com/tazzo/tazpod/init/locked"
)

// maxPassphrase is what the kernel keeps of one line (N_TTY_BUF_SIZE in
// drivers/tty/n_tty.c), without its end.
const maxPassphrase = 4095 // bytes

var (
	errTooLong = fmt.Errorf("a passphrase may have %d bytes at most", maxPassphrase-1)
	errStopped = errors.New("stopped")
)

// SignalError says which signal ended a question.
type SignalError struct{ Signal syscall.Signal }

func (e *SignalError) Error() string { return "ended by " + e.Signal.String() }

// Passphrase asks for a line without echo. It returns io.EOF when the input
// ends, a *SignalError for Ctrl-C and its like, the cause of ctx when that is done.
// The caller destroys the buffer.
func (t *Terminal) Passphrase(ctx context.Context, prompt string) (*locked.Buffer, error) {
	if ctx.Err() != nil {
		return nil, context.Cause(ctx)
	}
	buffer, err := locked.New(maxPassphrase + 1)
	if err != nil {
		return nil, err
	}
	signals := make(chan os.Signal, 4)
	signal.Notify(signals, syscall.SIGINT, syscall.SIGTERM, syscall.SIGHUP, syscall.SIGQUIT, syscall.SIGTSTP)
	defer signal.Stop(signals)
	defer func() { _ = unix.IoctlSetTermios(int(t.file.Fd()), unix.TCSETS, t.saved) }() // fails only when the terminal is gone
	if err := t.ask(prompt); err != nil {
		buffer.Destroy()
		return nil, err
	}
	stop, cancel, err := os.Pipe()
	if err != nil {
		buffer.Destroy()
		return nil, err
	}
	defer stop.Close()
	line := make(chan error, 1)
	go func() { line <- t.readLine(buffer, stop) }()
	interrupt := func(cause error) error {
		cancel.Close()
		<-line
		// What was typed so far must not become the shell's next command.
		_ = unix.IoctlSetInt(int(t.file.Fd()), unix.TCFLSH, unix.TCIFLUSH)
		return cause
	}
	for {
		select {
		case err = <-line:
			cancel.Close()
		case s := <-signals:
			if s == syscall.SIGTSTP && t.suspend(prompt) == nil {
				continue
			}
			err = interrupt(&SignalError{s.(syscall.Signal)})
		case <-ctx.Done():
			err = interrupt(context.Cause(ctx))
		}
		break
	}
	t.write("\n")
	if err != nil {
		buffer.Destroy()
		return nil, err
	}
	return buffer, nil
}

// Tell writes text for the user, who may have redirected the other streams.
func (t *Terminal) Tell(text string) { t.write(text + "\n") }

func (t *Terminal) write(text string) { _, _ = io.WriteString(t.file, text) } // a terminal that is gone can't be told

// ask turns echo off and writes the prompt. Keys typed before the first
// question were not meant for it.
func (t *Terminal) ask(prompt string) error {
	quiet := *t.saved
	quiet.Lflag = quiet.Lflag&^unix.ECHO | unix.ICANON | unix.ISIG
	quiet.Iflag |= unix.ICRNL
	request := uint(unix.TCSETS)
	if !t.flushed {
		request, t.flushed = unix.TCSETSF, true
	}
	if err := unix.IoctlSetTermios(int(t.file.Fd()), request, &quiet); err != nil {
		return os.NewSyscallError("tcsetattr", err)
	}
	t.write(prompt)
	return nil
}

// readLine reads up to the end of the line, byte by byte so that nothing behind
// it is taken from who reads next, or until stop is at its end.
func (t *Terminal) readLine(buffer *locked.Buffer, stop *os.File) error {
	var b [1]byte
	defer clear(b[:])
	for {
		if err := waitForKey(t.file, stop); err != nil {
			return err
		}
		n, err := t.file.Read(b[:])
		switch {
		case err != nil || n == 0:
			if err == nil || errors.Is(err, syscall.EIO) {
				err = io.EOF // the terminal went away
			}
			return err
		case b[0] == '\n':
			if buffer.Len() >= maxPassphrase {
				return errTooLong // the kernel has dropped the rest
			}
			return nil
		}
		if _, err := buffer.Write(b[:]); err != nil {
			return errTooLong
		}
	}
}

// suspend stops this process the way Ctrl-Z asked, and asks again afterwards.
func (t *Terminal) suspend(prompt string) error {
	if err := unix.IoctlSetTermios(int(t.file.Fd()), unix.TCSETS, t.saved); err != nil {
		return err
	}
	if err := syscall.Kill(0, syscall.SIGSTOP); err != nil {
		return err
	}
	return t.ask(prompt)
}

// waitForKey returns when keys can be read, or errStopped when stop ends.
func waitForKey(keys, stop *os.File) error {
	fds := []unix.PollFd{
		{Fd: int32(keys.Fd()), Events: unix.POLLIN},
		{Fd: int32(stop.Fd()), Events: unix.POLLIN},
	}
	for {
		_, err := unix.Poll(fds, -1)
		switch {
		case err == unix.EINTR:
		case err != nil:
			return os.NewSyscallError("poll", err)
		case fds[1].Revents != 0:
			return errStopped
		default:
			return nil
		}
	}
}
