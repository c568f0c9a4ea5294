package control

import (
	"context"
	"encoding/json"
	"net"
	"strconv"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/crypto/ssh"

	"github.com/tazzo/tazpod/init/sys"
	"github.com/tazzo/tazpod/init/wire"
)

// connection is one authenticated SSH connection.
type connection struct {
	server  *server
	ssh     *ssh.ServerConn
	lease   *lease // nil for a ControlUser
	profile string // of the ghost that its sessions go to
	client  string // the program at the other end, as it calls itself

	live int // sessions that run; guarded by pod.mu
}

// control answers requests about the pod, and carries out commands about the vault,
// which end when the connection does.
func (c *connection) control(ctx context.Context, channels <-chan ssh.NewChannel, requests <-chan *ssh.Request) {
	ctx, cancel := context.WithCancel(ctx)
	var commands sync.WaitGroup
	var open atomic.Int32
	defer commands.Wait()
	defer cancel()
	go func() {
		_ = c.ssh.Wait() // how it ended is of no interest
		cancel()
	}()
	go func() {
		for channel := range channels {
			if channel.ChannelType() == wire.VaultChannel && open.Add(1) == 1 { // one for each connection
				commands.Go(func() { c.server.vault(ctx, c.ssh, channel) })
				continue
			}
			_ = channel.Reject(ssh.Prohibited, "this user has no sessions") // the carrier may be gone
		}
	}()
	for request := range requests {
		var reply any
		switch request.Type {
		case wire.RequestStatus:
			reply = c.server.pod.status(c.server.version)
		case wire.RequestLock:
			reply = c.server.pod.lock("the vault was locked")
		case wire.RequestReport:
			reply = c.server.pod.report()
		default:
			_ = request.Reply(false, nil)
			continue
		}
		payload, err := json.Marshal(reply)
		_ = request.Reply(err == nil, payload)
	}
}

// sessions serves a connection that gave the passphrase, until its carrier
// breaks, its last session ends, or it opens none.
func (c *connection) sessions(channels <-chan ssh.NewChannel, requests <-chan *ssh.Request) {
	defer c.lease.dropIfAny()
	timer := time.AfterFunc(firstSession, c.lease.dropIfAny)
	defer timer.Stop()
	go ssh.DiscardRequests(requests)
	gone := make(chan struct{})
	go c.keepalive(gone)
	var running sync.WaitGroup
	for channel := range channels {
		switch channel.ChannelType() {
		case "session":
			running.Go(func() { c.session(channel, gone) })
		case "direct-tcpip":
			go forward(channel)
		default:
			_ = channel.Reject(ssh.UnknownChannelType, "unsupported")
		}
	}
	close(gone) // the carrier broke, or hangUp closed it
	running.Wait()
}

// admitted tells whether this connection may start a session: nobody has locked
// since its passphrase, and its lease still counts or another of its sessions
// runs. A session that had to wait for the end of a ghost needs the lease, for the
// next ghost takes the passphrase again. Called under pod.mu.
func (c *connection) admitted(waited bool) bool {
	p := c.lease.pod
	_, leased := p.leases[c.lease]
	return c.lease.locks == p.locks && (leased || c.live > 0 && !waited)
}

// done takes a session off the count. After the last one nothing can start here
// any more, for the next ghost takes the passphrase again: a client that doesn't
// close the connection by itself is helped.
func (c *connection) done() {
	p := c.server.pod
	p.mu.Lock()
	c.live--
	last, stopping := c.live == 0, p.stopping
	p.mu.Unlock()
	switch {
	case stopping:
		c.ssh.Close()
	case last:
		time.AfterFunc(lingering, func() { c.ssh.Close() })
	}
}

// keepalive closes a connection whose carrier no longer answers.
func (c *connection) keepalive(gone <-chan struct{}) {
	for {
		select {
		case <-gone:
			return
		case <-time.After(keepaliveEvery):
		}
		dead := time.AfterFunc(keepaliveLimit, func() { c.ssh.Close() })
		_, _, err := c.ssh.SendRequest("keepalive@openssh.com", true, nil)
		dead.Stop()
		if err != nil {
			return
		}
	}
}

// forward connects a channel with a TCP address (RFC 4254 section 7.2). A ghost
// has the pod's network namespace, so this is the network that it sees.
func forward(channel ssh.NewChannel) {
	var to struct {
		Host       string
		Port       uint32
		OriginHost string
		OriginPort uint32
	}
	if err := ssh.Unmarshal(channel.ExtraData(), &to); err != nil {
		_ = channel.Reject(ssh.ConnectionFailed, "malformed address")
		return
	}
	address := net.JoinHostPort(to.Host, strconv.Itoa(int(to.Port)))
	target, err := net.DialTimeout("tcp", address, 10*time.Second)
	if err != nil {
		_ = channel.Reject(ssh.ConnectionFailed, err.Error())
		return
	}
	defer target.Close()
	stream, requests, err := channel.Accept()
	if err != nil {
		return
	}
	go ssh.DiscardRequests(requests)
	splice(stream, target.(*net.TCPConn))
}

// status describes the pod as it is now.
func (p *pod) status(version string) wire.Status {
	s := wire.Status{Version: version, Ghosts: []wire.GhostStatus{},
		Vault: wire.VaultStatus{Path: p.vaultPath(), State: wire.VaultLocked, Size: p.config.VaultSize}}
	p.mu.Lock()
	o := p.open
	for _, r := range p.ghosts {
		g := wire.GhostStatus{Profile: r.profile, Only: r.only, Started: stamp(r.started), Idle: wire.Duration(r.limits.idle),
			Sessions: []wire.SessionStatus{}}
		if r.limits.ends != 0 {
			g.Ends = stamp(time.Now().Add(r.limits.ends - sys.Uptime()))
		}
		for _, a := range r.sessions {
			g.Sessions = append(g.Sessions, wire.SessionStatus{ID: a.id, Terminal: a.terminal, Started: stamp(a.started)})
		}
		s.Ghosts = append(s.Ghosts, g)
	}
	p.mu.Unlock()
	if o == nil {
		exists, err := p.vaultExists()
		switch {
		case err != nil:
			s.Vault.Notes = []string{err.Error()}
		case !exists:
			s.Vault.State = wire.VaultAbsent
		}
		return s
	}
	info := o.vault.Info()
	s.Vault.State = wire.VaultOpen
	s.Vault.Size, s.Vault.Used = info.Size, info.Used
	s.Vault.Notes = info.Notes
	if percent, text := fullness(treePath, o.bounded()); percent >= ramFull {
		s.Vault.Notes = append(s.Vault.Notes, text)
	}
	for _, l := range info.LeftOut {
		s.Vault.LeftOut = append(s.Vault.LeftOut, l.String())
	}
	s.Vault.Opened, s.Vault.Saved = stamp(info.Opened), stamp(info.Saved)
	s.Vault.Changed, s.Vault.Pulled = o.changed(), o.pulled()
	if err := o.lastError(); err != nil {
		s.Vault.State, s.Vault.SaveError = wire.VaultUnsaved, err.Error()
	}
	return s
}

func stamp(t time.Time) string {
	if t.IsZero() {
		return ""
	}
	return t.UTC().Format(time.RFC3339)
}
