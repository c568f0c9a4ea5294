package control

import (
	"fmt"
	"maps"
	"slices"
	"time"

	"golang.org/x/sys/unix"

	"github.com/tazzo/tazpod/init/sys"
	"github.com/tazzo/tazpod/init/wire"
)

const (
	watchEvery = time.Second
	warning    = time.Minute // before a limit ends a ghost, or half of the limit if that is less
	ramFull    = 90          // percent in use from which people are told
	ramEased   = 80          // and below which they are told again next time
)

// limits end a ghost that nobody ends. The clock goes on while the machine
// sleeps (sys.Uptime). Guarded by pod.mu.
type limits struct {
	ttl  time.Duration // the one that set ends
	ends time.Duration // uptime; 0 for never
	idle time.Duration // 0 for no limit
}

// tighten takes a session's wishes into account. They can't loosen anything.
func (l *limits) tighten(ttl, idle time.Duration) {
	if ttl != 0 {
		if ends := sys.Uptime() + ttl; l.ends == 0 || ends < l.ends {
			l.ttl, l.ends = ttl, ends
		}
	}
	l.idle = wire.Tighter(l.idle, idle)
}

// touch notes that somebody uses the ghost.
func (r *running) touch() { r.used.Store(int64(sys.Uptime())) }

// watch warns a ghost's sessions of what will end them, and ends them when it is
// time.
func (r *running) watch(o *opened) {
	var toldEnd, toldIdle time.Duration // what was told of: an end, a last use
	full := map[string]bool{}
	tick := time.NewTicker(watchEvery)
	defer tick.Stop()
	for {
		select {
		case <-r.ended:
			return
		case <-tick.C:
		}
		r.pod.mu.Lock()
		l, ending := r.limits, r.ending
		r.pod.mu.Unlock()
		if ending {
			continue // its RAM is on its way
		}
		now, used := sys.Uptime(), time.Duration(r.used.Load())
		switch left := l.ends - now; {
		case l.ends == 0:
		case left <= 0:
			r.end(fmt.Sprintf("its time to live of %v is over", l.ttl))
			return
		case left <= min(warning, l.ttl/2) && toldEnd != l.ends:
			toldEnd = l.ends
			r.warn("this ghost ends in %v: its time to live of %v is over then", seconds(left), l.ttl)
		}
		switch left := used + l.idle - now; {
		case l.idle == 0:
		case left <= 0:
			r.end(fmt.Sprintf("nobody used it for %v", l.idle))
			return
		case left <= min(warning, l.idle/2) && toldIdle != used:
			toldIdle = used
			r.warn("this ghost ends in %v if nobody uses it: press a key to keep it", seconds(left))
		}
		for path, b := range map[string]bound{
			r.base:   {"the RAM for this ghost's files", "delete some in /tmp or the home directory, or raise ghost.ram"},
			treePath: o.bounded(),
		} {
			percent, text := fullness(path, b)
			if percent >= ramFull && !full[path] {
				full[path] = true
				r.warn("%s", text)
			}
			if percent < ramEased {
				full[path] = false
			}
		}
	}
}

// seconds rounds for people.
func seconds(d time.Duration) time.Duration { return d.Round(time.Second) }

// warn tells every session of the ghost. One whose client takes nothing doesn't
// keep the others, or the end, waiting.
func (r *running) warn(format string, args ...any) {
	text := fmt.Sprintf(format, args...)
	r.pod.log.Info().Str("event", "warned").Str("profile", r.profile).Str("why", text).Msg("")
	r.pod.mu.Lock()
	defer r.pod.mu.Unlock()
	r.tell(text)
}

// tell is warn without a word in the log. The caller holds pod.mu.
func (r *running) tell(text string) {
	for _, s := range r.sessions {
		go s.tell(text)
	}
}

// warn tells every session of every ghost.
func (p *pod) warn(format string, args ...any) {
	p.mu.Lock()
	all := slices.Collect(maps.Values(p.ghosts))
	p.mu.Unlock()
	for _, r := range all {
		r.warn(format, args...)
	}
}

// fullness is how full a RAM file system is, in percent and for people; 0 for one
// without a limit.
func fullness(path string, b bound) (percent int, text string) {
	var fs unix.Statfs_t
	if err := unix.Statfs(path, &fs); err != nil || fs.Blocks == 0 { // ramfs, or it has just gone
		return 0, ""
	}
	size := int64(fs.Blocks) * fs.Bsize
	used := size - int64(fs.Bavail)*fs.Bsize
	percent = int(100 * used / size)
	of := fmt.Sprintf("%d of %d MiB", used>>20, size>>20)
	if names := fs.Files - fs.Ffree; fs.Files > 0 && int(100*names/fs.Files) > percent { // many small files use up names first
		percent = int(100 * names / fs.Files)
		of = fmt.Sprintf("%d of %d files", names, fs.Files)
	}
	return percent, fmt.Sprintf("%s is %d%% full (%s): %s", b.what, percent, of, b.way)
}
