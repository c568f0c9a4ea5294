package vault

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"
	"unicode"
	"unicode/utf8"

	"github.com/tazzo/tazpod/init/locked"
	"github.com/tazzo/tazpod/init/luks"
)

// Key is a keyslot with what we know about it.
type Key struct {
	luks.Keyslot
	Label    string    // who or what it is for; "" if nobody said
	Added    time.Time // zero if it was made elsewhere
	Recovery bool      // it is that of a recovery code
}

// keysKind is the type of the token that holds what LUKS has no place for. What it
// says of a keyslot counts as long as that has the same salt: other tools remove
// keyslots and make new ones with their numbers.
const keysKind = "tazpod-keys"

type keysToken struct {
	Type     string             `json:"type"`
	Keyslots []string           `json:"keyslots"` // none: the format wants the field
	Keys     map[string]keyNote `json:"keys"`     // by salt
}

type keyNote struct {
	Label    string    `json:"label,omitempty"`
	Added    time.Time `json:"added"`
	Recovery bool      `json:"recovery,omitempty"`
}

// Keys lists the keyslots by number, which takes no passphrase.
func Keys(ctx context.Context, p Place) ([]Key, error) {
	h, err := BackupHeader(ctx, p)
	if err != nil {
		return nil, err
	}
	defer h.Close()
	return keysOf(h)
}

func (v *Vault) keys() ([]Key, error) {
	v.saving.Lock()
	defer v.saving.Unlock()
	if v.key == nil {
		return nil, ErrClosed
	}
	return keysOf(v.header)
}

func keysOf(h *luks.Header) ([]Key, error) {
	var token keysToken
	if _, err := h.Token(keysKind, &token); err != nil {
		token = keysToken{} // somebody else's idea of it: the keys are what counts
	}
	var keys []Key
	for _, slot := range h.Keyslots() {
		note := token.Keys[slot.Salt]
		if checkLabel(note.Label) != nil { // whoever wrote the header
			note.Label = ""
		}
		keys = append(keys, Key{slot, note.Label, note.Added, note.Recovery})
	}
	return keys, nil
}

// setNotes notes what is known of keys, and forgets keyslots that are gone.
func setNotes(ctx context.Context, h *luks.Header, keys []Key) error {
	token := keysToken{Type: keysKind, Keyslots: []string{}, Keys: map[string]keyNote{}}
	for _, k := range keys {
		if !k.Added.IsZero() {
			token.Keys[k.Salt] = keyNote{k.Label, k.Added, k.Recovery}
		}
	}
	return h.SetToken(ctx, keysKind, token)
}

const maxLabel = 40 // bytes

func checkLabel(label string) error {
	if len(label) > maxLabel || !utf8.ValidString(label) || strings.ContainsFunc(label, func(r rune) bool { return !unicode.IsPrint(r) }) {
		return fmt.Errorf("%w: up to %d bytes that can be printed", ErrLabel, maxLabel)
	}
	return nil
}

// Slot returns the number of the keyslot that pass, which has opened the vault,
// belongs to.
func (v *base) Slot(pass *locked.Buffer) (int, error) {
	list, _, err := forms(pass)
	if err != nil {
		return 0, err
	}
	slot := 0
	err = ErrPassphrase
	for _, form := range list {
		if errors.Is(err, ErrPassphrase) {
			slot, err = v.verifiers.slot(form)
		}
		form.Destroy()
	}
	return slot, err
}

// KeyOf is the keyslot of pass, which has opened the vault.
func (v *Vault) KeyOf(pass *locked.Buffer) (Key, error) {
	slot, err := v.Slot(pass)
	if err != nil {
		return Key{}, err
	}
	keys, err := v.keys()
	if err != nil {
		return Key{}, err
	}
	i := slices.IndexFunc(keys, func(k Key) bool { return k.Number == slot })
	if i < 0 {
		return Key{}, fmt.Errorf("%w: %d", ErrNoKeyslot, slot)
	}
	return keys[i], nil
}

// AddKey lets pass open the vault, too. A passphrase that stock tools could not be
// given is ErrWeak. It takes effect at once, or not at all, as the others here.
func (v *Vault) AddKey(ctx context.Context, pass *locked.Buffer, label string, cost Cost) (slot int, err error) {
	if err := errors.Join(checkPassphrase(pass), checkLabel(label)); err != nil {
		return 0, err
	}
	return v.changeKeys(ctx, false, func(h *luks.Header) (int, error) {
		return v.add(ctx, h, pass, keyNote{Label: label}, cost)
	})
}

