package dial

import (
	"bytes"
	"context"
	"strings"
	"testing"

	"github.com/tazzo/tazpod/init/wire"
)

const hostile = "a\x1b]0;title\x07\u009b31mb\r\u202ec\xff\n"

func TestPrintable(t *testing.T) {
	if got, want := Printable("\tkäse\n"+hostile), "\tkäse\na]0;title31mbc\n"; got != want {
		t.Errorf("Printable() = %q; want %q", got, want)
	}
	var out bytes.Buffer
	w := PrintableWriter(&out)
	for _, b := range []byte("käse 日本" + hostile) { // characters in parts
		if n, err := w.Write([]byte{b}); n != 1 || err != nil {
			t.Fatalf("Write() = %d, %v; want 1", n, err)
		}
	}
	if got, want := out.String(), "käse 日本a]0;title31mbc\n"; got != want {
		t.Errorf("PrintableWriter wrote %q; want %q", got, want)
	}
}

// TestRepliesArePrintable: whatever field a pod puts it in.
func TestRepliesArePrintable(t *testing.T) {
	pod := newPod(t, "x")
	pod.status = wire.Status{Version: hostile, Vault: wire.VaultStatus{State: hostile, SaveError: hostile, Size: 1<<62 + 1},
		Ghosts: []wire.GhostStatus{{Profile: hostile}}}
	pod.lock = wire.LockReply{Error: hostile}
	c, err := Control(context.Background(), pod.carrier(t), pod.hostKey)
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	s, err := c.Status()
	if err != nil || s.Vault.Size != 1<<62+1 {
		t.Fatalf("Status() = %+v, %v; want its numbers as they are", s, err)
	}
	r, err := c.Lock()
	if err != nil {
		t.Fatal(err)
	}
	for _, text := range []string{s.Version, s.Vault.State, s.Vault.SaveError, s.Ghosts[0].Profile, s.Text(), r.Error} {
		if Printable(text) != text || !strings.Contains(text, "a]0;title") {
			t.Errorf("the pod's text comes through as %q; want it printable", text)
		}
	}
	lost := &LostError{Err: &Refusal{Text: hostile}}
	if got := lost.Error(); Printable(got) != got {
		t.Errorf("LostError says %q; want it printable", got)
	}
	var out, errs bytes.Buffer
	if _, err := (messages{&screen{w: &out}, &errs}).Write([]byte(hostile)); err != nil || errs.String() != "a]0;title31mbc\r\n" {
		t.Errorf("a message reaches the terminal as %q, %v; want it printable", errs.String(), err)
	}
}
