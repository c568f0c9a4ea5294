package pid1

import (
	"runtime"
	"strconv"
	"sync/atomic"
	"syscall"
	"unsafe"
)

// The end of a pod, from the first of: CMD ends, SIGTERM (SIGINT too without CMD).
//
//	SIGTERM → serve (ends ghosts, saves), and CMD if it runs
//	CMD ended: SIGTERM and SIGCONT → every other process that is left
//	all gone: exit               grace over: SIGKILL → everything, exit
type supervisor struct {
	options
	first    bool // PID 1 of its namespace
	pipe     int
	reaper   *reaper
	terminal *terminal
	main     int // process id of the command, 0 when it doesn't run
	stopped  bool
	server   server
	status   int

	collected int // restarts of serve when garbage was collected

	stopping bool
	told     bool  // the others have SIGTERM
	deadline int64 // monotonic, of the grace period; 0 for none
	giveUp   int64 // monotonic, after killing; 0 before
	rest     int64 // monotonic: then the start is over, its memory not needed; 0 after
	none     bool  // no child is left
	armed    bool  // SIGCHLD wakes us
	flooded  bool  // the pipe was full lately: a signal may just be on its way into missed

	// The kernel hands out the lowest number first: signals that came lately wait
	// for the others, or a flood of SIGHUP would keep out SIGTERM. Not so real-time
	// signals, which stand behind and whose order is promised.
	recent uint64
}

// startTakes is when a command that was to end at once has ended.
const startTakes = 1e9 // ns

// collect is the number of starts of serve after which garbage is collected, of
// which each leaves some kilobytes. It takes new threads, and where the process
// table is full the runtime ends the process that can't have one: so seldom, and
// just after a start that found room.
const collect = 1024

func supervise(o options) int {
	runtime.LockOSThread()
	s := &supervisor{options: o, first: syscall.Getpid() == 1, reaper: &reaper{warn: o.warn}, terminal: openTerminal()}
	spec := commandSpec{argv: o.command, env: o.env, inherited: inherited()}
	left := inheritedDescriptors()
	var err error
	if s.pipe, err = newEvents(); err != nil {
		printError("pipe", err)
		return exitFailure
	}
	if !s.first {
		if err := prctl(prSetChildSubreaper, 1); err != nil {
			printError("prctl PR_SET_CHILD_SUBREAPER", err)
			return exitFailure
		}
	}
	if o.death != 0 {
		if err := prctl(syscall.PR_SET_PDEATHSIG, uintptr(o.death)); err != nil {
			printError("prctl PR_SET_PDEATHSIG", err)
			return exitFailure
		}
	}
	if o.serve {
		spec.user = root()
		spec.env = userEnv(o.env, spec.user)
		if s.terminal != nil && len(o.command) > 0 {
			logToFile()
		}
		if root() {
			hideProcesses()
		}
	}
	spec.dir = leaveDirectory()
	spec.terminal = s.terminal != nil && s.terminal.ours()

	// Signals that the caller ignores stay so until the command has inherited
	// it. Closed to SIGTTOU, which would stop us when we move or use the terminal,
	// as to all others.
	early := ^spec.inherited.ignored
	catchChild(false)
	ignore(spec.inherited.ignored)
	catch(early)
	shut()
	go s.reaper.run()
	spareThreads(o.serve)
	if !o.chatty && !o.warn {
		setGCPercent(-1) // what isn't for logs is little; see collect
	}
	if len(o.command) > 0 {
		s.main, err = s.reaper.fork(spec.start)
		if err != nil {
			printError(o.command[0], err)
			return startStatus(err)
		}
	}
	catch(^early)
	for _, fd := range left {
		syscall.Close(fd)
	}
	spec.dir.close()
	if o.serve && root() {
		surviveMemory()
		s.server.env = o.env
		s.server.start(s.reaper)
	} else if o.serve {
		note("warn", "serve not started", "error", "the pod runs as uid "+strconv.Itoa(syscall.Geteuid())+"; ghosts need root")
	}
	s.reaper.wake() // if nothing could be forked, for orphans of `docker exec`
	s.rest = monotonic() + startTakes
	return s.loop()
}

