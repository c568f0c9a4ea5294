package e2e

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"
)

// host looks at a pod from outside, as the machine's root: nothing that the pod
// or the engine says is believed.
type host struct {
	t      *testing.T
	name   string // of the container
	id     string // likewise
	cgroup string // directory of its memory controller
	lock   string // the vault's lock as /proc/locks names it
	vault  string // path of the file
	key    []byte // of the vault's volume
	idle   memory // what it has while its vault is locked
}

// patience is for slow machines: what is waited for takes less than a second.
const patience = 30 * time.Second

// memory is in bytes.
type memory struct {
	pod   int64 // heaps and RAM files
	ended int64 // RAM files that pods left which are no more
}

// traces are what an open ghost can be found by. Each is there while it is open
// (least says how many, so that a search that finds nothing is known to work)
// and none afterwards.
var traces = []struct {
	name  string
	least int
	count func(*host) int
}{
	{"processes of sessions", len(stubborn), func(h *host) int { return len(h.marked()) }},
	{"roles of a ghost", 2, func(h *host) int { return len(h.programs("role ghost")) + len(h.programs("role keeper")) }},
	{"processes beside pid1 and serve", 4, func(h *host) int {
		return len(h.processes()) - len(h.programs("pid1")) - len(h.programs("role serve"))
	}},
	{"mounts", 3, (*host).mounts},
	{"MiB of RAM", 48, (*host).ram},
	{"locks of the vault", 1, (*host).locks},
	// Its two halves, since each has a key schedule of its own, which begins with it.
	{"copies of the volume key", 2, func(h *host) int { return h.copies(h.key[:32], h.key[32:]) }},
}

// host needs a running pod whose vault exists and is locked.
func (p *project) host() *host {
	p.t.Helper()
	out := strings.Fields(run(p.t, "docker", "inspect", "-f", "{{.Id}} {{.State.Pid}}", p.name).ok())
	h := &host{t: p.t, name: p.name, id: out[0], key: p.volumeKey(), vault: p.vault()}
	groups, err := os.ReadFile("/proc/" + out[1] + "/cgroup")
	if err != nil {
		p.t.Fatal(err)
	}
	for line := range strings.Lines(string(groups)) {
		switch part := strings.SplitN(strings.TrimSpace(line), ":", 3); {
		case part[1] == "memory":
			h.cgroup = "/sys/fs/cgroup/memory" + part[2]
		case part[0] == "0" && h.cgroup == "":
			h.cgroup = "/sys/fs/cgroup" + part[2]
		}
	}
	var st syscall.Stat_t
	if err := syscall.Stat(filepath.Join(filepath.Dir(p.vault()), "vault.lock"), &st); err != nil {
		p.t.Fatal(err)
	}
	h.lock = fmt.Sprintf(" %02x:%02x:%d ", st.Dev>>8&0xfff, st.Dev&0xff|st.Dev>>12&^0xff, st.Ino)
	h.idle = h.memory()
	return h
}

// volumeKey asks the reference tool.
func (p *project) volumeKey() []byte {
	p.t.Helper()
	if p.key != nil {
		return p.key
	}
	file := filepath.Join(p.t.TempDir(), "key")
	cmd := exec.Command("cryptsetup", "luksDump", "--batch-mode", "--dump-volume-key", "--key-file", "-", "--volume-key-file", file, p.vault())
	cmd.Stdin = strings.NewReader(passphrase)
	if out, err := cmd.CombinedOutput(); err != nil {
		p.t.Fatalf("%s: %v\n%s", cmd, err, out)
	}
	key, err := os.ReadFile(file)
	if err != nil || len(key) != 64 {
		p.t.Fatalf("volume key of %d bytes, %v; want 64", len(key), err)
	}
	p.key = key
	return key
}

// open fails the test unless every trace of an open ghost is found.
func (h *host) open() {
	h.t.Helper()
	h.wait("an open ghost's", func(count, least int) bool { return count >= least })
}

// nothing fails the test unless every trace goes.
func (h *host) nothing() {
	h.t.Helper()
	h.wait("an ended ghost's", func(count, _ int) bool { return count == 0 })
	if out := run(h.t, "losetup", "-n", "-O", "BACK-FILE").stdout; strings.Contains(out, h.vault) {
		h.t.Errorf("the vault has a loop device:\n%s", out)
	}
}

func (h *host) wait(whose string, right func(count, least int) bool) {
	h.t.Helper()
	deadline := time.Now().Add(patience)
	for _, trace := range traces {
		for {
			count := trace.count(h)
			if right(count, trace.least) {
				break
			}
			if time.Now().After(deadline) {
				h.t.Fatalf("%s %s = %d; want %d while it is open, 0 afterwards\n%s", whose, trace.name, count, trace.least, h.describe())
			}
			time.Sleep(50 * time.Millisecond)
		}
	}
}

