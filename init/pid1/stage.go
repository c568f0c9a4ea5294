package pid1

import (
	"errors"
	"runtime"
	"strconv"
	"syscall"
	"unsafe"
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
		return exitUsage
	}
	letters, argv, env := args[0], args[3:], syscall.Environ()
	ignored, err1 := strconv.ParseUint(args[1], 16, 64)
	blocked, err2 := strconv.ParseUint(args[2], 16, 64)
	if err := errors.Join(err1, err2); err != nil {
		printError("run "+stageFlag, err)
		return exitUsage
	}
	if index(letters, 't') >= 0 {
		if t := openTerminal(); t != nil {
			t.give(syscall.Getpid()) // refused: the command runs in the background
		}
	}
	if index(letters, 'u') >= 0 {
		ownStandard()
		if err := becomeUser(); err != nil {
			printError(argv[0]+": drop privileges", err)
			return exitSession
		}
	}
	if index(letters, 'l') >= 0 {
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
		var st syscall.Stat_t
		if syscall.Fstat(fd, &st) != nil {
			continue
		}
		var settings syscall.Termios
		err := ioctl(fd, syscall.TCGETS, unsafe.Pointer(&settings))
		if st.Mode&syscall.S_IFMT == syscall.S_IFIFO || err == nil {
			_ = syscall.Fchown(fd, userID, -1) // a comfort; refused on a read-only /dev
		}
	}
}

// becomeUser turns this thread into the pod's user: no group but its own, no
// capability in any set, none to be gained by exec. CAP_SETPCAP is not among a
// pod's capabilities by default; without it the bounding set stays and
// no_new_privs alone makes it useless.
func becomeUser() error {
	if err := prctl(prSetNoNewPrivs, 1); err != nil {
		return errors.New("prctl PR_SET_NO_NEW_PRIVS: " + err.Error())
	}
	if err := prctl(prCapAmbient, prCapAmbientClearAll); err != nil && err != syscall.EINVAL {
		return errors.New("prctl PR_CAP_AMBIENT_CLEAR_ALL: " + err.Error())
	}
	for c := uintptr(0); prctl(syscall.PR_CAPBSET_DROP, c) == nil; c++ {
	}
	for _, call := range []struct {
		name    string
		number  uintptr
		a, b, c uintptr
	}{
		{"setgroups", syscall.SYS_SETGROUPS, 0, 0, 0},
		{"setresgid", syscall.SYS_SETRESGID, userID, userID, userID},
		{"setresuid", syscall.SYS_SETRESUID, userID, userID, userID},
	} {
		if _, _, errno := syscall.RawSyscall(call.number, call.a, call.b, call.c); errno != 0 {
			return errors.New(call.name + ": " + errno.Error())
		}
	}
	var none, now capabilities
	if err := capCall(syscall.SYS_CAPSET, &none); err != nil {
		return errors.New("capset: " + err.Error())
	}
	if err := capCall(syscall.SYS_CAPGET, &now); err != nil {
		return errors.New("capget: " + err.Error())
	}
	user := [3]uint32{userID, userID, userID}
	if now != none || ids(syscall.SYS_GETRESUID) != user || ids(syscall.SYS_GETRESGID) != user {
		return errors.New("the kernel kept some")
	}
	return nil
}
