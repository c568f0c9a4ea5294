package pid1

import (
	"fmt"
	"strconv"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// TestOrphanStorm leaves 2,000 orphans behind as fast as bash can, and sees
// every one reaped while the command still runs.
func TestOrphanStorm(t *testing.T) {
	everywhere(t, func(t *testing.T, h how) {
		r := h.start(t, "run", "bash", "-c", `
			for ((i = 0; i < 2000; i++)); do ( : & ); done
			while :; do
				n=0
				for p in $(cat /proc/$PPID/task/*/children); do
					read -r _ _ s _ 2>/dev/null < /proc/$p/stat && [ "$s" = Z ] && n=1
				done
				[ $n = 0 ] && exit 42
			done`)
		r.want(42)
	})
}

// TestBurstOfOrphans lets 500 orphans end at the same instant.
func TestBurstOfOrphans(t *testing.T) {
	r := how{namespace: true}.start(t, "run", "bash", "-c", `
		for ((i = 0; i < 500; i++)); do ( setsid sleep 1000 & ); done
		until [ "$(pgrep -c -P 1 sleep)" = 500 ]; do :; done
		pkill -9 sleep
		while pgrep -P 1 sleep > /dev/null; do :; done
		exit 43`)
	r.want(43)
}

// TestAdopts checks that orphans come to the init that isn't PID 1 without a
// flag.
func TestAdopts(t *testing.T) {
	r := how{}.start(t, "run", "bash", "-c", `
		( setsid bash -c 'sleep 0.2; echo parent $(ps -o ppid= -p $$); echo over; sleep 30' & )
		sleep 30`)
	r.see(fmt.Sprintf("parent %d\n", r.Process.Pid))
	r.see("over")
	r.signal(unix.SIGTERM)
	r.want(128 + 15)
	r.alone()
}

// TestOrphansWithoutChildren is the pod whose serve is away and that has no
// command: an orphan of `docker exec` still has to be reaped.
func TestOrphansWithoutChildren(t *testing.T) {
	r := how{namespace: true, env: []string{"FAKE_SERVE=exit=3"}}.start(t, "pid1")
	for range 7 { // back-off is 6.4 s by then: long enough for what follows
		r.see("serve ended")
		r.out.cut("serve ended")
	}
	// A process that enters the namespace and leaves an orphan there.
	pid := strconv.Itoa(r.Process.Pid)
	enter := how{path: "/usr/bin/nsenter"}.start(t, "-t", pid, "-p", "-m", "sh", "-c", "( setsid sh -c 'echo I am; read x < /dev/zero' & ) ; exit 0")
	enter.want(0)
	enter.see("I am")
	var orphan int
	for orphan == 0 {
		for _, p := range below(processes(), r.Process.Pid) {
			if p.name == "sh" {
				orphan = p.pid
			}
		}
	}
	if err := unix.Kill(orphan, unix.SIGKILL); err != nil {
		t.Fatal(err)
	}
	for end := time.Now().Add(5 * time.Second); unix.Kill(orphan, 0) != unix.ESRCH; {
		if time.Now().After(end) {
			t.Fatalf("orphan %d was not reaped", orphan)
		}
		time.Sleep(time.Millisecond)
	}
	r.signal(unix.SIGTERM)
	r.want(0)
}