// hold opens files of the ghost from the host, so that what they held can be
// read when they are gone.
func (h *host) hold(paths ...string) (files []*os.File) {
	h.t.Helper()
	session := h.marked()[stubborn[0].kind]
	for _, path := range paths {
		f, err := os.Open(fmt.Sprintf("/proc/%d/root%s", session, path))
		if err != nil {
			h.t.Fatal(err)
		}
		h.t.Cleanup(func() { f.Close() })
		if zero(h.t, f) {
			h.t.Fatalf("%s is empty", path)
		}
		files = append(files, f)
	}
	return files
}

// freed fails the test unless the RAM of the files stays as long as they are
// open, which shows that it would be seen, and lets go of them.
func (h *host) freed(files []*os.File) {
	h.t.Helper()
	for deadline := time.Now().Add(patience); len(h.marked()) > 0 && time.Now().Before(deadline); {
		time.Sleep(50 * time.Millisecond)
	}
	if h.ram() == 0 {
		h.t.Error("the RAM of files that are still open is not seen")
	}
	for _, f := range files {
		f.Close()
	}
}

// zeroed fails the test unless the files are overwritten, and lets go of them.
func (h *host) zeroed(files []*os.File) {
	h.t.Helper()
	deadline := time.Now().Add(patience)
	for _, f := range files {
		for !zero(h.t, f) {
			if time.Now().After(deadline) {
				h.t.Fatalf("%s is not zeroed", f.Name())
			}
			time.Sleep(50 * time.Millisecond)
		}
		f.Close()
	}
}

// zero tells whether all bytes of a file are.
func zero(t *testing.T, f *os.File) bool {
	t.Helper()
	data, err := io.ReadAll(io.NewSectionReader(f, 0, 1<<40))
	if err != nil {
		t.Fatal(err)
	}
	return len(bytes.Trim(data, "\x00")) == 0
}

// process is one of the pod's, or one that a ghost's session left elsewhere.
type process struct {
	pid  int
	args string // joined by spaces
}

// processes are those of the pod's control group.
func (h *host) processes() (list []process) {
	text, err := os.ReadFile(h.cgroup + "/cgroup.procs")
	if err != nil && !errors.Is(err, fs.ErrNotExist) && !errors.Is(err, syscall.ENODEV) { // gone with its pod
		h.t.Fatal(err)
	}
	for _, field := range strings.Fields(string(text)) {
		pid, err := strconv.Atoi(field)
		if err != nil {
			h.t.Fatal(err)
		}
		args, err := os.ReadFile("/proc/" + field + "/cmdline")
		if err == nil { // else it has just ended
			list = append(list, process{pid, strings.TrimSpace(strings.ReplaceAll(string(args), "\x00", " "))})
		}
	}
	return list
}

// programs are tazpod-init's processes in the pod whose arguments begin so.
func (h *host) programs(args string) (pids []int) {
	for _, p := range h.processes() {
		program, rest, _ := strings.Cut(p.args, " ")
		if filepath.Base(program) == "tazpod-init" && (rest == args || strings.HasPrefix(rest, args+" ")) {
			pids = append(pids, p.pid)
		}
	}
	return pids
}

// kill ends a process of the pod by SIGKILL, from the host.
func (h *host) kill(args string) {
	h.t.Helper()
	pids := h.programs(args)
	if len(pids) != 1 {
		h.t.Fatalf("processes of tazpod-init %s = %v; want one", args, pids)
	}
	if err := syscall.Kill(pids[0], syscall.SIGKILL); err != nil {
		h.t.Fatal(err)
	}
}

// marked are the stubborn processes, by kind, wherever on the machine they are.
func (h *host) marked() map[string]int {
	kinds := map[string]int{}
	for _, pid := range everyProcess(h.t) {
		environ, _ := os.ReadFile("/proc/" + pid + "/environ") // none when it has just ended
		for variable := range strings.SplitSeq(string(environ), "\x00") {
			if kind, ok := strings.CutPrefix(variable, "STUBBORN="+h.name+" "); ok {
				kinds[kind], _ = strconv.Atoi(pid)
			}
		}
	}
	return kinds
}

func everyProcess(t *testing.T) []string {
	t.Helper()
	proc, err := os.Open("/proc")
	if err != nil {
		t.Fatal(err)
	}
	defer proc.Close()
	names, err := proc.Readdirnames(-1)
	if err != nil {
		t.Fatal(err)
	}
	pids := names[:0]
	for _, name := range names {
		if name[0] >= '0' && name[0] <= '9' {
			pids = append(pids, name)
		}
	}
	return pids
}

var (
	containerID = regexp.MustCompile("[0-9a-f]{64}")
	ghostMount  = regexp.MustCompile("/run/tazpod/(vault|ghost)| - (tmpfs|ramfs) tazpod ")
)

// mounts counts a ghost's and a vault's in every mount namespace but those of
// other pods, which may have ghosts of their own.
func (h *host) mounts() (count int) {
	for _, pid := range everyProcess(h.t) {
		groups, _ := os.ReadFile("/proc/" + pid + "/cgroup")
		if id := containerID.FindString(string(groups)); id != "" && id != h.id {
			continue
		}
		mounts, _ := os.ReadFile("/proc/" + pid + "/mountinfo")
		count += len(ghostMount.FindAllIndex(mounts, -1))
	}
	return count
}

