package main

import (
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"os/signal"
	"runtime"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"github.com/tazzo/tazpod/init/wire"
)

// patience bounds the supervisor's start; it takes some milliseconds.
const patience = 20 * time.Second

// supervised runs its arguments beside a real supervisor, as in a pod whose
// first process was refused private mounts, and ends with their exit code. Its
// own /run, where the supervisor's socket lies, goes with it.
func supervised() {
	runtime.LockOSThread() // a mount namespace belongs to a thread and its children
	code, err := supervise(os.Args[1:])
	if err != nil {
		fmt.Fprintln(os.Stderr, "supervised:", err)
		os.Exit(99)
	}
	os.Exit(code)
}

func supervise(args []string) (code int, err error) {
	if err := unix.Unshare(unix.CLONE_NEWNS); err != nil {
		return 0, os.NewSyscallError("unshare", err)
	}
	if err := unix.Mount("", "/", "", unix.MS_REC|unix.MS_PRIVATE, ""); err != nil {
		return 0, os.NewSyscallError("mount MS_PRIVATE", err)
	}
	if err := unix.Mount("tmpfs", "/run", "tmpfs", 0, ""); err != nil {
		return 0, os.NewSyscallError("mount tmpfs", err)
	}
	config, told, err := os.Pipe()
	if err != nil {
		return 0, err
	}
	if _, err := told.WriteString(`{"private_mounts":false,"refused":"unshare CLONE_NEWNS: operation not permitted"}`); err != nil {
		return 0, err
	}
	told.Close()
	log, err := os.Create("serve.log")
	if err != nil {
		return 0, err
	}
	serve := exec.Command("tazpod-init", "role", "serve")
	serve.ExtraFiles, serve.Stderr = []*os.File{config}, log
	serve.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	if err := serve.Start(); err != nil {
		return 0, err
	}
	config.Close()
	defer func() {
		err = errors.Join(err, serve.Process.Signal(syscall.SIGTERM), serve.Wait())
	}()
	for start := time.Now(); ; time.Sleep(5 * time.Millisecond) {
		c, err := net.Dial("unix", wire.Socket)
		if err == nil {
			c.Close()
			break
		}
		if time.Since(start) > patience {
			return 0, err
		}
	}
	cmd := exec.Command(args[0], args[1:]...)
	cmd.Stdin, cmd.Stdout, cmd.Stderr = os.Stdin, os.Stdout, os.Stderr
	signal.Ignore(syscall.SIGHUP) // of the terminal's end, which comes before ours
	var exit *exec.ExitError
	if err := cmd.Run(); errors.As(err, &exit) {
		return exit.ExitCode(), nil
	} else if err != nil {
		return 0, err
	}
	return 0, nil
}
