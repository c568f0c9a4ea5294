package luks

import (
	"bytes"
	"context"
	"errors"
	"fmt"
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
	secret *locked.Buffer // on standard input, by pipe
	input  []byte         // likewise, when it is no secret
	output *locked.Buffer // standard output goes here when it is a secret
}

// firstFile is the descriptor that a program has the first of call.files at.
const firstFile = 3

// run returns the standard output, empty when it went to c.output.
func (c call) run(ctx context.Context) ([]byte, error) {
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
	stdin, err := pipeOf(input)
	if err != nil {
		return nil, err
	}
	defer stdin.Close()
	cmd.Stdin = stdin

	var reader, writer *os.File
	if c.output != nil {
		if reader, writer, err = os.Pipe(); err != nil {
			return nil, err
		}
		defer reader.Close()
		cmd.Stdout = writer
	}

	// The parent-death signal is about the thread that forked, not the process.
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	err = cmd.Start()
	if writer != nil {
		writer.Close()
	}
	if err != nil {
		return nil, err
	}
	var readErr error
	if c.output != nil {
		readErr = c.output.Fill(reader)
	}
	if err := cmd.Wait(); err != nil {
		return nil, failure(ctx, c.args[0], err, stderr.String())
	}
	return stdout.Bytes(), readErr
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

// pipeOf returns the reading end of a pipe that holds p and then ends. p goes
// in by one write(2) and must fit the pipe's buffer.
func pipeOf(p []byte) (*os.File, error) {
	if len(p) > maxPipe {
		return nil, fmt.Errorf("input of %d bytes: %w", len(p), locked.ErrFull)
	}
	reader, writer, err := os.Pipe()
	if err != nil {
		return nil, err
	}
	defer writer.Close()
	if _, err := writer.Write(p); err != nil {
		reader.Close()
		return nil, err
	}
	return reader, nil
}

// maxPipe is how much surely fits: a pipe has 64 KiB, or one page when the
// user's pipes exceed their soft limit (pipe(7)).
const maxPipe = 4096 // bytes

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
