package luks

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"runtime"
	"strings"
	"syscall"
	"unicode"

	"github.com/tazzo/tazpod/init/locked"
	"github.com/tazzo/tazpod/init/sys"
	"golang.org/x/sys/unix"
)

// programDirs is the PATH that cryptsetup is looked up in and runs with: only
// root writes there.
var programDirs = []string{"/usr/sbin", "/usr/bin", "/sbin", "/bin"}

// Exit statuses, cryptsetup(8) RETURN CODES.
const (
	exitWrongPassphrase = 2
	exitNoMemory        = 3
)

// call is one run of cryptsetup.
type call struct {
	args   []string
	files  []*os.File     // inherited from descriptor 3 on
	secret *locked.Buffer // on standard input
	input  []byte         // likewise, when it is no secret
	output *locked.Buffer // standard output goes here when it is a secret
}

// firstFile is the descriptor that a program has the first of call.files at.
const firstFile = 3

// run returns the standard output, empty when it went to c.output.
func (c call) run(ctx context.Context) (out []byte, err error) {
	path, err := program("cryptsetup")
	if err != nil {
		return nil, err
	}
	cmd := exec.CommandContext(ctx, path, c.args...)
	cmd.Env = []string{"PATH=" + strings.Join(programDirs, ":"), "LC_ALL=C"}
	cmd.Dir = "/"
	cmd.ExtraFiles = c.files
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	stdout, stderr := &bounded{limit: 4 * maxMetadata}, &bounded{limit: 4 << 10}
	cmd.Stdout, cmd.Stderr = stdout, stderr

	input := c.input
	if c.secret != nil {
		input = c.secret.Bytes()
	}
	stdin, err := fileOf(input)
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, forget(stdin)) }()
	cmd.Stdin = stdin

	var output *os.File
	if c.output != nil {
		if output, err = sys.RAMFile("secret", maxOutput); err != nil {
			return nil, err
		}
		defer func() { err = errors.Join(err, forget(output)) }()
		cmd.Stdout = output
	}

	// The parent-death signal is about the thread that forked, not the process.
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	if err := cmd.Start(); err != nil {
		return nil, err
	}
	if err := cmd.Wait(); err != nil {
		return nil, failure(ctx, c.args[0], err, stderr.String())
	}
	if output == nil {
		return stdout.Bytes(), nil
	}
	if _, err := output.Seek(0, io.SeekStart); err != nil {
		return nil, err
	}
	return nil, c.output.Fill(output)
}

// program returns the path of a system program, whatever this process's PATH is.
func program(name string) (string, error) {
	for _, dir := range programDirs {
		path := dir + "/" + name
		if unix.Access(path, unix.X_OK) == nil {
			return path, nil
		}
	}
	return "", fmt.Errorf("%w (looked in %s)", ErrNoProgram, strings.Join(programDirs, ", "))
}

// fileOf is a file in RAM that holds p, for the program to read. Secrets go in and
// out by such files, since they can be zeroed (forget): the pages of a pipe are
// freed by the kernel as they are.
func fileOf(p []byte) (*os.File, error) {
	f, err := sys.RAMFile("input", int64(len(p))+maxOutput)
	if err != nil {
		return nil, err
	}
	if _, err = f.Write(p); err == nil {
		_, err = f.Seek(0, io.SeekStart)
	}
	if err != nil {
		return nil, errors.Join(err, forget(f))
	}
	return f, nil
}

// forget zeroes and closes a file in RAM.
func forget(f *os.File) error { return errors.Join(sys.Zero(f), f.Close()) }

// maxOutput is more than cryptsetup writes, and a whole number of pages.
const maxOutput = 64 << 10 // bytes

// programError is a failed run.
type programError struct {
	verb   string
	exit   int // -1 when it ended by a signal
	killed bool
	text   string // what it said, one line
}

func (e *programError) Error() string {
	s := "cryptsetup " + e.verb
	switch {
	case e.killed:
		s += ": killed"
	case e.text == "":
		s += fmt.Sprintf(": exit status %d", e.exit)
	}
	if e.text != "" {
		s += ": " + e.text
	}
	return s
}

func failure(ctx context.Context, verb string, err error, stderr string) error {
	if ctx.Err() != nil {
		return context.Cause(ctx)
	}
	var exit *exec.ExitError
	if !errors.As(err, &exit) {
		return fmt.Errorf("cryptsetup %s: %w", verb, err)
	}
	// Who kills without being asked is the kernel, short of memory.
	status, _ := exit.Sys().(syscall.WaitStatus)
	killed := status.Signaled() && status.Signal() == syscall.SIGKILL
	return &programError{verb: verb, exit: exit.ExitCode(), killed: killed, text: oneLine(stderr)}
}

// oneLine makes a program's words fit for an error: printable, on one line, and
// about the vault instead of a descriptor that means nothing to people.
func oneLine(s string) string {
	s = strings.ReplaceAll(s, "Device "+sys.FdPath(firstFile), "it")
	s = strings.ReplaceAll(s, sys.FdPath(firstFile), "the vault")
	s = strings.Join(strings.Fields(s), " ")
	s = strings.Map(func(r rune) rune {
		if unicode.IsPrint(r) {
			return r
		}
		return '?'
	}, s)
	return strings.TrimSuffix(s, ".")
}

// exitedWith says whether err is a run that ended with the given status.
func exitedWith(err error, status int) bool {
	var e *programError
	return errors.As(err, &e) && e.exit == status
}

// outOfMemory says whether err is a run that memory didn't suffice for.
func outOfMemory(err error) bool {
	var e *programError
	return errors.As(err, &e) && (e.exit == exitNoMemory || e.killed)
}

// bounded keeps the first limit bytes and drops the rest.
type bounded struct {
	bytes.Buffer
	limit int
}

func (b *bounded) Write(p []byte) (int, error) {
	b.Buffer.Write(p[:min(len(p), max(0, b.limit-b.Len()))])
	return len(p), nil
}
