package control

import (
	"errors"
	"testing"
	"time"

	"golang.org/x/crypto/ssh"
)

func TestThrottle(t *testing.T) {
	var th throttle
	for _, want := range []time.Duration{250, 500, 1000, 2000, 4000, 8000, 10000, 10000} {
		if got := th.failed(); got != want*time.Millisecond {
			t.Errorf("failed() = %v; want %v", got, want*time.Millisecond)
		}
	}
	for range 1000 { // the shift must not overflow
		th.failed()
	}
	if got := th.failed(); got != slowestReply {
		t.Errorf("failed() after a thousand = %v; want %v", got, slowestReply)
	}
	th.succeeded()
	if got := th.failed(); got != 250*time.Millisecond {
		t.Errorf("failed() after a success = %v; want 250ms", got)
	}
}

func TestQuestionZeroesTheAnswer(t *testing.T) {
	answer := []byte("correct horse")
	ask := func(string, string, []string, []bool) ([]string, error) {
		return []string{unsafeString(answer)}, nil
	}
	got, err := question(ask, "", "Passphrase: ")
	if err != nil {
		t.Fatal(err)
	}
	defer got.Destroy()
	if string(got.Bytes()) != "correct horse" {
		t.Errorf("question() = %q; want the answer", got.Bytes())
	}
	for _, b := range answer {
		if b != 0 {
			t.Fatalf("the library's string still reads %q", answer)
		}
	}
}

// The runtime has one read-only string for each byte: zeroing it is a fault.
func TestQuestionOfOneByte(t *testing.T) {
	for _, b := range []byte("y\x00\xff") {
		answer := string([]byte{b})
		got, err := question(func(string, string, []string, []bool) ([]string, error) { return []string{answer}, nil }, "", "")
		if err != nil || string(got.Bytes()) != answer {
			t.Errorf("question() = %q, %v; want %q", got.Bytes(), err, answer)
		}
		got.Destroy()
	}
}

func TestQuestionRefuses(t *testing.T) {
	broken := errors.New("the carrier broke")
	for _, c := range []struct {
		answers []string
		err     error
		want    error
	}{{[]string{""}, nil, errEmpty}, {nil, broken, broken}} {
		_, err := question(func(string, string, []string, []bool) ([]string, error) { return c.answers, c.err }, "", "")
		if !errors.Is(err, c.want) {
			t.Errorf("question(%q, %v) = %v; want %v", c.answers, c.err, err, c.want)
		}
	}
	for _, answers := range [][]string{nil, {"a", "b"}} {
		if _, err := question(func(string, string, []string, []bool) ([]string, error) { return answers, nil }, "", ""); err == nil {
			t.Errorf("question() took %d answers", len(answers))
		}
	}
}

// config of a login must let nobody in without a passphrase but the control
// user.
func TestWhoGetsInWithoutPassphrase(t *testing.T) {
	server := &server{pod: &pod{}}
	_, key := hostKey(t)
	server.hostKey = key
	config := (&login{server: server}).config()
	for user, want := range map[string]bool{"control": true, "ghost": false, "ghost+prod": false, "root": false, "": false, "Control": false} {
		_, err := config.NoClientAuthCallback(named{user: user})
		if (err == nil) != want {
			t.Errorf("user %q without passphrase: %v; want let in: %v", user, err, want)
		}
	}
}

type named struct {
	ssh.ConnMetadata
	user string
}

func (n named) User() string { return n.user }
