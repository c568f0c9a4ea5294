// Package dial speaks with a pod over any carrier that leads to its control
// socket: SSH, with the host key pinned, the vault's passphrase as the login.
//
//	launcher                       carrier                      pod
//	  │  version, key exchange ─────────────────────────────────► │ host key: must be the pinned one
//	  │  user ghost, keyboard-interactive                         │
//	  │ ◄──────────────────────────── "Passphrase: " (or two, new)│
//	  │  answer ────────────────────────────────────────────────► │ unlocks, three tries
//	  │ ◄─────────── or a round without questions: ErrorPrompt    │
//	  │  session: env, pty-req, shell or exec ──────────────────► │ starts it in the ghost
//	  │ ◄───────────────────────────── output, exit-status, close │
//
// It trusts nothing that the pod says beyond the pinned key: texts lose their
// control characters before they reach a terminal.
package dial

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net"

	"golang.org/x/crypto/ssh"

	"github.com/tazzo/tazpod/init/wire"
)

// ErrHostKey is returned when what answers is not the pod that was asked for.
var ErrHostKey = errors.New("the host key is not the pod's")

// LostError says that the connection broke. Early means before anything was
// asked, so that trying again does no harm.
type LostError struct {
	Err   error
	Early bool
}

func (e *LostError) Error() string {
	why := Printable(e.Err.Error()) // a pod may end a connection with words of its own
	if e.Early {
		return "no connection to the pod: " + why
	}
	return "the connection to the pod was lost: " + why
}
func (e *LostError) Unwrap() error { return e.Err }

// Client is an authenticated connection.
type Client struct {
	ssh   *ssh.Client
	asked Ask
}

// HostKey returns the key that the pod must show. It is asked for when the pod
// has shown one.
type HostKey func() (ssh.PublicKey, error)

// Ghost logs in with the vault's passphrase, which source gives. Errors that a
// caller may tell apart are *Refusal, ErrPassphrase, ErrNoPassphrase,
// *term.SignalError, ErrHostKey and *LostError. The carrier is closed on error,
// and by Close.
func Ghost(ctx context.Context, carrier net.Conn, key HostKey, source Source, ask Ask) (*Client, error) {
	l := &login{ctx: ctx, source: source}
	defer l.forget()
	auth := ssh.RetryableAuthMethod(ssh.KeyboardInteractive(l.challenge), source.Tries())
	c, err := connect(ctx, carrier, key, ask.User(), auth)
	if err != nil {
		return nil, l.explain(err)
	}
	c.asked = ask
	return c, nil
}

// Control connects to ask about the pod; it takes no passphrase and gives no
// session.
func Control(ctx context.Context, carrier net.Conn, key HostKey) (*Client, error) {
	c, err := connect(ctx, carrier, key, wire.ControlUser)
	if err != nil && !errors.Is(err, ErrHostKey) && ctx.Err() == nil {
		return nil, &LostError{err, true}
	}
	return c, err
}

func connect(ctx context.Context, carrier net.Conn, key HostKey, user string, auth ...ssh.AuthMethod) (*Client, error) {
	stop := context.AfterFunc(ctx, func() { carrier.Close() })
	defer stop()
	config := &ssh.ClientConfig{User: user, Auth: auth, ClientVersion: "SSH-2.0-TazPod",
		HostKeyAlgorithms: []string{ssh.KeyAlgoED25519},
		HostKeyCallback: func(_ string, _ net.Addr, shown ssh.PublicKey) error {
			pinned, err := key()
			if err == nil && !bytes.Equal(pinned.Marshal(), shown.Marshal()) {
				err = ErrHostKey
			}
			return err
		}}
	conn, channels, requests, err := ssh.NewClientConn(carrier, "pod", config)
	if err != nil {
		carrier.Close()
		return nil, errors.Join(ctx.Err(), err)
	}
	return &Client{ssh: ssh.NewClient(conn, channels, requests)}, nil
}

// Close ends the connection and every session on it.
func (c *Client) Close() error { return c.ssh.Close() }

// Status asks what is open.
func (c *Client) Status() (s wire.Status, err error) {
	return s, c.ask(wire.RequestStatus, &s)
}

// Lock ends every ghost of the pod and waits until the vault is saved.
func (c *Client) Lock() (r wire.LockReply, err error) {
	return r, c.ask(wire.RequestLock, &r)
}

// Report asks which guarantees the pod's host gives.
func (c *Client) Report() (checks []wire.Check, err error) {
	return checks, c.ask(wire.RequestReport, &checks)
}

func (c *Client) ask(request string, reply any) error {
	ok, payload, err := c.ssh.SendRequest(request, true, nil)
	if err != nil {
		return &LostError{Err: err}
	}
	if !ok {
		return fmt.Errorf("the pod doesn't know the request %s: its image is older than this program", request)
	}
	return decode(payload, reply)
}
