package e2e

import (
	"crypto/rand"
	"encoding/hex"
	"encoding/json"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/tazzo/tazpod/init/wire"
	"github.com/tazzo/tazpod/test/need"
)

// attack is where the hostile program lies in a pod. Everybody may read it, so
// that its processes can be traced, as most programs' can.
const attack = "/usr/local/bin/attack"

// row is one attack, as `attack list` tells it (attack/rows.go).
type row struct {
	Name, Got, ID                string
	Open, Weak, Mount, Root, Pod bool
}

// siege is the attack of one pod: what each row got, by its name.
type siege struct {
	t       *testing.T
	pod     pod
	secret  string
	rows    []row
	target  map[string][]int
	victim  *terminal
	results map[string]string
}

// TestAttacks has a hostile program of the pod's user try everything on a
// ghost, in each kind of pod; and on a victim with nothing but a mount namespace
// of its own, where most of it must succeed. THREAT_MODEL.md has the results.
func TestAttacks(t *testing.T) {
	need.Root(t)
	need.Docker(t)
	document := readDocument(t)
	for _, c := range columns {
		if c.start == nil { // TestAttacksElsewhere
			continue
		}
		t.Run(strings.Trim(c.name, "`"), func(t *testing.T) {
			s := newSiege(t, c.start(t))
			s.run()
			document.compare(t, c, s.rows, s.results)
		})
	}
	document.finish(t)
}

func newSiege(t *testing.T, p pod) *siege {
	b := make([]byte, 8)
	_, _ = rand.Read(b) // never fails
	s := &siege{t: t, pod: p, secret: "ghost-secret-" + hex.EncodeToString(b), results: map[string]string{}}
	program, err := os.ReadFile(attackProgram(t))
	if err != nil {
		t.Fatal(err)
	}
	p.exec("root", string(program), "sh", "-c", "cat >"+attack+" && chmod 755 "+attack).ok()
	list := p.exec("tazpod", "", attack, "list").ok()
	if err := json.Unmarshal([]byte(list), &s.rows); err != nil {
		t.Fatalf("%v in %s", err, list)
	}
	return s
}

// attackProgram builds it, unless the suite was brought to another machine
// together with it.
func attackProgram(t *testing.T) string {
	t.Helper()
	if path := os.Getenv("TAZPOD_ATTACK"); path != "" {
		return path
	}
	path := filepath.Join(t.TempDir(), "attack")
	build := exec.Command("go", "build", "-trimpath", "-o", path, "./attack")
	build.Env = append(os.Environ(), "CGO_ENABLED=0")
	if out, err := build.CombinedOutput(); err != nil {
		t.Fatalf("%s: %v\n%s", build, err, out)
	}
	return path
}

func (s *siege) run() {
	t := s.t
	s.pod.exec("tazpod", "", attack, "plant").ok()
	s.victim = s.pod.enter()
	s.victim.send("SECRET='" + s.secret[:10] + "''" + s.secret[10:] + "' && export SECRET && cp " + attack + " ~/secrets/victim && " +
		"echo $SECRET >>~/secrets/victim && exec ~/secrets/victim hold $SECRET\n")
	s.victim.expect("holding")
	visitor := s.pod.visit()
	if visitor != nil {
		visitor.expect("Passphrase: ")
	}
	s.find()
	before := s.report()
	s.attack("tazpod")
	s.typing(visitor)
	s.race()
	s.attack("tazpod", s.named("links"), s.named("poison"))
	s.crash()
	if s.pod.ghosts() {
		s.undisturbed(before, visitor)
	} else {
		s.asRoot()
	}
	s.note(s.named("input signal"), strings.TrimPrefix(s.report()["signals for input"], "0"))
	s.attack("tazpod", s.named("kill all"))
	if s.results[s.named("kill all")] == "" {
		s.report()
		s.victim.send("\x04")
		equal(t, "status of the victim", s.victim.end(), 0)
	}
}

// named is the name of the row with that ID.
func (s *siege) named(id string) string {
	s.t.Helper()
	i := slices.IndexFunc(s.rows, func(r row) bool { return r.ID == id })
	if i < 0 {
		s.t.Fatalf("no row has the ID %q", id)
	}
	return s.rows[i].Name
}

// find has root of the pod look up the numbers of the processes to attack.
func (s *siege) find() {
	s.target = map[string][]int{}
	pids := func(pattern string) []int {
		var found []int
		for _, f := range strings.Fields(s.pod.exec("root", "", "pgrep", "-f", pattern).stdout) {
			n, err := strconv.Atoi(f)
			if err != nil {
				s.t.Fatal(err)
			}
			found = append(found, n)
		}
		return found
	}
	victim := pids("^[^ ]*secrets/victim hold " + s.secret)
	if len(victim) != 1 {
		s.t.Fatalf("victims: %v; want one", victim)
	}
	s.target["victim"] = victim
	if !s.pod.ghosts() {
		s.target["clients"] = victim
		return
	}
	s.target["clients"] = pids("^[^ ]*tazpod-init (connect|ghost)")
	s.target["supervisor"] = append(pids("^[^ ]*tazpod-init role serve"), 1)
	s.target["ghost"] = pids("^[^ ]*tazpod-init role (ghost|keeper)")
	if len(s.target["clients"]) < 2 || len(s.target["supervisor"]) != 2 || len(s.target["ghost"]) != 2 {
		s.t.Fatalf("targets: %v; want two clients or more, a supervisor, a ghost and its keeper", s.target)
	}
}

