package ghost

import (
	"encoding/json"
	"errors"
	"io"
	"os"
	"syscall"

	"golang.org/x/sys/unix"
)

// errEnded says that a ghost can't run anything any more.
var errEnded = errors.New("the ghost has ended")

// Session is a command that runs, or ran, in a ghost. Its files are the
// caller's to close (Close closes them all); reading the master of a terminal
// gives EIO when nothing has it open any more.
type Session struct {
	Stdin          *os.File
	Stdout, Stderr *os.File // of a terminal: Stdout is Stdin, Stderr is nil

	ghost   *Ghost
	id      int
	started chan struct{} // closed when the files are there
	over    chan struct{} // closed when status is there
	status  Status
}

// Session starts a command. One that can't be run is no error: its Session has
// ended already, with a status that says why.
func (g *Ghost) Session(config SessionConfig) (*Session, error) {
	read, write, err := os.Pipe()
	if err != nil {
		return nil, err
	}
	defer write.Close()
	s := &Session{ghost: g, started: make(chan struct{}), over: make(chan struct{})}
	g.mu.Lock()
	if g.ended {
		err = errEnded
	} else {
		g.lastID++
		s.id = g.lastID
		g.sessions[s.id] = s
		err = g.send(message{Op: opStart, ID: s.id}, read)
	}
	g.mu.Unlock()
	read.Close()
	if err == nil {
		err = json.NewEncoder(write).Encode(config.request())
	}
	if err == nil {
		write.Close() // the keeper reads one value and doesn't wait for the end
		select {
		case <-s.started:
		case <-s.over:
		}
		select {
		case <-s.started:
			return s, nil
		default: // over with the ghost, before the files came
			err = errEnded
		}
	}
	g.forget(s.id)
	return nil, err
}

// send is called with g.mu held, which keeps packets whole and in order.
func (g *Ghost) send(m message, files ...*os.File) error {
	text, err := m.encode()
	if err != nil {
		return err
	}
	var oob []byte
	for _, f := range files {
		oob = unix.UnixRights(int(f.Fd()))
	}
	_, _, err = g.control.WriteMsgUnix(text, oob, nil)
	return err
}

func (g *Ghost) forget(id int) {
	g.mu.Lock()
	defer g.mu.Unlock()
	delete(g.sessions, id)
}

// listen takes the keeper's messages until its end closes. A ghost whose keeper
// says nonsense is killed.
func (g *Ghost) listen() {
	data, oob := make([]byte, maxMessage), make([]byte, oobSpace)
	for {
		n, oobn, _, _, err := g.control.ReadMsgUnix(data, oob)
		if err != nil {
			break
		}
		m, fds, err := decode(data[:n], oob[:oobn])
		if err == nil {
			err = g.take(m, fds)
		}
		if err != nil {
			break
		}
	}
	_ = g.process.Kill() // mostly it is dead already
	g.mu.Lock()
	defer g.mu.Unlock()
	g.ended = true
	for id, s := range g.sessions {
		s.status = Status{Signal: syscall.SIGKILL, Ended: true}
		close(s.over)
		delete(g.sessions, id)
	}
}

func (g *Ghost) take(m message, fds []int) error {
	g.mu.Lock()
	defer g.mu.Unlock()
	s := g.sessions[m.ID]
	if s == nil { // its starter has given up
		closeAll(fds)
		return nil
	}
	switch m.Op {
	case opStarted:
		return s.adopt(m.Terminal, fds)
	case opExited:
		s.status = Status{Code: m.Code, Signal: syscall.Signal(m.Signal), Message: m.Text}
		delete(g.sessions, m.ID)
		close(s.over)
		return nil
	}
	closeAll(fds)
	return io.ErrUnexpectedEOF
}

// adopt makes files of the descriptors, with deadlines and without a thread for
// each read. When the keeper could not even open them there are none, and
// reading a closed file is what the session's files do.
func (s *Session) adopt(terminal bool, fds []int) error {
	files := make([]*os.File, 3)
	for i := range files {
		if i < len(fds) {
			if err := unix.SetNonblock(fds[i], true); err != nil {
				closeAll(fds[i:])
				return os.NewSyscallError("fcntl O_NONBLOCK", err)
			}
			files[i] = os.NewFile(uintptr(fds[i]), "session")
		}
	}
	s.Stdin, s.Stdout, s.Stderr = files[0], files[1], files[2]
	if terminal {
		s.Stdout, s.Stderr = s.Stdin, nil
	}
	close(s.started)
	return nil
}

// Resize changes the size of a session's terminal, which tells its foreground
// job by SIGWINCH.
func (s *Session) Resize(columns, rows uint16) error {
	if s.Stderr != nil {
		return unix.ENOTTY
	}
	raw, err := s.Stdin.SyscallConn()
	if err != nil {
		return err
	}
	var inner error
	err = raw.Control(func(fd uintptr) { inner = setSize(int(fd), Size{columns, rows}) })
	return errors.Join(err, inner)
}

// Signal sends a signal to the foreground job of a session's terminal, or to
// all that is in the process group of one without. SIGHUP, SIGTERM, SIGKILL and
// SIGCONT reach the main process of a session on a terminal too. A session that
// is over gets nothing, which is no error.
func (s *Session) Signal(signal syscall.Signal) error {
	s.ghost.mu.Lock()
	defer s.ghost.mu.Unlock()
	if s.ghost.ended {
		return nil
	}
	return s.ghost.send(message{Op: opSignal, ID: s.id, Signal: int(signal)})
}

// Wait returns how the session's main process ended, when it has. Others that
// it started may live on, and hold its files open.
func (s *Session) Wait() Status {
	<-s.over
	return s.status
}

// Close closes the session's files: for what still runs on a terminal that is a
// hang-up.
func (s *Session) Close() {
	for _, f := range []*os.File{s.Stdin, s.Stdout, s.Stderr} {
		if f != nil {
			f.Close() // a file may be closed already, or be there twice
		}
	}
}
