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
	saves   context.Context // done when a save may not take any longer
	giveUp  context.CancelFunc

	gate sync.Mutex // one passphrase at a time; held during the key derivation

	mu        sync.Mutex
	open      *opened             // nil when locked
	wiping    *opened             // what is being wiped; nil when nothing is
	ghosts    map[string]*running // by profile; those of one session under names of their own
	lastGhost int
	leases    map[*lease]struct{}
	locks     int // how often lock was called: a login that began before gets nothing
	stopping  bool
}

func newPod(config wire.Pod, support ghost.Support, log zerolog.Logger) *pod {
	p := &pod{config: config, support: support, log: log, ghosts: map[string]*running{}, leases: map[*lease]struct{}{}}
	p.saves, p.giveUp = context.WithCancel(context.Background())
	return p
}

// lease is a reference to the open vault that a connection holds between its
// passphrase and its first session. Dropping it twice does nothing.
type lease struct {
	pod   *pod
	vault *opened // what it refers to, also when it is wiped
	locks int     // pod.locks when the passphrase was given
	once  sync.Once
}

// drop returns the error of the save, if this was the last reference.
func (l *lease) drop() (err error) {
	l.once.Do(func() {
		l.pod.mu.Lock()
		delete(l.pod.leases, l)
		l.pod.mu.Unlock()
		err = l.pod.release()
	})
	return err
}

// locked tells whether somebody has locked the pod since the passphrase.
func (l *lease) locked() bool {
	l.pod.mu.Lock()
	defer l.pod.mu.Unlock()
	return l.pod.locks != l.locks
}

// unlock checks the passphrase and returns a lease of the open vault. When the
// vault was closed its content is in RAM afterwards, and notes are what people
// should know about it; when it doesn't exist it is made if create is set, and
// is vault.ErrAbsent otherwise.
func (p *pod) unlock(ctx context.Context, passphrase *locked.Buffer, create bool) (l *lease, notes []string, err error) {
	p.mu.Lock()
	locks := p.locks
	p.mu.Unlock()
	p.gate.Lock()
	defer p.gate.Unlock()
	o, err := p.acquire()
	if err != nil {
		return nil, nil, err
	}
	if o != nil {
		if err := o.vault.Verify(ctx, passphrase); err != nil {
			return nil, nil, errors.Join(err, p.release())
		}
		l, err = p.newLease(locks)
		return l, nil, err
	}
	start := time.Now()
	o, err = openVault(ctx, p, passphrase, create)
	if err != nil {
		return nil, nil, err
	}
	p.mu.Lock()
	p.open, o.refs = o, 1
	p.mu.Unlock()
	go o.autosave()
	info := o.vault.Info()
	p.log.Info().Str("event", "opened").Str("vault", p.vaultPath()).Dur("took", time.Since(start)).
		Dur("kdf", info.KDF).Strs("notes", info.Notes).Msg("")
	l, err = p.newLease(locks)
	return l, info.Notes, err
}

// newLease makes a lease of the reference that the caller has, unless the pod
// was locked since then.
func (p *pod) newLease(locks int) (*lease, error) {
	l := &lease{pod: p, locks: locks}
	p.mu.Lock()
	l.vault = p.open
	current := p.locks == locks && !p.stopping
	if current {
		p.leases[l] = struct{}{}
	}
	p.mu.Unlock()
	if !current {
		return nil, errors.Join(errLocked, p.release())
	}
	return l, nil
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
		<-wiping.closed
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
	p.mu.Lock()
	retry := p.open == o && o.refs == 0 && !o.retrying
	o.retrying = o.retrying || retry
	p.mu.Unlock()
	if retry {
		go p.retryClose(o)
	}
	return err
}

// closeVault saves o and, if nobody came back meanwhile, wipes and locks it.
func (p *pod) closeVault(o *opened) error {
	err := o.save()
	p.mu.Lock()
	if p.open != o { // somebody else is faster
		p.mu.Unlock()
		<-o.closed
		return nil
	}
	if !safe(err) || o.refs > 0 {
		p.mu.Unlock()
		return err
	}
	p.wipe(o)
	return err
}