// loop handles events until nothing is left to do.
func (s *supervisor) loop() int {
	var events [64]event
	for !s.finished() {
		for _, e := range events[:s.wait(events[:])] {
			s.handle(e)
		}
		now := monotonic()
		if s.giveUp != 0 && now >= s.giveUp {
			note("error", "not killed", "error", "stuck in the kernel, or not ours to kill")
			if s.main != 0 {
				s.status = exitSignal + int(syscall.SIGKILL)
			}
			break
		}
		if s.rest != 0 && now >= s.rest {
			s.rest = 0
			releasePages()
		}
		if s.server.next != 0 && now >= s.server.next && !s.stopping {
			s.server.start(s.reaper)
			if restarts := s.server.state.Restarts; s.server.pid != 0 && restarts-s.collected >= collect {
				s.collected = restarts
				runtime.GC()
			}
		}
		if s.deadline != 0 && now >= s.deadline {
			s.kill(now)
		}
	}
	return s.remap[s.status]
}

// finished: without a stop in progress there is always a command to wait for,
// or serve to keep running.
func (s *supervisor) finished() bool {
	return s.stopping && s.main == 0 && s.server.pid == 0 && s.none
}

// wait sleeps until there are events or something is due, and reads events.
func (s *supervisor) wait(events []event) int {
	due := s.deadline
	for _, t := range [...]int64{s.server.next, s.rest} {
		if t != 0 && !s.stopping && (due == 0 || t < due) {
			due = t
		}
	}
	if s.recent != 0 && !s.poll(&syscall.Timespec{}, s.recent) {
		s.recent = 0
	}
	if s.recent == 0 && atomic.LoadUint64(&missed) == 0 {
		if soon := monotonic() + again; s.flooded && (due == 0 || due > soon) {
			due = soon
		}
		var timeout *syscall.Timespec
		if due != 0 {
			t := syscall.NsecToTimespec(max(0, due-monotonic()))
			timeout = &t
		}
		if !s.poll(timeout, 0) && !s.flooded {
			return 0
		}
	}
	n := s.read(events)
	s.flooded = n == len(events)
	for _, e := range events[:n] {
		if e.signal != 0 && e.signal < firstQueued {
			s.recent |= bit(int(e.signal))
		}
	}
	return n
}

// poll sleeps until there may be events, and lets one signal in that isn't in
// blocked. It reports false when the time is over.
func (s *supervisor) poll(timeout *syscall.Timespec, blocked uint64) bool {
	n, err := ppoll(&pollFd{fd: int32(s.pipe), events: pollIn}, timeout, &blocked)
	return n != 0 || err != nil
}

// read takes the events that are there.
func (s *supervisor) read(events []event) (n int) {
	got, err := syscall.Read(s.pipe, unsafe.Slice((*byte)(unsafe.Pointer(&events[0])), len(events)*eventSize))
	if err == nil { // EAGAIN: there are none
		n = got / eventSize
	}
	for n < len(events) {
		e, ok := takeMissed()
		if !ok {
			break
		}
		events[n] = e
		n++
	}
	return n
}

func (s *supervisor) handle(e event) {
	switch {
	case e.signal == int32(syscall.SIGCHLD):
		catchChild(false)
		s.armed = false
		s.reaper.wake()
	case e.signal != 0:
		if e.code > 0 || int(e.pid) != syscall.Getpid() { // not our own, such as SIGPIPE from a log
			s.signalled(e)
		}
	case e.pid == 0:
		s.none = true
		if !s.armed && !s.stopping { // orphans can still come, of `docker exec`
			catchChild(true)
			s.armed = true
			s.reaper.wake() // for one that came just before
		}
	default:
		s.none = false
		s.changed(int(e.pid), syscall.WaitStatus(e.status))
	}
}

