package pid1

import (
	"strconv"
	"syscall"
)

// self is this program. The kernel resolves it for the process that asks, so it
// works for a binary that its user may not read.
const self = "/proc/self/exe"

// directory is the working directory that the command gets. We leave it before
// the fork, so that it isn't kept busy by us for even an instant.
type directory struct {
	path string // empty where no path leads to it any more
	fd   int
}

func leaveDirectory() directory {
	var d directory
	var err error
	if d.fd, err = syscall.Open(".", oPath|syscall.O_DIRECTORY|syscall.O_CLOEXEC, 0); err != nil {
		d.fd = -1
	}
	var here, there syscall.Stat_t
	path, err := syscall.Getwd()
	if err == nil && syscall.Fstat(d.fd, &here) == nil && syscall.Stat(path, &there) == nil &&
		here.Dev == there.Dev && here.Ino == there.Ino && syscall.Access(path, xOK) == nil {
		d.path = path
	}
	_ = syscall.Chdir("/") // there is always a root; else we stay where we are
	return d
}

func (d directory) close() {
	if d.fd >= 0 {
		syscall.Close(d.fd)
	}
}

// commandSpec says how the command starts.
type commandSpec struct {
	argv      []string
	env       []string
	dir       directory
	inherited dispositions
	user      bool // as the pod's user, without privileges
	terminal  bool // takes the foreground
}

// stageLetters are what only the new process itself can do between fork and
// exec; see stage.
func (c commandSpec) stageLetters() string {
	letters := ""
	if c.user {
		letters += "u"
	}
	if c.terminal {
		letters += "t"
	}
	if pid, ok := lookup(c.env, envListenPID); ok && pid == strconv.Itoa(syscall.Getpid()) {
		letters += "l"
	}
	if c.inherited.ignored&^kept != 0 {
		letters += "i"
	}
	return letters
}

// start forks the command and returns when it was executed, or, where a stage
// is needed, when that was.
func (c commandSpec) start() (pid int, err error) {
	attr := syscall.ProcAttr{
		Dir:   c.dir.path,
		Env:   c.env,
		Files: []uintptr{0, 1, 2},
		Sys:   &syscall.SysProcAttr{Setpgid: true},
	}
	if c.dir.path == "" && c.dir.fd >= 0 && syscall.Fchdir(c.dir.fd) == nil {
		defer syscall.Chdir("/")
	}
	if letters := c.stageLetters(); letters != "" {
		argv := append([]string{"tazpod-init", "run", stageFlag, letters,
			strconv.FormatUint(c.inherited.ignored, 16), strconv.FormatUint(c.inherited.blocked, 16)}, c.argv...)
		defer setMask(setMask(^uint64(0))) // what arrives meanwhile waits for the command
		return syscall.ForkExec(self, argv, &attr)
	}
	defer lower(lift(c.inherited.blocked))
	err = search(c.argv, c.env, func(path string, argv []string) (err error) {
		if path[0] == '/' {
			if err := syscall.Access(path, fOK); err == syscall.ENOENT || err == syscall.ENOTDIR {
				return err // spares a fork for each entry of PATH
			}
		}
		pid, err = syscall.ForkExec(path, argv, &attr)
		return err
	})
	return pid, err
}

// search tries to execute argv as execvp(3) does: along PATH, past entries that
// don't exist or may not be executed, and by the shell when the file has no
// known format. It returns the error that says most.
func search(argv, env []string, try func(path string, argv []string) error) error {
	name := argv[0]
	if name == "" {
		return syscall.ENOENT
	}
	path, ok := lookup(env, "PATH")
	if !ok {
		path = defaultPath
	}
	direct := index(name, '/') >= 0
	result := error(syscall.ENOENT)
	for more := true; more; more = more && !direct {
		var place string
		place, path, more = cut(path, ':')
		file := place + "/" + name
		switch {
		case direct:
			place, file = "", name
		case place == "":
			file = "./" + name // an empty entry is the working directory
		}
		err := try(file, argv)
		if err == syscall.ENOEXEC {
			err = try("/bin/sh", append([]string{"sh", file}, argv[1:]...))
		}
		switch err {
		case nil:
			return nil
		case syscall.EACCES: // it is there, or it is behind a directory that we may not enter
			if place == "" || syscall.Access(file, fOK) == nil {
				result = err
			}
		case syscall.ENOENT, syscall.ENOTDIR, syscall.ESTALE, syscall.ENODEV, syscall.ETIMEDOUT:
		default:
			return err
		}
	}
	return result
}

const defaultPath = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"

// startStatus is the exit status for a command that could not be executed, as a
// shell's.
func startStatus(err error) int {
	switch err {
	case syscall.ENOENT, syscall.ENOTDIR:
		return exitNotFound
	}
	return exitNotExecutable
}

// inheritedDescriptors lists what the caller left open for the command beyond
// the standard three: what is not marked to be closed on exec.
func inheritedDescriptors() []int {
	dir, err := syscall.Open("/proc/self/fd", syscall.O_RDONLY|syscall.O_DIRECTORY|syscall.O_CLOEXEC, 0)
	if err != nil {
		return nil
	}
	defer syscall.Close(dir)
	var list []int
	buf := make([]byte, 2048)
	for {
		n, err := syscall.ReadDirent(dir, buf)
		if err != nil || n <= 0 {
			return list
		}
		_, _, names := syscall.ParseDirent(buf[:n], -1, nil)
		for _, name := range names {
			fd, err := strconv.Atoi(name)
			if err != nil || fd < 3 {
				continue
			}
			if flags, err := fcntl(fd, syscall.F_GETFD, 0); err == nil && flags&syscall.FD_CLOEXEC == 0 {
				list = append(list, fd)
			}
		}
	}
}
