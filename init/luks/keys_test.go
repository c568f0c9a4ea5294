package luks

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"strconv"
	"testing"
	"time"

	"github.com/tazzo/tazpod/init/locked"
)

// made returns a header of ours of 32 MiB, with its volume key.
func made(t *testing.T) (*Header, *locked.Buffer) {
	t.Helper()
	h, key, err := Format(context.Background(), 32<<20, fastKDF, secret(t, "first"))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { h.Close(); key.Destroy() })
	return h, key
}

// written puts the header at the start of a file of its own.
func written(t *testing.T, h *Header) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "vault.img")
	f, err := os.Create(path)
	if err == nil {
		err = errors.Join(f.Truncate(h.size), h.WriteTo(f), f.Close())
	}
	if err != nil {
		t.Fatal(err)
	}
	return path
}

func numbers(list []Keyslot) (n []int) {
	for _, k := range list {
		n = append(n, k.Number)
	}
	return n
}

func TestAddAndRemoveKey(t *testing.T) {
	ctx := context.Background()
	h, key := made(t)
	for i, pass := range []string{"second", "third"} {
		slot, err := h.AddKey(ctx, key, secret(t, pass), fastKDF)
		if slot != i+1 || err != nil {
			t.Fatalf("AddKey(%q) = %d, %v; want %d", pass, slot, err, i+1)
		}
	}
	list := h.Keyslots()
	if got := numbers(list); len(got) != 3 || got[2] != 2 {
		t.Errorf("Keyslots() = %v; want 0 1 2", got)
	}
	for _, k := range list {
		if k.KDF != fastKDF || k.Salt == "" {
			t.Errorf("Keyslots()[%d] = %+v; want %+v and a salt", k.Number, k, fastKDF)
		}
	}
	path := written(t, h)
	for slot, pass := range []string{"first", "second", "third"} {
		stock(t, pass, "open", "--test-passphrase", "--key-file=-", path)
		got, n, err := h.Unlock(ctx, secret(t, pass))
		if err != nil || n != slot || !got.Equal(key) {
			t.Errorf("Unlock(%q) = keyslot %d, %v; want %d and the same key", pass, n, err, slot)
		}
		got.Destroy()
	}
	if err := h.RemoveKey(ctx, 1); err != nil {
		t.Fatal(err)
	}
	if _, _, err := h.Unlock(ctx, secret(t, "second")); !errors.Is(err, ErrPassphrase) {
		t.Errorf("Unlock() after RemoveKey() = %v; want %v", err, ErrPassphrase)
	}
	if err := h.RemoveKey(ctx, 1); !errors.Is(err, ErrNoSlot) {
		t.Errorf("RemoveKey() again = %v; want %v", err, ErrNoSlot)
	}
	slot, err := h.AddKey(ctx, key, secret(t, "fourth"), fastKDF)
	if slot != 3 || err != nil {
		t.Errorf("AddKey() after RemoveKey(1) = %d, %v; want 3, behind the others", slot, err)
	}
}

func TestLastKeyslotStays(t *testing.T) {
	h, _ := made(t)
	if err := h.RemoveKey(context.Background(), 0); !errors.Is(err, ErrLastSlot) {
		t.Errorf("RemoveKey() = %v; want %v", err, ErrLastSlot)
	}
	stock(t, "first", "open", "--test-passphrase", "--key-file=-", written(t, h))
}

// TestNoRoomForKeyslots: our headers have room for eight.
func TestNoRoomForKeyslots(t *testing.T) {
	h, key := made(t)
	for range 7 {
		if _, err := h.AddKey(context.Background(), key, secret(t, "again"), fastKDF); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := h.AddKey(context.Background(), key, secret(t, "again"), fastKDF); !errors.Is(err, ErrNoRoom) {
		t.Errorf("AddKey() for the ninth = %v; want %v", err, ErrNoRoom)
	}
}

func TestTaking(t *testing.T) {
	h, key := made(t)
	kdf := KDF{Type: "argon2id", Memory: 32 << 20, Lanes: 1}
	slot, err := h.AddKey(context.Background(), key, secret(t, "slow"), kdf.Taking(300*time.Millisecond))
	if err != nil {
		t.Fatal(err)
	}
	if got := h.Keyslots()[slot].KDF; got.Memory > kdf.Memory || got.Iterations < 4 {
		t.Errorf("KDF of a keyslot for 300 ms = %+v; want at most %d bytes", got, kdf.Memory)
	}
}

func TestResizeHeader(t *testing.T) {
	h, _ := made(t)
	if err := h.Resize(48 << 20); err != nil || h.Segment.Size != 48<<20-dataOffset {
		t.Errorf("Resize(48 MiB) = %v, segment of %d bytes", err, h.Segment.Size)
	}
	if err := h.Resize(dataOffset); !errors.Is(err, ErrTruncated) {
		t.Errorf("Resize(%d) = %v; want %v", dataOffset, err, ErrTruncated)
	}
}

// TestIgnoredKeyslot: one that is tried only when it is asked for by number doesn't
// keep the last of the others from being the last.
func TestIgnoredKeyslot(t *testing.T) {
	ctx := context.Background()
	h, key := made(t)
	slot, err := h.AddKey(ctx, key, secret(t, "second"), fastKDF)
	if err != nil {
		t.Fatal(err)
	}
	path := written(t, h)
	stock(t, "", "config", "--priority=ignore", "--key-slot="+strconv.Itoa(slot), path)
	now, err := readFile(t, path)
	if err != nil {
		t.Fatal(err)
	}
	if got := numbers(now.Keyslots()); len(got) != 1 || got[0] != 0 {
		t.Errorf("Keyslots() = %v; want 0 alone", got)
	}
	if err := now.RemoveKey(ctx, 0); !errors.Is(err, ErrLastSlot) {
		t.Errorf("RemoveKey() = %v; want %v", err, ErrLastSlot)
	}
}
