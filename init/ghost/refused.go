package ghost

import (
	"errors"
	"fmt"
	"os"
	"strings"
	"syscall"

	"golang.org/x/sys/unix"
)

// RefusedError says that no ghost can be made, and why.
type RefusedError struct {
	Call   string        // the system call with its main arguments; empty when none failed
	Errno  syscall.Errno // its error, or 0
	Hint   string        // what to change; may be empty
	Detail string        // what was being done
}

func (e *RefusedError) Error() string {
	if e.Errno == 0 {
		return e.Detail
	}
	return fmt.Sprintf("%s (%s)", e.Detail, unix.ErrnoName(e.Errno))
}

func (e *RefusedError) Unwrap() error {
	if e.Errno == 0 {
		return nil
	}
	return e.Errno
}

// refuse makes a RefusedError of err, whose text stays as it is.
func refuse(err error) *RefusedError {
	var refused *RefusedError
	if errors.As(err, &refused) {
		return refused
	}
	r := &RefusedError{Detail: err.Error()}
	var pathErr *os.PathError
	var callErr *os.SyscallError
	switch {
	case errors.As(err, &pathErr):
		r.Call = pathErr.Op + " " + pathErr.Path
	case errors.As(err, &callErr):
		r.Call = callErr.Syscall
	}
	if errno := syscall.Errno(0); errors.As(err, &errno) {
		r.Errno = errno
		r.Hint = hint(r.Call, errno)
	}
	return r
}

// hint is the flag to add, or what else to do, when call fails with errno.
func hint(call string, errno syscall.Errno) string {
	has := func(words ...string) bool {
		for _, w := range words {
			if strings.Contains(call, w) {
				return true
			}
		}
		return false
	}
	switch {
	case errno == unix.EPERM && has("CLONE_NEWUSER"):
		return "run the pod with --cap-add SETUID --cap-add SETGID --cap-add SETFCAP (Docker's default), and allow user namespaces on the host"
	case (errno == unix.ENOSPC || errno == unix.EUSERS) && has("CLONE_NEW"):
		return "raise the sysctls user.max_user_namespaces and user.max_mnt_namespaces on the host"
	case errno == unix.EPERM && has("mount proc"):
		return "run the pod with --security-opt systempaths=unconfined: in a user namespace Linux mounts no proc beside a masked one"
	case errno == unix.EPERM && has("open_tree", "move_mount", "fsopen", "fsmount", "mount_setattr", "openat2", "seccomp"):
		return "run the pod with --cap-add SYS_ADMIN; if it has that, with a newer engine's seccomp profile or --security-opt seccomp=unconfined"
	case errno == unix.EPERM && has("clone", "mount"):
		return "run the pod with --cap-add SYS_ADMIN"
	case errno == unix.EACCES && has("mount"):
		return "run the pod with --security-opt apparmor=unconfined (or, with SELinux, --security-opt label=disable)"
	case errno == unix.EPERM && has("chroot"):
		return "run the pod with --cap-add SYS_CHROOT"
	case errno == unix.EPERM && has("chown"):
		return "run the pod with --cap-add CHOWN"
	case errno == unix.ENOSYS:
		return "ghosts need Linux 5.12 or later, and an engine whose seccomp profile knows its calls"
	case errno == unix.ELOOP:
		return "something put a symbolic link there; look where it leads, and remove it"
	case errno == unix.ENOSPC:
		return "raise the ghost's RAM limit"
	case errno == unix.EINVAL && has("mount overlay"):
		return "the pod's root can't be the lower layer of one more overlay; see the kernel's log for why"
	}
	return ""
}

// report is what the roles tell serve over the report pipe, once: that the
// keeper is ready, or why there will be no ghost.
type report struct {
	Ready   bool          `json:"ready,omitempty"`
	Refused *RefusedError `json:"refused,omitempty"`
}