// ChangeKey puts pass in the place of keyslot slot, and removes the earlier
// generations, which the old one still opens.
func (v *Vault) ChangeKey(ctx context.Context, slot int, pass *locked.Buffer, cost Cost) error {
	if err := checkPassphrase(pass); err != nil {
		return err
	}
	_, err := v.changeKeys(ctx, true, func(h *luks.Header) (int, error) {
		keys, err := keysOf(h)
		if err != nil {
			return 0, err
		}
		i := slices.IndexFunc(keys, func(k Key) bool { return k.Number == slot })
		if i < 0 {
			return 0, fmt.Errorf("%w: %d", ErrNoKeyslot, slot)
		}
		note := keyNote{Label: keys[i].Label, Recovery: keys[i].Recovery}
		added, err := v.add(ctx, h, pass, note, cost)
		if errors.Is(err, ErrNoRoom) {
			if err = h.MakeRoom(ctx, slot); err == nil {
				return v.add(ctx, h, pass, note, cost)
			}
		}
		if err != nil {
			return 0, err
		}
		return added, h.RemoveKey(ctx, slot)
	})
	return err
}

// RemoveKey makes a keyslot unusable, and removes the earlier generations, which it
// still opens. The last one is never removed.
func (v *Vault) RemoveKey(ctx context.Context, slot int) error {
	_, err := v.changeKeys(ctx, true, func(h *luks.Header) (int, error) {
		return noSlot, h.RemoveKey(ctx, slot)
	})
	return err
}

// SetRecovery makes code the vault's recovery code, in the place of an earlier one.
func (v *Vault) SetRecovery(ctx context.Context, code *locked.Buffer, cost Cost) error {
	keys, err := v.keys()
	if err != nil {
		return err
	}
	old := slices.IndexFunc(keys, func(k Key) bool { return k.Recovery })
	if old >= 0 {
		return v.ChangeKey(ctx, keys[old].Number, code, cost)
	}
	_, err = v.changeKeys(ctx, false, func(h *luks.Header) (int, error) {
		return v.add(ctx, h, code, keyNote{Recovery: true}, cost)
	})
	return err
}

// noSlot stands for no keyslot that was added.
const noSlot = -1

// changeKeys writes a header with other keyslots; change returns the one that it
// added.
func (v *Vault) changeKeys(ctx context.Context, forget bool, change func(*luks.Header) (int, error)) (slot int, err error) {
	v.saving.Lock()
	defer v.saving.Unlock()
	if v.key == nil {
		return 0, ErrClosed
	}
	err = v.rewrite(ctx, forget, func(h *luks.Header) error {
		slot, err = change(h)
		return err
	})
	return slot, v.failed("change the keys of", err)
}

// add gives h one more keyslot, and reads the volume key back through it: what
// follows may make it the only one.
func (v *Vault) add(ctx context.Context, h *luks.Header, pass *locked.Buffer, note keyNote, cost Cost) (int, error) {
	kdf, err := cost.kdf()
	if err != nil {
		return 0, err
	}
	slot, err := h.AddKey(ctx, v.key, pass, kdf)
	if err != nil {
		return 0, err
	}
	key, opened, err := h.Unlock(ctx, pass)
	if err != nil {
		return 0, fmt.Errorf("try the new keyslot: %w", err)
	}
	defer key.Destroy()
	if !key.Equal(v.key) {
		return 0, errors.New("the new keyslot gives another key")
	}
	if opened != slot { // the same passphrase twice would be two keys for people, and one for us
		return 0, fmt.Errorf("%w: keyslot %s has the same one", ErrKeyExists, strconv.Itoa(opened))
	}
	keys, err := keysOf(h)
	if err != nil {
		return 0, err
	}
	for i := range keys {
		if keys[i].Number == slot {
			keys[i].Label, keys[i].Recovery, keys[i].Added = note.Label, note.Recovery, time.Now().UTC().Truncate(time.Second)
		}
	}
	err = setNotes(ctx, h, keys)
	if errors.Is(err, luks.ErrNoToken) {
		err = nil // what is known of keyslots is a convenience
	}
	return slot, err
}

// Cost is what trying a passphrase shall cost; zero for the usual.
type Cost struct{ Time time.Duration }

func (c Cost) kdf() (luks.KDF, error) {
	kdf, err := newKDF()
	if c.Time > 0 {
		kdf = kdf.Taking(c.Time)
	}
	return kdf, err
}
