package control

import (
	"bytes"
	"context"
	"encoding/binary"
	"encoding/json"
	"errors"
	"io"
	"time"

	"golang.org/x/crypto/ssh"

	"github.com/tazzo/tazpod/init/locked"
	"github.com/tazzo/tazpod/init/vault"
	"github.com/tazzo/tazpod/init/wire"
)

var (
	errDeclined = errors.New("the answer was no: nothing is changed")
	errLost     = errors.New("the client is gone")
)

// dialogue is one command about the vault, with who gave it (wire.VaultChannel).
type dialogue struct {
	ctx      context.Context
	server   *server
	pod      *pod
	request  wire.VaultRequest
	conn     ssh.Conn
	channel  ssh.Channel
	messages io.Writer // the channel's second stream
	result   wire.VaultResult
}

// standstill is how long data may take to move on: what sends or takes a vault
// keeps it open, or others from opening it. Tests shorten it.
var standstill = 30 * time.Second

// within ends the connection unless it is stopped before: a write to a channel
// whose other end takes nothing is ended by nothing less.
func (d *dialogue) within(limit time.Duration) (stop func()) {
	timer := time.AfterFunc(limit, func() { d.conn.Close() })
	return func() { timer.Stop() }
}

// data are the channel's, which end when they stand still.
type data struct{ *dialogue }

func (d data) Read(p []byte) (int, error) {
	defer d.within(standstill)()
	return d.channel.Read(p)
}

func (d data) Write(p []byte) (int, error) {
	defer d.within(standstill)()
	return d.channel.Write(p)
}

func (d *dialogue) send(m wire.VaultMessage) error {
	line, err := json.Marshal(m)
	if err != nil {
		return err
	}
	defer d.within(standstill)()
	if _, err := d.messages.Write(append(line, '\n')); err != nil {
		return errLost
	}
	return nil
}

func (d *dialogue) tell(text string) error { return d.send(wire.VaultMessage{Tell: text}) }

// answer reads one straight into locked memory; the caller destroys it. Who thinks
// for longer than at a login is asked again another time: a passphrase that was
// given before waits in memory as long.
func (d *dialogue) answer() (*locked.Buffer, error) {
	defer d.within(loginGrace)()
	var length [4]byte
	if _, err := io.ReadFull(d.channel, length[:]); err != nil {
		return nil, errLost
	}
	n := binary.BigEndian.Uint32(length[:])
	if n > wire.MaxAnswer {
		return nil, errors.New("an answer that is too long")
	}
	b, err := locked.New(int(n))
	if err != nil {
		return nil, err
	}
	if err := b.Fill(io.LimitReader(d.channel, int64(n))); err != nil || b.Len() != int(n) {
		b.Destroy()
		return nil, errLost
	}
	return b, nil
}

// confirm returns errDeclined unless the answer is yes.
func (d *dialogue) confirm(question string) error {
	if err := d.send(wire.VaultMessage{Confirm: question}); err != nil {
		return err
	}
	answer, err := d.answer()
	if err != nil {
		return err
	}
	defer answer.Destroy()
	if !bytes.Equal(answer.Bytes(), []byte("yes")) {
		return errDeclined
	}
	return nil
}

// withPassphrase asks for a passphrase until use takes it, three times at most. A
// wrong one is answered as slowly as at a login.
func (d *dialogue) withPassphrase(prompt string, use func(*locked.Buffer) error) error {
	for try := 1; ; try++ {
		err := d.onePassphrase(prompt, use)
		if !errors.Is(err, vault.ErrPassphrase) {
			return err
		}
		select {
		case <-time.After(d.server.throttle.failed()):
		case <-d.ctx.Done():
			return d.ctx.Err()
		}
		if try == triesPerConnection {
			return err
		}
		if tellErr := d.tell("tazpod: " + err.Error() + "; try again"); tellErr != nil {
			return tellErr
		}
	}
}

func (d *dialogue) onePassphrase(prompt string, use func(*locked.Buffer) error) error {
	if err := d.send(wire.VaultMessage{Ask: prompt}); err != nil {
		return err
	}
	pass, err := d.answer()
	if err != nil {
		return err
	}
	defer pass.Destroy()
	if err = use(pass); err == nil {
		d.server.throttle.succeeded()
	}
	return err
}

// newPassphrase asks for a new one twice, with a word on how good it is in between.
// The caller destroys it.
func (d *dialogue) newPassphrase(prompt string) (*locked.Buffer, error) {
	for try := 1; ; try++ {
		pass, err := d.twice(prompt)
		if err == nil || !errors.Is(err, errMismatch) && !errors.Is(err, errEmpty) || try == triesPerConnection {
			return pass, err
		}
		if err := d.tell("tazpod: " + err.Error() + "; try again"); err != nil {
			return nil, err
		}
	}
}

func (d *dialogue) twice(prompt string) (*locked.Buffer, error) {
	if err := d.send(wire.VaultMessage{Ask: prompt, New: true}); err != nil {
		return nil, err
	}
	first, err := d.answer()
	if err != nil {
		return nil, err
	}
	err = d.repeated(first)
	if err != nil {
		first.Destroy()
		return nil, err
	}
	return first, nil
}

func (d *dialogue) repeated(first *locked.Buffer) error {
	if first.Len() == 0 {
		return errEmpty
	}
	if text := strength(d.ctx, first); text != "" {
		if err := d.tell(text); err != nil {
			return err
		}
	}
	if err := d.send(wire.VaultMessage{Ask: "Repeat passphrase: ", New: true}); err != nil {
		return err
	}
	again, err := d.answer()
	if err != nil {
		return err
	}
	defer again.Destroy()
	if !first.Equal(again) {
		return errMismatch
	}
	return nil
}
