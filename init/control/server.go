// Package control is the pod's side of the control channel: an SSH server on a
// unix socket that only the pod's root can reach. It asks for the passphrase,
// opens and saves the vault, and connects sessions with ghosts.
//
// It trusts whoever can connect to be root in the pod, which could do anything
// here anyway, but gives a session only to who knows the passphrase. It never
// logs what anybody typed or ran.
package control

import (
	"context"
	"crypto/ed25519"
	"crypto/rand"
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"runtime/debug"
	"strings"
	"sync"
	"time"

	"github.com/rs/zerolog"
	"golang.org/x/crypto/ssh"
	"golang.org/x/sys/unix"

	"github.com/tazzo/tazpod/init/ghost"
	"github.com/tazzo/tazpod/init/wire"
)

const (
	loginGrace     = 5 * time.Minute  // from connecting to the right passphrase
	maxLogins      = 16               // connections that haven't given a passphrase yet
	maxCommands    = 4                // about the vault, at a time
	loginQueue     = 30 * time.Second // how long one more waits for its turn: what three wrong passphrases take at the most
	firstSession   = 30 * time.Second // from the passphrase to the first session
	lingering      = 2 * time.Second  // from the last session's end to that of the connection
	keepaliveEvery = 30 * time.Second
	keepaliveLimit = 3 * time.Minute // without an answer the carrier counts as dead
)

// server serves one pod on one socket.
type server struct {
	pod      *pod
	hostKey  ssh.Signer
	version  string
	throttle throttle
	logins   chan struct{} // a slot for each connection that is logging in
	commands chan struct{} // and one for each command about the vault
	conns    sync.WaitGroup
}

// Serve runs until ctx is done, then ends every ghost, saves and wipes. A
// refused privilege that is known already is given in refused: no ghost will
// start, and everybody who asks for one is told why. checks are rows for doctor
// beside those of the ghosts. Serve returns an error when it could not start, or
// when the last save failed.
func Serve(ctx context.Context, config wire.Pod, version string, refused error, checks []wire.Check, log zerolog.Logger) error {
	if config.Vault == "" {
		config.Vault = wire.VaultDir
	}
	if err := wire.CheckEngine(config.Engine); err != nil {
		return err
	}
	signer, err := makeHostKey()
	if err != nil {
		return err
	}
	listener, err := listen()
	if err != nil {
		return err
	}
	// An engine that mounts vault and volume there makes what is missing on the way
	// for everybody to enter.
	if err := os.Chmod(filepath.Dir(wire.VaultMount), 0o700); err != nil && !errors.Is(err, os.ErrNotExist) {
		return err
	}
	support := ghost.Probe(wire.Workspace)
	if refused != nil {
		support.Refused = refused
		checks = append(checks, wire.Check{Promise: "P1", Name: "supervisor's own mounts", Found: refused.Error(), Hint: hint(refused)})
	}
	support.Checks = append(support.Checks, checks...)
	s := &server{pod: newPod(config, support, log), hostKey: signer, version: version,
		logins: make(chan struct{}, maxLogins), commands: make(chan struct{}, maxCommands)}
	context.AfterFunc(ctx, func() { listener.Close() })
	log.Info().Str("event", "ready").Str("version", version).Msg("")
	for {
		c, err := listener.Accept()
		if ctx.Err() != nil {
			break
		}
		if err != nil {
			log.Error().Str("event", "accept").Err(err).Msg("")
			time.Sleep(100 * time.Millisecond) // out of descriptors: don't spin
			continue
		}
		s.conns.Go(func() { s.serve(ctx, c.(*net.UnixConn)) })
	}
	deadline, cancel := context.WithTimeout(context.Background(), 8*time.Second)
	defer cancel()
	err = s.pod.shutdown(deadline)
	s.farewell()
	log.Info().Str("event", "stopped").AnErr("error", err).Msg("")
	return err
}

// clean makes a client's name for itself fit for the log.
func clean(version []byte) string {
	name := strings.TrimPrefix(string(version), "SSH-2.0-")
	return strings.Map(func(c rune) rune {
		if c > ' ' && c < 0x7f {
			return c
		}
		return -1
	}, name[:min(len(name), 40)])
}

