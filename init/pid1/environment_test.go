package pid1

import (
	"bufio"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// TestCommandIsTheUser reads who the pod's command is, and what it can do.
func TestCommandIsTheUser(t *testing.T) {
	h := how{namespace: true, env: []string{"HOME=/root", `TAZPOD_POD={"name":"try"}`, "KEEP=this"}}
	r := h.start(t, "pid1", "sh", "-c", `
		grep -E '^(Uid|Gid|Groups|Cap|NoNewPrivs|SigBlk|SigIgn)' /proc/self/status | tr '\t' ' '
		echo "home=$HOME user=$USER keep=$KEEP pod=$TAZPOD_POD"
		ls -d /proc/1 2>&1; kill -9 1; echo tried`)
	r.want(0)
	r.alone()
	out := r.out.String()
	for _, want := range []string{
		"Uid: 1000 1000 1000 1000\n", "Gid: 1000 1000 1000 1000\n", "Groups:  \n", "NoNewPrivs: 1\n",
		"CapInh: 0000000000000000\n", "CapPrm: 0000000000000000\n", "CapEff: 0000000000000000\n",
		"CapBnd: 0000000000000000\n", "CapAmb: 0000000000000000\n",
		"SigBlk: 0000000000000000\n", "SigIgn: 0000000000000000\n",
		"home=/home/tazpod user=tazpod keep=this pod=\n",
		"'/proc/1': No such file", "tried\n",
	} {
		if !strings.Contains(out, want) {
			t.Errorf("no %q in\n%s", want, out)
		}
	}
}

// TestWorkingDirectory: the command starts where the caller is, and the init
// doesn't keep that place busy.
func TestWorkingDirectory(t *testing.T) {
	dir := t.TempDir()
	r := how{dir: dir}.start(t, "run", "sh", "-c", "pwd -P; readlink /proc/$PPID/cwd")
	r.want(0)
	r.see(dir + "\n/\n")

	gone := filepath.Join(dir, "gone")
	if err := os.Mkdir(gone, 0o755); err != nil {
		t.Fatal(err)
	}
	r = how{dir: gone, wrap: []string{"bash", "-c", `rmdir ../gone; exec "$0" "$@"`}}.start(t, "run", "readlink", "/proc/self/cwd")
	r.want(0)
	r.see(gone + " (deleted)")

	// A directory of root's, which the pod's user could not enter by its path.
	r = how{dir: dir, namespace: true}.start(t, "pid1", "readlink", "/proc/self/cwd")
	r.want(0)
	r.see(dir)
}

// TestDescriptors: what the caller left open is the command's; the init closes
// its copies and adds none of its own.
func TestDescriptors(t *testing.T) {
	inside, outside, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	list := []string{"bash", "-c", "echo /proc/self/fd/*"}
	h := how{files: []*os.File{outside}}
	plain := how{files: h.files, path: "/bin/bash"}.start(t, list[1:]...)
	plain.want(0)
	plain.alone()
	everywhere(t, func(t *testing.T, in how) {
		in.files = h.files
		through := in.start(t, append([]string{"run"}, list...)...)
		through.want(0)
		through.alone()
		if plain.out.String() != through.out.String() {
			t.Errorf("command has %s; want %s", through.out, plain.out)
		}
	})
	r := h.start(t, "run", "bash", "-c", `
		echo by the command >&3; exec 3>&-; echo closed; sleep 1000`)
	outside.Close()
	r.see("closed")
	// The end of the pipe comes although the init still runs.
	line, err := bufio.NewReader(inside).ReadString(0)
	if line != "by the command\n" || err == nil {
		t.Errorf("pipe had %q, %v; want one line and the end", line, err)
	}
	r.signal(unix.SIGTERM)
	r.want(128 + 15)

	r = how{wrap: []string{"bash", "-c", `LISTEN_PID=$$ LISTEN_FDS=1 exec "$0" "$@"`}}.start(t,
		"run", "bash", "-c", `echo "$LISTEN_FDS $((LISTEN_PID == $$))"`)
	r.want(0)
	r.see("1 1\n")
	r = how{env: []string{"LISTEN_PID=1"}}.start(t, "run", "sh", "-c", "echo $LISTEN_PID")
	r.want(0)
	r.see("1\n")
}

func TestSignalNames(t *testing.T) {
	for _, c := range []struct {
		text string
		want int
	}{{"TERM", 15}, {"SIGTERM", 15}, {"sigterm", 15}, {"15", 15}, {"64", 64}, {"RTMIN", 34}, {"RTMIN+3", 37}, {"SIGRTMAX-1", 63},
		{"IOT", 6}, {"SIGCLD", 17}, {"POLL", 29}} {
		if got, err := parseSignal(c.text); got != c.want || err != nil {
			t.Errorf("parseSignal(%q) = %d, %v; want %d", c.text, got, err, c.want)
		}
	}
	for _, text := range []string{"", "0", "65", "-1", "TERMS", "RTMIN+99", "RTMIN-1", "RTMAXX", "SIG"} {
		if got, err := parseSignal(text); err == nil {
			t.Errorf("parseSignal(%q) = %d; want an error", text, got)
		}
	}
}

func TestQuote(t *testing.T) {
	for _, c := range []struct{ text, want string }{
		{`a "b" \c`, `"a \"b\" \\c"`},
		{"\x1b[2J\n\x7f", `"\u001b[2J\u000a\u007f"`},
		{"\xff\u009b", `"\u00ff\u00c2\u009b"`},
	} {
		if got := string(quote(nil, c.text)); got != c.want {
			t.Errorf("quote(%q) = %s; want %s", c.text, got, c.want)
		}
	}
}

// TestVariables sees those of tini and dumb-init do what their flags do.
func TestVariables(t *testing.T) {
	for _, c := range []struct{ variable, args, want string }{
		{"TINI_SUBREAPER=1", "run x", "false false"},
		{"TINI_KILL_PROCESS_GROUP=", "run x", "true false"},
		{"TINI_KILL_PROCESS_GROUP=1", "pid1 x", "false false"},
		{"TINI_VERBOSITY=1", "run x", "false false"},
		{"TINI_VERBOSITY=3", "run x", "false true"},
		{"TINI_VERBOSITY=", "run x", "false false"},
		{"TINI_VERBOSITY=loud", "run x", "TINI_VERBOSITY: no number: loud"},
		{"DUMB_INIT_DEBUG=1", "run x", "false true"},
		{"DUMB_INIT_SETSID=0", "run x", "false false"},
		{"DUMB_INIT_SETSID=1", "run x", "true false"},
		{"DUMB_INIT_SETSID=1", "run -c x", "false false"},
		{"DUMB_INIT_SETSID=yes", "run x", "DUMB_INIT_SETSID: want 0 or 1, not yes"},
		{"TAZPOD_GRACE=soon", "run x", "TAZPOD_GRACE: no duration: soon (want 10s, 500ms, 0 or forever)"},
	} {
		o, err := parse(strings.Fields(c.args), []string{c.variable})
		got := fmt.Sprint(o.group, o.chatty)
		if err != nil {
			got = err.Error()
		}
		if got != c.want {
			t.Errorf("%s %s = %s; want %s", c.variable, c.args, got, c.want)
		}
	}
}

// TestVariablesStay: the command gets what was meant for its init as well.
func TestVariablesStay(t *testing.T) {
	r := how{env: []string{"TINI_KILL_PROCESS_GROUP=1", "TINI_VERBOSITY=1", "DUMB_INIT_SETSID=0"}}.start(t,
		"run", "sh", "-c", `echo "$TINI_KILL_PROCESS_GROUP $TINI_VERBOSITY $DUMB_INIT_SETSID"`)
	r.want(0)
	r.see("1 1 0\n")
}

// TestVerbose sees what -v and -w log.
func TestVerbose(t *testing.T) {
	everywhere(t, func(t *testing.T, h how) {
		r := h.start(t, "run", "-vw", "--", "bash", "-c", `trap 'exit 3' USR1; (sleep 0.1 &); echo ready; while :; do sleep 0.05; done`)
		r.see(`"event":"orphan reaped"`)
		r.see("ready\n")
		r.signal(unix.SIGUSR1)
		r.want(3)
		r.see(`"event":"signal","number":"10"`)
		r.see(`"event":"command ended"`)
	})
}

// FuzzDuration compares with the standard library, on what both take.
func FuzzDuration(f *testing.F) {
	for _, text := range []string{"10s", "1m30s", "500ms", "1.5h", ".5s", "1.s", "", "s", "1", "9223372036s", "99999999999999h", "0.000000001s", "1ns"} {
		f.Add(text)
	}
	f.Fuzz(func(t *testing.T, text string) {
		got, ok := parseDuration(text)
		want, err := time.ParseDuration(text)
		if ok && (err != nil || max(got, int64(want))-min(got, int64(want)) > 1000) { // floats round
			t.Errorf("parseDuration(%q) = %v; want %v, %v", text, time.Duration(got), want, err)
		}
		if !ok && err == nil && want > 0 && want < 1e17 && strings.Trim(text, "0123456789.hms") == "" {
			t.Errorf("parseDuration(%q) fails; want %v", text, want)
		}
	})
}

func TestFlags(t *testing.T) {
	for _, c := range []struct{ args, want string }{
		{"run sh -c x", "[sh -c x]"},
		{"run -- -x", "[-x]"},
		{"run -gs - x", "[- x] group"},
		{"pid1", "[]"},
		{"run -gt5 x", "[x] group 5s"},
		{"run --grace 500ms --group x --group", "[x --group] group 500ms"},
		{"run -t forever x", "[x] -1ns"},
		{"run -g -t", "flag -t needs a value"},
		{"run --group=yes x", "unknown flag --group=yes"},
		{"run -x x", "-x: unknown flag"},
		{"run -e 256 x", "-e: no exit status: 256"},
		{"run -r TERM x", "-r: want FROM:TO"},
		{"run -g", "run: no command"},
		{"run -svwg -p TERM -e 143 -- x", "[x] group"}, // as tini's
		{"run -g -c -v -r 15:2 x", "[x]"},              // as dumb-init's
		{"run --version", "[]"},
		{"run -l", "-l: there is no licence text in this program"},
	} {
		o, err := parse(strings.Fields(c.args), nil)
		got := fmt.Sprint(o.command)
		if o.group {
			got += " group"
		}
		if o.grace != defaultGrace {
			got += " " + time.Duration(o.grace).String()
		}
		if err != nil {
			got = err.Error()
		}
		if got != c.want {
			t.Errorf("parse(%q) = %s; want %s", c.args, got, c.want)
		}
	}
}
