package uml

import (
	"bufio"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"time"
)

// usualPatience is how long the guest may take for anything.
const usualPatience = 4 * time.Minute

// Result is what a command in the guest left.
type Result struct {
	Argv           []string
	Status         int
	Stdout, Stderr string
}

// Err is nil if the command succeeded.
func (r Result) Err() error {
	if r.Status == 0 {
		return nil
	}
	return fmt.Errorf("%s: status %d: %s", strings.Join(r.Argv, " "), r.Status, r.Stdout+r.Stderr)
}

// Job is a command that was started in the guest.
type Job struct {
	m      *Machine
	argv   []string
	number string
	status <-chan int
}

// Run runs a command in the guest, as root in /.
func (m *Machine) Run(argv ...string) Result {
	m.t.Helper()
	return m.Start(argv...).Wait()
}

// Start starts one beside those that run.
func (m *Machine) Start(argv ...string) *Job {
	m.t.Helper()
	j := &Job{m: m, argv: argv, number: m.jobs.number()}
	j.status = m.jobs.expect(j.number)
	err := os.Mkdir(j.path(""), 0o755)
	if err == nil {
		err = os.WriteFile(j.path("argv"), []byte(strings.Join(argv, "\x00")+"\x00"), 0o644)
	}
	if err == nil {
		_, err = io.WriteString(m.jobs.requests, j.number+"\n")
	}
	if err != nil {
		m.t.Fatalf("%s: %v\n%s", strings.Join(argv, " "), err, m.messages())
	}
	return j
}

// Wait returns when the command has ended.
func (j *Job) Wait() Result {
	j.m.t.Helper()
	status := j.m.await(j.status, strings.Join(j.argv, " "))
	out, err := os.ReadFile(j.path("out"))
	errors, err2 := os.ReadFile(j.path("err"))
	if err != nil || err2 != nil {
		j.m.t.Fatal(err, err2)
	}
	return Result{j.argv, status, string(out), string(errors)}
}

func (j *Job) path(name string) string { return filepath.Join(j.m.dir, "shared", j.number, name) }

func (m *Machine) await(status <-chan int, what string) int {
	m.t.Helper()
	select {
	case code, ok := <-status:
		if ok {
			return code
		}
		m.t.Fatalf("%s: User-Mode Linux ended:\n%s", what, m.messages())
	case <-time.After(m.patience):
		m.t.Fatalf("%s: no end after %s:\n%s", what, m.patience, m.messages())
	}
	return 0
}

// jobs are those that the guest has not answered yet. It answers bootJob unasked
// when it can take others.
type jobs struct {
	requests io.Writer

	mu      sync.Mutex
	last    int
	ended   bool
	waiting map[string]chan int
}

const bootJob = "0"

func (j *jobs) number() string {
	j.mu.Lock()
	defer j.mu.Unlock()
	j.last++
	return strconv.Itoa(j.last)
}

// expect returns where the status of a job will come; it is closed if the machine
// ends first.
func (j *jobs) expect(number string) <-chan int {
	j.mu.Lock()
	defer j.mu.Unlock()
	status := make(chan int, 1)
	if j.ended {
		close(status)
		return status
	}
	if j.waiting == nil {
		j.waiting = map[string]chan int{}
	}
	j.waiting[number] = status
	return status
}

// answer hands on what the guest says, until it is gone.
func (j *jobs) answer(r io.Reader) {
	lines := bufio.NewScanner(r)
	for lines.Scan() {
		number, text, _ := strings.Cut(lines.Text(), " ")
		status, err := strconv.Atoi(text)
		j.mu.Lock()
		if waiting := j.waiting[number]; waiting != nil && err == nil {
			waiting <- status
			delete(j.waiting, number)
		}
		j.mu.Unlock()
	}
	j.mu.Lock()
	defer j.mu.Unlock()
	j.ended = true
	for _, status := range j.waiting {
		close(status)
	}
	j.waiting = nil
}
