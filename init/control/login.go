package control

import (
	"context"
	"errors"
	"fmt"
	"net"
	"strings"
	"sync"
	"time"
	"unsafe"

	"golang.org/x/crypto/ssh"

	"github.com/tazzo/tazpod/init/locked"
	"github.com/tazzo/tazpod/init/vault"
	"github.com/tazzo/tazpod/init/wire"
)

const (
	triesPerConnection = 3
	// slowestReply is the longest wait for the answer to a wrong passphrase. With
	// maxLogins connections it leaves a guesser about as slow as the keyslot is to
	// one who has the file.
	slowestReply = 10 * time.Second
)

var (
	errMismatch = errors.New("the two passphrases differ")
	errEmpty    = errors.New("an empty passphrase protects nothing")
)

// throttle makes each wrong passphrase in a row cost twice the time of the one
// before, over all connections. The right one is never delayed by it.
type throttle struct {
	mu       sync.Mutex
	failures int
}

func (t *throttle) failed() time.Duration {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.failures++
	return min(slowestReply, 250*time.Millisecond<<min(t.failures-1, 10))
}

func (t *throttle) succeeded() {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.failures = 0
}

// login is the authentication of one connection.
type login struct {
	server   *server
	raw      net.Conn
	ctx      context.Context
	lease    *lease
	profile  string // that the user asked for
	failures int    // wrong passphrases
}

// dropIfAny lets go of a lease whose connection broke off during the handshake.
func (l *lease) dropIfAny() {
	if l != nil {
		_ = l.drop() // logged, kept for status, and tried again
	}
}

func (l *login) config() *ssh.ServerConfig {
	config := &ssh.ServerConfig{
		MaxAuthTries:  triesPerConnection,
		ServerVersion: "SSH-2.0-TazPod",
		NoClientAuth:  true,
		NoClientAuthCallback: func(c ssh.ConnMetadata) (*ssh.Permissions, error) {
			if c.User() != wire.ControlUser {
				return nil, errors.New("the vault's passphrase is needed")
			}
			return nil, nil
		},
		KeyboardInteractiveCallback: l.interactive,
		PasswordCallback:            l.password,
	}
	config.AddHostKey(l.server.hostKey)
	return config
}

// interactive is the dialogue in which a person, or the launcher, gives the
// passphrase, and the only one in which a new vault is made.
func (l *login) interactive(c ssh.ConnMetadata, ask ssh.KeyboardInteractiveChallenge) (*ssh.Permissions, error) {
	p := l.server.pod
	if err := p.support.Refused; err != nil {
		return nil, l.refuse(ask, wire.ExitPrivileges, err, hint(err))
	}
	if err := l.choose(c.User()); err != nil {
		return nil, l.refuse(ask, wire.ExitUsage, err, hint(err))
	}
	exists, err := p.vaultExists()
	if err != nil {
		return nil, l.refuse(ask, exitCode(err), err, hint(err))
	}
	var passphrase *locked.Buffer
	if exists {
		passphrase, err = question(ask, "", "Passphrase: ")
	} else {
		passphrase, err = l.newPassphrase(ask)
	}
	defer passphrase.Destroy()
	if errors.Is(err, errEmpty) || errors.Is(err, errMismatch) {
		if _, tellErr := ask("", "tazpod: "+err.Error()+"; try again", nil, nil); tellErr != nil {
			return nil, tellErr
		}
		l.failures++
		return nil, err
	}
	if err != nil {
		return nil, err // the carrier is gone
	}
	notes, err := l.unlock(passphrase, !exists)
	if errors.Is(err, vault.ErrPassphrase) {
		return nil, err
	}
	if err != nil {
		return nil, l.refuse(ask, exitCode(err), err, hint(err))
	}
	if len(notes) > 0 {
		_, err = ask("", "tazpod: note: "+strings.Join(notes, "\ntazpod: note: "), nil, nil)
	}
	return nil, err
}

// choose takes the profile from the user's name, before a passphrase is asked
// for in vain.
func (l *login) choose(user string) (err error) {
	if l.profile, err = profileOf(user); err != nil {
		return &usageError{err, "log in as " + wire.GhostUser + ", or as " + wire.GhostUser + wire.ProfileMark + "NAME for a profile"}
	}
	if l.profile != "" {
		_, err = groups(l.ctx, l.profile)
	}
	return err
}

// password is for clients without dialogue. It can't make a vault.
func (l *login) password(c ssh.ConnMetadata, password []byte) (*ssh.Permissions, error) {
	passphrase, err := locked.Take(password)
	if err != nil {
		return nil, err
	}
	defer passphrase.Destroy()
	if err := errors.Join(l.server.pod.support.Refused, l.choose(c.User())); err != nil {
		return nil, err
	}
	_, err = l.unlock(passphrase, false)
	return nil, err
}

// newPassphrase asks for the passphrase of a vault that doesn't exist yet,
// twice, with a word on how good it is in between.
func (l *login) newPassphrase(ask ssh.KeyboardInteractiveChallenge) (*locked.Buffer, error) {
	first, err := question(ask,
		"There is no vault at "+l.server.pod.vaultPath()+" yet: a new one is made.\n"+
			"Nobody can recover its passphrase: write it down.", "New passphrase: ")
	if err != nil {
		first.Destroy()
		return nil, err
	}
	again, err := question(ask, strength(l.ctx, first), "Repeat passphrase: ")
	defer again.Destroy()
	if err == nil && !first.Equal(again) {
		err = errMismatch
	}
	if err != nil {
		first.Destroy()
		return nil, err
	}
	return first, nil
}

// unlock takes a lease of the vault, or waits a growing while and says no.
func (l *login) unlock(passphrase *locked.Buffer, create bool) (notes []string, err error) {
	lease, notes, err := l.server.pod.unlock(l.ctx, passphrase, create)
	if errors.Is(err, vault.ErrPassphrase) {
		l.failures++
		select {
		case <-time.After(l.server.throttle.failed()):
		case <-l.ctx.Done():
		}
		return nil, err
	}
	if err != nil {
		return nil, err
	}
	l.server.throttle.succeeded()
	l.lease.dropIfAny()
	l.lease = lease
	return notes, nil
}

// refuse tells why there will be no session, whatever the passphrase, and ends
// the connection: asking again would not help.
func (l *login) refuse(ask ssh.KeyboardInteractiveChallenge, code int, err error, hint string) error {
	text := "tazpod: error: " + err.Error()
	if hint != "" {
		text += "\ntazpod: hint: " + hint
	}
	l.server.pod.log.Warn().Str("event", "refused").Int("code", code).Err(err).Msg("")
	_, askErr := ask(fmt.Sprintf("%s %d", wire.ErrorPrompt, code), text, nil, nil)
	l.raw.Close()
	return errors.Join(err, askErr)
}

// question asks for one passphrase without echo. The SSH library hands answers
// over as strings made for this call alone; their memory is zeroed here, but for
// a single byte: the runtime keeps those strings in memory that can't be written.
func question(ask ssh.KeyboardInteractiveChallenge, instruction, prompt string) (*locked.Buffer, error) {
	answers, err := ask("", instruction, []string{prompt}, []bool{false})
	if err != nil {
		return nil, err
	}
	if len(answers) != 1 {
		return nil, fmt.Errorf("%d answers to one question", len(answers))
	}
	if answers[0] == "" {
		return nil, errEmpty
	}
	answer := unsafe.Slice(unsafe.StringData(answers[0]), len(answers[0]))
	if len(answer) == 1 {
		answer = []byte{answer[0]}
	}
	return locked.Take(answer)
}
