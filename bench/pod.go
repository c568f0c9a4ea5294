package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"github.com/docker/docker/client"
	"golang.org/x/crypto/ssh"

	"github.com/tazzo/tazpod/init/locked"
	"github.com/tazzo/tazpod/init/wire"
	"github.com/tazzo/tazpod/launcher/dial"
	"github.com/tazzo/tazpod/launcher/engine"
)

const passphrase = "correct horse battery staple" // of a vault that holds noise

// pod is a project with its running pod.
type pod struct {
	*engine.Pod
	engine *engine.Engine
	docker client.APIClient // the same engine, for what docker exec does
	tazpod string
	dir    string
	opened int // how often the vault was opened before the measured rounds
}

// newPod makes a project as its users do, and starts its pod.
func newPod(ctx context.Context, e *engine.Engine) (p *pod, err error) {
	p = &pod{engine: e}
	if p.tazpod, err = filepath.Abs(filepath.Join(*bin, "tazpod")); err != nil {
		return nil, err
	}
	if p.docker, err = client.NewClientWithOpts(client.FromEnv, client.WithHost(e.Host), client.WithAPIVersionNegotiation()); err != nil {
		return nil, err
	}
	if p.dir, err = os.MkdirTemp("", "tazpod-bench-"); err != nil {
		return nil, err
	}
	defer func() {
		if err != nil {
			err = errors.Join(err, p.remove())
		}
	}()
	if err := p.run(ctx, "init"); err != nil {
		return nil, err
	}
	config := filepath.Join(p.dir, ".tazpod", "config.yaml")
	text, err := os.ReadFile(config)
	if err != nil {
		return nil, err
	}
	name := fmt.Sprintf("bench-%d", os.Getpid())
	if err := os.WriteFile(config, append(text, "\nname: "+name+"\n"...), 0o644); err != nil {
		return nil, err
	}
	if err := p.run(ctx, "up", *image); err != nil {
		return nil, err
	}
	p.Pod, err = e.Find(ctx, name)
	return p, err
}

func (p *pod) run(ctx context.Context, args ...string) error {
	cmd := exec.CommandContext(ctx, p.tazpod, args...)
	cmd.Dir, cmd.Stdout, cmd.Stderr = p.dir, os.Stderr, os.Stderr
	if err := cmd.Run(); err != nil {
		return fmt.Errorf("tazpod %s: %w", args[0], err)
	}
	return nil
}

// remove ends the pod, also after an interrupt.
func (p *pod) remove() error {
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	return errors.Join(p.run(ctx, "down"), os.RemoveAll(p.dir))
}

// answer gives the passphrase and notes when.
type answer struct{ at time.Time }

func (a *answer) Tries() int { return 1 }

func (a *answer) Tell(string) {}

func (a *answer) Ask(context.Context, string) (*locked.Buffer, error) {
	a.at = time.Now()
	return locked.Take([]byte(passphrase))
}

// connect opens a carrier and logs in, as the launcher does.
func (p *pod) connect(ctx context.Context, source dial.Source) (*dial.Client, error) {
	type reply struct {
		key ssh.PublicKey
		err error
	}
	keys := make(chan reply, 1)
	go func() {
		key, err := p.engine.HostKey(ctx, p.Pod)
		keys <- reply{key, err}
	}()
	carrier, err := p.engine.Connect(ctx, p.Pod)
	if err != nil {
		return nil, err
	}
	return dial.Ghost(ctx, carrier, func() (ssh.PublicKey, error) {
		r := <-keys
		return r.key, r.err
	}, source, dial.Ask{})
}

// session runs a script in the ghost to its end.
func session(c *dial.Client, script string, in io.Reader, out io.Writer) error {
	status, err := c.Run(script, nil, dial.Streams{In: in, Out: out, Err: os.Stderr})
	if err == nil && status != 0 {
		err = fmt.Errorf("a session ends with status %d", status)
	}
	return err
}

// fill makes the vault, with 1 MB in 100 files.
func (p *pod) fill(ctx context.Context) error {
	say("making a vault with 1 MB in 100 files")
	c, err := p.connect(ctx, &answer{})
	if err != nil {
		return err
	}
	defer c.Close()
	p.opened++
	return session(c, `set -e; cd ~/secrets; for i in {0..99}; do mkdir -p dir-$((i % 10)); head -c 10240 /dev/urandom > dir-$((i % 10))/file-$i; done`,
		strings.NewReader(""), io.Discard)
}

// memory adds up what the pod's first process and its supervisor have in RAM,
// in bytes, once they are idle.
func (p *pod) memory(ctx context.Context) (int64, error) {
	time.Sleep(3 * time.Second)
	top, err := p.docker.ContainerTop(ctx, p.ID, []string{"-eo", "pid,rss,args"})
	if err != nil {
		return 0, err
	}
	var sum int64
	processes := 0
	for _, row := range top.Processes {
		kilobytes, err := strconv.ParseInt(row[1], 10, 64)
		if err != nil {
			return 0, err
		}
		if strings.Contains(row[2], "tazpod-init pid1") || strings.Contains(row[2], "tazpod-init role serve") {
			sum += kilobytes << 10
			processes++
		}
	}
	if processes != 2 {
		return 0, fmt.Errorf("%d supervisor processes instead of 2: %v", processes, top.Processes)
	}
	return sum, nil
}

// event is a line of the pod's log; durations are in milliseconds.
type event struct {
	Event     string
	Took, KDF float64
}

// events reads the pod's log by kind of event, without those before the rounds.
func (p *pod) events(ctx context.Context) (map[string][]event, error) {
	var log bytes.Buffer
	if err := p.engine.Logs(ctx, p.Pod, io.Discard, &log, -1, false); err != nil {
		return nil, err
	}
	events := map[string][]event{}
	skip := p.opened + 2 // and the round that warms up
	for line := range bytes.Lines(log.Bytes()) {
		var e event
		if json.Unmarshal(line, &e) != nil {
			continue // not a line of the supervisor's
		}
		if e.Event == "opened" {
			skip--
		}
		if skip < 0 {
			events[e.Event] = append(events[e.Event], e)
		}
	}
	if got, want := len(events["opened"]), 2**rounds; got != want || len(events["locked"]) != want {
		return nil, fmt.Errorf("the pod's log tells of %d openings and %d ends; want %d", got, len(events["locked"]), want)
	}
	return events, nil
}

// initSize is that of tazpod-init, in bytes.
func initSize() (int64, error) {
	info, err := os.Stat(filepath.Join(*bin, filepath.Base(wire.Binary)))
	if err != nil {
		return 0, err
	}
	return info.Size(), nil
}
