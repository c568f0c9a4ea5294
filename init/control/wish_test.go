package control

import (
	"errors"
	"slices"
	"strings"
	"testing"
	"time"

	"golang.org/x/crypto/ssh"

	"github.com/tazzo/tazpod/init/sys"
	"github.com/tazzo/tazpod/init/wire"
)

// TestNarrow: what a client asks beyond the program never reaches the
// environment, and a mistake in it never means a ghost that shows more.
func TestNarrow(t *testing.T) {
	for _, c := range []struct {
		name, value string
		only        string
		ttl, idle   time.Duration
		bad         string
	}{
		{wire.AskOnly, "A,B", "A B", 0, 0, ""},
		{wire.AskOnly, "", "", 0, 0, ""}, // one name, which is none of any secret
		{wire.AskTTL, "90m", "", 90 * time.Minute, 0, ""},
		{wire.AskIdle, "30s", "", 0, 30 * time.Second, ""},
		{wire.AskTTL, "soon", "", 0, 0, `TAZPOD_TTL: "soon"`},
		{wire.AskIdle, "-1h", "", 0, 0, `TAZPOD_IDLE: "-1h"`},
	} {
		var w wish
		ok, start := w.take(&ssh.Request{Type: "env", Payload: env(c.name, c.value)})
		if !ok || start || len(w.session.Env) != 0 {
			t.Errorf("%s=%s: ok %v, start %v, environment %q; want it taken, and not passed on", c.name, c.value, ok, start, w.session.Env)
		}
		if got := strings.Join(w.only, " "); got != c.only || (c.name == wire.AskOnly) != (w.only != nil) || w.ttl != c.ttl || w.idle != c.idle {
			t.Errorf("%s=%s: only %q, ttl %v, idle %v; want %q, %v, %v", c.name, c.value, w.only, w.ttl, w.idle, c.only, c.ttl, c.idle)
		}
		if (w.bad != nil) != (c.bad != "") || w.bad != nil && !strings.Contains(w.bad.Error(), c.bad) {
			t.Errorf("%s=%s: %v; want %q", c.name, c.value, w.bad, c.bad)
		}
		if w.bad == nil {
			continue
		}
		if _, _, err := (&pod{}).join(t.Context(), w, nil); !errors.Is(err, w.bad) || sessionCode(err) != wire.ExitUsage {
			t.Errorf("join with %s=%s = %v; want the mistake, as wrong usage", c.name, c.value, err)
		}
	}
}

func TestProfileOf(t *testing.T) {
	for user, want := range map[string]string{"ghost": "", "ghost+prod": "prod"} {
		if got, err := profileOf(user); got != want || err != nil {
			t.Errorf("profileOf(%s) = %q, %v; want %q", user, got, err, want)
		}
	}
	for _, user := range []string{"", "root", "control", "ghost+", "ghost+..", "ghost+A", "ghost+a+b", "ghost prod", "xghost"} {
		if got, err := profileOf(user); err == nil {
			t.Errorf("profileOf(%q) = %q; want an error", user, got)
		}
	}
}

// TestTighten: no session makes a ghost live longer.
func TestTighten(t *testing.T) {
	var l limits
	l.tighten(0, 0)
	if l != (limits{}) {
		t.Errorf("limits without any = %+v", l)
	}
	l.tighten(time.Hour, time.Minute)
	first := l.ends
	if left := first - sys.Uptime(); left < 59*time.Minute || left > time.Hour || l.idle != time.Minute {
		t.Errorf("limits = %+v; want an hour from now, and a minute", l)
	}
	l.tighten(2*time.Hour, time.Hour)
	if l.ends != first || l.ttl != time.Hour || l.idle != time.Minute {
		t.Errorf("limits after longer ones = %+v; want them unchanged", l)
	}
	l.tighten(time.Second, 30*time.Second)
	if l.ends >= first || l.ttl != time.Second || l.idle != 30*time.Second {
		t.Errorf("limits after shorter ones = %+v; want the shorter ones", l)
	}
}

func TestClean(t *testing.T) {
	for version, want := range map[string]string{
		"SSH-2.0-OpenSSH_9.2p1 Debian": "OpenSSH_9.2p1Debian",
		"SSH-2.0-\x1b[31mevil\"\n":     `[31mevil"`,
		"":                             "",
	} {
		if got := clean([]byte(version)); got != want {
			t.Errorf("clean(%q) = %q; want %q", version, got, want)
		}
	}
	if got := clean(slices.Repeat([]byte("x"), 1000)); len(got) != 40 {
		t.Errorf("clean of a long name has %d characters", len(got))
	}
}

// TestAdmitted: no passphrase counts any longer than it should.
func TestAdmitted(t *testing.T) {
	for _, c := range []struct {
		what   string
		leased bool
		live   int
		locks  int
		waited bool
		want   bool
	}{
		{"fresh", true, 0, 0, false, true},
		{"fresh, after a wait", true, 0, 0, true, true},
		{"beside another session", false, 1, 0, false, true},
		{"beside another session, after the end of the ghost", false, 1, 0, true, false},
		{"late", false, 0, 0, false, false},
		{"fresh, but locked meanwhile", true, 0, 1, false, false},
		{"beside another session, but locked meanwhile", false, 1, 1, false, false},
	} {
		p := &pod{leases: map[*lease]struct{}{}, locks: c.locks}
		connection := &connection{lease: &lease{pod: p}, live: c.live}
		if c.leased {
			p.leases[connection.lease] = struct{}{}
		}
		if got := connection.admitted(c.waited); got != c.want {
			t.Errorf("%s: admitted = %v; want %v", c.what, got, c.want)
		}
	}
}
