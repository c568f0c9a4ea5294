package control

import (
	"bytes"
	"context"
	"os/exec"
	"strings"
	"time"

	"github.com/tazzo/tazpod/init/locked"
)

const (
	pwscore = "/usr/bin/pwscore" // of libpwquality: rates what it reads, with a dictionary
	better  = " Four or more random words are better, and easier to remember."
)

// strength is a sentence about a new passphrase, for people. pwscore rates it,
// in a process whose memory goes with it. No rating is no reason to refuse a
// vault: an image may lack the program.
func strength(ctx context.Context, passphrase *locked.Buffer) string {
	ctx, cancel := context.WithTimeout(ctx, 5*time.Second)
	defer cancel()
	cmd := exec.CommandContext(ctx, pwscore)
	cmd.Env, cmd.Dir = []string{"LC_ALL=C.UTF-8"}, "/"
	cmd.Stdin = bytes.NewReader(passphrase.Bytes())
	var stderr bytes.Buffer
	cmd.Stderr = &stderr
	out, err := cmd.Output()
	if err == nil {
		score := strings.TrimSpace(string(out))
		text := "Strength " + score + " of 100."
		if len(score) < 2 || len(score) == 2 && score < "80" {
			text += better
		}
		return text
	}
	if _, why, found := strings.Cut(stderr.String(), "failed:"); found {
		why = strings.TrimPrefix(strings.TrimSpace(why), "The password ")
		return "Weak: it " + why + "." + better
	}
	return ""
}
