package dial

import (
	"crypto/ed25519"
	"crypto/rand"
	"encoding/json"
	"errors"
	"io"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"sync"
	"syscall"
	"testing"

	"github.com/creack/pty"
	"golang.org/x/crypto/ssh"

	"github.com/tazzo/tazpod/init/wire"
)

// fakePod is the pod's side of the protocol without vault and ghost: it talks
// as init/control does, and its sessions are plain processes.
type fakePod struct {
	passphrase string // "" while there is no vault
	refusal    string // ends every login: code, blank, text
	drop       bool   // sessions break off instead of ending
	key        ssh.Signer
	status     wire.Status
	lock       wire.LockReply
	vault      func(ssh.Channel) // the pod's side of a command about the vault

	mu    sync.Mutex
	tries int
	conns []net.Conn
}

func newPod(t *testing.T, passphrase string) *fakePod {
	t.Helper()
	_, private, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	key, err := ssh.NewSignerFromKey(private)
	if err != nil {
		t.Fatal(err)
	}
	return &fakePod{passphrase: passphrase, key: key, lock: wire.LockReply{Sessions: 2, Saved: true},
		status: wire.Status{Version: "test", Vault: wire.VaultStatus{State: wire.VaultLocked}}}
}

func (p *fakePod) hostKey() (ssh.PublicKey, error) { return p.key.PublicKey(), nil }

