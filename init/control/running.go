package control

import (
	"context"
	"errors"
	"net"
	"os"
	"strconv"
	"strings"
	"sync/atomic"
	"time"

	"github.com/rs/zerolog"

	"github.com/tazzo/tazpod/init/ghost"
	"github.com/tazzo/tazpod/init/secrets"
	"github.com/tazzo/tazpod/init/vault"
	"github.com/tazzo/tazpod/init/wire"
)

// running is a ghost with its sessions. It starts with the first session and
// ends with the last one, or when somebody ends it. Its fields are guarded by
// pod.mu, but for those that start sets and used.
type running struct {
	pod      *pod
	key      string // in pod.ghosts
	profile  string
	only     []string     // names of the secrets that it is narrowed to; nil for all
	files    []ghost.File // of those
	list     secrets.List // what secrets.yml said when it started, of those if there are any
	base     string       // mount point of its RAM files
	socket   net.Listener
	started  time.Time
	limits   limits
	used     atomic.Int64  // uptime of the last keystroke
	ready    chan struct{} // closed when ghost or failed is set
	ghost    *ghost.Ghost
	failed   error
	sessions map[int]*attached
	nextID   int
	ending   bool
	why      string          // it is ending
	ended    chan struct{}   // closed when nothing of it is left
	unsaved  error           // why the vault could not be saved at the end; set before ended
	leftOut  []vault.LeftOut // what of this ghost was not saved; likewise
}

const died = "its first process died" // why a ghost ended that nobody ended

// attached is one session of a ghost.
type attached struct {
	*ghost.Session
	id       int
	terminal bool
	started  time.Time
	tell     func(string)
}

// join starts a session in the ghost of a profile, and the ghost if it isn't
// there. The connection says, under pod.mu, whether its passphrase still counts,
// and counts the session: when one is returned, with an error too, the caller takes
// it off by done. Without an error the caller calls leave when it is over.
func (p *pod) join(ctx context.Context, w wish, c *connection) (*running, *attached, error) {
	if w.bad != nil {
		return nil, nil, w.bad
	}
	for waited := false; ; waited = true {
		p.mu.Lock()
		if p.stopping {
			p.mu.Unlock()
			return nil, nil, errShutdown
		}
		if p.open == nil || !c.admitted(waited) {
			p.mu.Unlock()
			return nil, nil, errLocked
		}
		p.lastGhost++
		number := strconv.Itoa(p.lastGhost)
		key := w.profile
		if w.only != nil { // which nobody joins
			key += "#" + number
		}
		r := p.ghosts[key]
		if r != nil && r.ending {
			p.mu.Unlock()
			<-r.ended
			continue
		}
		first := r == nil
		if first {
			r = &running{pod: p, key: key, profile: w.profile, only: w.only, started: time.Now(), ready: make(chan struct{}),
				ended: make(chan struct{}), sessions: map[int]*attached{}}
			r.limits.tighten(time.Duration(p.config.TTL), time.Duration(p.config.Idle))
			p.ghosts[key] = r
			p.open.refs++
		}
		r.limits.tighten(w.ttl, w.idle)
		r.touch()
		r.nextID++
		s := &attached{id: r.nextID, terminal: w.session.Terminal != nil, started: time.Now(), tell: w.tell}
		r.sessions[s.id] = s // holds the ghost from now on
		c.live++
		o := p.open
		p.mu.Unlock()
		if first {
			r.start(ctx, o, wire.RuntimeDir+"/ghost/"+number)
		}
		<-r.ready
		err := r.failed
		if err == nil {
			w.session.Env = append(r.variables(o, w.tell), w.session.Env...)
			s.Session, err = r.ghost.Session(w.session)
		}
		if err != nil {
			_, saveErr := r.leave(s, ghost.Status{Code: wire.ExitSession})
			return nil, s, errors.Join(err, saveErr)
		}
		event := "joined"
		if first {
			event = "ghost started"
		}
		r.event(event).Int("session", s.id).Bool("terminal", s.terminal).Str("by", w.client).Dur("took", time.Since(s.started)).Msg("")
		return r, s, nil
	}
}

// event begins a line of the log about this ghost.
func (r *running) event(name string) *zerolog.Event {
	e := r.pod.log.Info().Str("event", name).Str("profile", r.profile)
	if r.only != nil {
		e.Strs("only", r.only)
	}
	return e
}

