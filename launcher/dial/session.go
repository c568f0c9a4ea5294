package dial

import (
	"errors"
	"fmt"
	"io"
	"os"
	"os/signal"
	"strings"
	"sync"
	"syscall"

	"golang.org/x/crypto/ssh"

	"github.com/tazzo/tazpod/init/wire"
	"github.com/tazzo/tazpod/launcher/term"
)

// Streams are this side's ends of a session.
type Streams struct {
	In       io.Reader
	Out, Err io.Writer
	Terminal *term.Terminal // In and Out are this terminal; nil when they are not
}

// signalNames are those that pass to the session's program, named as in RFC
// 4254 section 6.10.
var signalNames = map[os.Signal]ssh.Signal{
	syscall.SIGINT: ssh.SIGINT, syscall.SIGTERM: ssh.SIGTERM, syscall.SIGHUP: ssh.SIGHUP,
	syscall.SIGQUIT: ssh.SIGQUIT, syscall.SIGUSR1: ssh.SIGUSR1, syscall.SIGUSR2: ssh.SIGUSR2,
}

// Run starts command in the ghost, or a login shell when it is empty, and stays
// until it ends. The status is the program's, 128+n when signal n ended it or,
// on a terminal, this process. An error means that there is no status.
func (c *Client) Run(command string, env []string, s Streams) (status int, err error) {
	session, err := c.ssh.NewSession()
	if refused := (*ssh.OpenChannelError)(nil); errors.As(err, &refused) {
		return 0, errors.New("the pod gives no session: " + Printable(refused.Message))
	}
	if err != nil {
		return 0, &LostError{Err: err}
	}
	defer session.Close()
	for name, value := range c.asked.environment() {
		// What a pod doesn't know would silently be more than was asked for.
		ok, err := session.SendRequest("env", true, ssh.Marshal(struct{ Name, Value string }{name, value}))
		if err != nil {
			return 0, &LostError{Err: err}
		}
		if !ok {
			return 0, fmt.Errorf("the pod doesn't know %s: its image is older than this program", name)
		}
	}
	for _, v := range env {
		name, value, _ := strings.Cut(v, "=")
		// Without waiting for an answer: a pod may refuse a variable.
		_, _ = session.SendRequest("env", false, ssh.Marshal(struct{ Name, Value string }{name, value}))
	}
	session.Stdout, session.Stderr = s.Out, s.Err
	screen := &screen{w: s.Out}
	if s.Terminal != nil {
		size := s.Terminal.Size()
		modes := ssh.TerminalModes{ssh.ECHO: 1, ssh.IUTF8: 1}
		if err := session.RequestPty(termName(), size.Rows, size.Columns, modes); err != nil {
			return 0, &LostError{Err: err}
		}
		session.Stdout, session.Stderr = screen, messages{screen, s.Err}
	}
	input, err := session.StdinPipe()
	if err != nil {
		return 0, err
	}
	// Signals from here on are the session's.
	signals := make(chan os.Signal, 16)
	signal.Notify(signals, syscall.SIGINT, syscall.SIGTERM, syscall.SIGHUP, syscall.SIGQUIT,
		syscall.SIGUSR1, syscall.SIGUSR2, syscall.SIGWINCH, syscall.SIGCONT)
	defer signal.Stop(signals)
	if s.Terminal != nil {
		restore, err := s.Terminal.Raw()
		if err != nil {
			return 0, err
		}
		defer func() {
			if err != nil {
				screen.freshLine() // for who prints the error
			}
			restore()
		}()
	}
	if command == "" {
		err = session.Shell()
	} else {
		err = session.Start(command)
	}
	if err != nil {
		return 0, &LostError{Err: err}
	}
	hangUp := make(chan struct{})
	go func() {
		_, err := io.Copy(input, s.In)
		if s.Terminal != nil && err == nil {
			close(hangUp) // the terminal went away
		}
		_ = input.Close() // the session may be over
	}()
	ended := make(chan error, 1)
	go func() { ended <- session.Wait() }()
	for {
		select {
		case err := <-ended:
			return statusOf(err)
		case <-hangUp:
			return wire.ExitSignal + int(syscall.SIGHUP), nil
		case sig := <-signals:
			if over := relay(session, s.Terminal, sig); over {
				return wire.ExitSignal + int(sig.(syscall.Signal)), nil
			}
		}
	}
}

