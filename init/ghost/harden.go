package ghost

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"syscall"

	"golang.org/x/sys/unix"

	"github.com/tazzo/tazpod/init/sys"
	"github.com/tazzo/tazpod/init/wire"
)

// harden gives up, for the keeper and all that it will run, everything that
// sessions must not have; then looks whether it is really gone. The keeper
// keeps what it takes to become its sessions' user and to signal them, which no
// execve passes on.
func harden() error {
	for _, step := range []func() error{
		sys.Undumpable,
		sys.DefaultSignals,
		sys.NoCoreDumps,
		func() error { return os.NewSyscallError("setgroups", syscall.Setgroups(nil)) },
		func() error { return sys.KeepCapabilities(unix.CAP_SETUID, unix.CAP_SETGID, unix.CAP_KILL) },
		sys.NoNewPrivileges,
		sys.FilterSessions,
		checkThreads,
		checkSession,
	} {
		if err := step(); err != nil {
			return err
		}
	}
	return nil
}

// checkThreads refuses to go on with a thread that has more than harden left.
func checkThreads() error {
	threads, err := filepath.Glob("/proc/self/task/*/status")
	if err != nil || len(threads) == 0 {
		return errors.Join(errors.New("no /proc/self/task"), err)
	}
	const kept = 1<<unix.CAP_SETUID | 1<<unix.CAP_SETGID | 1<<unix.CAP_KILL
	for _, path := range threads {
		s, err := sys.ReadStatus(path)
		if errors.Is(err, unix.ENOENT) || errors.Is(err, unix.ESRCH) { // it has ended
			continue
		}
		if err != nil {
			return err
		}
		if s.Permitted&^kept != 0 || s.Effective&^kept != 0 || s.Inheritable|s.Ambient|s.Bound != 0 || s.NoNewPrivs != 1 || s.Seccomp != 2 {
			return fmt.Errorf("the keeper could not give up its privileges: %s says %+v", path, s)
		}
	}
	return nil
}

// checkSession starts a program as sessions are and looks at what it can do.
func checkSession() error {
	read, write, err := os.Pipe()
	if err != nil {
		return err
	}
	defer write.Close()
	pid, err := syscall.ForkExec("/proc/self/exe", []string{"tazpod-init", "role", "hold"},
		&syscall.ProcAttr{Dir: "/", Env: []string{}, Files: []uintptr{read.Fd()}, Sys: credentials()})
	read.Close()
	if err != nil {
		return fmt.Errorf("start a program as uid %d: %w", wire.UserID, os.NewSyscallError("execve", err))
	}
	s, err := sys.ReadStatus(fmt.Sprintf("/proc/%d/status", pid))
	err = errors.Join(err, unix.Kill(pid, unix.SIGKILL))
	for {
		if _, waitErr := unix.Wait4(pid, nil, 0, nil); waitErr != unix.EINTR {
			break // PID 1 would reap it too
		}
	}
	if err != nil {
		return err
	}
	want := []int{wire.UserID, wire.UserID, wire.UserID, wire.UserID}
	if !slices.Equal(s.UIDs, want) || !slices.Equal(s.GIDs, want) || len(s.Groups) != 0 ||
		s.Permitted|s.Effective|s.Inheritable|s.Ambient|s.Bound != 0 || s.NoNewPrivs != 1 || s.Seccomp != 2 {
		return fmt.Errorf("a session would have privileges: %+v", s)
	}
	return nil
}

// credentials are those of sessions.
func credentials() *syscall.SysProcAttr {
	return &syscall.SysProcAttr{Setsid: true, Credential: &syscall.Credential{Uid: wire.UserID, Gid: wire.UserID}}
}
