package ghost

import (
	"encoding/json"
	"fmt"

	"golang.org/x/sys/unix"
)

// serve and the keeper talk over a SOCK_SEQPACKET pair. A packet is one message
// in JSON and the descriptors that go with it:
//
//	serve ─ start 1 ────────[pipe: request]─▶ keeper   the pipe, because a command line can be megabytes long
//	      ◀ started 1 ─[master, or 3 pipes]──           serve's ends, also when the command can't be run
//	      ─ signal 1 9 ─────────────────────▶
//	      ◀ exited 1 ────────────────────────           status; nothing about 1 comes after it
//
// When either end closes, the ghost ends.
type message struct {
	Op       string `json:"op"`
	ID       int    `json:"id"`
	Signal   int    `json:"signal,omitempty"` // to send, or that ended the session
	Code     int    `json:"code,omitempty"`
	Terminal bool   `json:"terminal,omitempty"`
	Text     string `json:"text,omitempty"` // Status.Message
}

const (
	opStart   = "start"
	opStarted = "started"
	opSignal  = "signal"
	opExited  = "exited"
)

// request is a SessionConfig on its way: what a shell passes on is bytes, and a
// string in JSON is not.
type request struct {
	Argv, Env [][]byte
	Dir       []byte
	Terminal  *Size
}

func (c SessionConfig) request() request {
	return request{bytesOf(c.Argv), bytesOf(c.Env), []byte(c.Dir), c.Terminal}
}

func (r request) config() SessionConfig {
	return SessionConfig{stringsOf(r.Argv), stringsOf(r.Env), string(r.Dir), r.Terminal}
}

func bytesOf(list []string) (out [][]byte) {
	for _, s := range list {
		out = append(out, []byte(s))
	}
	return out
}

func stringsOf(list [][]byte) (out []string) {
	for _, b := range list {
		out = append(out, string(b))
	}
	return out
}

const (
	maxMessage = 16 << 10
	maxFiles   = 3
)

var oobSpace = unix.CmsgSpace(4 * maxFiles)

func (m message) encode() ([]byte, error) {
	if len(m.Text) > maxMessage/8 { // JSON can make six bytes of one
		m.Text = m.Text[:maxMessage/8]
	}
	return json.Marshal(m)
}

// decode takes a packet apart. On error it has closed the descriptors.
func decode(data, oob []byte) (m message, fds []int, err error) {
	controls, err := unix.ParseSocketControlMessage(oob)
	if err != nil {
		return m, nil, err
	}
	for _, c := range controls {
		rights, err := unix.ParseUnixRights(&c)
		if err != nil {
			closeAll(fds)
			return m, nil, err
		}
		fds = append(fds, rights...)
	}
	if err := json.Unmarshal(data, &m); err != nil {
		closeAll(fds)
		return m, nil, fmt.Errorf("message between serve and keeper: %w", err)
	}
	return m, fds, nil
}

func closeAll(fds []int) {
	for _, fd := range fds {
		_ = unix.Close(fd) // nothing was written through them
	}
}
