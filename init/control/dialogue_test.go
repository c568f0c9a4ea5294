package control

import (
	"crypto/ed25519"
	"crypto/rand"
	"encoding/binary"
	"io"
	"net"
	"path/filepath"
	"testing"
	"time"

	"golang.org/x/crypto/ssh"

	"github.com/tazzo/tazpod/init/wire"
)

// talk is a dialogue with its other end.
func talk(t *testing.T) (*dialogue, ssh.Channel) {
	t.Helper()
	_, private, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	key, err := ssh.NewSignerFromKey(private)
	if err != nil {
		t.Fatal(err)
	}
	l, err := net.Listen("unix", filepath.Join(t.TempDir(), "s"))
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	there := make(chan ssh.Channel, 1)
	go func() {
		c, err := net.Dial("unix", l.Addr().String())
		if err != nil {
			close(there)
			return
		}
		conn, _, _, err := ssh.NewClientConn(c, "", &ssh.ClientConfig{HostKeyCallback: ssh.FixedHostKey(key.PublicKey())})
		if err != nil {
			close(there)
			return
		}
		channel, _, _ := conn.OpenChannel(wire.VaultChannel, nil)
		there <- channel
	}()
	c, err := l.Accept()
	if err != nil {
		t.Fatal(err)
	}
	config := &ssh.ServerConfig{NoClientAuth: true}
	config.AddHostKey(key)
	conn, channels, requests, err := ssh.NewServerConn(c, config)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { conn.Close() })
	go ssh.DiscardRequests(requests)
	channel, _, err := (<-channels).Accept()
	if err != nil {
		t.Fatal(err)
	}
	client := <-there
	if client == nil {
		t.Fatal("the client has no channel")
	}
	return &dialogue{ctx: t.Context(), conn: conn, channel: channel, messages: channel.Stderr()}, client
}

func TestAnswers(t *testing.T) {
	d, client := talk(t)
	for _, answer := range []string{"yes", "", "a passphrase"} {
		_, _ = client.Write(append(binary.BigEndian.AppendUint32(nil, uint32(len(answer))), answer...))
		got, err := d.answer()
		if err != nil || string(got.Bytes()) != answer {
			t.Errorf("answer() = %q, %v; want %q", got.Bytes(), err, answer)
		}
		got.Destroy()
	}
	_, _ = client.Write(binary.BigEndian.AppendUint32(nil, wire.MaxAnswer+1))
	if _, err := d.answer(); err == nil {
		t.Error("an answer longer than any is taken")
	}
	_, _ = client.Write([]byte{0, 0, 0, 9, 'c', 'u', 't'})
	_ = client.CloseWrite()
	if _, err := d.answer(); err != errLost {
		t.Errorf("answer() cut short = %v; want %v", err, errLost)
	}
}

// TestStandstill: a client that takes nothing, or sends no more, keeps neither the
// vault open nor others from it.
func TestStandstill(t *testing.T) {
	defer func(was time.Duration) { standstill = was }(standstill)
	standstill = 200 * time.Millisecond
	for name, wait := range map[string]func(d *dialogue) error{
		"takes nothing": func(d *dialogue) error { _, err := io.Copy(data{d}, endless{}); return err },
		"sends nothing": func(d *dialogue) error { _, err := io.ReadFull(data{d}, make([]byte, 10)); return err },
		"reads nothing": func(d *dialogue) error {
			for {
				if err := d.tell("again"); err != nil {
					return err
				}
			}
		},
	} {
		d, client := talk(t)
		_, _ = client.Write([]byte("some")) // less than is waited for
		done := make(chan error, 1)
		go func() { done <- wait(d) }()
		select {
		case err := <-done:
			if err == nil {
				t.Errorf("%s: no error", name)
			}
		case <-time.After(20 * time.Second):
			t.Errorf("%s: it waits for ever", name)
		}
	}
}

// endless reads as zeroes.
type endless struct{}

func (endless) Read(p []byte) (int, error) { clear(p); return len(p), nil }
