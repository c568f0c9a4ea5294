package dial

import (
	"context"
	"crypto/ed25519"
	"crypto/rand"
	"errors"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"golang.org/x/crypto/ssh"

	"github.com/tazzo/tazpod/init/locked"
	"github.com/tazzo/tazpod/init/wire"
	"github.com/tazzo/tazpod/launcher/term"
)

// script answers from a list and writes down what it is shown.
type script struct {
	answers []string
	end     error // after the last answer
	shown   []string
}

func (s *script) Tries() int       { return triesOnTerminal }
func (s *script) Tell(text string) { s.shown = append(s.shown, text) }
func (s *script) Ask(_ context.Context, prompt string) (*locked.Buffer, error) {
	s.shown = append(s.shown, prompt)
	if len(s.answers) == 0 {
		return nil, s.end
	}
	answer := s.answers[0]
	s.answers = s.answers[1:]
	return locked.Take([]byte(answer))
}

const again = "tazpod: wrong passphrase; try again"

func TestLogin(t *testing.T) {
	const ask, first, second = "Passphrase: ", "New passphrase: ", "Repeat passphrase: "
	const fresh, weak = "There is no vault yet: a new one is made.[2J", "weak"
	const empty = "tazpod: an empty passphrase protects nothing; try again"
	const differ = "tazpod: the two passphrases differ; try again"
	interrupted := &term.SignalError{Signal: 2}
	for _, c := range []struct {
		name       string
		passphrase string
		answers    []string
		end, want  error
		shown      []string
	}{
		{"right", "x", []string{"x"}, nil, nil, []string{ask}},
		{"second try", "x", []string{"y", "x"}, nil, nil, []string{ask, again, ask}},
		{"three wrong", "x", []string{"a", "b", "c", "x"}, nil, ErrPassphrase, []string{ask, again, ask, again, ask}},
		{"empty", "x", []string{"", "x"}, nil, nil, []string{ask, empty, ask}},
		{"empty thrice", "x", []string{"", "", ""}, nil, ErrNoPassphrase, []string{ask, empty, ask, empty, ask, empty}},
		{"end of input", "x", nil, io.EOF, ErrNoPassphrase, []string{ask}},
		{"end of input at the second", "x", []string{"y"}, io.EOF, ErrNoPassphrase, []string{ask, again, ask}},
		{"interrupted", "x", nil, interrupted, interrupted, []string{ask}},
		{"new vault", "", []string{"n", "n"}, nil, nil, []string{fresh, first, weak, second}},
		{"new vault, mistyped", "", []string{"n", "m", "n", "n"}, nil, nil,
			[]string{fresh, first, weak, second, differ, fresh, first, weak, second}},
		{"new vault, interrupted at the second", "", []string{"n"}, interrupted, interrupted, []string{fresh, first, weak, second}},
	} {
		t.Run(c.name, func(t *testing.T) {
			pod := newPod(t, c.passphrase)
			source := &script{answers: c.answers, end: c.end}
			client, err := Ghost(context.Background(), pod.carrier(t), pod.hostKey, source, Ask{})
			if !errors.Is(err, c.want) {
				t.Errorf("Ghost() = %v; want %v", err, c.want)
			}
			if err == nil {
				client.Close()
			}
			if got, want := strings.Join(source.shown, "|"), strings.Join(c.shown, "|"); got != want {
				t.Errorf("the person saw\n%s; want\n%s", got, want)
			}
		})
	}
}

func TestRefusal(t *testing.T) {
	pod := newPod(t, "x")
	pod.refusal = "13 tazpod: error: the vault is damaged\x1b]0;x\x07\ntazpod: hint: roll back"
	_, err := Ghost(context.Background(), pod.carrier(t), pod.hostKey, &script{}, Ask{})
	var r *Refusal
	if !errors.As(err, &r) {
		t.Fatalf("Ghost() = %v; want a Refusal", err)
	}
	if want := (Refusal{wire.ExitVault, "the vault is damaged]0;x", "roll back"}); *r != want {
		t.Errorf("Refusal = %+v; want %+v", *r, want)
	}
}

func TestHostKeyIsPinned(t *testing.T) {
	pod := newPod(t, "x")
	_, other, _ := ed25519.GenerateKey(rand.Reader)
	key, err := ssh.NewSignerFromKey(other)
	if err != nil {
		t.Fatal(err)
	}
	source := &script{answers: []string{"x"}}
	_, err = Ghost(context.Background(), pod.carrier(t), func() (ssh.PublicKey, error) { return key.PublicKey(), nil }, source, Ask{})
	if !errors.Is(err, ErrHostKey) || len(source.shown) != 0 {
		t.Errorf("Ghost() = %v after %q; want %v before any question", err, source.shown, ErrHostKey)
	}
}

