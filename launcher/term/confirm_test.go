package term

import (
	"bufio"
	"context"
	"errors"
	"io"
	"testing"
	"time"
)

func TestConfirm(t *testing.T) {
	for typed, want := range map[string]bool{
		"y\n": true, "YES\r": true, " y \n": true, "\n": false, "n\n": false, "yeah\n": false, "yes please\n": false, "\x04": false, "y\x04\x04": false,
	} {
		keys, terminal := open(t)
		before := modes(t, terminal)
		if _, err := io.WriteString(keys, "y\n"); err != nil { // before the question
			t.Fatal(err)
		}
		screen := bufio.NewReader(keys)
		if _, err := screen.ReadString('\n'); err != nil { // its echo: it has arrived
			t.Fatal(err)
		}
		answers := make(chan bool, 1)
		go func() {
			yes, err := terminal.Confirm(t.Context(), "Really?")
			if err != nil {
				t.Errorf("Confirm() typed %q: %v", typed, err)
			}
			answers <- yes
		}()
		if _, err := screen.ReadString('?'); err != nil {
			t.Fatal(err)
		}
		if _, err := io.WriteString(keys, typed); err != nil {
			t.Fatal(err)
		}
		select {
		case got := <-answers:
			if got != want {
				t.Errorf("Confirm() typed %q = %v; want %v", typed, got, want)
			}
		case <-time.After(5 * time.Second):
			t.Fatalf("Confirm() typed %q doesn't return", typed)
		}
		if modes(t, terminal) != before {
			t.Errorf("%q: the terminal's settings have changed", typed)
		}
	}
}

func TestConfirmIsCancelled(t *testing.T) {
	_, terminal := open(t)
	cause := errors.New("enough")
	ctx, cancel := context.WithCancelCause(t.Context())
	time.AfterFunc(50*time.Millisecond, func() { cancel(cause) })
	if yes, err := terminal.Confirm(ctx, "Really?"); yes || !errors.Is(err, cause) {
		t.Errorf("Confirm(cancelled) = %v, %v; want %v", yes, err, cause)
	}
}
