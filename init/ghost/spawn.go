package ghost

import (
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"runtime"
	"sync"
	"syscall"

	"golang.org/x/sys/unix"

	"github.com/tazzo/tazpod/init/sys"
)

// executable is what roles are started from.
var executable = "/proc/self/exe"

// Descriptors that the ghost and the keeper inherit.
const (
	fdConfig  = 3 // Config in JSON, then EOF
	fdControl = 4 // the keeper's end of the socket to serve
	fdReport  = 5 // where one report is written
)

// spawner runs functions on one thread that lives as long as the process. The
// kernel sends a parent-death signal when the thread that forked ends, not the
// process (prctl(2)), and the Go runtime ends threads as it likes.
var spawner = sync.OnceValue(func() chan<- func() {
	work := make(chan func())
	go func() {
		runtime.LockOSThread()
		for do := range work {
			do()
		}
	}()
	return work
})

// spawn starts a role that dies with this process.
func spawn(role string, files []*os.File, attr syscall.SysProcAttr) (p *os.Process, err error) {
	attr.Pdeathsig = syscall.SIGKILL
	done := make(chan struct{})
	spawner() <- func() {
		defer close(done)
		p, err = os.StartProcess(executable, []string{"tazpod-init", "role", role},
			&os.ProcAttr{Dir: "/", Env: []string{}, Files: files, Sys: &attr})
	}
	<-done
	if err == nil {
		return p, nil
	}
	call := "clone " + sys.Namespaces(attr.Cloneflags)
	if attr.Cloneflags == 0 || errors.Is(err, syscall.ENOENT) {
		call = "execve"
	}
	errno := syscall.EINVAL
	errors.As(err, &errno)
	return nil, fmt.Errorf("start role %s: %w", role, os.NewSyscallError(call, errno))
}

// spawnRole starts the ghost or the keeper with their descriptors. It closes
// none of them.
func spawnRole(role string, config Config, control, reports *os.File, attr syscall.SysProcAttr) (*os.Process, error) {
	text, err := json.Marshal(config)
	if err != nil {
		return nil, err
	}
	read, write, err := os.Pipe()
	if err != nil {
		return nil, err
	}
	defer read.Close()
	defer write.Close()
	null, err := os.OpenFile(os.DevNull, os.O_RDWR, 0)
	if err != nil {
		return nil, err
	}
	defer null.Close()
	if len(text) > 60<<10 { // what a pipe takes without a reader
		return nil, fmt.Errorf("a ghost's configuration of %d bytes", len(text))
	}
	if _, err := write.Write(text); err != nil {
		return nil, err
	}
	return spawn(role, []*os.File{null, null, os.Stderr, read, control, reports}, attr)
}

// inherited takes over the descriptors of a role.
func inherited() (config Config, control, reports *os.File, err error) {
	for _, fd := range []int{fdConfig, fdControl, fdReport} {
		unix.CloseOnExec(fd)
	}
	control, reports = os.NewFile(fdControl, "control socket"), os.NewFile(fdReport, "report pipe")
	source := os.NewFile(fdConfig, "configuration")
	if control == nil || reports == nil || source == nil {
		return config, nil, nil, errors.New("this is an internal role: it isn't run by hand")
	}
	defer source.Close()
	return config, control, reports, json.NewDecoder(source).Decode(&config)
}

// send writes the one report of a role and closes the pipe.
func (r report) send(to *os.File) error {
	return errors.Join(json.NewEncoder(to).Encode(r), to.Close())
}

// idmapNamespace returns a user namespace in which the ids of inside are those
// of outside. It needs /proc of the caller's own PID namespace.
func idmapNamespace(uids, gids sys.IDs) (*os.File, error) {
	mapped, err := sys.MappedIDs("/proc/self/uid_map")
	if err != nil {
		return nil, err
	}
	read, write, err := os.Pipe()
	if err != nil {
		return nil, err
	}
	defer write.Close()
	hold, err := spawn("hold", []*os.File{read}, syscall.SysProcAttr{
		Cloneflags:                 unix.CLONE_NEWUSER,
		UidMappings:                uids.Extents(mapped.Limit()),
		GidMappings:                gids.Extents(mapped.Limit()),
		GidMappingsEnableSetgroups: true,
	})
	read.Close()
	if err != nil {
		return nil, err
	}
	// The open file keeps the namespace; who made it may go.
	namespace, err := os.Open(fmt.Sprintf("/proc/%d/ns/user", hold.Pid))
	killed := hold.Kill()
	_, waited := hold.Wait()
	if err := errors.Join(err, killed, waited); err != nil {
		if namespace != nil {
			namespace.Close()
		}
		return nil, err
	}
	return namespace, nil
}

// RoleHold lives until its input ends: what it was started in (a user
// namespace, credentials) can be looked at meanwhile.
func RoleHold() error {
	for {
		n, err := unix.Read(0, make([]byte, 1))
		if n == 0 && err == nil {
			return nil
		}
		if err != nil && err != unix.EINTR {
			return os.NewSyscallError("read", err)
		}
	}
}
