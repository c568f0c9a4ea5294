package control

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"os/exec"
	"time"

	"github.com/ccojocar/zxcvbn-go"

	"github.com/tazzo/tazpod/init/locked"
)

// maxPassphrase is what a prompt takes, in bytes; cryptsetup's own limit.
const maxPassphrase = 512

// strength rates a passphrase in a process of its own, for the estimator makes
// strings of it that can't be zeroed: they go with the process. No rating is
// no reason to refuse a vault.
func strength(ctx context.Context, passphrase *locked.Buffer) string {
	ctx, cancel := context.WithTimeout(ctx, 5*time.Second)
	defer cancel()
	cmd := exec.CommandContext(ctx, "/proc/self/exe", "role", "strength")
	cmd.Args[0] = "tazpod-init"
	cmd.Env = []string{}
	cmd.Stdin = bytes.NewReader(passphrase.Bytes())
	out, err := cmd.Output()
	if err != nil {
		return ""
	}
	return string(out)
}

// Strength is the role of that process: it reads a passphrase and writes one
// sentence about it.
func Strength(in io.Reader, out io.Writer) error {
	passphrase, err := io.ReadAll(io.LimitReader(in, maxPassphrase))
	if err != nil {
		return err
	}
	match := zxcvbn.PasswordStrength(string(passphrase), []string{"tazpod"})
	advice := [...]string{
		"far too easy to guess", "easy to guess", "could be guessed", "good", "very good"}[match.Score]
	text := fmt.Sprintf("Strength %d of 4: %s.", match.Score, advice)
	if match.Score < 3 {
		text += " Four or more random words are better, and easier to remember."
	}
	_, err = io.WriteString(out, text)
	return err
}
