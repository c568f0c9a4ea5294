package control

import (
	"fmt"
	"strings"
	"time"

	"golang.org/x/crypto/ssh"

	"github.com/tazzo/tazpod/init/ghost"
	"github.com/tazzo/tazpod/init/wire"
)

const (
	shell      = "/bin/bash"
	sftpServer = "/usr/lib/openssh/sftp-server"
)

// wish is the session that a client asks for.
type wish struct {
	profile   string   // of the ghost; empty for the default one
	only      []string // names of secrets to narrow it to: a ghost of the session's own
	ttl, idle time.Duration
	session   ghost.SessionConfig
	client    string       // which program asks, for the log
	tell      func(string) // for people; may wait
	bad       error        // in what was asked
}

// take applies one request to a session that hasn't started; start is set for
// the one that names the program.
func (w *wish) take(request *ssh.Request) (ok, start bool) {
	config := &w.session
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
		if ssh.Unmarshal(request.Payload, &env) != nil {
			return false, false
		}
		if w.narrow(env.Name, env.Value) {
			return true, false
		}
		if !passed(env.Name) {
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

// narrow takes a variable by which a client asks for a narrower ghost, if it is
// one. A mistake in it ends the session before it starts: a command that was to
// see less must not see more.
func (w *wish) narrow(name, value string) bool {
	limit := func(to *time.Duration) {
		var err error
		if *to, err = wire.ParseLimit(value); err != nil {
			w.bad = &usageError{fmt.Errorf("%s: %w", name, err), ""}
		}
	}
	switch name {
	case wire.AskTTL:
		limit(&w.ttl)
	case wire.AskIdle:
		limit(&w.idle)
	case wire.AskOnly:
		w.only = strings.Split(value, ",")
	default:
		return false
	}
	return true
}

// usageError is one that the user can mend.
type usageError struct {
	error
	hint string
}

func (e *usageError) Unwrap() error { return e.error }
