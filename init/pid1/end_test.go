package pid1

import (
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// stubborn ignores all that can be ignored, and so do two descendants, one of
// them in a session of its own.
const stubborn = `
	trap '' HUP INT QUIT TERM USR1 USR2 TSTP
	bash -c 'echo child; while :; do sleep 0.05; done' &
	setsid bash -c '( bash -c "echo orphan; while :; do sleep 0.05; done" & ); while :; do sleep 0.05; done' &
	echo ready
	`

const forever = "while :; do sleep 0.05; done"

func TestGraceThenKill(t *testing.T) {
	everywhere(t, func(t *testing.T, h how) {
		r := h.start(t, "run", "--grace=300ms", "bash", "-c", stubborn+forever)
		for _, text := range []string{"ready", "child", "orphan"} {
			r.see(text)
		}
		start := time.Now()
		r.signal(unix.SIGTERM)
		r.want(128 + 9)
		if d := time.Since(start); d < 300*time.Millisecond || d > 5*time.Second {
			t.Errorf("ended after %v; want 300ms", d)
		}
		r.alone()
		if !strings.Contains(r.out.String(), `"event":"killed"`) {
			t.Errorf("nothing in the log about what was killed:\n%s", r.out)
		}
	})
}

// TestNothingSurvivesTheCommand ends the command while stubborn descendants run.
func TestNothingSurvivesTheCommand(t *testing.T) {
	everywhere(t, func(t *testing.T, h how) {
		h.env = []string{"TAZPOD_GRACE=200ms"}
		r := h.start(t, "run", "bash", "-c", stubborn+"sleep 0.2; exit 5")
		r.want(5)
		r.alone()
	})
}

// TestLeftOversGetTheirTime lets an orphan finish its work within the grace
// period, a stopped one too.
func TestLeftOversGetTheirTime(t *testing.T) {
	everywhere(t, func(t *testing.T, h how) {
		r := h.start(t, "run", "--grace=20s", "bash", "-c", `
			setsid bash -c 'trap "sleep 0.2; echo saved; exit" TERM; echo trapped; kill -STOP $$; while :; do sleep 0.05; done' &
			until [ "$(ps -o stat= -p $! | cut -c1)" = T ]; do :; done
			exit 6`)
		start := time.Now()
		r.want(6)
		r.alone()
		if !strings.Contains(r.out.String(), "saved") {
			t.Errorf("the orphan was not let finish:\n%s", r.out)
		}
		if d := time.Since(start); d > 15*time.Second {
			t.Errorf("ended after %v: nothing was left to wait for", d)
		}
	})
}

func TestCommandEndsInTime(t *testing.T) {
	everywhere(t, func(t *testing.T, h how) {
		r := h.start(t, "run", "bash", "-c", `trap 'echo told; exit 8' TERM; echo ready; `+forever)
		r.see("ready")
		r.signal(unix.SIGTERM)
		r.want(8)
	})
}

func TestGraceZeroKillsAtOnce(t *testing.T) {
	r := how{}.start(t, "run", "--grace", "0", "bash", "-c", stubborn+forever)
	r.see("ready")
	r.signal(unix.SIGTERM)
	r.want(128 + 9)
	r.alone()
}
