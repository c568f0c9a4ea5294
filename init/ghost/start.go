package ghost

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"os"
	"sync"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"github.com/tazzo/tazpod/init/sys"
)

// killLimit is how long Kill waits for processes that the kernel can't end.
const killLimit = 5 * time.Second

// Ghost is one that runs.
type Ghost struct {
	process *os.Process // PID 1
	control *net.UnixConn
	done    chan struct{}

	mu       sync.Mutex
	lastID   int
	sessions map[int]*Session
	ended    bool // no session can be started or heard of any more
}

// Start makes a ghost and returns when it can run sessions. Base and Tree must
// be mounted already (MountRAM); both stay the caller's. On failure there is no
// process, mount or namespace left, and the error is a *RefusedError unless ctx
// ended first.
func Start(ctx context.Context, config Config) (*Ghost, error) {
	if err := config.complete(); err != nil {
		return nil, refuse(err)
	}
	pair, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_SEQPACKET|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return nil, refuse(os.NewSyscallError("socketpair", err))
	}
	mine, theirs := os.NewFile(uintptr(pair[0]), "control socket"), os.NewFile(uintptr(pair[1]), "control socket")
	defer mine.Close()
	defer theirs.Close()
	control, err := net.FileConn(mine)
	if err != nil {
		return nil, refuse(err)
	}
	reports, theirReports, err := os.Pipe()
	if err != nil {
		return nil, refuse(errors.Join(err, control.Close()))
	}
	defer reports.Close()
	process, err := spawnRole("ghost", config, theirs, theirReports, syscall.SysProcAttr{Cloneflags: sys.GhostNamespaces})
	err = errors.Join(err, theirReports.Close())
	if err != nil {
		return nil, refuse(errors.Join(err, control.Close()))
	}
	g := &Ghost{process: process, control: control.(*net.UnixConn), done: make(chan struct{}), sessions: map[int]*Session{}}
	go g.wait()
	go g.listen()
	if err := ready(ctx, reports); err != nil {
		if killErr := g.Kill(); killErr != nil {
			err = errors.Join(err, killErr)
		}
		if ctx.Err() != nil {
			return nil, ctx.Err()
		}
		r := refuse(err)
		if r.Errno == unix.ENOSPC && config.RAM > 0 {
			r.Hint = fmt.Sprintf("raise the ghost's RAM limit, which is %d MiB", config.RAM>>20)
		}
		return nil, r
	}
	return g, nil
}

// ready waits for the one report of the roles.
func ready(ctx context.Context, reports *os.File) error {
	stop := context.AfterFunc(ctx, func() { _ = reports.SetReadDeadline(time.Unix(1, 0)) })
	defer stop()
	var r report
	if err := json.NewDecoder(reports).Decode(&r); err != nil {
		return fmt.Errorf("the ghost ended before it was ready: %w", err)
	}
	if r.Refused != nil {
		return r.Refused
	}
	return ctx.Err()
}

// wait reaps PID 1, which the kernel lets end only after all else in its
// namespace has.
func (g *Ghost) wait() {
	_, _ = g.process.Wait() // however it ended, it has
	g.control.Close()
	close(g.done)
}

// Done is closed when no process of the ghost is left.
func (g *Ghost) Done() <-chan struct{} { return g.done }

// Kill ends every process of the ghost and returns when none is left. A process
// that the kernel can't end (waiting for a device or a file server) makes it
// give up after five seconds with an error: what follows must be done all the
// same.
func (g *Ghost) Kill() error {
	if err := g.process.Kill(); err != nil && !errors.Is(err, os.ErrProcessDone) {
		return fmt.Errorf("kill the ghost: %w", err)
	}
	select {
	case <-g.done:
		return nil
	case <-time.After(killLimit):
		return fmt.Errorf("the ghost still has processes after %v: something in it waits for the kernel", killLimit)
	}
}
