package dial

import (
	"bufio"
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"

	"golang.org/x/crypto/ssh"

	"github.com/tazzo/tazpod/init/wire"
)

// Desk is who and what a command about the vault finds on this side.
type Desk struct {
	Source  Source // today's passphrase; also told what people should know
	New     Source // a new one
	Confirm func(ctx context.Context, question string) (bool, error)
	Show    func(secret []byte) error // for eyes; the bytes are zeroed afterwards
	In      io.Reader                 // the file that the command takes
	Out     io.Writer                 // for what it gives out; nil for commands that give out nothing
}

// ErrSum says that what arrived isn't what was sent.
var ErrSum = errors.New("the data were damaged on their way")

// Vault has a command about the vault carried out (wire.VaultChannel). A command that
// the pod can't carry out is a *Refusal. It ends with ctx.
func (c *Client) Vault(ctx context.Context, request wire.VaultRequest, desk Desk) (*wire.VaultResult, error) {
	stop := context.AfterFunc(ctx, func() { c.Close() })
	defer stop()
	result, err := c.vault(ctx, request, desk)
	if err != nil && ctx.Err() != nil {
		return nil, context.Cause(ctx)
	}
	return result, err
}

func (c *Client) vault(ctx context.Context, request wire.VaultRequest, desk Desk) (*wire.VaultResult, error) {
	extra, err := json.Marshal(request)
	if err != nil {
		return nil, err
	}
	channel, requests, err := c.ssh.OpenChannel(wire.VaultChannel, extra)
	var refused *ssh.OpenChannelError
	if errors.As(err, &refused) && refused.Reason == ssh.ConnectionFailed {
		return nil, errors.New(Printable(refused.Message))
	}
	if refused != nil {
		return nil, fmt.Errorf("the pod doesn't know the command %s: its image is older than this program", request.Command)
	}
	if err != nil {
		return nil, &LostError{Err: err}
	}
	defer channel.Close()
	go ssh.DiscardRequests(requests)
	sum, taken := sha256.New(), make(chan error, 1)
	if desk.Out != nil {
		go func() {
			_, err := io.Copy(io.MultiWriter(desk.Out, sum), channel)
			if err != nil {
				channel.Close() // the pod would wait for ever to get rid of the rest
			}
			taken <- err
		}()
	}
	v := &visit{ctx: ctx, desk: desk, channel: channel, size: request.Size}
	result, err := v.run()
	if desk.Out == nil || err != nil {
		return result, err
	}
	if err := <-taken; err != nil {
		return nil, err
	}
	if hex.EncodeToString(sum.Sum(nil)) != result.Sum {
		return nil, ErrSum
	}
	return result, nil
}

// visit is one command under way.
type visit struct {
	ctx     context.Context
	desk    Desk
	channel ssh.Channel
	size    int64 // bytes, of desk.In
	tries   int
}

const maxMessage = 1 << 20 // bytes

var errUnasked = errors.New("the pod asks for what this command doesn't have")

// run answers what the pod asks until it is done.
func (v *visit) run() (*wire.VaultResult, error) {
	lines := bufio.NewScanner(v.channel.Stderr())
	lines.Buffer(nil, maxMessage)
	for lines.Scan() {
		var m wire.VaultMessage
		if err := decode(lines.Bytes(), &m); err != nil {
			return nil, err
		}
		if m.Done != nil {
			if m.Done.Error != "" {
				return m.Done, &Refusal{m.Done.Code, m.Done.Error, m.Done.Hint}
			}
			return m.Done, nil
		}
		if err := v.message(m); err != nil {
			return nil, err
		}
	}
	return nil, &LostError{Err: errors.Join(lines.Err(), io.ErrUnexpectedEOF)}
}

func (v *visit) message(m wire.VaultMessage) error {
	if m.Tell != "" {
		v.desk.Source.Tell(m.Tell)
	}
	switch {
	case m.Ask != "":
		return v.ask(m)
	case m.Confirm != "":
		yes, err := v.desk.Confirm(v.ctx, m.Confirm)
		if err != nil {
			return err
		}
		answer := "no"
		if yes {
			answer = "yes"
		}
		return v.answer([]byte(answer))
	case m.Show > 0:
		if v.desk.Show == nil || m.Show > wire.MaxAnswer {
			return errUnasked
		}
		secret := make([]byte, m.Show)
		defer clear(secret)
		if _, err := io.ReadFull(v.channel, secret); err != nil {
			return &LostError{Err: err}
		}
		return v.desk.Show(secret)
	case m.Send:
		if v.desk.In == nil {
			return errUnasked
		}
		// A pod that takes no more says why in what follows.
		_, _ = io.CopyN(v.channel, v.desk.In, v.size)
		v.desk.In = nil
	}
	return nil
}

// ask passes a passphrase on. A source that can't know another one is not asked
// again.
func (v *visit) ask(m wire.VaultMessage) error {
	source := v.desk.New
	if !m.New {
		source = v.desk.Source
		if v.tries++; v.tries > source.Tries() {
			return ErrPassphrase
		}
	}
	pass, err := source.Ask(v.ctx, m.Ask)
	if errors.Is(err, io.EOF) {
		err = ErrNoPassphrase
	}
	if err != nil {
		return err
	}
	defer pass.Destroy()
	return v.answer(pass.Bytes())
}

func (v *visit) answer(p []byte) error {
	if len(p) > wire.MaxAnswer {
		return fmt.Errorf("an answer may have %d bytes at most", wire.MaxAnswer)
	}
	length := binary.BigEndian.AppendUint32(nil, uint32(len(p)))
	if _, err := v.channel.Write(length); err != nil {
		return &LostError{Err: err}
	}
	if _, err := v.channel.Write(p); err != nil {
		return &LostError{Err: err}
	}
	return nil
}

// decode reads JSON that a pod sent. It is cleaned before it is given a shape, so
// that no field can be forgotten.
func decode(text []byte, to any) error {
	var said any
	numbers := json.NewDecoder(bytes.NewReader(text))
	numbers.UseNumber() // sizes don't fit a float
	if err := numbers.Decode(&said); err != nil {
		return err
	}
	clean, err := json.Marshal(printableIn(said))
	if err != nil {
		return err
	}
	return json.Unmarshal(clean, to)
}