// ram is what RAM files and heaps have more than while the vault was locked, in
// MiB; 16 count as none, for heaps never shrink to what they were.
func (h *host) ram() int {
	now := h.memory()
	more := now.pod - h.idle.pod
	if now.pod == 0 {
		more = now.ended - h.idle.ended
	}
	if more < 16<<20 {
		return 0
	}
	return int(more >> 20)
}

func (h *host) memory() (m memory) {
	// Not all that is charged: page cache of programs comes and goes.
	m.pod = sum(h.t, h.cgroup+"/memory.stat", "rss", "anon", "shmem")
	parent := filepath.Dir(h.cgroup)
	m.ended = withChildren(h.t, parent)
	entries, err := os.ReadDir(parent)
	if err != nil {
		h.t.Fatal(err)
	}
	for _, e := range entries {
		if e.IsDir() {
			m.ended -= withChildren(h.t, filepath.Join(parent, e.Name()))
		}
	}
	return m
}

// withChildren is what RAM files have in a control group and all below it, also
// in those that were removed.
func withChildren(t *testing.T, cgroup string) int64 {
	t.Helper()
	if n := sum(t, cgroup+"/memory.stat", "total_shmem"); n > 0 { // version 1
		return n
	}
	return sum(t, cgroup+"/memory.stat", "shmem")
}

// sum adds up lines of a file of the kernel; 0 if there is no such file.
func sum(t *testing.T, path string, names ...string) (total int64) {
	t.Helper()
	text, err := os.ReadFile(path)
	if err != nil && !errors.Is(err, fs.ErrNotExist) && !errors.Is(err, syscall.ENODEV) {
		t.Fatal(err)
	}
	for line := range strings.Lines(string(text)) {
		for _, name := range names {
			if fields := strings.Fields(line); fields[0] == name {
				n, err := strconv.ParseInt(fields[1], 10, 64)
				if err != nil {
					t.Fatal(err)
				}
				total += n
			}
		}
	}
	return total
}

func (h *host) locks() int {
	text, err := os.ReadFile("/proc/locks")
	if err != nil {
		h.t.Fatal(err)
	}
	return strings.Count(string(text), h.lock)
}

// copies counts secrets in the memory of those processes of the pod that stay.
func (h *host) copies(secrets ...[]byte) (count int) {
	for _, pid := range append(h.programs("pid1"), h.programs("role serve")...) {
		for _, n := range copies(h.t, pid, secrets...) {
			count += n
		}
	}
	return count
}

// copies counts secrets in all memory that a process can read, by mapping. What
// it unmaps meanwhile counts as empty.
func copies(t *testing.T, pid int, secrets ...[]byte) map[string]int {
	t.Helper()
	found := map[string]int{}
	dir := fmt.Sprintf("/proc/%d/", pid)
	maps, err := os.ReadFile(dir + "maps")
	if err != nil {
		return nil // it has just ended
	}
	mem, err := os.Open(dir + "mem")
	if err != nil {
		return nil // likewise
	}
	defer mem.Close()
	for line := range strings.Lines(string(maps)) {
		var from, to uint64
		var mode string
		if _, err := fmt.Sscanf(line, "%x-%x %s", &from, &to, &mode); err != nil {
			t.Fatalf("%smaps: %s: %v", dir, line, err)
		}
		if mode[0] == 'r' {
			if n := count(io.NewSectionReader(mem, int64(from), int64(to-from)), secrets); n > 0 {
				found[strings.TrimSpace(line)] += n
			}
		}
	}
	return found
}

// count looks for texts in a stream until its end or an error.
func count(r io.Reader, texts [][]byte) (n int) {
	in := bufio.NewReaderSize(r, 1<<20)
	for {
		data, err := in.Peek(in.Size())
		for _, text := range texts {
			n += bytes.Count(data, text)
		}
		if err != nil {
			return n
		}
		// What could be the beginning of a text at the end is looked at again.
		if _, err := in.Discard(len(data) - len(texts[0]) + 1); err != nil {
			return n
		}
	}
}

// describe says what is there, for people.
func (h *host) describe() string {
	var b strings.Builder
	for _, p := range h.processes() {
		fmt.Fprintf(&b, "process %d: %s\n", p.pid, p.args)
		for where, n := range copies(h.t, p.pid, h.key[:32], h.key[32:]) {
			fmt.Fprintf(&b, "  a half of the key, %d times in %s\n", n, where)
		}
		for where, n := range copies(h.t, p.pid, []byte(passphrase)) {
			fmt.Fprintf(&b, "  the passphrase, %d times in %s\n", n, where)
		}
	}
	for kind, pid := range h.marked() {
		fmt.Fprintf(&b, "stubborn %s: %d\n", kind, pid)
	}
	return b.String()
}
