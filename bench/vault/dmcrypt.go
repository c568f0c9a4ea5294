package main

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"time"

	"golang.org/x/sys/unix"
)

// dmcrypt is the kernel's own way, with a known volume key: no key is derived. It
// needs device-mapper, and is only run in User-Mode Linux.
type dmcrypt struct{}

func (*dmcrypt) String() string { return "dm-crypt and ext4" }

const mapper = "/dev/mapper/bench"

func (d *dmcrypt) prepare(ctx context.Context, dir, tree string) error {
	err := script(ctx, `truncate -s "$2" "$1"/vault.img; head -c 64 /dev/urandom >"$1"/key
		cryptsetup luksFormat -q --type luks2 --sector-size 4096 --pbkdf pbkdf2 --pbkdf-force-iterations 1000 --volume-key-file "$1"/key --key-size 512 --key-file - "$1"/vault.img
		cryptsetup open --volume-key-file "$1"/key "$1"/vault.img bench; mke2fs -q -t ext4 `+mapper, dir, "512M")
	if err != nil {
		return err
	}
	at, err := d.mount(dir)
	if err == nil {
		err = script(ctx, `cp -a "$1"/. "$2"`, tree, at)
	}
	return errors.Join(err, d.unmount(ctx, at))
}

func (*dmcrypt) mount(dir string) (string, error) {
	at := filepath.Join(dir, "mounted")
	if err := os.MkdirAll(at, 0o700); err != nil {
		return at, err
	}
	return at, unix.Mount(mapper, at, "ext4", 0, "")
}

func (*dmcrypt) unmount(ctx context.Context, at string) error {
	return errors.Join(unix.Unmount(at, 0), script(ctx, `cryptsetup close bench`))
}

func (d *dmcrypt) round(ctx context.Context, dir string, note func(string, time.Duration)) error {
	tree, err := ramDir()
	if err != nil {
		return err
	}
	defer os.RemoveAll(tree)
	start := time.Now()
	if err := script(ctx, `cryptsetup open --volume-key-file "$1"/key "$1"/vault.img bench`, dir); err != nil {
		return err
	}
	at, err := d.mount(dir)
	if err != nil {
		return errors.Join(err, d.unmount(ctx, at))
	}
	note("mount", time.Since(start))
	err = script(ctx, `cp -a "$1"/. "$2"`, at, tree)
	note("open", time.Since(start))
	if err == nil {
		start = time.Now()
		err = errors.Join(change(at), syncFS(at))
		note("save one file", time.Since(start))
	}
	if err == nil {
		start = time.Now()
		err = errors.Join(script(ctx, `cp -a "$1"/. "$2"`, tree, at), syncFS(at))
		note("save", time.Since(start))
	}
	return errors.Join(err, d.unmount(ctx, at))
}

func syncFS(at string) error {
	f, err := os.Open(at)
	if err != nil {
		return err
	}
	defer f.Close()
	return unix.Syncfs(int(f.Fd()))
}
