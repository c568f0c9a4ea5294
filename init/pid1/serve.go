package pid1

import (
	"strconv"
	"syscall"
)

// StateFile says in JSON how serve is; see State. It is replaced as a whole.
const StateFile = runtimeDir + "/serve.json"

// State is the content of StateFile. A crash loop shows as Running false and
// BackOff above 0, or as Restarts that grow.
type State struct {
	Running  bool   `json:"running"`
	PID      int    `json:"pid"`        // 0 when not running
	Since    string `json:"since"`      // RFC 3339: of this start, or of the end
	Restarts int    `json:"restarts"`   // since the pod started
	BackOff  int64  `json:"back_off"`   // milliseconds until the next start
	Last     string `json:"last_error"` // how it last ended; empty if it never did
}

const (
	firstBackOff = 100e6 // ns
	lastBackOff  = 10e9  // ns
	healthy      = 60e9  // ns of running reset the back-off
)

// server keeps serve running.
type server struct {
	pid     int
	env     []string
	started int64 // monotonic
	next    int64 // monotonic; 0: nothing to start
	backOff int64 // ns
	state   State
}

// start forks serve in a mount namespace of its own, where it will mount the
// vault's content. Where the kernel refuses that, serve starts without and is
// told, so that it can refuse ghosts and still explain itself.
func (s *server) start(r *reaper) {
	s.next, s.started = 0, monotonic()
	pid, refused, err := 0, "", error(nil)
	pid, err = s.fork(r, syscall.CLONE_NEWNS, `{"private_mounts":true}`)
	switch err {
	case syscall.EPERM, syscall.EACCES, syscall.EINVAL, syscall.ENOSYS:
		call := "unshare CLONE_NEWNS"
		if err == syscall.EACCES { // AppArmor lets the first step pass
			call = "mount MS_PRIVATE"
		}
		refused = call + ": " + err.Error()
		note("warn", "private mounts refused", "error", refused)
		pid, err = s.fork(r, 0, `{"private_mounts":false,"refused":`+string(quote(nil, refused))+`}`)
	}
	if err != nil {
		s.ended("start " + self + " role serve: " + err.Error())
		return
	}
	s.pid = pid
	s.state.Running, s.state.PID, s.state.BackOff = true, pid, 0
	s.save()
}

// fork starts serve with config on descriptor 3. It gets a session of its own:
// the terminal's keys are not for it.
func (s *server) fork(r *reaper, unshare uintptr, config string) (int, error) {
	null, err := syscall.Open("/dev/null", syscall.O_RDONLY|syscall.O_CLOEXEC, 0)
	if err != nil {
		return 0, err
	}
	defer syscall.Close(null)
	var p [2]int
	if err := syscall.Pipe2(p[:], syscall.O_CLOEXEC); err != nil {
		return 0, err
	}
	defer syscall.Close(p[0])
	_, err = syscall.Write(p[1], []byte(config)) // far below what a pipe holds
	syscall.Close(p[1])
	if err != nil {
		return 0, err
	}
	return r.fork(func() (int, error) {
		defer lower(lift(0))
		return syscall.ForkExec(self, []string{"tazpod-init", "role", "serve"}, &syscall.ProcAttr{
			Dir:   "/",
			Env:   s.env,
			Files: []uintptr{uintptr(null), uintptr(logFD), uintptr(logFD), uintptr(p[0])},
			Sys:   &syscall.SysProcAttr{Setsid: true, Unshareflags: unshare},
		})
	})
}

// ended notes how serve ended and when to start it again.
func (s *server) ended(how string) {
	s.note(how)
	note("error", "serve ended", "error", how, "restart_in", seconds(s.backOff))
	s.save()
}

func (s *server) note(how string) {
	now := monotonic()
	if now-s.started >= healthy {
		s.backOff = 0
	}
	s.backOff = min(max(2*s.backOff, firstBackOff), lastBackOff)
	s.pid, s.next = 0, now+s.backOff
	s.state.Running, s.state.PID, s.state.Last = false, 0, how
	s.state.Restarts++
	s.state.BackOff = s.backOff / 1e6
}

// save replaces StateFile. Errors only cost healthcheck its knowledge.
func (s *server) save() {
	s.state.Since = now()
	b := append([]byte(`{"running":`), strconv.FormatBool(s.state.Running)...)
	b = append(b, `,"pid":`+strconv.Itoa(s.state.PID)+`,"since":"`+s.state.Since...)
	b = append(b, `","restarts":`+strconv.Itoa(s.state.Restarts)+`,"back_off":`+strconv.FormatInt(s.state.BackOff, 10)...)
	b = append(quote(append(b, `,"last_error":`...), s.state.Last), '}', '\n')
	_ = syscall.Mkdir(runtimeDir, 0o755)
	const fresh = StateFile + ".new"
	_ = syscall.Unlink(fresh)
	fd, err := syscall.Open(fresh, syscall.O_WRONLY|syscall.O_CREAT|syscall.O_EXCL|syscall.O_NOFOLLOW|syscall.O_CLOEXEC, 0o644)
	if err != nil {
		return
	}
	_, err = syscall.Write(fd, b)
	syscall.Close(fd)
	if err == nil {
		_ = syscall.Rename(fresh, StateFile)
	}
}
