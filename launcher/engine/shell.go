package engine

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/signal"
	"syscall"
	"time"

	"github.com/docker/docker/api/types/container"
	"github.com/docker/docker/pkg/stdcopy"

	"github.com/tazzo/tazpod/init/wire"
	"github.com/tazzo/tazpod/launcher/term"
)

// noDetach is a sequence that nobody types: docker's own, Ctrl-P Ctrl-Q, would
// hold back a shell's Ctrl-P.
const noDetach = "ctrl-^,ctrl-],ctrl-^,ctrl-@"

// Shell runs a command in the pod as its user, outside of any ghost, and
// returns its status. terminal is nil when input and output are none.
func (e *Engine) Shell(ctx context.Context, pod *Pod, argv, env []string, terminal *term.Terminal) (int, error) {
	options := container.ExecOptions{User: wire.UserName, WorkingDir: wire.Workspace, Cmd: argv, Env: env,
		AttachStdin: true, AttachStdout: true, AttachStderr: true, Tty: terminal != nil, DetachKeys: noDetach}
	exec, err := e.api.ContainerExecCreate(ctx, pod.ID, options)
	if err != nil {
		return 0, err
	}
	stream, err := e.api.ContainerExecAttach(ctx, exec.ID, container.ExecAttachOptions{Tty: terminal != nil})
	if err != nil {
		return 0, err
	}
	defer stream.Close()
	signals := make(chan os.Signal, 4)
	signal.Notify(signals, syscall.SIGINT, syscall.SIGTERM, syscall.SIGHUP, syscall.SIGQUIT, syscall.SIGWINCH, syscall.SIGCONT)
	defer signal.Stop(signals)
	if terminal != nil {
		restore, err := terminal.Raw()
		if err != nil {
			return 0, err
		}
		defer restore()
		go e.resizeSoon(exec.ID, terminal)
	}
	go func() {
		_, _ = io.Copy(stream.Conn, os.Stdin) // the program may have ended
		_ = stream.CloseWrite()
	}()
	ended := make(chan error, 1)
	go func() {
		var err error
		if terminal != nil {
			_, err = io.Copy(os.Stdout, stream.Reader)
		} else {
			_, err = stdcopy.StdCopy(os.Stdout, os.Stderr, stream.Reader)
		}
		ended <- err
	}()
	for {
		select {
		case err := <-ended:
			if err != nil {
				return 0, err
			}
			code, err := e.exitCode(context.WithoutCancel(ctx), exec.ID)
			if err != nil {
				return 0, fmt.Errorf("the pod has gone: %w", err)
			}
			return code, nil
		case sig := <-signals:
			if sig != syscall.SIGWINCH && sig != syscall.SIGCONT {
				// As with docker exec, the program may outlive its stream.
				return wire.ExitSignal + int(sig.(syscall.Signal)), nil
			}
			if terminal != nil {
				if sig == syscall.SIGCONT {
					_ = terminal.SetRaw() // it may be gone; reading tells
				}
				_ = e.resize(exec.ID, terminal)
			}
		}
	}
}

// resizeSoon gives a new exec its size. Engines older than API 1.42 can't take
// it at the start, and refuse it until the program runs.
func (e *Engine) resizeSoon(id string, terminal *term.Terminal) {
	for range 50 {
		if e.resize(id, terminal) == nil {
			return
		}
		time.Sleep(20 * time.Millisecond)
	}
}

func (e *Engine) resize(id string, terminal *term.Terminal) error {
	size := terminal.Size()
	ctx, cancel := context.WithTimeout(context.Background(), time.Second)
	defer cancel()
	return e.api.ContainerExecResize(ctx, id, container.ResizeOptions{Height: uint(size.Rows), Width: uint(size.Columns)})
}

// Logs copies what the pod wrote to out and errs: the last lines only, unless
// lines is negative, and what follows until ctx is done if follow is set.
func (e *Engine) Logs(ctx context.Context, pod *Pod, out, errs io.Writer, lines int, follow bool) error {
	tail := "all"
	if lines >= 0 {
		tail = fmt.Sprint(lines)
	}
	logs, err := e.api.ContainerLogs(ctx, pod.ID, container.LogsOptions{ShowStdout: true, ShowStderr: true, Follow: follow, Tail: tail})
	if err != nil {
		return err
	}
	defer logs.Close()
	_, err = stdcopy.StdCopy(out, errs, logs)
	if errors.Is(ctx.Err(), context.Canceled) {
		return nil
	}
	return err
}