// relay obeys one signal to this process. On a terminal keys are the way to
// interrupt a program, so a signal to end means this process.
func relay(session *ssh.Session, terminal *term.Terminal, sig os.Signal) (over bool) {
	switch {
	case sig == syscall.SIGWINCH || sig == syscall.SIGCONT:
		if terminal == nil {
			return false
		}
		if sig == syscall.SIGCONT { // a shell may have changed it meanwhile
			_ = terminal.SetRaw() // it may be gone; reading tells
		}
		size := terminal.Size()
		_ = session.WindowChange(size.Rows, size.Columns) // Wait tells about a broken connection
		return false
	case terminal != nil && sig != syscall.SIGUSR1 && sig != syscall.SIGUSR2:
		return true
	}
	_ = session.Signal(signalNames[sig]) // likewise
	return false
}

// statusOf reads how a session ended.
func statusOf(err error) (int, error) {
	var exit *ssh.ExitError
	var missing *ssh.ExitMissingError
	switch {
	case errors.As(err, &missing):
		return 0, &LostError{Err: errors.New("the session ended without a status")}
	case err == nil:
		return 0, nil
	case !errors.As(err, &exit):
		return 0, &LostError{Err: err}
	case exit.Signal() == "":
		return exit.ExitStatus(), nil
	}
	return wire.ExitSignal + signalNumbers[exit.Signal()], nil
}

// signalNumbers are Linux's, where every pod runs.
var signalNumbers = map[string]int{
	"HUP": 1, "INT": 2, "QUIT": 3, "ILL": 4, "ABRT": 6, "FPE": 8, "KILL": 9,
	"USR1": 10, "SEGV": 11, "USR2": 12, "PIPE": 13, "ALRM": 14, "TERM": 15,
}

func termName() string {
	if name := os.Getenv("TERM"); name != "" {
		return name
	}
	return "xterm"
}

// screen is a raw terminal that knows whether its cursor stands behind text.
type screen struct {
	w   io.Writer
	mu  sync.Mutex
	mid bool
}

func (s *screen) Write(p []byte) (int, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if len(p) > 0 {
		s.mid = p[len(p)-1] != '\n'
	}
	return s.w.Write(p)
}

func (s *screen) freshLine() {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.mid {
		_, _ = io.WriteString(s.w, "\r\n") // a terminal that is gone can't be told
		s.mid = false
	}
}

// messages is where the pod's own words go while a session has the screen: on
// lines of their own, and with the carriage returned, which a raw terminal
// doesn't do.
type messages struct {
	screen *screen
	w      io.Writer
}

func (m messages) Write(p []byte) (int, error) {
	m.screen.freshLine()
	if _, err := io.WriteString(m.w, strings.ReplaceAll(Printable(string(p)), "\n", "\r\n")); err != nil {
		return 0, err
	}
	return len(p), nil
}

// Environment picks from environ what a session takes along. The time zone is this
// machine's when the variable doesn't say.
func Environment(environ []string) []string {
	return pick(environ, "/etc/localtime")
}

func pick(environ []string, localtime string) []string {
	var picked []string
	said := false
	for _, v := range environ {
		name, _, _ := strings.Cut(v, "=")
		switch {
		case name == "COLORTERM", name == "LANG", name == "TZ", name == "NO_COLOR", strings.HasPrefix(name, "LC_"):
			picked = append(picked, v)
			said = said || name == "TZ"
		}
	}
	if target, err := os.Readlink(localtime); err == nil && !said { // localtime(5)
		if _, zone, ok := strings.Cut(target, "/zoneinfo/"); ok {
			picked = append(picked, "TZ="+zone)
		}
	}
	return picked
}
