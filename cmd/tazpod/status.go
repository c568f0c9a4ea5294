package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"syscall"

	"github.com/alecthomas/kingpin/v2"

	"github.com/tazzo/tazpod/init/wire"
	"github.com/tazzo/tazpod/launcher/dial"
	"github.com/tazzo/tazpod/launcher/engine"
	"github.com/tazzo/tazpod/launcher/project"
)

// report is what `status --json` prints.
type report struct {
	Project string       `json:"project"`
	Pod     *engine.Pod  `json:"pod"`
	Vault   vaultFile    `json:"vault_file"`
	Inside  *wire.Status `json:"inside"` // what the pod says; null when it doesn't run
	Problem string       `json:"problem,omitempty"`
}

// vaultFile is the vault as it lies on the host's disk.
type vaultFile struct {
	Path   string `json:"path"`
	Exists bool   `json:"exists"`
	Size   int64  `json:"size"` // bytes that it takes on the disk
	Error  string `json:"error,omitempty"`
}

var statusCommand = command{"status", "Tell what is there, what runs and what is open.", false, false,
	func(c *kingpin.CmdClause) func(*call) (int, error) {
		asJSON := c.Flag("json", "Print JSON.").Bool()
		return func(c *call) (int, error) {
			p, err := c.here(project.Overrides{})
			if err != nil {
				return 0, err
			}
			r := report{Project: p.config.Dir, Vault: vaultOnDisk(p.config.VaultFile())}
			if r.Pod, err = p.pod(); err != nil {
				return 0, err
			}
			if r.Pod.Running() {
				if r.Inside, err = p.inside(r.Pod); err != nil {
					r.Problem = dial.Printable(err.Error())
				}
			}
			if c.ctx.Err() != nil {
				return 0, c.ctx.Err()
			}
			if *asJSON {
				err = json.NewEncoder(os.Stdout).Encode(r)
			} else {
				_, err = fmt.Print(dial.Printable(r.text()))
			}
			return wire.ExitOK, err
		}
	}}

func (p *place) inside(pod *engine.Pod) (*wire.Status, error) {
	client, err := p.control(pod, false)
	if err != nil {
		return nil, err
	}
	defer client.Close()
	s, err := client.Status()
	if err != nil {
		return nil, err
	}
	return &s, nil
}

func vaultOnDisk(path string) vaultFile {
	v := vaultFile{Path: path}
	info, err := os.Lstat(path)
	switch {
	case errors.Is(err, fs.ErrNotExist):
	case err != nil:
		v.Error = err.Error()
	default:
		v.Exists = true
		if s, ok := info.Sys().(*syscall.Stat_t); ok {
			v.Size = s.Blocks * 512 // stat(2): whatever the block size is
		}
	}
	return v
}

// text is the report for people.
func (r report) text() string {
	state := r.Pod.State
	switch {
	case state == engine.StateAbsent:
		state = "absent; tazpod run makes it"
	case state == "exited" || state == "dead":
		state = fmt.Sprintf("stopped (status %d)", r.Pod.ExitCode)
	case r.Pod.Running():
		state = "running since " + r.Pod.Started
	}
	out := fmt.Sprintf("project  %s\npod      %s: %s\n", r.Project, r.Pod.Name, state)
	if r.Pod.Image != "" {
		out += "image    " + r.Pod.Image + "\n"
	}
	file := "none yet: the first ghost makes it"
	switch {
	case r.Vault.Error != "":
		file = r.Vault.Error
	case r.Vault.Exists:
		file = fmt.Sprintf("%s, %.1f MiB on disk", r.Vault.Path, float64(r.Vault.Size)/(1<<20))
	}
	out += "file     " + file + "\n"
	switch {
	case r.Inside != nil:
		out += r.Inside.Text()
	case r.Problem != "":
		out += "vault    unknown: " + r.Problem + "\n"
	default:
		out += "vault    locked: no pod runs\nghosts   none\n"
	}
	return out
}