// attack tries the named rows, or all that don't stand alone, and notes what
// they got.
func (s *siege) attack(user string, names ...string) {
	s.t.Helper()
	if !s.pod.ghosts() && len(names) == 0 {
		for _, r := range s.rows {
			if r.ID == "" && !r.Pod {
				names = append(names, r.Name)
			}
		}
	}
	target, err := json.Marshal(map[string]any{"victim": s.target["victim"][0], "clients": s.target["clients"],
		"supervisor": s.target["supervisor"], "ghost": s.target["ghost"]})
	if err != nil {
		s.t.Fatal(err)
	}
	out := s.pod.exec(user, string(target), append([]string{attack, "run"}, names...)...).ok()
	for decoder := json.NewDecoder(strings.NewReader(out)); decoder.More(); {
		var o struct{ Name, Evidence string }
		if err := decoder.Decode(&o); err != nil {
			s.t.Fatalf("%v in %s", err, out)
		}
		s.note(o.Name, o.Evidence)
	}
}

var anySecret = regexp.MustCompile("ghost-secret-[0-9a-f]{16}")

// note takes a secret for one only if it is this victim's.
func (s *siege) note(name, evidence string) {
	for _, found := range anySecret.FindAllString(evidence, -1) {
		if found != s.secret {
			s.t.Fatalf("%s found %s, which isn't the victim's %s", name, found, s.secret)
		}
	}
	s.results[name] = evidence
}

// typing has the user type all the time while the attacker reads terminals: at
// the victim, and a passphrase at the visitor's prompt.
func (s *siege) typing(visitor *terminal) {
	rest := passphrase
	stop, stopped := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(stopped)
		for {
			select {
			case <-stop:
				return
			case <-time.After(50 * time.Millisecond):
				_, _ = s.victim.master.WriteString("what the user types\n") // an end is told elsewhere
				if visitor != nil && len(rest) > 0 {
					_, _ = visitor.master.WriteString(rest[:1])
					rest = rest[1:]
				}
			}
		}
	}()
	s.attack("tazpod", s.named("keys"))
	close(stop)
	<-stopped
	if visitor != nil {
		visitor.send(rest)
	}
}

// race starts the pod's own program again and again while the attacker waits
// for it. Where there is no TazPod, a copy of it that everybody may read shows
// that the race can be won.
func (s *siege) race() {
	argv := []string{wire.Binary, "ghost", "--", "true"}
	if !s.pod.ghosts() {
		argv[0] = "/usr/local/bin/readable"
		s.pod.exec("root", "", "install", "-m", "755", wire.Binary, argv[0]).ok()
	}
	done := make(chan result)
	go func() {
		done <- s.pod.exec("root", "", append([]string{attack, "start", strconv.Itoa(s.pod.tries())}, argv...)...)
	}()
	s.attack("tazpod", s.named("race"))
	(<-done).ok()
}

// report is what the victim says of itself.
func (s *siege) report() map[string]string {
	s.t.Helper()
	s.victim.send("\nreport\n") // what others typed is a line of its own
	s.victim.expect("report-begin")
	s.victim.expect("report-end")
	screen := s.victim.screen()
	text := screen[strings.LastIndex(screen, "report-begin")+len("report-begin") : strings.LastIndex(screen, "report-end")]
	var r map[string]string
	if err := json.Unmarshal([]byte(text), &r); err != nil {
		s.t.Fatalf("%v in %q", err, text)
	}
	return r
}

// undisturbed: after all that the victim is as it was, nobody has written to a
// terminal, and who was typing a passphrase meanwhile gets in, as others do.
func (s *siege) undisturbed(before map[string]string, visitor *terminal) {
	if after := s.report(); !s.pod.shared() && !maps.Equal(before, after) {
		s.t.Errorf("the victim was %v, and is %v", before, after)
	}
	visitor.send("\n")
	visitor.ready()
	visitor.send("cat ~/secrets/token; echo\n")
	visitor.expect(s.secret)
	visitor.send("exit\n")
	equal(s.t, "status of the visitor", visitor.end(), 0)
	for _, term := range []*terminal{s.victim, visitor} {
		if strings.Contains(term.screen(), "spoofed output") {
			s.t.Error("the attacker has written to a terminal")
		}
	}
	s.pod.exec("root", passphrase+"\n", wire.Binary, "ghost", "--passphrase-fd", "0", "--", "cat", wire.Secrets+"/token").ok()
	// Without it not even root is let in.
	s.pod.exec("root", "", wire.Binary, "ghost", "--", "cat", wire.Secrets+"/token").says("no terminal to ask for the passphrase on").status(wire.ExitPassphrase)
}

// asRoot shows that attacks which a mount namespace resists are real ones.
func (s *siege) asRoot() {
	user := maps.Clone(s.results)
	for _, r := range s.rows {
		if !r.Root {
			continue
		}
		s.attack("root", r.Name)
		if s.results[r.Name] == "" {
			s.t.Errorf("%s: fails for root too: it doesn't attack", r.Name)
		}
	}
	s.results = user
	// What the victim says must agree with what the attacker claims.
	after := s.report()
	for _, what := range []string{"signals", "lines typed by others", "written to memory", "semaphore"} {
		if slices.Contains([]string{"", "0"}, after[what]) {
			s.t.Errorf("%s = %q: the victim didn't notice", what, after[what])
		}
	}
	if !strings.Contains(s.victim.screen(), "spoofed output") {
		s.t.Error("what the attacker wrote to the terminal is not on it")
	}
}
