package main

import (
	"context"
	"crypto/rand"
	"fmt"
	"io"
	"os/exec"
	"strconv"
	"strings"
	"time"

	"github.com/tazzo/tazpod/init/locked"
	"github.com/tazzo/tazpod/init/luks"
)

// rates are in bytes a second, by what was done.
type rates map[string][]float64

const (
	sector = 4 << 10 // bytes, what new vaults have
	piece  = 1 << 20 // bytes, which all processors share
)

// measureCiphers runs ours and openssl's in turn.
func measureCiphers(ctx context.Context, rounds int) (rates, error) {
	say("ciphers")
	key, err := locked.New(64)
	if err == nil {
		err = key.Fill(io.LimitReader(rand.Reader, 64))
	}
	if err != nil {
		return nil, err
	}
	defer key.Destroy()
	c, err := luks.NewCipher(key, sector)
	if err != nil {
		return nil, err
	}
	defer c.Destroy()
	r := rates{}
	for range rounds {
		for what, do := range map[string]func([]byte, int64){"encrypt": c.Encrypt, "decrypt": c.Decrypt} {
			r[what] = append(r[what], rate(sector, do))
			r[what+" shared"] = append(r[what+" shared"], rate(piece, do))
		}
		reference, err := opensslSpeed(ctx)
		if err != nil {
			return nil, err
		}
		r["openssl"] = append(r["openssl"], reference)
	}
	return r, nil
}

func rate(size int, do func([]byte, int64)) float64 {
	p, total := make([]byte, size), 0
	start := time.Now()
	for time.Since(start) < 100*time.Millisecond {
		do(p, 0)
		total += size
	}
	return float64(total) / time.Since(start).Seconds()
}

// opensslSpeed takes the last figure of "AES-256-XTS    4403063.47k".
func opensslSpeed(ctx context.Context) (float64, error) {
	cmd := exec.CommandContext(ctx, "openssl", "speed", "-evp", "aes-256-xts", "-bytes", strconv.Itoa(sector), "-seconds", "1", "-elapsed")
	out, err := cmd.Output()
	if err != nil {
		return 0, fmt.Errorf("%s: %w", cmd, err)
	}
	words := strings.Fields(string(out))
	thousands, err := strconv.ParseFloat(strings.TrimSuffix(words[len(words)-1], "k"), 64)
	return thousands * 1000, err
}
