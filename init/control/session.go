package control

import (
	"context"
	"io"
	"os"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"golang.org/x/crypto/ssh"

	"github.com/tazzo/tazpod/init/ghost"
	"github.com/tazzo/tazpod/init/wire"
)

const (
	shell      = "/bin/bash"
	sftpServer = "/usr/lib/openssh/sftp-server"
	drainIdle  = 100 * time.Millisecond // a finished session's output ends after such a silence
	hangUpWait = 2 * time.Second        // from SIGHUP to SIGKILL when the carrier is gone
)

// session serves one session channel (RFC 4254 section 6): collects what the
// client says before it names the program, starts that in the ghost, and ends
// in the order that clients rely on: output, exit-status, EOF, close.
func (c *connection) session(channel ssh.NewChannel, gone <-chan struct{}) {
	stream, requests, err := channel.Accept()
	if err != nil {
		return
	}
	defer stream.Close() // once more does nothing
	var config ghost.SessionConfig
	for request := range requests {
		ok, start := configure(&config, request)
		if request.WantReply {
			_ = request.Reply(ok, nil)
		}
		if start && ok {
			c.run(stream, requests, config, gone)
			return
		}
	}
}

// configure applies one request to a session that hasn't started; start is set
// for the one that names the program.
func configure(config *ghost.SessionConfig, request *ssh.Request) (ok, start bool) {
	switch request.Type {
	case "pty-req":
		var pty struct {
			Term                         string
			Columns, Rows, Width, Height uint32
			Modes                        string
		}
		if ssh.Unmarshal(request.Payload, &pty) != nil {
			return false, false
		}
		config.Terminal = &ghost.Size{Columns: uint16(pty.Columns), Rows: uint16(pty.Rows)}
		config.Env = append(config.Env, "TERM="+pty.Term)
		return true, false
	case "env":
		var env struct{ Name, Value string }
		if ssh.Unmarshal(request.Payload, &env) != nil || !passed(env.Name) {
			return false, false
		}
		config.Env = append(config.Env, env.Name+"="+env.Value)
		return true, false
	case "shell":
		return true, true
	case "exec":
		var exec struct{ Command string }
		if ssh.Unmarshal(request.Payload, &exec) != nil {
			return false, false
		}
		config.Argv = []string{shell, "-c", exec.Command}
		return true, true
	case "subsystem":
		var subsystem struct{ Name string }
		if ssh.Unmarshal(request.Payload, &subsystem) != nil || subsystem.Name != "sftp" {
			return false, false
		}
		config.Argv = []string{sftpServer}
		return true, true
	}
	return false, false
}

// passed names the variables that a session takes from the client's side.
func passed(name string) bool {
	switch name {
	case "TERM", "COLORTERM", "LANG", "TZ", "NO_COLOR":
		return true
	}
	return strings.HasPrefix(name, "LC_")
}

// run starts the program and stays until it is over.
func (c *connection) run(stream ssh.Channel, requests <-chan *ssh.Request, config ghost.SessionConfig, gone <-chan struct{}) {
	p := c.server.pod
	counted := false
	r, s, err := p.join(context.Background(), "", config, func() bool {
		counted = counted || c.admitted()
		return counted
	})
	c.lease.dropIfAny()
	if counted {
		defer c.done() // after the stream's end was sent
	}
	defer stream.Close()
	if err != nil {
		go ssh.DiscardRequests(requests)
		p.log.Error().Str("event", "session failed").Err(err).Msg("")
		code := sessionCode(err)
		text := "tazpod: error: " + err.Error() + "\n"
		if h := hint(err); h != "" {
			text += "tazpod: hint: " + h + "\n"
		}
		_, _ = io.WriteString(stream.Stderr(), text) // the carrier may be gone
		_, _ = stream.SendRequest("exit-status", false, ssh.Marshal(struct{ Code uint32 }{uint32(code)}))
		return
	}
	go feed(s, stream)
	over, closed := make(chan struct{}), make(chan struct{})
	go func() {
		steer(s, requests)
		close(closed) // the client gave this session up, perhaps one of many on its connection
	}()
	go func() {
		select {
		case <-gone:
		case <-closed:
		case <-over:
			return
		}
		hangUp(s, over)
	}()
	output := drain(s, stream)
	status := r.outcome(s.Wait())
	output.finish()
	close(over)
	s.Close()
	if status.Message != "" {
		_, _ = io.WriteString(stream.Stderr(), "tazpod: error: "+status.Message+"\n")
	}
	// The client learns the end when nothing of the ghost is left, so that
	// what it does next finds the truth.
	if err := r.leave(s); err != nil {
		text := "tazpod: error: the vault is not saved: " + err.Error() + "\ntazpod: hint: "
		if !safe(err) {
			text += "its content stays in the pod's memory and saving is tried again: don't stop the pod before tazpod status says that it is saved; "
		}
		_, _ = io.WriteString(stream.Stderr(), text+hint(err)+"\n") // the carrier may be gone
	}
	report(stream, status)
	_ = stream.CloseWrite()
}

