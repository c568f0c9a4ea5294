package main

import (
	"context"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"time"

	"github.com/tazzo/tazpod/init/locked"
	"github.com/tazzo/tazpod/init/vault"
	"github.com/tazzo/tazpod/init/wire"
)

// ours is init/vault with the memory engine.
type ours struct{}

func (*ours) String() string { return "init/vault" }

func (o *ours) prepare(ctx context.Context, dir, tree string) error {
	p, pass, err := place(dir)
	if err != nil {
		return err
	}
	defer p.Dir.Close()
	defer pass.Destroy()
	if err := vault.Create(ctx, p, pass, capacity, vault.Cost{}); err != nil {
		return err
	}
	if err := cheapen(ctx, filepath.Join(dir, wire.VaultFile)); err != nil {
		return err
	}
	return o.open(ctx, dir, func(v *vault.Vault, to string) error {
		if err := os.CopyFS(to, os.DirFS(tree)); err != nil {
			return err
		}
		_, err := v.Save(ctx)
		return err
	})
}

// cheapen gives a vault a key derivation of milliseconds: it is taken off anyway.
func cheapen(ctx context.Context, file string) error {
	cmd := exec.CommandContext(ctx, "cryptsetup", "luksConvertKey", "--batch-mode", "--key-file=-",
		"--pbkdf=pbkdf2", "--pbkdf-force-iterations=1000", file)
	cmd.Stdin, cmd.Stderr = strings.NewReader(passphrase), os.Stderr
	return cmd.Run()
}

func place(dir string) (p vault.Place, pass *locked.Buffer, err error) {
	if p.Dir, err = os.Open(dir); err != nil {
		return p, nil, err
	}
	pass, err = locked.Take([]byte(passphrase))
	return p, pass, err
}

func (o *ours) round(ctx context.Context, dir string, note func(string, time.Duration)) error {
	start := time.Now()
	return o.open(ctx, dir, func(v *vault.Vault, tree string) error {
		note("open", time.Since(start)-v.Info().KDF)
		if err := change(tree); err != nil {
			return err
		}
		start = time.Now()
		_, err := v.Save(ctx)
		note("save", time.Since(start))
		return err
	})
}

// open lets do have an open vault and its tree.
func (o *ours) open(ctx context.Context, dir string, do func(v *vault.Vault, tree string) error) error {
	tree, err := ramDir()
	if err != nil {
		return err
	}
	defer os.RemoveAll(tree)
	at, err := os.Open(tree)
	if err != nil {
		return err
	}
	defer at.Close()
	p, pass, err := place(dir)
	if err != nil {
		return err
	}
	defer p.Dir.Close()
	defer pass.Destroy()
	v, err := vault.Open(ctx, p, pass, at)
	if err != nil {
		return err
	}
	return errors.Join(do(v, tree), v.Close())
}