func TestLoginOverBrokenCarrier(t *testing.T) {
	pod := newPod(t, "x")
	carrier := pod.carrier(t)
	pod.kill()
	var lost *LostError
	if _, err := Ghost(context.Background(), carrier, pod.hostKey, &script{}, Ask{}); !errors.As(err, &lost) {
		t.Errorf("Ghost() = %v; want a LostError", err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	if _, err := Control(ctx, pod.carrier(t), pod.hostKey); !errors.Is(err, context.Canceled) {
		t.Errorf("Control(cancelled) = %v; want %v", err, context.Canceled)
	}
}

func TestGivenPassphrase(t *testing.T) {
	for _, c := range []struct {
		content string
		want    error
	}{
		{"x", nil},
		{"x\n", nil},
		{"x\n\n", ErrPassphrase},
		{"y\n", ErrPassphrase},
		{"", ErrNoPassphrase},
		{"\n", ErrNoPassphrase},
	} {
		path := filepath.Join(t.TempDir(), "p")
		if err := os.WriteFile(path, []byte(c.content), 0o600); err != nil {
			t.Fatal(err)
		}
		f, err := os.Open(path)
		if err != nil {
			t.Fatal(err)
		}
		source, err := Given(f, io.Discard)
		if err != nil {
			t.Fatal(err)
		}
		pod := newPod(t, "x")
		if _, err := Ghost(context.Background(), pod.carrier(t), pod.hostKey, source, Ask{}); !errors.Is(err, c.want) {
			t.Errorf("file %q: %v; want %v", c.content, err, c.want)
		}
		if pod.tries > 1 {
			t.Errorf("file %q was tried %d times; want once", c.content, pod.tries)
		}
	}
}

func TestGivenPassphraseMakesAVault(t *testing.T) {
	r, w, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	io.WriteString(w, "brand new")
	w.Close()
	var log strings.Builder
	source, err := Given(r, &log)
	if err != nil {
		t.Fatal(err)
	}
	pod := newPod(t, "")
	if _, err := Ghost(context.Background(), pod.carrier(t), pod.hostKey, source, Ask{}); err != nil {
		t.Fatal(err)
	}
	if pod.passphrase != "brand new" || !strings.Contains(log.String(), "a new one is made") {
		t.Errorf("the vault has %q, the log %q; want the passphrase and a word about the new vault", pod.passphrase, log.String())
	}
}

func TestTooLongPassphrase(t *testing.T) {
	r, w, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	go func() { io.WriteString(w, strings.Repeat("x", maxPassphrase+1)); w.Close() }()
	if _, err := Given(r, io.Discard); err == nil || !strings.Contains(err.Error(), "longer than") {
		t.Errorf("Given(5000 bytes) = %v; want that it is too long", err)
	}
}

func TestRequests(t *testing.T) {
	pod := newPod(t, "x")
	c, err := Control(context.Background(), pod.carrier(t), pod.hostKey)
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	if s, err := c.Status(); err != nil || s.Version != "test" || s.Vault.State != wire.VaultLocked {
		t.Errorf("Status() = %+v, %v; want what the pod says", s, err)
	}
	if r, err := c.Lock(); err != nil || r.Sessions != 2 || !r.Saved {
		t.Errorf("Lock() = %+v, %v; want what the pod says", r, err)
	}
	if _, err := c.Report(); err == nil || !strings.Contains(err.Error(), "older") {
		t.Errorf("Report() = %v; want that the pod doesn't know it", err)
	}
	pod.kill()
	var lost *LostError
	if _, err := c.Status(); !errors.As(err, &lost) {
		t.Errorf("Status() of a killed pod = %v; want a LostError", err)
	}
}

func FuzzRefusal(f *testing.F) {
	f.Add("12", "tazpod: error: x\ntazpod: hint: y")
	f.Add("999", "\x1b[0m")
	f.Fuzz(func(t *testing.T, code, text string) {
		r := refusal(code, text)
		if r.Code < 1 || r.Code > 255 || strings.ContainsAny(r.Text+r.Hint, "\x1b\x07\r\b") {
			t.Errorf("refusal(%q, %q) = %+v; want a harmless one", code, text, r)
		}
	})
}
