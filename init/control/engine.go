package control

import (
	"context"
	"errors"
	"fmt"
	"os"

	"golang.org/x/sys/unix"

	"github.com/tazzo/tazpod/init/ghost"
	"github.com/tazzo/tazpod/init/locked"
	"github.com/tazzo/tazpod/init/vault"
	"github.com/tazzo/tazpod/init/vault/device"
	"github.com/tazzo/tazpod/init/wire"
)

// engine is how a vault is open: see package vault. Its content is at treePath
// until Close, which leaves nothing of it.
type engine interface {
	Info() vault.Info
	Verify(ctx context.Context, pass *locked.Buffer) error
	Changed() (bool, error)
	Moved() (bool, error) // since the last call
	Save(ctx context.Context) (saved bool, err error)
	Close() error
}

// treeShare is which part of the pod's memory content in RAM may take: a save
// needs it twice more, for a snapshot and an image, and a ghost's other files
// have a quarter (ghost.MountRAM).
const treeShare = 6

// inRAM is the engine memory: its content is files at treePath.
type inRAM struct{ *vault.Vault }

// Close zeroes the content, unmounts it and forgets the key.
func (v inRAM) Close() error { return errors.Join(unmountRAM(), v.Vault.Close()) }

// errEngine is for what the kernel stands in the way of.
var errEngine = errors.New("not while the engine " + wire.EngineDMCrypt + " has the vault open")

// inRAM returns the vault if the engine memory has it.
func (o *opened) inRAM() (*vault.Vault, error) {
	v, ok := o.vault.(inRAM)
	if !ok {
		return nil, errEngine
	}
	return v.Vault, nil
}

func unmountRAM() error { return errors.Join(ghost.Wipe(treePath), ghost.UnmountRAM(treePath)) }

// load opens with the engine memory. ensure makes the vault if there is none.
func (o *opened) load(ctx context.Context, place vault.Place, passphrase *locked.Buffer, ensure func() error) (err error) {
	if err := ghost.MountRAM(treePath, ghost.Memory()/treeShare); err != nil {
		return err
	}
	defer func() {
		if err != nil {
			err = errors.Join(err, unmountRAM())
		}
	}()
	if o.tree, err = os.Open(treePath); err != nil {
		return err
	}
	defer func() {
		if err != nil {
			o.tree.Close()
		}
	}()
	if err := ensure(); err != nil {
		return err
	}
	v, err := vault.Open(ctx, place, passphrase, o.tree)
	if errors.Is(err, unix.ENOSPC) {
		return &ghost.RefusedError{Errno: unix.ENOSPC, Detail: fmt.Sprintf("the vault's content doesn't fit in the %d MiB that this pod's memory leaves for it",
			ghost.Memory()/treeShare>>20), Hint: "give the pod more memory, or start it with --engine " + wire.EngineDMCrypt}
	}
	o.vault = inRAM{v}
	return err
}

// mount opens with the engine dmcrypt. ensure makes the vault if there is none.
func (o *opened) mount(ctx context.Context, place vault.Place, passphrase *locked.Buffer, ensure func() error) (err error) {
	if err := refusal(device.Probe()); err != nil { // before a vault is made that can't be opened
		return err
	}
	var ids *os.File
	if place.TreeID != wire.UserID {
		if ids, err = ghost.VaultNamespace(place.TreeID); err != nil {
			return err
		}
		defer ids.Close()
	}
	if err := ensure(); err != nil {
		return err
	}
	m, err := vault.Mount(ctx, place, passphrase, treePath, ids)
	if err != nil {
		return refusal(err)
	}
	o.vault = m
	if o.tree, err = os.Open(treePath); err != nil {
		return errors.Join(err, m.Close())
	}
	return nil
}

// refusal names the flag that the pod lacks for the engine dmcrypt, if that is
// what err is about.
func refusal(err error) error {
	hint := device.Hint(err)
	if hint == "" {
		return err
	}
	var errno unix.Errno
	errors.As(err, &errno)
	return &ghost.RefusedError{Detail: fmt.Sprintf("the engine %s: %v (%s)", wire.EngineDMCrypt, err, unix.ErrnoName(errno)), Hint: hint}
}

// engine is what doctor says of the engine that the pod was started for.
func (p *pod) engine() wire.Check {
	c := wire.Check{Promise: "P4", Name: "vaults can be opened", OK: true, Found: "in RAM"}
	if p.config.Engine != wire.EngineDMCrypt {
		return c
	}
	c.Found = "by this machine's device-mapper"
	if err := device.Probe(); err != nil {
		c.OK, c.Found, c.Hint = false, refusal(err).Error(), device.Hint(err)
	}
	return c
}
