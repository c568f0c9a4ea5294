package control

import (
	"crypto/ed25519"
	"crypto/rand"
	"strings"
	"testing"
	"unsafe"

	"golang.org/x/crypto/ssh"
)

func unsafeString(b []byte) string { return unsafe.String(unsafe.SliceData(b), len(b)) }

func hostKey(t *testing.T) (ssh.PublicKey, ssh.Signer) {
	t.Helper()
	_, private, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	signer, err := ssh.NewSignerFromKey(private)
	if err != nil {
		t.Fatal(err)
	}
	return signer.PublicKey(), signer
}

func env(name, value string) []byte {
	return ssh.Marshal(struct{ Name, Value string }{name, value})
}

func TestConfigure(t *testing.T) {
	text := func(s string) []byte { return ssh.Marshal(struct{ S string }{s}) }
	pty := ssh.Marshal(struct {
		Term       string
		C, R, W, H uint32
		Modes      string
	}{"xterm", 80, 24, 0, 0, "\x00"})
	for _, c := range []struct {
		kind      string
		payload   []byte
		ok, start bool
		argv      string
		env       string
	}{
		{"shell", nil, true, true, "", ""},
		{"exec", text("ls -l 'a b'"), true, true, "/bin/bash|-c|ls -l 'a b'", ""},
		{"exec", []byte{1}, false, false, "", ""},
		{"subsystem", text("sftp"), true, true, sftpServer, ""},
		{"subsystem", text("netconf"), false, false, "", ""},
		{"pty-req", pty, true, false, "", "TERM=xterm"},
		{"pty-req", []byte("x"), false, false, "", ""},
		{"env", env("LC_ALL", "C"), true, false, "", "LC_ALL=C"},
		{"env", env("LD_PRELOAD", "/x"), false, false, "", ""},
		{"env", env("PATH", "/x"), false, false, "", ""},
		{"env", env("BASH_ENV", "/x"), false, false, "", ""},
		{"x11-req", nil, false, false, "", ""},
		{"auth-agent-req@openssh.com", nil, false, false, "", ""},
	} {
		var w wish
		ok, start := w.take(&ssh.Request{Type: c.kind, Payload: c.payload})
		if ok != c.ok || start != c.start {
			t.Errorf("%s %q: ok %v, start %v; want %v, %v", c.kind, c.payload, ok, start, c.ok, c.start)
		}
		if got := strings.Join(w.session.Argv, "|"); got != c.argv {
			t.Errorf("%s: argv %q; want %q", c.kind, got, c.argv)
		}
		if got := strings.Join(w.session.Env, "|"); got != c.env {
			t.Errorf("%s: env %q; want %q", c.kind, got, c.env)
		}
	}
}

func FuzzConfigure(f *testing.F) {
	for _, kind := range []string{"pty-req", "env", "exec", "subsystem", "shell"} {
		f.Add(kind, []byte("\x00\x00\x00\x04sftp"))
	}
	f.Fuzz(func(t *testing.T, kind string, payload []byte) {
		var w wish
		if ok, start := w.take(&ssh.Request{Type: kind, Payload: payload}); start && !ok {
			t.Errorf("%q starts a session that it refuses", kind)
		}
		for _, v := range w.session.Env {
			if name, _, _ := strings.Cut(v, "="); !passed(name) {
				t.Errorf("%q passes %q on", kind, v)
			}
		}
	})
}

func TestHostname(t *testing.T) {
	for name, want := range map[string]string{
		"hello-3f21ab": "hello-3f21ab", "My Project_1": "my-project-1", "": "ghost", "---": "ghost", "ü": "ghost",
		strings.Repeat("a", 80): strings.Repeat("a", 63),
	} {
		if got := hostname(name); got != want {
			t.Errorf("hostname(%q) = %q; want %q", name, got, want)
		}
	}
}
