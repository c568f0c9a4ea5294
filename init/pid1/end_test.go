package pid1

import (
	"fmt"
	"os"
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

// TestGraceBegins sees whom SIGTERM sets a limit: run's command only when asked to.
func TestGraceBegins(t *testing.T) {
	for _, c := range []struct {
		args, variable string
		want           int64 // seconds until everything is killed; 0 for never
	}{
		{"run x", "", 0},
		{"run -t 5 x", "", 5},
		{"run x", "TAZPOD_GRACE=7", 7},
		{"run -t forever x", "", 0},
		{"pid1 x", "", 10},
	} {
		o, err := parse(strings.Fields(c.args), []string{c.variable})
		if err != nil {
			t.Fatal(err)
		}
		s := supervisor{options: o, reaper: &reaper{}}
		before := monotonic()
		s.signalled(event{signal: int32(unix.SIGTERM)})
		if got := (s.deadline - before) / 1e9; s.deadline != 0 && got != c.want || s.deadline == 0 && c.want != 0 {
			t.Errorf("%s %s: everything is killed after %d s; want %d", c.variable, c.args, got, c.want)
		}
	}
}

func TestCommandEndsInTime(t *testing.T) {
	everywhere(t, func(t *testing.T, h how) {
		r := h.start(t, "run", "bash", "-c", `trap 'echo told; exit 8' TERM; echo ready; `+forever)
		r.see("ready")
		r.signal(unix.SIGTERM)
		r.want(8)
	})
}

// TestNobodyReadsTheLog: the end doesn't wait for who should read what was
// killed.
func TestNobodyReadsTheLog(t *testing.T) {
	everywhere(t, func(t *testing.T, h how) {
		reader, writer, err := os.Pipe()
		if err != nil {
			t.Fatal(err)
		}
		defer reader.Close()
		defer writer.Close()
		if err := writer.SetWriteDeadline(time.Now().Add(50 * time.Millisecond)); err != nil {
			t.Fatal(err)
		}
		for err == nil { // until it is full
			_, err = writer.Write(make([]byte, 4096))
		}
		r := h.command(t, "run", "--grace=100ms", "bash", "-c", stubborn+forever)
		r.Stdout, r.Stderr = r.out, writer
		if err := r.Start(); err != nil {
			t.Fatal(err)
		}
		r.watch()
		r.see("ready")
		r.signal(unix.SIGTERM)
		r.want(128 + 9)
	})
	t.Run("terminal", func(t *testing.T) {
		p := atTerminal(t, how{namespace: true}, "run", "--grace=100ms", "bash", "-c", "trap '' TERM; echo ready; "+forever)
		p.sees("ready")
		if _, err := p.master.WriteString(ctrlS); err != nil {
			t.Fatal(err)
		}
		slave, err := os.OpenFile(fmt.Sprintf("/proc/%d/fd/2", p.Process.Pid), os.O_WRONLY|unix.O_NOCTTY, 0)
		if err != nil {
			t.Fatal(err)
		}
		defer slave.Close()
		for end := time.Now().Add(patience); writable(int(slave.Fd())); time.Sleep(time.Millisecond) {
			if time.Now().After(end) {
				t.Fatal("Ctrl-S doesn't stop the terminal")
			}
		}
		p.signal(unix.SIGTERM)
		p.want(128 + 9)
	})
}

func TestGraceZeroKillsAtOnce(t *testing.T) {
	r := how{}.start(t, "run", "--grace", "0", "bash", "-c", stubborn+forever)
	r.see("ready")
	r.signal(unix.SIGTERM)
	r.want(128 + 9)
	r.alone()
}
