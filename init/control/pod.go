package control

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"path/filepath"
	"runtime/debug"
	"slices"
	"sync"
	"time"

	"github.com/rs/zerolog"

	"github.com/tazzo/tazpod/init/ghost"
	"github.com/tazzo/tazpod/init/locked"
	"github.com/tazzo/tazpod/init/vault"
	"github.com/tazzo/tazpod/init/wire"
)

var (
	errShutdown = errors.New("the pod is stopping")
	errLocked   = errors.New("the vault was locked meanwhile: connect again")
)

// pod owns the vault and the ghosts. Who uses the vault holds a reference to
// it: every ghost, and every connection between its passphrase and its first
// session. The last one to let go saves and closes it:
//
//	locked ──unlock──▶ open ──last release──▶ closing ──saved, wiped──▶ locked
//	                    ▲                        │
//	                    └── unlock, save failed ─┘  (the content stays in RAM)
//
// mu guards the fields and is never held while something slow runs.
type pod struct {
	config  wire.Pod
	support ghost.Support
	log     zerolog.Logger

	gate sync.Mutex // one passphrase at a time; held during the key derivation

	mu       sync.Mutex
	open     *opened             // nil when locked
	wiping   chan struct{}       // closed when the wipe that is under way is done; nil when none is
	ghosts   map[string]*running // by profile
	leases   map[*lease]struct{}
	stopping bool
}

func newPod(config wire.Pod, support ghost.Support, log zerolog.Logger) *pod {
	return &pod{config: config, support: support, log: log, ghosts: map[string]*running{}, leases: map[*lease]struct{}{}}
}

// lease is a reference to the open vault that a connection holds between its
// passphrase and its first session. Dropping it twice does nothing.
type lease struct {
	pod  *pod
	once sync.Once
}

func (l *lease) drop() {
	l.once.Do(func() {
		l.pod.mu.Lock()
		delete(l.pod.leases, l)
		l.pod.mu.Unlock()
		_ = l.pod.release() // logged, kept for status, and tried again
	})
}

// unlock checks the passphrase and returns a lease of the open vault. When the
// vault was closed its content is in RAM afterwards; when it doesn't exist it
// is made if create is set, and is vault.ErrAbsent otherwise.
func (p *pod) unlock(ctx context.Context, passphrase *locked.Buffer, create bool) (*lease, error) {
	p.gate.Lock()
	defer p.gate.Unlock()
	o, err := p.acquire()
	if err != nil {
		return nil, err
	}
	if o != nil {
		if !o.vault.Verify(passphrase) {
			_ = p.release() // as after any save: logged and tried again
			return nil, vault.ErrPassphrase
		}
		return p.newLease(), nil
	}
	start := time.Now()
	o, err = openVault(ctx, p, passphrase, create)
	if err != nil {
		return nil, err
	}
	p.mu.Lock()
	p.open, o.refs = o, 1
	p.mu.Unlock()
	go o.autosave()
	p.log.Info().Str("event", "opened").Str("vault", p.vaultPath()).Dur("took", time.Since(start)).
		Dur("kdf", o.vault.Info().KDF).Msg("")
	return p.newLease(), nil
}

func (p *pod) newLease() *lease {
	l := &lease{pod: p}
	p.mu.Lock()
	p.leases[l] = struct{}{}
	p.mu.Unlock()
	return l
}

// acquire takes a reference to the open vault; nil when it is closed.
func (p *pod) acquire() (*opened, error) {
	for {
		p.mu.Lock()
		wiping := p.wiping
		if p.stopping {
			p.mu.Unlock()
			return nil, errShutdown
		}
		if wiping == nil {
			defer p.mu.Unlock()
			if p.open != nil {
				p.open.refs++
			}
			return p.open, nil
		}
		p.mu.Unlock()
		<-wiping
	}
}

// release gives back a reference. The last one closes the vault: release
// returns when it is saved, wiped and locked, or when the save failed, in which
// case it is tried again until it succeeds or somebody unlocks the vault.
func (p *pod) release() error {
	p.mu.Lock()
	o := p.open
	o.refs--
	last := o.refs == 0
	p.mu.Unlock()
	if !last {
		return nil
	}
	err := p.closeVault(o)
	if err != nil {
		go p.retryClose(o)
	}
	return err
}

// closeVault saves o and, if nobody came back meanwhile, wipes and locks it.
func (p *pod) closeVault(o *opened) error {
	err := o.save()
	p.mu.Lock()
	if err != nil || o.refs > 0 || p.open != o {
		p.mu.Unlock()
		return err
	}
	p.open, p.wiping = nil, make(chan struct{})
	p.mu.Unlock()
	start := time.Now()
	err = o.wipe()
	p.log.Info().Str("event", "locked").Str("vault", p.vaultPath()).Dur("took", time.Since(start)).AnErr("error", err).Msg("")
	p.mu.Lock()
	close(p.wiping)
	p.wiping = nil
	p.mu.Unlock()
	go debug.FreeOSMemory() // what the heap grew by; the kernel clears it
	return nil
}

// retryClose keeps an unsaved vault until a save succeeds.
func (p *pod) retryClose(o *opened) {
	for delay := time.Second; ; delay = min(2*delay, 30*time.Second) {
		time.Sleep(delay)
		p.mu.Lock()
		done := o.refs > 0 || p.open != o
		p.mu.Unlock()
		if done || p.closeVault(o) == nil {
			return
		}
	}
}

// lock ends every ghost and with it, once saved, the open vault. why is for
// those whose sessions end.
func (p *pod) lock(why string) wire.LockReply {
	p.mu.Lock()
	before := p.open
	var all []*running
	sessions := 0
	for _, r := range p.ghosts {
		all = append(all, r)
		sessions += len(r.sessions)
	}
	leases := slices.Collect(maps.Keys(p.leases))
	p.mu.Unlock()
	for _, l := range leases {
		l.drop()
	}
	for _, r := range all {
		r.end(why)
	}
	for _, r := range all {
		<-r.ended
	}
	reply := wire.LockReply{Sessions: sessions}
	if before == nil {
		return reply
	}
	if err := before.lastError(); err != nil {
		reply.Error = err.Error()
	}
	reply.Saved = reply.Error == ""
	return reply
}

// shutdown ends everything and refuses what comes later. A save that fails is
// tried until ctx is done; then the content is wiped all the same, since the
// pod's end would take it anyway, and the error returned.
func (p *pod) shutdown(ctx context.Context) error {
	p.mu.Lock()
	p.stopping = true
	p.mu.Unlock()
	p.lock("the pod is stopping")
	for {
		p.mu.Lock()
		o, wiping := p.open, p.wiping
		p.mu.Unlock()
		if wiping != nil {
			<-wiping
			continue
		}
		if o == nil {
			return nil
		}
		err := p.closeVault(o)
		if err == nil {
			continue
		}
		select {
		case <-ctx.Done():
			p.mu.Lock()
			p.open = nil
			p.mu.Unlock()
			return errors.Join(fmt.Errorf("changes since the last save are lost: %w", err), o.wipe())
		case <-time.After(500 * time.Millisecond):
		}
	}
}

// vaultExists looks on the disk.
func (p *pod) vaultExists() (bool, error) {
	place, err := findPlace(p.config.Vault, false)
	if errors.Is(err, vault.ErrAbsent) {
		return false, nil
	}
	if err != nil {
		return false, err
	}
	defer place.Dir.Close()
	return vault.Exists(place)
}

func (p *pod) vaultPath() string {
	return filepath.Join(wire.Workspace, p.config.Vault, wire.VaultFile)
}