// changed is for a child that we watch.
func (s *supervisor) changed(pid int, status syscall.WaitStatus) {
	switch {
	case pid == s.main && status.Stopped():
		s.stopped = true
		s.suspend(status.StopSignal())
	case pid == s.main:
		s.main, s.status = 0, code(status)
		if s.chatty {
			note("info", "command ended", "pid", strconv.Itoa(pid), "status", describe(status))
		}
		if s.terminal != nil {
			s.terminal.takeBack(pid)
		}
		s.stop()
		s.tellOthers()
	case pid == s.server.pid && !status.Stopped():
		if !s.stopping {
			s.server.ended(describe(status))
			return
		}
		s.server.pid = 0
		if len(s.command) == 0 {
			s.status = code(status)
		}
		if code(status) != 0 {
			// Nothing needs clearing up: its mount namespace, the RAM in it and
			// its ghosts ended with it.
			note("error", "serve ended", "error", describe(status))
		}
	}
}

// signalled hands a signal on.
func (s *supervisor) signalled(e event) {
	number := int(e.signal)
	send := s.rewrite[number]
	if send == 0 {
		return
	}
	// As tini does, run leaves it to the engine how long a command may take to end.
	if number == int(syscall.SIGTERM) && (s.serve || s.bounded) || number == int(syscall.SIGINT) && s.serve && len(s.command) == 0 {
		s.stop()
	}
	if s.main == 0 {
		if s.stopping {
			s.tellOthers()
		}
		return
	}
	if number == int(syscall.SIGCONT) {
		s.stopped = false
		if s.terminal != nil && s.terminal.ours() {
			s.terminal.give(s.main)
		}
	}
	if s.chatty {
		note("info", "signal", "number", strconv.Itoa(number), "sender", strconv.Itoa(int(e.pid)), "sent", strconv.Itoa(send))
	}
	target := s.main
	if s.group || send == int(syscall.SIGCONT) {
		target = -s.main
	}
	if e.code == siQueue && target > 0 && sendQueued(target, send, e) == nil {
		return
	}
	// It may have ended: its event is on the way.
	_ = syscall.Kill(target, syscall.Signal(send))
}

// sendQueued hands on a signal with the value that it carries (sigqueue(3)).
func sendQueued(pid, signal int, e event) error {
	var info [128]byte // siginfo_t
	e.signal = int32(signal)
	*(*event)(unsafe.Pointer(&info)) = e
	_, _, errno := syscall.RawSyscall(syscall.SYS_RT_SIGQUEUEINFO, uintptr(pid), uintptr(signal), uintptr(unsafe.Pointer(&info)))
	if errno != 0 {
		return errno
	}
	return nil
}

// suspend stops us along with the command, so that the shell that waits for us
// takes over; its fg or bg continues us, and we the command. Where nobody could
// continue us (PID 1, an orphaned process group) the kernel ignores our stop,
// and a command that stopped by the terminal's doing has to go on.
func (s *supervisor) suspend(signal syscall.Signal) {
	if signal != syscall.SIGTSTP && signal != syscall.SIGTTIN && signal != syscall.SIGTTOU {
		return
	}
	if s.stopping {
		_ = syscall.Kill(-s.main, syscall.SIGCONT)
		return
	}
	target := syscall.Getpid()
	if s.terminal != nil {
		s.terminal.takeBack(s.main)
		target = 0 // those that the shell started with us
	}
	sigaction(int(signal), &action{handler: actionDefault}, nil)
	old := setMask(closed &^ (bit(int(signal)) | bit(int(syscall.SIGCONT))))
	_ = syscall.Kill(target, signal) // here we sleep until SIGCONT
	setMask(old)
	catch(bit(int(signal)))

	var events [64]event
	continued := false
	for _, e := range events[:s.read(events[:])] {
		continued = continued || e.signal == int32(syscall.SIGCONT)
		s.handle(e)
	}
	if !continued && s.terminal != nil && s.main != 0 && s.terminal.ours() && s.terminal.give(s.main) {
		s.stopped = false
		_ = syscall.Kill(-s.main, syscall.SIGCONT)
	}
}
