package ext4

import (
	"context"
	"errors"
	"os"
	"os/exec"
	"runtime"
	"strings"
	"syscall"
	"unicode"

	"golang.org/x/sys/unix"
)

// firstFile is the descriptor under which a program finds the first file that
// e2fsprogs hands it; the others follow.
const firstFile = 3

// e2fsprogs runs one of the programs, with nothing of our environment, and
// returns the end of what it said. It is killed when we die. Roles have no PATH.
// What the program frees is overwritten (glibc.malloc.perturb in the C library's
// manual), as the buffer through which mke2fs copies files.
func e2fsprogs(ctx context.Context, name string, files []*os.File, args ...string) (string, error) {
	path := "/usr/sbin/" + name
	if _, err := os.Stat(path); err != nil {
		path = "/sbin/" + name
	}
	cmd := exec.CommandContext(ctx, path, args...)
	cmd.Env = []string{"PATH=/usr/sbin:/usr/bin:/sbin:/bin", "LC_ALL=C", "GLIBC_TUNABLES=glibc.malloc.perturb=85"}
	cmd.Dir = "/"
	cmd.ExtraFiles = files
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	var out tail
	cmd.Stdout, cmd.Stderr = &out, &out

	// The parent-death signal is about the thread that forked, not the process.
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	err := cmd.Start()
	if err == nil {
		err = errors.Join(limitMemory(cmd.Process), cmd.Wait())
	}
	if ctx.Err() != nil {
		err = context.Cause(ctx)
	}
	return string(out), err
}

// programMemory is how many bytes of address space a program may have. That
// of e2fsck follows the numbers of inodes and blocks that a hostile image claims; a
// sound one of 16 GiB takes 60 MiB.
const programMemory = 1 << 30

// limitMemory does it from outside: Go can't between fork and exec, and a program
// that has just started has nothing yet.
func limitMemory(p *os.Process) error {
	limit := unix.Rlimit{Cur: programMemory, Max: programMemory}
	err := unix.Prlimit(p.Pid, unix.RLIMIT_AS, &limit, nil)
	if errors.Is(err, unix.ESRCH) { // it is done
		return nil
	}
	return os.NewSyscallError("prlimit", err)
}

// tail keeps the end of what is written to it: e2fsck has much to say about a
// hostile image.
type tail []byte

const tailSize = 4 << 10 // bytes

func (t *tail) Write(p []byte) (int, error) {
	*t = append(*t, p[max(0, len(p)-tailSize):]...)
	*t = append((*t)[:0], (*t)[max(0, len(*t)-tailSize):]...)
	return len(p), nil
}

// lastLine is the end of what a program said, as something that may be printed:
// it can hold the names of files.
func lastLine(out string) string {
	lines := strings.Split(strings.TrimSpace(out), "\n")
	return strings.Map(func(r rune) rune {
		if unicode.IsPrint(r) && r != unicode.ReplacementChar {
			return r
		}
		return '?'
	}, lines[len(lines)-1])
}
