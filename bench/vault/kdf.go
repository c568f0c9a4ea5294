package main

import (
	"context"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"time"

	"github.com/tazzo/tazpod/init/vault"
	"github.com/tazzo/tazpod/init/wire"
)

// measureKDF takes the time that a new vault's passphrase takes to try: by Open,
// which prepares the check for later logins beside it, and by cryptsetup alone.
func measureKDF(ctx context.Context, rounds int) (times map[string][]time.Duration, err error) {
	say("key derivation")
	dir, err := os.MkdirTemp("", "tazpod-bench-")
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, os.RemoveAll(dir)) }()
	p, pass, err := place(dir)
	if err != nil {
		return nil, err
	}
	defer p.Dir.Close()
	defer pass.Destroy()
	if err := vault.Create(ctx, p, pass, 0, vault.Cost{}); err != nil {
		return nil, err
	}
	times = map[string][]time.Duration{}
	for range rounds {
		err := (&ours{}).open(ctx, dir, func(v *vault.Vault, _ string) error {
			times["ours"] = append(times["ours"], v.Info().KDF)
			return nil
		})
		if err != nil {
			return nil, err
		}
		cmd := exec.CommandContext(ctx, "cryptsetup", "open", "--test-passphrase", "--key-file=-", filepath.Join(dir, wire.VaultFile))
		cmd.Stdin, cmd.Stderr = strings.NewReader(passphrase), os.Stderr
		start := time.Now()
		if err := cmd.Run(); err != nil {
			return nil, err
		}
		times["cryptsetup"] = append(times["cryptsetup"], time.Since(start))
	}
	return times, nil
}

// ownBenchmark is what cryptsetup would choose on this machine, in its words.
func ownBenchmark(ctx context.Context) string {
	out, _ := exec.CommandContext(ctx, "cryptsetup", "benchmark", "--pbkdf", "argon2id").Output() // only to compare
	lines := strings.Split(strings.TrimSpace(string(out)), "\n")
	return strings.Join(strings.Fields(lines[len(lines)-1]), " ")
}
