package pid1

import (
	"errors"
	"strconv"
	"syscall"
)

type options struct {
	serve   bool // pid1: also run serve, and the command as the pod's user
	help    bool
	version bool // and nothing else
	group   bool
	chatty  bool  // log signals, and the command's end
	warn    bool  // log each orphan that is reaped
	grace   int64 // ns; below 0: for ever
	bounded bool  // the grace period was asked for, and so counts for the command too
	death   int   // signal, 0 for none
	rewrite [lastSignal + 1]int
	remap   [256]int
	command []string
	env     []string
}

const defaultGrace = int64(10e9)

// envGrace sets the grace period where no flag does.
const envGrace = "TAZPOD_GRACE"

// parse reads flags up to the first argument that is none: what follows is the
// command's, dashes and all.
func parse(args, env []string) (options, error) {
	o := options{serve: args[0] == "pid1", grace: defaultGrace, env: env}
	for i := range o.rewrite {
		o.rewrite[i] = i
	}
	for i := range o.remap {
		o.remap[i] = i
	}
	refused := o.variables()
	var err error
	if o.command, err = o.flags(args[1:]); err != nil {
		return o, err
	}
	if refused != nil && !o.help && !o.version {
		return o, refused
	}
	if !o.serve && len(o.command) == 0 && !o.help && !o.version {
		return o, errors.New("run: no command")
	}
	return o, nil
}

// variables takes those of the environment that say what a flag says. Those of
// tini and dumb-init count for run, which takes their place.
func (o *options) variables() error {
	if text, ok := lookup(o.env, envGrace); ok && text != "" {
		var err error
		if o.grace, err = parseGrace(text); err != nil {
			return errors.New(envGrace + ": " + err.Error())
		}
		o.bounded = true
	}
	if o.serve {
		return nil
	}
	_, o.group = lookup(o.env, "TINI_KILL_PROCESS_GROUP")
	if text, ok := lookup(o.env, "TINI_VERBOSITY"); ok && text != "" {
		n, err := strconv.Atoi(text)
		if err != nil {
			return errors.New("TINI_VERBOSITY: no number: " + text)
		}
		o.chatty = n > 1 // 1 is warnings
	}
	debug, _ := lookup(o.env, "DUMB_INIT_DEBUG")
	o.chatty = o.chatty || debug == "1"
	switch text, _ := lookup(o.env, "DUMB_INIT_SETSID"); text {
	case "", "0":
	case "1":
		o.group = true // what it is for; the command keeps its session, and with it the terminal
	default:
		return errors.New("DUMB_INIT_SETSID: want 0 or 1, not " + text)
	}
	return nil
}

// letter is the short form of a long flag, or 0.
func letter(long string) byte {
	for _, f := range [...]struct {
		long  string
		short byte
	}{
		{"group", 'g'}, {"single-child", 'c'}, {"subreaper", 's'}, {"grace", 't'}, {"rewrite", 'r'}, {"remap", 'e'},
		{"parent-death-signal", 'p'}, {"verbose", 'v'}, {"warn", 'w'}, {"version", 'V'}, {"help", 'h'},
	} {
		if f.long == long {
			return f.short
		}
	}
	return 0
}

// takesValue lists the flags with a value.
const takesValue = "trep"

func (o *options) flags(args []string) (rest []string, err error) {
	for len(args) > 0 {
		arg := args[0]
		if len(arg) < 2 || arg[0] != '-' {
			return args, nil
		}
		args = args[1:]
		if arg == "--" {
			return args, nil
		}
		// next takes the value from behind the flag's letter or =, or from the next argument.
		next := func(attached string, ok bool) (string, error) {
			if ok {
				return attached, nil
			}
			if len(args) == 0 {
				return "", errors.New("flag " + arg + " needs a value")
			}
			value := args[0]
			args = args[1:]
			return value, nil
		}
		if name, ok := arg[2:], hasPrefix(arg, "--"); ok {
			name, attached, has := cut(name, '=')
			letter := letter(name)
			if letter == 0 || has && index(takesValue, letter) < 0 {
				return nil, errors.New("unknown flag " + arg)
			}
			value := ""
			if index(takesValue, letter) >= 0 {
				if value, err = next(attached, has); err != nil {
					return nil, err
				}
			}
			if err := o.set(letter, value); err != nil {
				return nil, errors.New(arg + ": " + err.Error())
			}
			continue
		}
		for i := 1; i < len(arg); i++ {
			letter, value := arg[i], ""
			valued := index(takesValue, letter) >= 0
			if valued {
				if value, err = next(arg[i+1:], i+1 < len(arg)); err != nil {
					return nil, err
				}
			}
			if err := o.set(letter, value); err != nil {
				return nil, errors.New(arg + ": " + err.Error())
			}
			if valued {
				break
			}
		}
	}
	return nil, nil
}

