package pid1

import (
	"strconv"
	"syscall"
)

// afterKill bounds the wait for killed processes: one can be stuck in the kernel.
const afterKill = 2e9 // ns

// again is the pause between two rounds of killing descendants that fork.
const again = 10e6 // ns

// stop begins the end; the grace period counts from here.
func (s *supervisor) stop() {
	if s.stopping {
		return
	}
	s.stopping = true
	s.none = false // it may be old news: ask the reaper
	s.reaper.wake()
	if s.grace >= 0 {
		s.deadline = monotonic() + max(1, s.grace)
	}
	if s.server.pid != 0 {
		_ = syscall.Kill(s.server.pid, syscall.SIGTERM)
	}
	if s.main != 0 && s.stopped {
		_ = syscall.Kill(-s.main, syscall.SIGCONT)
	}
}

// roots are what the processes that end with us descend from: we, and in a pod of
// ours also what `docker exec` started.
func (s *supervisor) roots() []int {
	if s.first {
		return []int{syscall.Getpid(), 0}
	}
	return []int{syscall.Getpid()}
}

// others are the processes that the end is for: all but ours, the command's
// own, and those of serve, which ends them in its order. Those of `docker exec` are
// asked to end, but nobody waits for them: an interactive shell takes no notice.
func (s *supervisor) others() []process {
	list, roots := processes(), s.roots()
	ours := map[int]bool{syscall.Getpid(): true, s.main: true}
	if s.server.pid != 0 {
		ours[s.server.pid] = true
		for _, p := range below(list, s.server.pid) {
			ours[p.pid] = true
		}
	}
	var found []process
	for _, p := range below(list, roots...) {
		if !ours[p.pid] {
			found = append(found, p)
		}
	}
	return found
}

// tellOthers asks what the command has left behind to end.
func (s *supervisor) tellOthers() {
	if s.told {
		return
	}
	s.told = true
	if s.alone() {
		return
	}
	for _, p := range s.others() {
		_ = syscall.Kill(p.pid, syscall.SIGTERM)
		_ = syscall.Kill(p.pid, syscall.SIGCONT) // a stopped one can't end
	}
}

// alone is a quick answer where there are no others, as after most commands.
func (s *supervisor) alone() bool {
	if s.first {
		return syscall.Kill(-1, 0) == syscall.ESRCH
	}
	return anyChild() == syscall.ECHILD
}

// kill ends everything, and again until nothing is left to kill.
func (s *supervisor) kill(now int64) {
	initial := s.giveUp == 0
	var list []process
	if initial || !s.first {
		list = below(processes(), s.roots()...)
	}
	if s.first {
		_ = syscall.Kill(-1, syscall.SIGKILL) // spares only us
	} else {
		for _, pid := range []int{s.main, s.server.pid} { // without /proc at least these
			if pid != 0 {
				_ = syscall.Kill(pid, syscall.SIGKILL)
			}
		}
		for _, p := range list {
			_ = syscall.Kill(p.pid, syscall.SIGKILL)
		}
	}
	s.deadline = now + again
	if initial {
		s.giveUp = now + afterKill
		for i, p := range list {
			if i == 20 {
				note("warn", "killed", "others", strconv.Itoa(len(list)-i))
				break
			}
			note("warn", "killed", "pid", strconv.Itoa(p.pid), "name", p.name, "grace", seconds(s.grace))
		}
	}
}

func code(status syscall.WaitStatus) int {
	if status.Signaled() {
		return exitSignal + int(status.Signal())
	}
	return status.ExitStatus()
}

func describe(status syscall.WaitStatus) string {
	if status.Signaled() {
		return "signal " + status.Signal().String()
	}
	return "exit status " + strconv.Itoa(status.ExitStatus())
}
