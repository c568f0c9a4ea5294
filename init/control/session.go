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
	"unicode"

	"golang.org/x/crypto/ssh"

	"github.com/tazzo/tazpod/init/ghost"
	"github.com/tazzo/tazpod/init/wire"
)

const (
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
	w := wish{profile: c.profile, client: c.client}
	for request := range requests {
		ok, start := w.take(request)
		if request.WantReply {
			_ = request.Reply(ok, nil)
		}
		if start && ok {
			c.run(stream, requests, w, gone)
			return
		}
	}
}

// run starts the program and stays until it is over.
func (c *connection) run(stream ssh.Channel, requests <-chan *ssh.Request, w wish, gone <-chan struct{}) {
	p := c.server.pod
	errs := &shared{w: stream.Stderr()} // the program's, and ours
	w.tell = errs.tell
	r, s, err := p.join(context.Background(), w, c)
	c.lease.dropIfAny()
	if s != nil {
		defer c.done() // after the stream's end was sent
	}
	defer stream.Close()
	if err != nil {
		go ssh.DiscardRequests(requests)
		p.log.Error().Str("event", "session failed").Err(err).Msg("")
		code := sessionCode(err)
		errs.tell("error: " + err.Error())
		if h := hint(err); h != "" {
			errs.tell("hint: " + h)
		}
		_, _ = stream.SendRequest("exit-status", false, ssh.Marshal(struct{ Code uint32 }{uint32(code)}))
		return
	}
	go feed(s, watched{stream, r.touch})
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
	output := drain(r, s, stream, errs)
	status := r.outcome(s.Wait())
	output.finish()
	close(over)
	s.Close()
	if status.Message != "" {
		errs.tell("error: " + status.Message)
	}
	// The client learns the end when nothing of the ghost is left, so that
	// what it does next finds the truth.
	left, err := r.leave(s, status)
	for _, l := range left {
		errs.tell(notSaved(l))
	}
	if err != nil {
		errs.tell("error: the vault is not saved: " + err.Error())
		text := "hint: "
		if !safe(err) {
			text += "its content stays in the pod's memory and saving is tried again: don't stop the pod before tazpod status says that it is saved; "
		}
		errs.tell(text + hint(err))
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

// drain copies until finish. What a program without a terminal writes counts as
// a use of the ghost: nobody types there.
func drain(r *running, s *attached, stream io.Writer, errs io.Writer) *output {
	o := &output{}
	if s.terminal {
		o.copy(stream, s.Stdout, s.Stdout)
		return o
	}
	o.copy(stream, s.Stdout, watched{s.Stdout, r.touch})
	o.copy(errs, s.Stderr, watched{s.Stderr, r.touch})
	return o
}

func (o *output) copy(to io.Writer, file *os.File, from io.Reader) {
	o.files = append(o.files, file)
	o.copying.Go(func() {
		buffer := make([]byte, 32<<10)
		for {
			if o.exited.Load() {
				_ = file.SetReadDeadline(time.Now().Add(drainIdle))
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

// watched is a reader whose every success is noticed.
type watched struct {
	io.Reader
	seen func()
}

func (w watched) Read(p []byte) (int, error) {
	n, err := w.Reader.Read(p)
	if n > 0 {
		w.seen()
	}
	return n, err
}

// shared is the error stream of a channel, on which the supervisor has a word
// beside the program. The SSH library takes one writer at a time.
type shared struct {
	mu sync.Mutex
	w  io.Writer
}

func (s *shared) Write(p []byte) (int, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.w.Write(p)
}

// tell says something to people. The carrier may be gone, and one that takes
// nothing makes it wait.
// Parts of the text may be a project's or a session's words.
func (s *shared) tell(text string) { _, _ = io.WriteString(s, "tazpod: "+printable(text)+"\n") }

// printable drops what steers a terminal.
func printable(text string) string {
	return strings.Map(func(c rune) rune {
		if unicode.IsControl(c) && c != '\n' {
			return -1
		}
		return c
	}, text)
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
