package sys

import (
	"errors"

	"golang.org/x/sys/unix"
)

// Op is a call on a Dir, or on a File in it. It changes the disk unless it is
// "open", "stat", "list" or "read".
type Op struct {
	Call   string // the word that errors begin with
	Name   string // within the directory; "." is the directory
	To     string // the new name: "rename to", "link to"
	Offset int64  // bytes: "read", "write"; the length: "truncate"
	Data   []byte // "write": what is written, until the call returns
}

// Fault stands between those calls and the kernel where a test has set it: it
// makes the call, or doesn't, and returns the call's error or another. A write is
// cut short by shortening op.Data. In programs it is nil.
var Fault func(op *Op, call func() error) error

// attempt makes the call op, again if a signal interrupted it. path is for its
// error alone.
func attempt(op Op, path string, call func(op *Op) error) error {
	for {
		again := op
		var err error
		if Fault == nil {
			err = call(&again)
		} else {
			err = Fault(&again, func() error { return call(&again) })
		}
		if errors.Is(err, unix.EINTR) {
			continue
		}
		if errno, raw := err.(unix.Errno); raw {
			return pathError(op.Call, path, errno)
		}
		return err
	}
}