// farewell gives the sessions that were ended a moment to tell their clients.
func (s *server) farewell() {
	told := make(chan struct{})
	go func() { s.conns.Wait(); close(told) }()
	select {
	case <-told:
	case <-time.After(time.Second):
	}
}

// makeHostKey makes this start's host key and publishes its public half.
func makeHostKey() (ssh.Signer, error) {
	if err := os.MkdirAll(wire.RuntimeDir, 0o755); err != nil {
		return nil, err
	}
	_, private, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		return nil, err
	}
	signer, err := ssh.NewSignerFromKey(private)
	if err != nil {
		return nil, err
	}
	// Whole or not at all, for the launcher may read it at this moment.
	draft := wire.HostKeyFile + ".new"
	if err := os.WriteFile(draft, ssh.MarshalAuthorizedKey(signer.PublicKey()), 0o644); err != nil {
		return nil, err
	}
	return signer, errors.Join(os.Chmod(draft, 0o644), os.Rename(draft, wire.HostKeyFile))
}

// listen makes the socket in a directory that only root can enter. A socket
// left by an earlier serve is replaced.
func listen() (net.Listener, error) {
	if err := os.MkdirAll(wire.ControlDir, 0o700); err != nil {
		return nil, err
	}
	if err := os.Chmod(wire.ControlDir, 0o700); err != nil {
		return nil, err
	}
	if err := os.Remove(wire.Socket); err != nil && !errors.Is(err, os.ErrNotExist) {
		return nil, err
	}
	return net.Listen("unix", wire.Socket)
}

// peerIsRoot checks who is at the other end: a second lock behind the mode of
// the socket's directory.
func peerIsRoot(c *net.UnixConn) error {
	raw, err := c.SyscallConn()
	if err != nil {
		return err
	}
	var cred *unix.Ucred
	if controlErr := raw.Control(func(fd uintptr) {
		cred, err = unix.GetsockoptUcred(int(fd), unix.SOL_SOCKET, unix.SO_PEERCRED)
	}); controlErr != nil || err != nil {
		return errors.Join(controlErr, err)
	}
	if cred.Uid != 0 {
		return fmt.Errorf("peer has uid %d, not 0", cred.Uid)
	}
	return nil
}

// serve handles one connection from the handshake to its end.
func (s *server) serve(ctx context.Context, raw *net.UnixConn) {
	defer raw.Close()
	log := s.pod.log
	if err := peerIsRoot(raw); err != nil {
		log.Warn().Str("event", "refused").Err(err).Msg("")
		return
	}
	select {
	case s.logins <- struct{}{}:
	case <-time.After(loginQueue):
		log.Warn().Str("event", "refused").Msg("too many connections are logging in")
		return
	case <-ctx.Done():
		return
	}
	// A pod that stops waits neither for people at a prompt nor for requests.
	stop := context.AfterFunc(ctx, func() { raw.SetDeadline(time.Now()) })
	raw.SetDeadline(time.Now().Add(loginGrace))
	login := &login{server: s, raw: raw, ctx: ctx}
	conn, channels, requests, err := ssh.NewServerConn(raw, login.config())
	<-s.logins
	if err != nil {
		login.lease.dropIfAny()
		if login.failures > 0 {
			log.Warn().Str("event", "login failed").Int("passphrases", login.failures).Msg("")
		}
		return
	}
	stop()
	raw.SetDeadline(time.Time{})
	go debug.FreeOSMemory() // the library's copies of the passphrase go back to the kernel, as far as they can
	c := &connection{server: s, ssh: conn, lease: login.lease, profile: login.profile, client: clean(conn.ClientVersion())}
	if conn.User() == wire.ControlUser {
		c.control(ctx, channels, requests)
		go debug.FreeOSMemory() // as above: commands about the vault take passphrases, too
		return
	}
	c.sessions(channels, requests)
	raw.Close()
	go debug.FreeOSMemory() // its buffers are garbage now
}
