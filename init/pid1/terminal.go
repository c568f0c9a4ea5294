package pid1

import (
	"syscall"
	"unsafe"
)

// terminal is this process's controlling terminal. The command gets a process
// group of its own and with it the foreground, as a shell does it, so that
// Ctrl-C and Ctrl-Z reach the command and not its init; at the end, or while
// the command is stopped, the foreground comes back.
type terminal struct {
	fd    int
	group int // our process group
}

// openTerminal returns nil when there is no controlling terminal. It may be
// another one than stdin: `cat list | tazpod-init run less`.
func openTerminal() *terminal {
	for fd := range 3 {
		if _, err := foreground(fd); err != nil {
			continue
		}
		own, err := fcntl(fd, syscall.F_DUPFD_CLOEXEC, 3)
		if err == nil {
			return &terminal{own, syscall.Getpgrp()}
		}
	}
	fd, err := syscall.Open("/dev/tty", syscall.O_RDWR|syscall.O_CLOEXEC|syscall.O_NOCTTY, 0)
	if err != nil {
		return nil
	}
	return &terminal{fd, syscall.Getpgrp()}
}

// foreground asks for the foreground process group; an error means that fd is
// not the controlling terminal.
func foreground(fd int) (int, error) {
	var group int32
	err := ioctl(fd, syscall.TIOCGPGRP, unsafe.Pointer(&group))
	return int(group), err
}

// ours reports whether our own process group has the terminal.
func (t *terminal) ours() bool {
	group, err := foreground(t.fd)
	return err == nil && group == t.group
}

// give puts group in the foreground. The caller blocks SIGTTOU, which would
// stop it where it is not in the foreground itself (tcsetpgrp(3)).
func (t *terminal) give(group int) bool {
	id := int32(group)
	return ioctl(t.fd, syscall.TIOCSPGRP, unsafe.Pointer(&id)) == nil
}

// takeBack puts us in the foreground again if group is, or one that is gone: a
// shell that has given the terminal to someone else keeps it so.
func (t *terminal) takeBack(group int) {
	now, err := foreground(t.fd)
	if err != nil || now == t.group {
		return
	}
	if now == group || syscall.Kill(-now, 0) == syscall.ESRCH {
		t.give(t.group)
	}
}
