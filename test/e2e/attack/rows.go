package main

// row is one attack.
type row struct {
	Name string `json:"name"` // what it tries, for people
	Got  string `json:"got"`  // what it has when it succeeds

	// Where it succeeds or fails other than as a rule, which is: nowhere but
	// where the victim has only a mount namespace of its own.
	Open  bool `json:"open"`  // everywhere: a known limit
	Weak  bool `json:"weak"`  // also where ghost and pod share the user's kernel id
	Mount bool `json:"mount"` // nowhere: a mount namespace is enough, or the kernel always refuses
	Root  bool `json:"root"`  // of those, what root can do, which shows that the attack is a real one
	Pod   bool `json:"pod"`   // only where there is a TazPod to attack

	// ID, if there is one, is by what the test tries the row alone, since it does
	// something meanwhile, or looks itself.
	ID string `json:"id"`

	try func(*target) string // nil if only the test can look
}

// rows are in an order in which none spoils a later one.
var rows = []row{
	{Name: "read `~/secrets`, the vault's tree and directory by path", Got: "SECRET READ", Mount: true, try: secretsByPath},
	{Name: "read other files by path: home, `/tmp`, `/var/tmp`, `/run`, `/workspace`", Got: "SECRET READ", try: filesByPath},
	{Name: "`/dev/shm`", Got: "SECRET READ", try: inShm},
	{Name: "list processes: names and command lines", Got: "LISTED", try: listing},
	{Name: "`/proc/P/cmdline`", Got: "SECRET READ", try: secretIn("cmdline")},
	{Name: "`/proc/P/environ`", Got: "SECRET READ", try: secretIn("environ")},
	{Name: "`/proc/P/root`", Got: "SECRET READ", try: secretIn("root"+token, "root"+trap+"/secrets/token")},
	{Name: "`/proc/P/cwd`", Got: "SECRET READ", try: secretIn("cwd/token")},
	{Name: "`/proc/P/exe`", Got: "SECRET READ", try: secretIn("exe")},
	{Name: "`/proc/P/fd`", Got: "SECRET READ", try: openFiles},
	{Name: "`/proc/P/fdinfo`", Got: "LISTED", try: lists("fdinfo")},
	{Name: "`/proc/P/map_files`", Got: "LISTED", try: lists("map_files")},
	{Name: "`/proc/P/mem`, read", Got: "SECRET READ", try: memoryFile},
	{Name: "`/proc/P/{maps,smaps,numa_maps}`", Got: "READ", try: reads("maps", "smaps", "numa_maps")},
	{Name: "`/proc/P/pagemap`", Got: "READ", try: reads("pagemap")},
	{Name: "`/proc/P/auxv`", Got: "READ", try: reads("auxv")},
	{Name: "`/proc/P/syscall`", Got: "READ", try: reads("syscall")},
	{Name: "`/proc/P/stack`", Got: "READ", Mount: true, try: reads("stack")},
	{Name: "`/proc/P/{io,personality,wchan}`", Got: "READ", try: reads("io", "personality", "wchan")},
	{Name: "`/proc/P/{mountinfo,mounts}`", Got: "READ", try: reads("mountinfo", "mounts")},
	{Name: "`/proc/P/{comm,stat,status,limits,sched}`", Got: "READ", try: reads("comm", "stat", "status", "limits", "sched")},
	{Name: "`/proc/P/ns`", Got: "LISTED", try: namespaces},
	{Name: "every id in turn: `root`, `cwd`, `fd`, `environ`, `mem`", Got: "SECRET READ", try: everyID},

	{Name: "`ptrace(PTRACE_ATTACH)`", Got: "TRACED", try: attach},
	{Name: "`ptrace(PTRACE_SEIZE)`", Got: "TRACED", try: seize},
	{Name: "`process_vm_readv`", Got: "SECRET READ", try: readMemory},
	{Name: "`process_vm_writev`", Got: "WRITTEN", try: writeMemory},
	{Name: "`pidfd_getfd`", Got: "SECRET READ", try: stealFile},
	{Name: "`kcmp`", Got: "COMPARED", try: compare},
	{Name: "`perf_event_open`", Got: "MEASURED", try: perf},
	{Name: "`get_robust_list`", Got: "READ", try: robustList},

	{Name: "`setns` with `/proc/P/ns/*`", Got: "JOINED", Mount: true, Root: true, try: joinByFile},
	{Name: "`setns` with a pidfd", Got: "JOINED", Mount: true, Root: true, try: joinByPidfd},
	{Name: "`nsenter` with each namespace", Got: "JOINED", Mount: true, Root: true, try: joinByProgram},
	{Name: "all of that as root of a user namespace of its own; `/proc` mounted anew", Got: "REACHED", Weak: true, try: asRootOfItsOwn},

	{Name: "`kill`, `tgkill`, `rt_sigqueueinfo`, `pidfd_send_signal`", Got: "SIGNALLED", Weak: true, try: signals},
	{Name: "`fcntl(F_SETOWN)`: a signal for input", Got: "SIGNALLED", Weak: true, ID: "input signal"},
	{Name: "`prlimit`", Got: "CHANGED", Weak: true, try: limit},
	{Name: "`sched_setscheduler`", Got: "CHANGED", Weak: true, try: schedule},
	{Name: "`sched_setaffinity`", Got: "CHANGED", Weak: true, try: affinity},
	{Name: "`setpriority`", Got: "CHANGED", Weak: true, try: priority},
	{Name: "`ioprio_set`", Got: "CHANGED", Weak: true, try: ioPriority},
	{Name: "write `/proc/P/mem`", Got: "WRITTEN", try: writeMemoryFile},
	{Name: "write `/proc/P/{oom_score_adj,coredump_filter,clear_refs}`", Got: "CHANGED", try: settings},
	{Name: "write `/proc/P/{comm,timerslack_ns}`", Got: "CHANGED", Mount: true, try: otherSettings},

	{Name: "System V shared memory", Got: "SECRET READ", try: sharedMemory},
	{Name: "System V message queues", Got: "SECRET READ", try: messages},
	{Name: "System V semaphores", Got: "CHANGED", try: semaphores},
	{Name: "POSIX message queues", Got: "SECRET READ", try: posixQueue},
	{Name: "sockets in `/tmp` and `/run/user/1000`", Got: "SECRET READ", try: pathSockets},

	{Name: "the ghost's terminal through `/proc/P/fd/0`", Got: "OPENED", try: standardInput},
	{Name: "terminals in `/dev/pts`: read while the user types, a passphrase too", Got: "KEYS READ", ID: "keys", try: keystrokes},
	{Name: "terminals in `/dev/pts`: write", Got: "WRITTEN", try: writeTerminals},
	{Name: "terminals in `/dev/pts`: type with `TIOCSTI`", Got: "TYPED", Mount: true, Root: true, try: typeKeys},
	{Name: "the client's process: files, memory, descriptors, tracing, signals", Got: "REACHED", try: clients},
	{Name: "the supervisor and PID 1, likewise", Got: "REACHED", Pod: true, try: supervisor},
	{Name: "the ghost's first process and its keeper, likewise", Got: "REACHED", Pod: true, try: ghost},

	{Name: "links planted at `~/secrets` and at each bridge", Got: "SECRET READ", ID: "links", try: trapped},
	{Name: "poisoned start-up files and programs in the pod's home", Got: "RUN INSIDE", ID: "poison", try: poisoned},
	{Name: "write what root's programs or the ghost's home come from", Got: "WRITTEN", Mount: true, Root: true, try: rootsFiles},
	{Name: "a core dump to a file", Got: "SECRET READ", ID: "core file", try: coreFiles},
	{Name: "a core dump to a program of the host", Got: "SECRET READ", ID: "core program"},
	{Name: "`sudo`, `su`, setuid files, file capabilities", Got: "ROOT", try: setuid},

	{Name: "connect to the control socket", Got: "CONNECTED", Pod: true, try: controlSocket},
	{Name: "hammer the control socket", Got: "CONNECTED", Pod: true, try: hammer},
	{Name: "`tazpod-init` ghost, connect, status, lock, role: a ghost without the passphrase", Got: "ENTERED", Pod: true, try: ownClient},
	{Name: "`tazpod-init` between exec and prctl, 200 times (25 in User-Mode Linux)", Got: "REACHED", ID: "race", try: race},

	{Name: "abstract sockets (same network namespace)", Got: "connected", Open: true, try: abstractSocket},
	{Name: "ports on localhost (same network namespace)", Got: "connected", Open: true, try: port},
	{Name: "process ids in `/sys/fs/cgroup/**/cgroup.procs`", Got: "found", Open: true, try: controlGroup},
	{Name: "process ids by asking for one after the other", Got: "found", Open: true, try: probe},

	{Name: "`kill(-1, SIGKILL)`", Got: "KILLED", Weak: true, ID: "kill all", try: killAll},
}
