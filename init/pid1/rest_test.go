package pid1

import (
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"testing"
	"time"
)

// program is tazpod-init with all of its roles.
const program = "../../cmd/tazpod-init"

// TestStartsAlone sees that the packages of other roles aren't initialised. The
// few that are need nothing that this package doesn't need as well, and have
// names that come before its own or before one that it imports.
func TestStartsAlone(t *testing.T) {
	r := how{path: buildProgram(t, program), env: []string{"GODEBUG=inittrace=1"}}.start(t, "run", "true")
	r.want(0)
	r.alone()
	names := regexp.MustCompile(`(?m)^init (\S+) `).FindAllStringSubmatch(r.out.String(), -1)
	if len(names) < 3 || len(names) > 20 { // 13 now; 94 when every package is initialised
		t.Errorf("%d packages initialised; want the runtime, a few that the language's rules put first, and no more:\n%s", len(names), r.out)
	}
	for _, n := range names {
		if first, _, _ := strings.Cut(n[1], "/"); strings.Contains(first, ".") || n[1] == "os" || n[1] == "unicode" {
			t.Errorf("%s initialised", n[1])
		}
	}
}

// TestRests sees an idle init give back the memory of its start, and then no
// thread of it wake up.
func TestRests(t *testing.T) {
	r := how{path: buildProgram(t, program)}.start(t, "run", "sh", "-c", "echo ready; exec sleep 1000")
	r.see("ready")
	const most = 2500 // kB
	limit := time.Now().Add(patience)
	for {
		if now := r.sum(t, "VmRSS", "status"); now <= most {
			break
		} else if time.Now().After(limit) {
			t.Fatalf("resident at rest: %d kB; want at most %d", now, most)
		}
		time.Sleep(100 * time.Millisecond)
	}
	time.Sleep(200 * time.Millisecond) // the runtime's threads go to sleep
	before := r.sum(t, "voluntary_ctxt_switches", "task/*/status")
	time.Sleep(2 * time.Second) // the measurement
	if after := r.sum(t, "voluntary_ctxt_switches", "task/*/status"); after != before {
		t.Errorf("%d wake-ups in 2 s; want 0", after-before)
	}
}

// sum adds up a number that files in the process's directory of /proc give name.
func (r *run) sum(t *testing.T, name, pattern string) (sum int) {
	t.Helper()
	files, err := filepath.Glob(fmt.Sprintf("/proc/%d/%s", r.Process.Pid, pattern))
	if err != nil || len(files) == 0 {
		t.Fatal(pattern, err)
	}
	for _, f := range files {
		text, err := os.ReadFile(f)
		if err != nil {
			t.Fatal(err)
		}
		_, after, _ := strings.Cut(string(text), "\n"+name+":")
		n, err := strconv.Atoi(strings.Fields(after)[0])
		if err != nil {
			t.Fatal(err)
		}
		sum += n
	}
	return sum
}
