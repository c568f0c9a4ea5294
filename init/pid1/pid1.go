// Package pid1 is the first process of a pod, and on its own a small init for
// any container. It starts its children, reaps every orphan, hands signals on,
// and ends with the main child's status when nothing is left alive.
//
//	tazpod-init pid1 [flags] [--] [CMD…]    CMD as the pod's user, and the supervisor `role serve`
//	tazpod-init run  [flags] [--] CMD…      CMD alone, as the caller
//
//	      signals ──► supervisor (main thread, ppoll) ──► CMD, serve
//	 ends of orphans ──► reaper (one thread, wait4) ──┘
//
// It never uses os/exec, os.StartProcess or os/signal: a second waiter would
// steal statuses from the reaper. It holds no secret, opens no socket, and
// trusts its arguments and environment, which come from whoever starts the
// pod. It trusts nothing that CMD or an orphan does.
package pid1

import (
	"strconv"
	"syscall"
	_ "unsafe" // for linkname
)

const usage = `usage: tazpod-init pid1 [flags] [--] [CMD [ARG…]]
       tazpod-init run  [flags] [--] CMD [ARG…]

pid1 is for the first process of a pod: it runs CMD as the pod's user without
privileges, beside the supervisor of vault and ghosts. run is for any container:
it runs CMD as the caller. Both reap orphans, hand signals on to CMD, and end
with its status (128+n when signal n ended it, 127 when CMD isn't there, 126
when it can't be executed).

  -t, --grace DURATION  time between SIGTERM and SIGKILL for everything that is
                        left (10s; TAZPOD_GRACE; "0" kills at once, "forever" never);
                        run gives CMD itself no limit unless this is set
  -g, --group           signals go to CMD's whole process group
  -r, --rewrite A:B     hand on signal A as B; B 0 drops it (may be repeated)
  -e, --remap A[:B]     end with status B (0) instead of A (may be repeated)
  -p, --parent-death-signal SIGNAL
                        get SIGNAL when the process that started this one ends
  -s, --subreaper       accepted; adopting orphans needs no flag
  -c, --single-child    signals go to CMD alone, which needs no flag
  -v, --verbose         log signals, and how CMD ended
  -w, --warn            log every orphan that is reaped
  -V, --version         show the version
  -h, --help            show this

In the place of tini or dumb-init run also takes TINI_KILL_PROCESS_GROUP (-g),
TINI_VERBOSITY (2: -v), DUMB_INIT_DEBUG=1 (-v) and DUMB_INIT_SETSID=1 (-g);
TINI_SUBREAPER asks for what is always so.
`

// arguments are os.Args: os itself would have to be initialised first.
//
//go:linkname arguments os.runtime_args
func arguments() []string

// init is the program when this is what it is started for. The other roles'
// packages, more than a hundred, are initialised after this one, as the Go
// specification orders them (section Program initialization), and so not at all:
// that would cost a first process a millisecond and megabytes. It holds as long
// as this package imports next to nothing; TestStartsAlone checks it.
func init() {
	args := arguments()
	if len(args) < 2 || args[1] != "run" && args[1] != "pid1" {
		return
	}
	if status := Main(args[1:]); status != toMain {
		syscall.Exit(status)
	}
}

// toMain is a status for what the program's main has to do: the version, which
// takes packages that aren't initialised here.
const toMain = -1

// Main runs `pid1` or `run` (args[0]) and returns the exit status. Without CMD
// the pod runs until SIGTERM or SIGINT and then ends with the status of serve:
// 0 when it ended cleanly, so that `docker stop` of an idle pod is no failure.
func Main(args []string) int {
	if len(args) > 1 && args[0] == "run" && args[1] == stageFlag {
		return stage(args[2:])
	}
	o, err := parse(args, syscall.Environ())
	switch {
	case err != nil:
		printError("", err)
		print2("tazpod: hint: see tazpod-init " + args[0] + " --help\n")
		return exitUsage
	case o.help:
		_, _ = syscall.Write(1, []byte(usage)) // nobody is left to be told
		return exitOK
	case o.version:
		return toMain
	case o.serve && syscall.Geteuid() != 0 && len(o.command) == 0:
		print2("tazpod: error: pid1 without CMD runs as root, not as uid " + strconv.Itoa(syscall.Geteuid()) + "\n" +
			"tazpod: hint: leave out --user, or give a CMD: it gets no privileges either way\n")
		return exitPrivileges
	}
	return supervise(o)
}

func print2(s string) {
	_, _ = syscall.Write(2, []byte(s)) // nobody is left to be told
}

func printError(what string, err error) {
	if what != "" {
		what += ": "
	}
	print2("tazpod: error: " + what + err.Error() + "\n")
}
