package main

import (
	"context"
	"fmt"
	"io"
	"os"
	"os/exec"
	"strings"
	"sync"
	"time"

	"github.com/docker/docker/api/types/container"

	"github.com/tazzo/tazpod/init/wire"
	"github.com/tazzo/tazpod/launcher/dial"
)

// What is measured in the rounds, each from this side of the engine.
const (
	opening      = iota // from the passphrase to the first session's first output; with the key derivation
	joining             // `true` on an open ghost and an open connection
	arriving            // the same with a carrier and a login of its own
	launching           // the same by the launcher
	exec1               // `docker exec POD true` through the API
	execProgram         // the same by docker's own program
	filesInside         // 5,000 small files made, read and deleted in a ghost's home
	filesOutside        // the same in the pod's, on the container's own file system
	ending              // of a ghost that changed nothing
	saving              // of one that changed a file just before
	kinds
)

type measured [kinds][]time.Duration

// round opens a ghost, joins it in several ways beside docker exec, and ends it.
func (p *pod) round(ctx context.Context, m *measured, changing bool) error {
	var source answer
	c, err := p.connect(ctx, &source)
	if err != nil {
		return err
	}
	defer c.Close()
	script := "echo; cat" // until its input ends
	kind := ending
	if changing {
		script += "; head -c 1000 /dev/urandom > ~/secrets/changing"
		kind = saving
	}
	out := &first{there: make(chan struct{})}
	in, end := io.Pipe()
	defer end.Close()
	ended := make(chan error, 1)
	go func() { ended <- session(c, script, in, out) }()
	select {
	case <-out.there:
		m[opening] = append(m[opening], out.at.Sub(source.at))
	case err := <-ended:
		return fmt.Errorf("the first session ended at once: %v", err)
	}
	time.Sleep(200 * time.Millisecond) // what opening left to do in the background
	if !changing {
		if err := p.joins(ctx, c, m); err != nil {
			return err
		}
	}
	return m.time(kind, func() error {
		end.Close()
		return <-ended
	})
}

// joins runs `true` in every way, one after the other.
func (p *pod) joins(ctx context.Context, c *dial.Client, m *measured) error {
	for kind, do := range map[int]func() error{
		joining: func() error { return session(c, "true", strings.NewReader(""), io.Discard) },
		arriving: func() error {
			c, err := p.connect(ctx, &answer{})
			if err != nil {
				return err
			}
			defer c.Close()
			return session(c, "true", strings.NewReader(""), io.Discard)
		},
		launching: func() error {
			cmd := exec.CommandContext(ctx, p.tazpod, "ghost", "--passphrase-fd", "0", "--", "true")
			cmd.Dir, cmd.Stdin, cmd.Stderr = p.dir, strings.NewReader(passphrase), os.Stderr
			return cmd.Run()
		},
		exec1:        func() error { return p.exec(ctx, "0", "true") },
		filesInside:  func() error { return session(c, dial.Quote(manyFiles), strings.NewReader(""), io.Discard) },
		filesOutside: func() error { return p.exec(ctx, wire.UserName, manyFiles...) },
		execProgram: func() error {
			return exec.CommandContext(ctx, "docker", "exec", p.Name, "true").Run()
		},
	} {
		if err := m.time(kind, do); err != nil {
			return err
		}
	}
	return nil
}

// time measures what do takes.
func (m *measured) time(kind int, do func() error) error {
	start := time.Now()
	err := do()
	m[kind] = append(m[kind], time.Since(start))
	return err
}

// manyFiles makes, reads and deletes 5,000 files of 1 KiB in the home directory.
var manyFiles = []string{"python3", "-c", `import os
d = "/home/tazpod/bench"
os.mkdir(d)
data = os.urandom(1024)
for i in range(5000):
    with open(f"{d}/{i}", "wb") as f: f.write(data)
for i in range(5000):
    with open(f"{d}/{i}", "rb") as f: assert f.read() == data
for i in range(5000): os.unlink(f"{d}/{i}")
os.rmdir(d)`}

// exec is `docker exec POD argv`: to the end of its output, and its status.
func (p *pod) exec(ctx context.Context, user string, argv ...string) error {
	options := container.ExecOptions{AttachStdout: true, AttachStderr: true, User: user, Cmd: argv}
	e, err := p.docker.ContainerExecCreate(ctx, p.ID, options)
	if err != nil {
		return err
	}
	stream, err := p.docker.ContainerExecAttach(ctx, e.ID, container.ExecAttachOptions{})
	if err != nil {
		return err
	}
	defer stream.Close()
	if _, err := io.Copy(io.Discard, stream.Reader); err != nil {
		return err
	}
	for {
		state, err := p.docker.ContainerExecInspect(ctx, e.ID)
		if err != nil {
			return err
		}
		if !state.Running {
			if state.ExitCode != 0 {
				return fmt.Errorf("docker exec %s ends with status %d", argv[0], state.ExitCode)
			}
			return nil
		}
		time.Sleep(time.Millisecond) // the stream ends a little earlier
	}
}

// first notes when something was written for the first time.
type first struct {
	once  sync.Once
	at    time.Time
	there chan struct{}
}

func (f *first) Write(p []byte) (int, error) {
	f.once.Do(func() {
		f.at = time.Now()
		close(f.there)
	})
	return len(p), nil
}