func (o *options) set(letter byte, value string) (err error) {
	switch letter {
	case 'g':
		o.group = true
	case 'c':
		o.group = false
	case 's': // always
	case 'v':
		o.chatty = true
	case 'w':
		o.warn = true
	case 'l':
		return errors.New("there is no licence text in this program")
	case 'V':
		o.version = true
	case 'h':
		o.help = true
	case 't':
		o.grace, err = parseGrace(value)
		o.bounded = true
	case 'p':
		o.death, err = parseSignal(value)
	case 'r':
		from, to, ok := cut(value, ':')
		if !ok {
			return errors.New("want FROM:TO")
		}
		a, err := parseSignal(from)
		if err != nil {
			return err
		}
		b := 0
		if to != "0" {
			if b, err = parseSignal(to); err != nil {
				return err
			}
		}
		o.rewrite[a] = b
	case 'e':
		from, to, ok := cut(value, ':')
		if !ok {
			to = "0"
		}
		a, err := strconv.ParseUint(from, 10, 8)
		if err != nil {
			return errors.New("no exit status: " + from)
		}
		b, err := strconv.ParseUint(to, 10, 8)
		if err != nil {
			return errors.New("no exit status: " + to)
		}
		o.remap[a] = int(b)
	default:
		return errors.New("unknown flag")
	}
	return err
}

// parseGrace takes a duration such as 1m30s, a plain number of seconds, or
// "forever", and returns nanoseconds.
func parseGrace(text string) (int64, error) {
	if text == "forever" {
		return -1, nil
	}
	if n, err := strconv.ParseUint(text, 10, 32); err == nil {
		return int64(n) * 1e9, nil
	}
	if d, ok := parseDuration(text); ok {
		return d, nil
	}
	return 0, errors.New("no duration: " + text + " (want 10s, 500ms, 0 or forever)")
}

// parseDuration takes what time.ParseDuration does of h, m, s and ms, without
// a sign.
func parseDuration(text string) (ns int64, ok bool) {
	for text != "" {
		number := 0
		for number < len(text) && (text[number] >= '0' && text[number] <= '9' || text[number] == '.') {
			number++
		}
		end := number
		for end < len(text) && text[end] >= 'a' && text[end] <= 'z' {
			end++
		}
		scale := 0.0
		switch text[number:end] {
		case "h":
			scale = 3600e9
		case "m":
			scale = 60e9
		case "s":
			scale = 1e9
		case "ms":
			scale = 1e6
		}
		value, err := strconv.ParseFloat(text[:number], 64)
		if err != nil || scale == 0 || value*scale > 1e18 || ns > 1e18 { // 30 years
			return 0, false
		}
		ns += int64(value * scale)
		text, ok = text[end:], true
	}
	return ns, ok
}

// signalNames are in the order of their numbers, which amd64 and arm64 share
// (signal(7)).
var signalNames = [...]string{"HUP", "INT", "QUIT", "ILL", "TRAP", "ABRT", "BUS", "FPE", "KILL", "USR1", "SEGV",
	"USR2", "PIPE", "ALRM", "TERM", "STKFLT", "CHLD", "CONT", "STOP", "TSTP", "TTIN", "TTOU", "URG", "XCPU", "XFSZ",
	"VTALRM", "PROF", "WINCH", "IO", "PWR", "SYS"}

// parseSignal takes a number or a name: 15, TERM, SIGTERM, RTMIN+1, RTMAX-1.
func parseSignal(text string) (int, error) {
	bad := errors.New("no signal: " + text)
	if n, err := strconv.Atoi(text); err == nil {
		if n < 1 || n > lastSignal {
			return 0, bad
		}
		return n, nil
	}
	upper := []byte(text)
	for i, c := range upper {
		if c >= 'a' && c <= 'z' {
			upper[i] = c - 'a' + 'A'
		}
	}
	name := string(upper)
	if hasPrefix(name, "SIG") {
		name = name[len("SIG"):]
	}
	for i, s := range signalNames {
		if s == name {
			return i + 1, nil
		}
	}
	switch name { // their older names
	case "IOT":
		return int(syscall.SIGABRT), nil
	case "CLD":
		return int(syscall.SIGCHLD), nil
	case "POLL":
		return int(syscall.SIGIO), nil
	}
	first := lastSignal
	switch {
	case hasPrefix(name, "RTMIN"):
		first = 34 // as the C library counts
	case !hasPrefix(name, "RTMAX"):
		return 0, bad
	}
	n := 0
	if offset := name[len("RTMIN"):]; offset != "" {
		var err error
		if n, err = strconv.Atoi(offset); err != nil {
			return 0, bad
		}
	}
	if n += first; n < 34 || n > lastSignal {
		return 0, bad
	}
	return n, nil
}

func lookup(env []string, name string) (string, bool) {
	for _, e := range env {
		if k, v, ok := cut(e, '='); ok && k == name {
			return v, true
		}
	}
	return "", false
}

// with returns env with the variables of set ("NAME=value") replaced and those
// named in drop left out.
func with(env, set, drop []string) []string {
	out := make([]string, 0, len(env)+len(set))
next:
	for _, e := range env {
		name, _, _ := cut(e, '=')
		for _, d := range drop {
			if name == d {
				continue next
			}
		}
		for _, s := range set {
			if hasPrefix(s, name+"=") {
				continue next
			}
		}
		out = append(out, e)
	}
	return append(out, set...)
}
