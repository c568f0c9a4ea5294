package pid1

import (
	"errors"
	"os"
	"runtime"
	"strconv"
	"strings"
	"syscall"

	"golang.org/x/sys/unix"

	"github.com/tazzo/tazpod/init/wire"
)

// A stage is the command's own process before the command: what has to happen
// between fork and exec, and syscall.ForkExec can't do, in this order.
//
//	t  take the terminal's foreground, before the command could read from it
//	u  give the user the terminal, then drop every privilege, and check that
//	l  LISTEN_PID names this process (sd_listen_fds(3))
//	   signals as they were inherited; exec
//
// It runs with every signal blocked: what arrives stays pending and meets the
// command's own dispositions.
const stageFlag = "--stage"

const envListenPID = "LISTEN_PID"

// stage runs args: letters, ignored and blocked signals in hex, and the command.
func stage(args []string) int {
	runtime.LockOSThread() // privileges and masks belong to a thread; this one execs
	if len(args) < 4 {
		print2("tazpod: error: run " + stageFlag + " is internal\n")
		return wire.ExitUsage
	}
	letters, argv, env := args[0], args[3:], syscall.Environ()
	ignored, err1 := strconv.ParseUint(args[1], 16, 64)
	blocked, err2 := strconv.ParseUint(args[2], 16, 64)
	if err := errors.Join(err1, err2); err != nil {
		printError("run "+stageFlag, err)
		return wire.ExitUsage
	}
	if strings.Contains(letters, "t") {
		if t := openTerminal(); t != nil {
			t.give(syscall.Getpid()) // refused: the command runs in the background
		}
	}
	if strings.Contains(letters, "u") {
		ownStandard()
		if err := becomeUser(); err != nil {
			printError(argv[0]+": drop privileges", err)
			return wire.ExitSession
		}
	}
	if strings.Contains(letters, "l") {
		env = with(env, []string{envListenPID + "=" + strconv.Itoa(syscall.Getpid())}, nil)
	}
	for n := 1; n <= lastSignal; n++ {
		a := action{handler: actionDefault}
		if ignored&bit(n) != 0 {
			a.handler = actionIgnore
		}
		sigaction(n, &a, nil)
	}
	setMask(blocked)
	err := search(argv, env, func(path string, argv []string) error {
		return syscall.Exec(path, argv, env)
	})
	printError(argv[0], err)
	return startStatus(err)
}

// ownStandard gives the user the terminal or pipes that the container's engine
// made as root, so that /dev/tty's name and /dev/stderr can be opened again.
// Files and /dev/null belong to someone else.
func ownStandard() {
	for fd := range 3 {
		var st unix.Stat_t
		if unix.Fstat(fd, &st) != nil {
			continue
		}
		_, err := unix.IoctlGetTermios(fd, unix.TCGETS)
		if st.Mode&unix.S_IFMT == unix.S_IFIFO || err == nil {
			_ = unix.Fchown(fd, wire.UserID, -1) // a comfort; refused on a read-only /dev
		}
	}
}

// becomeUser turns this thread into the pod's user: no group but its own, no
// capability in any set, none to be gained by exec. CAP_SETPCAP is not among a
// pod's capabilities by default; without it the bounding set stays and
// no_new_privs alone makes it useless.
func becomeUser() error {
	if err := unix.Prctl(unix.PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0); err != nil {
		return os.NewSyscallError("prctl PR_SET_NO_NEW_PRIVS", err)
	}
	if err := unix.Prctl(unix.PR_CAP_AMBIENT, unix.PR_CAP_AMBIENT_CLEAR_ALL, 0, 0, 0); err != nil && err != unix.EINVAL {
		return os.NewSyscallError("prctl PR_CAP_AMBIENT_CLEAR_ALL", err)
	}
	for c := uintptr(0); unix.Prctl(unix.PR_CAPBSET_DROP, c, 0, 0, 0) == nil; c++ {
	}
	gid := uint32(wire.UserID)
	for _, call := range []struct {
		name    string
		number  uintptr
		a, b, c uintptr
	}{
		{"setgroups", unix.SYS_SETGROUPS, 0, 0, 0},
		{"setresgid", unix.SYS_SETRESGID, uintptr(gid), uintptr(gid), uintptr(gid)},
		{"setresuid", unix.SYS_SETRESUID, wire.UserID, wire.UserID, wire.UserID},
	} {
		if _, _, errno := syscall.RawSyscall(call.number, call.a, call.b, call.c); errno != 0 {
			return os.NewSyscallError(call.name, errno)
		}
	}
	header := unix.CapUserHeader{Version: unix.LINUX_CAPABILITY_VERSION_3}
	var none, now [2]unix.CapUserData
	if err := unix.Capset(&header, &none[0]); err != nil {
		return os.NewSyscallError("capset", err)
	}
	if err := unix.Capget(&header, &now[0]); err != nil {
		return os.NewSyscallError("capget", err)
	}
	ruid, euid, suid := unix.Getresuid()
	rgid, egid, sgid := unix.Getresgid()
	if now != none || ruid != wire.UserID || euid != wire.UserID || suid != wire.UserID ||
		rgid != wire.UserID || egid != wire.UserID || sgid != wire.UserID {
		return errors.New("the kernel kept some")
	}
	return nil
}