// report sends the status of a finished program (RFC 4254 section 6.10).
func report(stream ssh.Channel, status ghost.Status) {
	if name, ok := signalNames[status.Signal]; ok {
		_, _ = stream.SendRequest("exit-signal", false, ssh.Marshal(struct {
			Name       string
			CoreDumped bool
			Message    string
			Language   string
		}{Name: name}))
		return
	}
	code := status.Code
	if status.Signal != 0 { // one that has no name in the protocol
		code = wire.ExitSignal + int(status.Signal)
	}
	_, _ = stream.SendRequest("exit-status", false, ssh.Marshal(struct{ Code uint32 }{uint32(code)}))
}

// steer obeys the requests that a running session can get.
func steer(s *attached, requests <-chan *ssh.Request) {
	for request := range requests {
		ok := false
		switch request.Type {
		case "window-change":
			var size struct{ Columns, Rows, Width, Height uint32 }
			ok = s.terminal && ssh.Unmarshal(request.Payload, &size) == nil &&
				s.Resize(uint16(size.Columns), uint16(size.Rows)) == nil
		case "signal":
			var signal struct{ Name string }
			if ssh.Unmarshal(request.Payload, &signal) == nil {
				for number, name := range signalNames {
					if name == signal.Name {
						ok = s.Signal(number) == nil
					}
				}
			}
		}
		if request.WantReply {
			_ = request.Reply(ok, nil)
		}
	}
}

// feed passes the client's input on, and its end when that can be told from a
// terminal's silence.
func feed(s *attached, stream io.Reader) {
	_, _ = io.Copy(s.Stdin, stream) // the program may close its input; that is its business
	if !s.terminal {
		s.Stdin.Close()
	}
}

// hangUp ends a session whose client is gone, as a modem's hang-up would, and
// without mercy for who ignores it.
func hangUp(s *attached, over <-chan struct{}) {
	_ = s.Signal(syscall.SIGHUP) // it may be dead already
	_ = s.Signal(syscall.SIGCONT)
	select {
	case <-over:
	case <-time.After(hangUpWait):
		_ = s.Signal(syscall.SIGKILL)
	}
}

// output copies what a session writes to its client.
type output struct {
	files   []*os.File
	exited  atomic.Bool
	copying sync.WaitGroup
}

func drain(s *attached, stream ssh.Channel) *output {
	o := &output{}
	o.copy(stream, s.Stdout)
	if s.Stderr != nil {
		o.copy(stream.Stderr(), s.Stderr)
	}
	return o
}

func (o *output) copy(to io.Writer, from *os.File) {
	o.files = append(o.files, from)
	o.copying.Go(func() {
		buffer := make([]byte, 32<<10)
		for {
			if o.exited.Load() {
				_ = from.SetReadDeadline(time.Now().Add(drainIdle))
			}
			n, err := from.Read(buffer)
			if n > 0 {
				if _, werr := to.Write(buffer[:n]); werr != nil {
					to = io.Discard // keep reading: the program must not block on a client that left
				}
			}
			if err != nil {
				clear(buffer) // it held what may be a secret
				return
			}
		}
	})
}

// finish returns when all that the finished program wrote has been copied. A
// process that it left behind may hold the other end open, so a silence counts
// as the end.
func (o *output) finish() {
	o.exited.Store(true)
	for _, f := range o.files {
		_ = f.SetReadDeadline(time.Now().Add(drainIdle))
	}
	o.copying.Wait()
}

// splice copies both ways until both are at their end.
func splice(a ssh.Channel, b interface {
	io.ReadWriter
	CloseWrite() error
}) {
	var both sync.WaitGroup
	both.Go(func() { _, _ = io.Copy(a, b); _ = a.CloseWrite() })
	both.Go(func() { _, _ = io.Copy(b, a); _ = b.CloseWrite() })
	both.Wait()
	a.Close()
}

// signalNames are those of RFC 4254 section 6.10.
var signalNames = map[syscall.Signal]string{
	syscall.SIGABRT: "ABRT", syscall.SIGALRM: "ALRM", syscall.SIGFPE: "FPE", syscall.SIGHUP: "HUP",
	syscall.SIGILL: "ILL", syscall.SIGINT: "INT", syscall.SIGKILL: "KILL", syscall.SIGPIPE: "PIPE",
	syscall.SIGQUIT: "QUIT", syscall.SIGSEGV: "SEGV", syscall.SIGTERM: "TERM",
	syscall.SIGUSR1: "USR1", syscall.SIGUSR2: "USR2",
}
