// Package term is the user's terminal: its raw mode, its size, and questions
// without echo. What it changes it changes back, whatever happens in between.
//
// It never prints a secret, and keeps what is typed at a question in locked
// memory only. The kernel's own line buffer is out of its reach.
package term

import (
	"errors"
	"fmt"
	"os"
	"sync"

	"github.com/containerd/console"
	"golang.org/x/sys/unix"
)

// ErrNone is returned where there is no terminal to ask on.
var ErrNone = errors.New("no terminal")

// Size is a terminal's size in characters.
type Size struct{ Columns, Rows int }

// Terminal is an open terminal.
type Terminal struct {
	file    *os.File
	console console.Console
	saved   *unix.Termios // as it was found
	flushed bool          // type-ahead was thrown away
}

// Controlling opens the terminal that controls this process, wherever its
// standard streams lead; ErrNone if there is none. The caller closes it.
func Controlling() (*Terminal, error) {
	file, err := os.OpenFile("/dev/tty", os.O_RDWR, 0)
	if err != nil {
		return nil, fmt.Errorf("%w: %w", ErrNone, err)
	}
	t, ok := From(file)
	if !ok {
		file.Close()
		return nil, ErrNone
	}
	return t, nil
}

// From returns the terminal that file is; ok is false if it isn't one.
func From(file *os.File) (t *Terminal, ok bool) {
	c, err := console.ConsoleFromFile(file)
	if err != nil {
		return nil, false
	}
	saved, err := unix.IoctlGetTermios(int(file.Fd()), unix.TCGETS)
	if err != nil {
		return nil, false
	}
	return &Terminal{file: file, console: c, saved: saved}, true
}

// Close closes the terminal's file.
func (t *Terminal) Close() error { return t.file.Close() }

// Size returns the current size; 80 by 24 where the terminal doesn't know.
func (t *Terminal) Size() Size {
	size, err := t.console.Size()
	if err != nil || size.Width == 0 || size.Height == 0 {
		return Size{80, 24}
	}
	return Size{int(size.Width), int(size.Height)}
}

// Raw passes every key on as it is typed and every byte written as it is, until
// restore, which may be called more than once.
func (t *Terminal) Raw() (restore func(), err error) {
	if err := t.SetRaw(); err != nil {
		return nil, err
	}
	var once sync.Once
	return func() {
		once.Do(func() { _ = t.console.Reset() }) // fails only when the terminal is gone
	}, nil
}

// SetRaw sets raw mode, again after something else changed the terminal while
// this process was stopped.
func (t *Terminal) SetRaw() error {
	if err := t.console.SetRaw(); err != nil {
		return err
	}
	// The library leaves output processing on; a program that moves the cursor
	// down with a line feed must not be sent back to the first column.
	return console.ClearONLCR(t.console.Fd())
}