// safe tells whether all content is on disk after a save that returned err.
func safe(err error) bool {
	return err == nil || errors.Is(err, vault.ErrParked)
}

// wipe locks the vault o, which is open. The caller holds mu, and gives it up.
func (p *pod) wipe(o *opened) {
	p.open, p.wiping = nil, o
	p.mu.Unlock()
	start := time.Now()
	err := o.wipe()
	p.log.Info().Str("event", "locked").Str("vault", p.vaultPath()).Dur("took", time.Since(start)).AnErr("error", err).Msg("")
	p.mu.Lock()
	p.wiping = nil
	p.mu.Unlock()
	close(o.closed)
	go debug.FreeOSMemory() // what the heap grew by and what libraries copied; the kernel clears it
}

// retryClose keeps an unsaved vault until a save succeeds or somebody uses it
// again.
func (p *pod) retryClose(o *opened) {
	for delay := time.Second; ; delay = min(2*delay, 30*time.Second) {
		select {
		case <-time.After(delay):
		case <-o.closed:
			return
		}
		p.mu.Lock()
		if o.refs > 0 || p.open != o {
			o.retrying = false // with the look at refs, so that no release misses it
			p.mu.Unlock()
			return
		}
		p.mu.Unlock()
		_ = p.closeVault(o) // noted for status; the next round finds it closed, or tries again
	}
}

// lock ends every ghost and with it, once saved, the open vault. Passphrases
// that were given before count no longer. why is for those whose sessions end.
func (p *pod) lock(why string) wire.LockReply {
	p.mu.Lock()
	p.locks++
	before := p.open
	all := slices.Collect(maps.Values(p.ghosts))
	sessions := 0
	for _, r := range all {
		sessions += len(r.sessions)
	}
	leases := slices.Collect(maps.Keys(p.leases))
	clear(p.leases) // nobody starts a session by one that is about to be dropped
	wiping := p.wiping
	p.mu.Unlock()
	var errs []error
	for _, l := range leases {
		errs = append(errs, l.drop())
	}
	for _, r := range all {
		r.end(why)
	}
	for _, r := range all {
		<-r.ended
		errs = append(errs, r.unsaved)
	}
	if wiping != nil {
		<-wiping.closed
	}
	if before != nil && p.idle(before) { // an earlier save failed: try now
		errs = append(errs, p.closeVault(before))
	}
	p.waitForLogin() // one that began before ends with nothing
	reply := wire.LockReply{Sessions: sessions}
	if err := errors.Join(errs...); err != nil {
		reply.Error, reply.Hint = err.Error(), hint(err)
	}
	reply.Saved = before != nil && reply.Error == ""
	p.mu.Lock()
	reply.Locked = p.open == nil
	p.mu.Unlock()
	return reply
}

// waitForLogin returns when no key is being derived.
func (p *pod) waitForLogin() {
	p.gate.Lock()
	defer p.gate.Unlock()
}

// idle tells whether o is open and nobody uses it.
func (p *pod) idle(o *opened) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.open == o && o.refs == 0
}

// shutdown ends everything and refuses what comes later. A save that fails is
// tried until ctx is done; then the content is wiped all the same, since the
// pod's end would take it anyway, and the error returned.
func (p *pod) shutdown(ctx context.Context) error {
	p.mu.Lock()
	p.stopping = true
	p.mu.Unlock()
	defer context.AfterFunc(ctx, p.giveUp)()
	p.lock("the pod is stopping")
	for {
		p.mu.Lock()
		o, wiping := p.open, p.wiping
		p.mu.Unlock()
		if wiping != nil {
			<-wiping.closed
			continue
		}
		if o == nil {
			return nil
		}
		err := p.closeVault(o)
		if safe(err) {
			continue
		}
		select {
		case <-time.After(500 * time.Millisecond):
			continue
		case <-ctx.Done():
		}
		p.mu.Lock()
		if p.open != o {
			p.mu.Unlock()
			continue
		}
		p.wipe(o)
		return fmt.Errorf("changes since the last save are lost: %w", err)
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