// carrier connects to the pod, as an exec of `tazpod-init connect` would.
func (p *fakePod) carrier(t *testing.T) net.Conn {
	t.Helper()
	l, err := net.Listen("unix", filepath.Join(t.TempDir(), "s"))
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	here, err := net.Dial("unix", l.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	there, err := l.Accept()
	if err != nil {
		t.Fatal(err)
	}
	p.mu.Lock()
	p.conns = append(p.conns, there)
	p.mu.Unlock()
	t.Cleanup(func() { here.Close(); there.Close() })
	go p.serve(there)
	return here
}

// kill breaks every connection, as a killed pod does.
func (p *fakePod) kill() {
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, c := range p.conns {
		c.Close()
	}
}

func (p *fakePod) serve(c net.Conn) {
	config := &ssh.ServerConfig{MaxAuthTries: 3, NoClientAuth: true,
		NoClientAuthCallback: func(m ssh.ConnMetadata) (*ssh.Permissions, error) {
			if m.User() != wire.ControlUser {
				return nil, errors.New("no")
			}
			return nil, nil
		},
		KeyboardInteractiveCallback: func(_ ssh.ConnMetadata, ask ssh.KeyboardInteractiveChallenge) (*ssh.Permissions, error) {
			return nil, p.login(c, ask)
		}}
	config.AddHostKey(p.key)
	_, channels, requests, err := ssh.NewServerConn(c, config)
	if err != nil {
		c.Close()
		return
	}
	go p.answer(requests)
	for channel := range channels {
		if channel.ChannelType() == wire.VaultChannel && p.vault == nil {
			_ = channel.Reject(ssh.UnknownChannelType, "")
			continue
		}
		stream, requests, err := channel.Accept()
		if err == nil && channel.ChannelType() == wire.VaultChannel {
			go p.vault(stream)
		} else if err == nil {
			go p.session(c, stream, requests)
		}
	}
}

func (p *fakePod) login(c net.Conn, ask ssh.KeyboardInteractiveChallenge) error {
	p.mu.Lock()
	p.tries++
	p.mu.Unlock()
	if p.refusal != "" {
		_, _ = ask(wire.ErrorPrompt+" "+p.refusal[:2], p.refusal[3:], nil, nil)
		c.Close()
		return errors.New("refused")
	}
	one := func(instruction, prompt string) (string, error) {
		answers, err := ask("", instruction, []string{prompt}, []bool{false})
		if err != nil {
			return "", err
		}
		return answers[0], nil
	}
	tell := func(text string) error {
		_, err := ask("", text, nil, nil)
		return errors.Join(errors.New("again"), err)
	}
	if p.passphrase != "" {
		given, err := one("", "Passphrase: ")
		if err == nil && given != p.passphrase {
			err = errors.New("wrong")
			if given == "" {
				err = tell("tazpod: an empty passphrase protects nothing; try again")
			}
		}
		return err
	}
	first, err := one("There is no vault yet: a new one is made.\x1b[2J", "New passphrase: ")
	if err != nil {
		return err
	}
	again, err := one("weak", "Repeat passphrase: ")
	if err != nil {
		return err
	}
	if first != again {
		return tell("tazpod: the two passphrases differ; try again")
	}
	p.passphrase = first
	return nil
}

func (p *fakePod) answer(requests <-chan *ssh.Request) {
	for r := range requests {
		var reply any
		switch r.Type {
		case wire.RequestStatus:
			reply = p.status
		case wire.RequestLock:
			reply = p.lock
		}
		payload, _ := json.Marshal(reply)
		_ = r.Reply(reply != nil, payload)
	}
}

// session runs a process for one channel.
func (p *fakePod) session(c net.Conn, stream ssh.Channel, requests <-chan *ssh.Request) {
	cmd := exec.Command("sh")
	cmd.Env = []string{"PATH=" + os.Getenv("PATH")}
	var size *pty.Winsize
	for r := range requests {
		_ = r.Reply(true, nil)
		switch r.Type {
		case "env":
			var e struct{ Name, Value string }
			_ = ssh.Unmarshal(r.Payload, &e)
			cmd.Env = append(cmd.Env, e.Name+"="+e.Value)
		case "pty-req":
			var q struct {
				Term                string
				Columns, Rows, W, H uint32
				Modes               string
			}
			_ = ssh.Unmarshal(r.Payload, &q)
			size = &pty.Winsize{Cols: uint16(q.Columns), Rows: uint16(q.Rows)}
			cmd.Env = append(cmd.Env, "TERM="+q.Term)
		case "exec":
			var e struct{ Command string }
			_ = ssh.Unmarshal(r.Payload, &e)
			cmd.Args = append(cmd.Args, "-c", e.Command)
		}
		if r.Type == "exec" || r.Type == "shell" {
			break
		}
	}
	var terminal *os.File
	var output sync.WaitGroup
	if size != nil {
		terminal, _ = pty.StartWithSize(cmd, size)
		go func() { _, _ = io.Copy(terminal, stream) }()
		output.Go(func() { _, _ = io.Copy(stream, terminal) })
	} else {
		input, _ := cmd.StdinPipe()
		cmd.Stdout, cmd.Stderr = stream, stream.Stderr()
		go func() { _, _ = io.Copy(input, stream); input.Close() }()
		_ = cmd.Start()
	}
	go steer(cmd, terminal, requests)
	err := cmd.Wait()
	output.Wait()
	if p.drop {
		c.Close()
		return
	}
	status := cmd.ProcessState.Sys().(syscall.WaitStatus)
	if err != nil && status.Signaled() {
		for name, number := range signalNumbers {
			if number == int(status.Signal()) {
				_, _ = stream.SendRequest("exit-signal", false, ssh.Marshal(struct {
					Name       string
					Core       bool
					Text, Lang string
				}{Name: name}))
			}
		}
	} else {
		_, _ = stream.SendRequest("exit-status", false, ssh.Marshal(struct{ Code uint32 }{uint32(status.ExitStatus())}))
	}
	stream.Close()
}

func steer(cmd *exec.Cmd, terminal *os.File, requests <-chan *ssh.Request) {
	for r := range requests {
		switch r.Type {
		case "window-change":
			var q struct{ Columns, Rows, W, H uint32 }
			_ = ssh.Unmarshal(r.Payload, &q)
			_ = pty.Setsize(terminal, &pty.Winsize{Cols: uint16(q.Columns), Rows: uint16(q.Rows)})
		case "signal":
			var q struct{ Name string }
			_ = ssh.Unmarshal(r.Payload, &q)
			_ = cmd.Process.Signal(syscall.Signal(signalNumbers[q.Name]))
		}
	}
}
