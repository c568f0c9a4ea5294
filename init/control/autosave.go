package control

import (
	"strings"
	"time"

	"github.com/tazzo/tazpod/init/vault"
	"github.com/tazzo/tazpod/init/wire"
)

const (
	lookEvery  = 500 * time.Millisecond
	lookAtMost = time.Second // apart, where a look takes long
	retryAfter = time.Second // a save that failed
	restFactor = 4           // of what the last save took
)

// autosave saves when the tree has changed and then stood still from one look to
// the next, which is within a second; the next save waits for that one alone.
// While changes don't stop, the first is saved at the next look and then the
// disk is left alone for four times as long as the last save took.
func (o *opened) autosave() {
	var s schedule
	if o.watch != nil {
		defer o.watch.Close()
	} else {
		o.moved()               // what it is like now
		s.unsaved = o.changed() // since it was opened
	}
	wait := lookEvery
	for {
		select {
		case <-o.quit:
			return
		case <-time.After(wait):
		}
		start := time.Now()
		moved := o.moved()
		// A look at every file, where the kernel doesn't tell, takes a tenth of a
		// processor at most, but for large trees: what is promised goes first.
		wait = min(lookAtMost, max(lookEvery, 9*time.Since(start)))
		if s.due(moved, time.Now()) {
			start = time.Now()
			err := o.save() // noted there
			s.saved(start, time.Now(), err)
		}
	}
}

// schedule says when to save a tree that is looked at again and again.
type schedule struct {
	unsaved bool
	rest    time.Time // until then the disk is left alone while changes don't stop
	retry   time.Time // and until then in any case
}

// due says whether to save now. moved is whether the tree has changed since the
// last look.
func (s *schedule) due(moved bool, now time.Time) bool {
	s.unsaved = s.unsaved || moved
	return s.unsaved && !now.Before(s.retry) && (!moved || !now.Before(s.rest))
}

// saved takes note of a save.
func (s *schedule) saved(start, end time.Time, err error) {
	rest := restFactor * end.Sub(start)
	s.unsaved, s.rest, s.retry = err != nil, end.Add(rest), time.Time{}
	if err != nil {
		s.retry = end.Add(max(retryAfter, rest))
	}
}

// moved tells whether the tree has changed since the last look.
func (o *opened) moved() bool {
	if o.watch != nil {
		moved, err := o.watch.Changed()
		return moved || err != nil
	}
	return o.look(o.vault.Moved)
}

// changed tells whether something is not saved yet.
func (o *opened) changed() bool { return o.look(o.vault.Changed) }

// look asks about the tree; one that is being saved or can't be looked at may
// have changed.
func (o *opened) look(changed func() (bool, error)) bool {
	if !o.saving.TryLock() {
		return true
	}
	defer o.saving.Unlock()
	if o.wiped {
		return false
	}
	yes, err := changed()
	return yes || err != nil
}

// tellLeftOut tells the sessions of ghosts what they have that is not saved, when
// it is new. The log gets no names.
func (o *opened) tellLeftOut() {
	left := o.vault.Info().LeftOut
	known := map[vault.LeftOut]bool{}
	for _, l := range o.told {
		known[l] = true
	}
	o.told = left
	p := o.pod
	for _, l := range left {
		if known[l] {
			continue
		}
		p.log.Warn().Str("event", "left out").Str("why", l.Why).Msg("")
		p.mu.Lock()
		for _, r := range p.ghosts {
			if r.has(l) {
				r.tell(notSaved(l))
			}
		}
		p.mu.Unlock()
	}
}

func notSaved(l vault.LeftOut) string { return "NOT SAVED: " + l.String() }

// has says whether a ghost shows what was left out, or may: of what has no name
// nobody knows.
func (r *running) has(l vault.LeftOut) bool {
	return r.only == nil && (r.profile == "" || l.Path == "" || strings.HasPrefix(l.Path, wire.Profiles+"/"+r.profile+"/"))
}
