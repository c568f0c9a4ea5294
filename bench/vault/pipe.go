package main

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"strings"
	"time"
)

// pipe is the shortest way that people have: tar through openssl. Nothing notices a
// changed byte, nothing is read back, and passwords are cheap to guess.
type pipe struct{}

func (*pipe) String() string { return "tar and openssl" }

const (
	unpack = `openssl enc -d -aes-256-ctr -pbkdf2 -iter 1 -pass stdin -in "$1"/tree.enc | tar -x -C "$2"`
	pack   = `exec 3<&0; tar -c -C "$2" . | openssl enc -aes-256-ctr -pbkdf2 -iter 1 -pass fd:3 -out "$1"/new && sync "$1"/new && mv "$1"/new "$1"/tree.enc && sync "$1"`
)

func (*pipe) prepare(ctx context.Context, dir, tree string) error {
	return script(ctx, pack, dir, tree)
}

func (*pipe) round(ctx context.Context, dir string, note func(string, time.Duration)) error {
	tree, err := ramDir()
	if err != nil {
		return err
	}
	defer os.RemoveAll(tree)
	start := time.Now()
	if err := script(ctx, unpack, dir, tree); err != nil {
		return err
	}
	note("open", time.Since(start))
	if err := change(tree); err != nil {
		return err
	}
	start = time.Now()
	err = script(ctx, pack, dir, tree)
	note("save", time.Since(start))
	return err
}

// script runs text in a shell with the passphrase on its standard input.
func script(ctx context.Context, text string, args ...string) error {
	cmd := exec.CommandContext(ctx, "bash", append([]string{"-euo", "pipefail", "-c", text, "bench"}, args...)...)
	cmd.Stdin = strings.NewReader(passphrase + "\n")
	if out, err := cmd.CombinedOutput(); err != nil {
		return fmt.Errorf("%s: %w: %s", text, err, out)
	}
	return nil
}
