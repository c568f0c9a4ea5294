package control

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"time"

	"golang.org/x/crypto/ssh"

	"github.com/tazzo/tazpod/init/locked"
	"github.com/tazzo/tazpod/init/vault"
	"github.com/tazzo/tazpod/init/wire"
)

// vaultCommands are what a VaultRequest can ask for. Each asks for the passphrases
// that it needs, and holds neither vault nor lock while people think: it tries the
// passphrase, asks on, and opens once more for what it then does without asking.
var vaultCommands = map[string]func(*dialogue) error{
	wire.VaultCreate:      (*dialogue).create,
	wire.VaultPasswd:      (*dialogue).passwd,
	wire.VaultKeyList:     (*dialogue).keyList,
	wire.VaultKeyAdd:      (*dialogue).keyAdd,
	wire.VaultKeyRemove:   (*dialogue).keyRemove,
	wire.VaultRecovery:    (*dialogue).recovery,
	wire.VaultCheck:       (*dialogue).check,
	wire.VaultGenerations: (*dialogue).generations,
	wire.VaultRollback:    (*dialogue).rollback,
	wire.VaultBackup:      (*dialogue).backup,
	wire.VaultRestore:     (*dialogue).restore,
	wire.VaultResize:      (*dialogue).resize,
	wire.VaultExport:      (*dialogue).export,
}

var (
	errOpen    = errors.New("the vault is open")
	errInPlace = errors.New("something writes to the vault's file: the copy is not whole")
)

// vault runs one command on a channel of its own. ctx ends with the connection, and
// the connection with ctx: a pod that stops doesn't wait for what a client sends.
func (s *server) vault(ctx context.Context, conn ssh.Conn, offer ssh.NewChannel) {
	defer context.AfterFunc(ctx, func() { conn.Close() })()
	select {
	case s.commands <- struct{}{}:
		defer func() { <-s.commands }()
	default:
		_ = offer.Reject(ssh.ConnectionFailed, "the pod is busy with other commands about the vault")
		return
	}
	d := &dialogue{ctx: ctx, server: s, pod: s.pod, conn: conn}
	if err := json.Unmarshal(offer.ExtraData(), &d.request); err != nil {
		_ = offer.Reject(ssh.ConnectionFailed, "malformed request")
		return
	}
	run, ok := vaultCommands[d.request.Command]
	if !ok {
		_ = offer.Reject(ssh.UnknownChannelType, "unknown command")
		return
	}
	channel, requests, err := offer.Accept()
	if err != nil {
		return // the carrier is gone
	}
	defer channel.Close()
	go ssh.DiscardRequests(requests)
	d.channel, d.messages = channel, channel.Stderr()
	start := time.Now()
	err = run(d)
	s.pod.log.Info().Str("event", "vault command").Str("command", d.request.Command).Dur("took", time.Since(start)).AnErr("error", err).Msg("")
	if err != nil {
		d.result.Code, d.result.Error, d.result.Hint = commandCode(err), err.Error(), hint(err)
	}
	_ = d.send(wire.VaultMessage{Done: &d.result}) // who is gone won't read it
	_ = channel.CloseWrite()
}

// keys runs do on the vault's keys: on those of the open vault, or of one that is
// unlocked for it without its files.
func (d *dialogue) keys(pass *locked.Buffer, do func(*vault.Vault) error) error {
	p := d.pod
	p.gate.Lock()
	defer p.gate.Unlock()
	o, err := p.acquire()
	if err != nil {
		return err
	}
	if o != nil {
		err := o.vault.Verify(d.ctx, pass)
		if err == nil {
			var v *vault.Vault
			if v, err = o.inRAM(); err == nil {
				err = do(v)
			}
		}
		return errors.Join(err, p.release())
	}
	place, err := p.findVault(false)
	if err != nil {
		return err
	}
	defer place.Dir.Close()
	v, err := vault.Unlock(d.ctx, place, pass)
	if err != nil {
		return err
	}
	return errors.Join(do(v), v.Close())
}

// closed runs do on the vault's directory while nobody can open the vault here.
func (d *dialogue) closed(do func(vault.Place) error) error {
	p := d.pod
	p.gate.Lock()
	defer p.gate.Unlock()
	o, err := p.acquire()
	if err != nil {
		return err
	}
	if o != nil {
		return errors.Join(errOpen, p.release())
	}
	place, err := p.findVault(true)
	if err != nil {
		return err
	}
	defer place.Dir.Close()
	return do(place)
}

// content runs do on the open vault, which is opened for it if need be.
func (d *dialogue) content(pass *locked.Buffer, do func(*opened) error) error {
	l, notes, err := d.pod.unlock(d.ctx, pass, false)
	if err != nil {
		return err
	}
	for _, note := range notes {
		err = errors.Join(err, d.tell("tazpod: note: "+note))
	}
	if err == nil {
		err = do(l.vault)
	}
	if l.locked() { // and what was read meanwhile may be zeroes
		err = errors.Join(err, errLocked)
	}
	return errors.Join(err, l.drop())
}

func (d *dialogue) create() error {
	err := d.closed(func(place vault.Place) error {
		exists, err := vault.Exists(place)
		if err == nil && exists {
			err = fmt.Errorf("%s: %w", d.pod.vaultPath(), vault.ErrExists)
		}
		return err
	})
	if err == nil {
		err = d.tell("Nobody can recover the passphrase: write it down.")
	}
	if err != nil {
		return err
	}
	pass, err := d.newPassphrase("New passphrase: ")
	if err != nil {
		return err
	}
	defer pass.Destroy()
	size := d.request.Size
	if size == 0 {
		size = d.pod.config.VaultSize
	}
	return d.closed(func(place vault.Place) error { return vault.Create(d.ctx, place, pass, size, d.cost()) })
}

func (d *dialogue) check() error {
	return d.withPassphrase("Passphrase: ", func(pass *locked.Buffer) error {
		return d.keys(pass, func(v *vault.Vault) (err error) {
			d.result.Checks, err = v.Check(d.ctx)
			if err == nil && !wire.Fulfilled(d.result.Checks) {
				d.result.Code = wire.ExitVault
			}
			return err
		})
	})
}

func (d *dialogue) resize() error {
	if d.pod.config.Engine == wire.EngineDMCrypt {
		return &usageError{errors.New("a vault gets another size by the engine memory alone"), "start the pod with --engine memory for it"}
	}
	return d.withPassphrase("Passphrase: ", func(pass *locked.Buffer) error {
		return d.content(pass, func(o *opened) error { return o.resize(d.ctx, d.request.Size) })
	})
}
