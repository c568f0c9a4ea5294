package control

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"strconv"
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

// elsewhere is what no change of keys reaches.
const elsewhere = "Copies and backups still open with it, and so do files that were kept beside the vault for you to look at (vault.img.suspect-…, vault.img.conflict-…)."

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

func nothing(*vault.Vault) error { return nil }

// authorized asks for the passphrase and, once it has opened the vault, goes on
// with it.
func (d *dialogue) authorized(then func(pass *locked.Buffer) error) error {
	var inner error
	err := d.withPassphrase("Passphrase: ", func(pass *locked.Buffer) error {
		if err := d.keys(pass, nothing); err != nil {
			return err
		}
		inner = then(pass) // not again, whatever it says
		return nil
	})
	return errors.Join(err, inner)
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

// cost is what the client wants new passphrases to cost, within reason: others wait
// meanwhile.
func (d *dialogue) cost() vault.Cost {
	if d.request.Time == 0 {
		return vault.Cost{}
	}
	return vault.Cost{Time: min(wire.LongestTry, max(wire.ShortestTry, d.request.Time))}
}

func (d *dialogue) passwd() error {
	return d.authorized(func(old *locked.Buffer) error {
		pass, err := d.newPassphrase("New passphrase: ")
		if err != nil {
			return err
		}
		defer pass.Destroy()
		said := "The passphrase is changed, and earlier generations, which the old one opens, are removed.\n" + elsewhere
		err = d.keys(old, func(v *vault.Vault) error {
			key, err := v.KeyOf(old)
			switch {
			case err != nil:
				return err
			case key.Recovery: // whose passphrase is forgotten
				said = "The passphrase is added; the recovery code stays.\nA keyslot whose passphrase nobody knows is of no use: vault key list, vault key remove."
				_, err = v.AddKey(d.ctx, pass, "", d.cost())
				return err
			}
			return v.ChangeKey(d.ctx, key.Number, pass, d.cost())
		})
		if err == nil {
			err = d.tell(said)
		}
		return err
	})
}

func (d *dialogue) keyList() error {
	place, err := d.pod.findVault(false)
	if err != nil {
		return err
	}
	defer place.Dir.Close()
	keys, err := vault.Keys(d.ctx, place)
	for _, k := range keys {
		row := wire.VaultKey{Number: k.Number, Label: k.Label, Recovery: k.Recovery, Added: stamp(k.Added), KDF: k.Cost()}
		d.result.Keys = append(d.result.Keys, row)
	}
	return err
}

func (d *dialogue) keyAdd() error {
	return d.authorized(func(old *locked.Buffer) error {
		pass, err := d.newPassphrase("Additional passphrase: ")
		if err != nil {
			return err
		}
		defer pass.Destroy()
		return d.keys(old, func(v *vault.Vault) error {
			slot, err := v.AddKey(d.ctx, pass, d.request.Label, d.cost())
			if err == nil {
				err = d.tell("Keyslot " + strconv.Itoa(slot) + " is added.")
			}
			return err
		})
	})
}

func (d *dialogue) keyRemove() error {
	slot := d.request.Number
	return d.authorized(func(pass *locked.Buffer) error {
		own := false
		err := d.keys(pass, func(v *vault.Vault) error {
			mine, err := v.KeyOf(pass)
			own = mine.Number == slot
			return err
		})
		if err != nil {
			return err
		}
		if own {
			if err := d.confirm("Keyslot " + strconv.Itoa(slot) + " is that of the passphrase that you have just given. Remove it?"); err != nil {
				return err
			}
		}
		err = d.keys(pass, func(v *vault.Vault) error { return v.RemoveKey(d.ctx, slot) })
		if err == nil {
			err = d.tell("Keyslot " + strconv.Itoa(slot) + " is removed, and with it the earlier generations, which it opens.\n" + elsewhere)
		}
		return err
	})
}

// recovery shows the code before it makes it one, so that nobody loses an earlier
// code for one that was never seen.
func (d *dialogue) recovery() error {
	return d.authorized(func(pass *locked.Buffer) error {
		code, err := vault.NewRecoveryCode()
		if err != nil {
			return err
		}
		defer code.Destroy()
		if err := d.tell("This code will open the vault as the passphrase does. Write it down, and keep it where the passphrase isn't:"); err != nil {
			return err
		}
		if _, err := d.channel.Write(code.Bytes()); err != nil {
			return errLost
		}
		if err := d.send(wire.VaultMessage{Show: code.Len()}); err != nil {
			return err
		}
		if err := d.confirm("Have you written it down? It isn't shown again, and an earlier code will open nothing any more."); err != nil {
			return err
		}
		return d.keys(pass, func(v *vault.Vault) error { return v.SetRecovery(d.ctx, code, d.cost()) })
	})
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

func (d *dialogue) generations() error {
	place, err := d.pod.findVault(false)
	if err != nil {
		return err
	}
	defer place.Dir.Close()
	list, err := vault.Generations(d.ctx, place)
	for _, g := range list {
		d.result.Generations = append(d.result.Generations, wire.VaultGeneration(g))
	}
	return err
}

func (d *dialogue) rollback() error {
	if err := d.closed(func(vault.Place) error { return nil }); err != nil {
		return err
	}
	n := strconv.Itoa(d.request.Number)
	err := d.withPassphrase("Passphrase of generation "+n+": ", func(pass *locked.Buffer) error {
		return d.closed(func(place vault.Place) error { return vault.Rollback(d.ctx, place, d.request.Number, pass) })
	})
	if err == nil {
		err = d.tell("Generation " + n + " is the vault now; what was the vault is generation 1.")
	}
	return err
}

// backup saves what is open first, so that the copy has it.
func (d *dialogue) backup() error {
	o, err := d.pod.acquire()
	if err != nil {
		return err
	}
	if o != nil {
		_, err := o.inRAM() // a file that is written in place is not whole
		if err == nil {
			err = o.save()
		}
		if err := errors.Join(err, d.pod.release()); err != nil {
			return err
		}
	}
	place, err := d.pod.findVault(false)
	if err != nil {
		return err
	}
	defer place.Dir.Close()
	if d.request.Header {
		h, err := vault.BackupHeader(d.ctx, place)
		if err != nil {
			return err
		}
		defer h.Close()
		return d.give(h.Reader())
	}
	f, err := vault.Backup(place)
	if err != nil {
		return err
	}
	defer f.Close()
	before, err := f.Stat()
	if err != nil {
		return err
	}
	if err := d.give(f); err != nil {
		return err
	}
	after, err := f.Stat()
	if err == nil && !after.ModTime().Equal(before.ModTime()) {
		err = errInPlace
	}
	return err
}

// give sends all of r, and its sum with the result.
func (d *dialogue) give(r io.Reader) error {
	sum := sha256.New()
	if _, err := io.Copy(io.MultiWriter(data{d}, sum), r); err != nil {
		return err
	}
	d.result.Sum = hex.EncodeToString(sum.Sum(nil))
	return nil
}

func (d *dialogue) restore() error {
	exists := false
	err := d.closed(func(place vault.Place) (err error) {
		exists, err = vault.Exists(place)
		if errors.Is(err, vault.ErrMissing) { // what a backup is for
			err = nil
		}
		return err
	})
	if err != nil {
		return err
	}
	what, install := "vault", vault.Restore
	if d.request.Header {
		what, install = "header", vault.RestoreHeader
	}
	if exists {
		if err := d.confirm("The present vault becomes generation 1. Put the backup's " + what + " in its place?"); err != nil {
			return err
		}
	}
	// Once: the file would have to come again.
	return d.onePassphrase("Passphrase of the backup: ", func(pass *locked.Buffer) error {
		return d.closed(func(place vault.Place) error {
			if err := d.send(wire.VaultMessage{Send: true}); err != nil {
				return err
			}
			return install(d.ctx, place, data{d}, d.request.Size, pass)
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

func (d *dialogue) export() error {
	to := strconv.Quote(d.request.To)
	if err := d.confirm("This writes every secret of the vault in clear to " + to + ", where other programs can read it. Go on?"); err != nil {
		return err
	}
	return d.authorized(func(pass *locked.Buffer) error {
		if err := d.confirm("In clear, to " + to + ", for good. Are you sure?"); err != nil {
			return err
		}
		return d.content(pass, func(o *opened) error {
			sum := sha256.New()
			err := vault.Export(d.ctx, o.tree, io.MultiWriter(data{d}, sum))
			d.result.Sum = hex.EncodeToString(sum.Sum(nil))
			return err
		})
	})
}

// commandCode is the exit code of a command about the vault.
func commandCode(err error) int {
	var usage *usageError
	switch {
	case errors.As(err, &usage), errors.Is(err, errDeclined), errors.Is(err, vault.ErrSize), errors.Is(err, vault.ErrLabel), errors.Is(err, vault.ErrWeak),
		errors.Is(err, vault.ErrNoGeneration), errors.Is(err, vault.ErrNoKeyslot):
		return wire.ExitUsage
	case errors.Is(err, errOpen), errors.Is(err, errEngine), errors.Is(err, errInPlace), errors.Is(err, errEmpty), errors.Is(err, errMismatch), errors.Is(err, vault.ErrKeyExists),
		errors.Is(err, vault.ErrLastKeyslot), errors.Is(err, vault.ErrNoRoom), errors.Is(err, vault.ErrFull):
		return wire.ExitFailure
	}
	return exitCode(err)
}