// start makes the ghost, in RAM of its own that is mounted on base.
func (r *running) start(ctx context.Context, o *opened, base string) {
	defer close(r.ready)
	if r.failed = r.choose(ctx, o); r.failed != nil {
		return
	}
	r.base = base
	if r.failed = os.MkdirAll(r.base, 0o700); r.failed != nil {
		return
	}
	config := r.pod.config
	if r.failed = ghost.MountRAM(r.base, config.GhostRAM); r.failed != nil {
		return
	}
	if r.failed = r.listen(); r.failed != nil {
		return
	}
	c := ghost.Config{
		Profile: r.profile, Name: config.Name, Hostname: hostname(config.Name), Base: r.base, Tree: treePath,
		Device: config.Engine == wire.EngineDMCrypt, Part: inVault(r.profile),
		Workspace: wire.Workspace, Vault: config.Vault, KernelID: r.pod.support.KernelID, Idmap: r.pod.support.Idmap,
		Files: r.files, Bridges: r.bridges(o), Persist: config.Persist, Socket: socketName, History: config.History, RAM: config.GhostRAM,
	}
	if r.ghost, r.failed = ghost.Start(ctx, c); r.failed != nil {
		return
	}
	go r.watch(o)
	go func() { // whatever kills the ghost, its end is the same
		<-r.ghost.Done()
		r.end(died)
	}()
}

// leave ends a session's hold on the ghost; the last one ends the ghost.
// It returns when the session no longer counts and, if it was the last, when
// nothing of the ghost is left; then it returns what was not saved, and the error
// of the save.
func (r *running) leave(s *attached, status ghost.Status) ([]vault.LeftOut, error) {
	r.pod.mu.Lock()
	delete(r.sessions, s.id)
	last := len(r.sessions) == 0
	r.pod.mu.Unlock()
	r.event("left").Int("session", s.id).Int("status", status.Code).Int("signal", int(status.Signal)).Dur("after", time.Since(s.started)).Msg("")
	if !last {
		return nil, nil
	}
	r.end("last session left")
	<-r.ended
	return r.leftOut, r.unsaved
}

// outcome is how a session ended, which the end of its ghost explains better
// than the signal that did it.
func (r *running) outcome(status ghost.Status) ghost.Status {
	if !status.Ended {
		return status
	}
	r.end(died) // unless somebody does so already, for another reason
	r.pod.mu.Lock()
	defer r.pod.mu.Unlock()
	return ghost.Status{Code: wire.ExitSession, Message: "the ghost was ended: " + r.why}
}

// end kills the ghost, saves, zeroes and unmounts its RAM files and lets go of
// the vault. Only the first call does something; ended tells when it is done.
func (r *running) end(why string) {
	p := r.pod
	p.mu.Lock()
	if r.ending {
		p.mu.Unlock()
		return
	}
	r.ending, r.why = true, why
	p.mu.Unlock()
	<-r.ready
	start := time.Now()
	var errs []error
	if r.ghost != nil {
		errs = append(errs, r.ghost.Kill())
	}
	if r.socket != nil {
		errs = append(errs, r.socket.Close())
	}
	if r.base != "" {
		errs = append(errs, ghost.Wipe(r.base), ghost.UnmountRAM(r.base), os.Remove(r.base))
	}
	r.event("ghost ended").Str("why", why).Dur("took", time.Since(start)).
		Dur("after", time.Since(r.started)).AnErr("error", errors.Join(errs...)).Msg("")
	p.mu.Lock()
	o := p.open // ours, until it is released
	p.mu.Unlock()
	r.unsaved = p.release()
	for _, l := range o.vault.Info().LeftOut {
		if r.has(l) {
			r.leftOut = append(r.leftOut, l)
		}
	}
	p.mu.Lock()
	delete(p.ghosts, r.key) // only now, so that who waits for the ghost waits for the save
	p.mu.Unlock()
	close(r.ended)
}

// hostname makes a valid host name of a pod's name.
func hostname(name string) string {
	clean := strings.Map(func(c rune) rune {
		if c >= 'a' && c <= 'z' || c >= '0' && c <= '9' || c == '-' {
			return c
		}
		return '-'
	}, strings.ToLower(name))
	if clean = strings.Trim(clean[:min(len(clean), 63)], "-"); clean == "" {
		return "ghost"
	}
	return clean
}

func splitPath(path string) []string {
	return strings.FieldsFunc(path, func(c rune) bool { return c == '/' })
}
