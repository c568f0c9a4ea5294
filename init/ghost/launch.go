package ghost

import (
	"errors"
	"fmt"
	"os"
	"path"
	"slices"
	"strings"
	"syscall"

	"golang.org/x/sys/unix"

	"github.com/tazzo/tazpod/init/wire"
)

// commandError is why a session's command can't be run; code is what a shell
// would exit with.
type commandError struct {
	code int
	text string
}

func (e *commandError) Error() string { return e.text }

// launch forks a session. It returns serve's ends of its terminal or pipes, in
// the order input, output, errors; the caller closes them. They exist also when
// the command could not be run.
func (k *keeper) launch(c SessionConfig) (ends []int, pid int, err error) {
	u := findUser()
	env := environment(k.config, u, c.Env)
	// From here on this thread's access to files is that of the sessions' user,
	// who so owns what is made, and is told apart from root in what is found.
	if err := access(wire.UserID); err != nil {
		return nil, 0, err
	}
	defer func() { err = errors.Join(err, access(0)) }()
	inner, ends, err := open(c.Terminal)
	if err != nil {
		return ends, 0, err
	}
	defer func() { closeAll(slices.Compact(inner)) }() // a terminal is there three times
	dir, err := directoryOf(c.Dir)
	if err != nil {
		return ends, 0, err
	}
	argv, file, err := command(c.Argv, u.shell, dir, env)
	if err != nil {
		return ends, 0, err
	}
	attr := credentials()
	attr.Setctty = c.Terminal != nil // Ctty 0: its standard input
	pid, err = syscall.ForkExec(file, argv, &syscall.ProcAttr{
		Dir: dir, Env: env, Files: []uintptr{uintptr(inner[0]), uintptr(inner[1]), uintptr(inner[2])}, Sys: attr,
	})
	if err != nil {
		code := wire.ExitNotExecutable
		if errors.Is(err, unix.EAGAIN) || errors.Is(err, unix.ENOMEM) { // not the command's fault
			code = wire.ExitSession
		}
		err = &commandError{code, fmt.Sprintf("%s: %v", argv[0], err)}
	}
	return ends, pid, err
}

// access changes whose rights to files this thread has (setfsuid(2)).
func access(id int) error {
	if err := unix.Setfsgid(id); err != nil {
		return os.NewSyscallError("setfsgid", err)
	}
	if err := unix.Setfsuid(id); err != nil {
		return os.NewSyscallError("setfsuid", err)
	}
	// setfsuid tells no error, only the id before.
	if now, err := unix.SetfsuidRetUid(-1); now != id {
		return errors.Join(fmt.Errorf("setfsuid: is %d, not %d", now, id), err)
	}
	return nil
}

// open makes a session's standard input, output and errors, and serve's ends.
func open(terminal *Size) (inner, ends []int, err error) {
	if terminal != nil {
		return openTerminal(*terminal)
	}
	for i := range 3 {
		var pipe [2]int
		if err := unix.Pipe2(pipe[:], unix.O_CLOEXEC); err != nil {
			closeAll(inner)
			return nil, ends, os.NewSyscallError("pipe2", err)
		}
		mine, theirs := pipe[0], pipe[1]
		if i == 0 {
			mine, theirs = theirs, mine
		}
		// mine is what serve gets: it writes input and reads the rest.
		ends, inner = append(ends, mine), append(inner, theirs)
	}
	return inner, ends, nil
}

// command finds the file to execute, as execvp(3) does from dir.
func command(argv []string, shell, dir string, env []string) ([]string, string, error) {
	if len(argv) == 0 { // a leading dash makes it a login shell
		return []string{"-" + path.Base(shell)}, shell, nil
	}
	name := argv[0]
	if strings.ContainsRune(name, '/') {
		if err := executableFile(dir, name); err != nil {
			return argv, "", cannot(name, err)
		}
		return argv, name, nil
	}
	found := error(unix.ENOENT)
	for _, place := range strings.Split(lookup(env, "PATH"), ":") {
		if name == "" {
			break
		}
		file := path.Join(place, name)
		if place == "" || place == "." {
			file = "./" + name
		}
		switch err := executableFile(dir, file); {
		case err == nil:
			return argv, file, nil
		case !errors.Is(err, unix.ENOENT) && !errors.Is(err, unix.ENOTDIR):
			found = err
		}
	}
	return argv, "", cannot(name, found)
}

func cannot(name string, err error) error {
	switch {
	case errors.Is(err, unix.ENOENT) && !strings.ContainsRune(name, '/'):
		return &commandError{wire.ExitNotFound, name + ": command not found"}
	case errors.Is(err, unix.ENOENT), errors.Is(err, unix.ENOTDIR):
		return &commandError{wire.ExitNotFound, fmt.Sprintf("%s: %v", name, err)}
	}
	return &commandError{wire.ExitNotExecutable, fmt.Sprintf("%s: %v", name, err)}
}

func executableFile(dir, file string) error {
	if !path.IsAbs(file) {
		file = dir + "/" + file
	}
	var st unix.Stat_t
	if err := unix.Stat(file, &st); err != nil {
		return err
	}
	if st.Mode&unix.S_IFMT == unix.S_IFDIR {
		return unix.EISDIR
	}
	return unix.Faccessat2(unix.AT_FDCWD, file, unix.X_OK, unix.AT_EACCESS)
}

// directoryOf is where a session starts: where it was told to, else in the
// project, else at home.
func directoryOf(dir string) (string, error) {
	if dir != "" {
		if err := enterable(dir); err != nil {
			return "", &commandError{wire.ExitSession, fmt.Sprintf("%s: %v", dir, err)}
		}
		return dir, nil
	}
	for _, dir := range []string{wire.Workspace, wire.Home} {
		if enterable(dir) == nil {
			return dir, nil
		}
	}
	return "/", nil
}

func enterable(dir string) error {
	fd, err := unix.Open(dir+"/.", unix.O_PATH|unix.O_DIRECTORY|unix.O_CLOEXEC, 0) // the dot takes the right to search it
	if err != nil {
		return err
	}
	return unix.Close(fd)
}
