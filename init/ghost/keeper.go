package ghost

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/signal"
	"runtime"
	"strconv"
	"sync"
	"syscall"

	"golang.org/x/sys/unix"

	"github.com/tazzo/tazpod/init/wire"
)

// keeper forks sessions.
type keeper struct {
	config  Config
	control *os.File

	mu       sync.Mutex // held while a process id must stay what it is
	sessions map[int]*process
}

type process struct {
	pid      int
	terminal bool
}

// RoleKeeper is root of a ghost's user namespace, without the capabilities that
// this usually means, and serves one socket until it closes. Sessions inherit
// what it has given up.
func RoleKeeper() error {
	// Sessions are forked from this thread, which takes their user's identity
	// towards the file system while it prepares them.
	runtime.LockOSThread()
	config, control, reports, err := inherited()
	if err == nil {
		err = harden()
	}
	if err != nil {
		if reports != nil {
			err = errors.Join(err, report{Refused: refuse(err)}.send(reports))
		}
		return err
	}
	if err := defaultSignals(); err != nil {
		return err
	}
	if err := (report{Ready: true}).send(reports); err != nil {
		return err
	}
	k := &keeper{config: config, control: control, sessions: map[int]*process{}}
	for {
		m, fds, err := k.receive()
		if err == io.EOF { // serve has let go: the ghost ends
			return nil
		}
		if err != nil {
			return err
		}
		switch {
		case m.Op == opStart && len(fds) == 1:
			err = k.start(m, os.NewFile(uintptr(fds[0]), "session"))
		case m.Op == opSignal:
			k.signal(m)
		default:
			closeAll(fds)
			err = fmt.Errorf("unexpected message %q", m.Op)
		}
		if err != nil {
			return err
		}
	}
}

// defaultSignals makes every signal do in sessions what it does by default,
// whatever the pod's first process was started with: the runtime resets in a
// child what it handles, so it handles all that it otherwise leaves ignored.
func defaultSignals() error {
	sink := make(chan os.Signal, 1)
	signal.Notify(sink, unix.SIGHUP, unix.SIGINT, unix.SIGTSTP, unix.SIGTTIN, unix.SIGTTOU, unix.SIGCONT, unix.SIGPIPE, unix.SIGCHLD)
	err := unix.PthreadSigmask(unix.SIG_SETMASK, &unix.Sigset_t{}, nil) // of the thread that forks
	return os.NewSyscallError("pthread_sigmask", err)
}

func (k *keeper) receive() (message, []int, error) {
	data, oob := make([]byte, maxMessage), make([]byte, oobSpace)
	for {
		n, oobn, flags, _, err := unix.Recvmsg(int(k.control.Fd()), data, oob, unix.MSG_CMSG_CLOEXEC)
		switch {
		case err == unix.EINTR:
			continue
		case err != nil:
			return message{}, nil, os.NewSyscallError("recvmsg", err)
		case n == 0:
			return message{}, nil, io.EOF
		case flags&(unix.MSG_TRUNC|unix.MSG_CTRUNC) != 0:
			return message{}, nil, errors.New("message between serve and keeper: too long")
		}
		return decode(data[:n], oob[:oobn])
	}
}

// send gives fds away and closes them here.
func (k *keeper) send(m message, fds ...int) error {
	defer closeAll(fds)
	text, err := m.encode()
	if err != nil {
		return err
	}
	var oob []byte
	if len(fds) > 0 {
		oob = unix.UnixRights(fds...)
	}
	for {
		err := unix.Sendmsg(int(k.control.Fd()), text, oob, nil, unix.MSG_NOSIGNAL)
		if err != unix.EINTR {
			return os.NewSyscallError("sendmsg", err)
		}
	}
}

// start runs a session and tells serve about it. Only an error that makes the
// keeper useless is returned.
func (k *keeper) start(m message, source *os.File) error {
	defer source.Close()
	var r request
	if err := json.NewDecoder(source).Decode(&r); err != nil {
		return fmt.Errorf("session's configuration: %w", err)
	}
	c := r.config()
	ends, pid, err := k.launch(c)
	started := message{Op: opStarted, ID: m.ID, Terminal: c.Terminal != nil}
	if err != nil {
		code := wire.ExitSession
		var failure *commandError
		if errors.As(err, &failure) {
			code = failure.code
		}
		return errors.Join(k.send(started, ends...), k.send(message{Op: opExited, ID: m.ID, Code: code, Text: err.Error()}))
	}
	k.mu.Lock()
	k.sessions[m.ID] = &process{pid: pid, terminal: c.Terminal != nil}
	k.mu.Unlock()
	err = k.send(started, ends...)
	go k.wait(m.ID, pid)
	return err
}

// wait ends a session with its main process: what is left of its process group
// gets what a terminal's hang-up gives.
func (k *keeper) wait(id, pid int) {
	for unix.Waitid(unix.P_PID, pid, nil, unix.WEXITED|unix.WNOWAIT, nil) == unix.EINTR {
	}
	var status unix.WaitStatus
	k.mu.Lock()
	// Until it is reaped, the number can't become another group's. There may be
	// none left to signal.
	_ = unix.Kill(-pid, unix.SIGHUP)
	_ = unix.Kill(-pid, unix.SIGCONT)
	var err error
	for {
		if _, err = unix.Wait4(pid, &status, 0, nil); err != unix.EINTR {
			break
		}
	}
	delete(k.sessions, id)
	k.mu.Unlock()
	m := message{Op: opExited, ID: id}
	switch {
	case err != nil:
		m.Code, m.Text = wire.ExitSession, os.NewSyscallError("wait4", err).Error()
	case status.Signaled():
		m.Signal = int(status.Signal())
	default:
		m.Code = status.ExitStatus()
	}
	_ = k.send(m) // serve is gone if it fails, which ends the loop that receives
}

// signal sends a signal to the foreground job of a session's terminal, or to
// the process group of one without. Those that end or wake everything reach the
// session's main process too.
func (k *keeper) signal(m message) {
	k.mu.Lock()
	defer k.mu.Unlock()
	p := k.sessions[m.ID]
	if p == nil { // it has just ended
		return
	}
	number := syscall.Signal(m.Signal)
	group := p.pid
	if p.terminal {
		if foreground := foregroundGroup(p.pid); foreground > 1 {
			group = foreground
		}
	}
	_ = unix.Kill(-group, number) // a group that has just ended is no error
	if group != p.pid && (number == unix.SIGHUP || number == unix.SIGKILL || number == unix.SIGTERM || number == unix.SIGCONT) {
		_ = unix.Kill(-p.pid, number)
	}
}

// foregroundGroup reads the process group in the foreground of a process's
// terminal (tpgid in proc_pid_stat(5)); 0 or less when there is none.
func foregroundGroup(pid int) int {
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		return 0
	}
	// state, ppid, pgrp, session, tty and tpgid come after the name, which can
	// contain anything.
	fields := bytes.Fields(text[bytes.LastIndexByte(text, ')')+1:])
	if len(fields) < 6 {
		return 0
	}
	group, err := strconv.Atoi(string(fields[5]))
	if err != nil {
		return 0
	}
	return group
}
