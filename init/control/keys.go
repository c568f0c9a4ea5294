package control

import (
	"errors"
	"strconv"

	"github.com/tazzo/tazpod/init/locked"
	"github.com/tazzo/tazpod/init/vault"
	"github.com/tazzo/tazpod/init/wire"
)

// Commands about who can open the vault.

// elsewhere is what no change of keys reaches.
const elsewhere = "Copies and backups still open with it, and so do files that were kept beside the vault for you to look at (vault.img.suspect-…, vault.img.conflict-…)."

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
