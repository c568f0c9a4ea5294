package main

import (
	"fmt"

	"github.com/alecthomas/kingpin/v2"

	"github.com/tazzo/tazpod/launcher/dial"
	"github.com/tazzo/tazpod/launcher/engine"
	"github.com/tazzo/tazpod/launcher/project"
)

var ghostCommand = command{"ghost", "Open or join the ghost of this project's pod: a shell, or the command behind --.", true, true,
	func(c *kingpin.CmdClause) func(*call) (int, error) {
		flags := declareSession(c)
		return func(c *call) (int, error) {
			ask, err := flags.ask()
			if err != nil {
				return 0, err
			}
			return c.ghost(flags.passphraseFlags, ask, *flags.plain, nil)
		}
	}}

// ghost runs argv, or a login shell, in the ghost of this project's pod, after what is
// to be done before in the same ghost.
func (c *call) ghost(flags passphraseFlags, ask dial.Ask, plain bool, before func(*place, *dial.Client) error) (int, error) {
	p, err := c.here(project.Overrides{})
	if err != nil {
		return 0, err
	}
	source, err := flags.source()
	if err != nil {
		return 0, err
	}
	pod, fresh, err := p.started()
	if err != nil {
		return 0, err
	}
	return p.session(pod, fresh, source, ask, plain, before)
}

// started returns the project's pod as it is, started again if it was stopped.
func (p *place) started() (pod *engine.Pod, fresh bool, err error) {
	if pod, err = p.pod(); err != nil {
		return nil, false, err
	}
	if pod.State == engine.StateAbsent {
		return nil, false, &exit{0, fmt.Errorf("there is no pod %s", pod.Name), "tazpod run IMAGE makes one"}
	}
	if err := p.makeVault(); err != nil || pod.Running() {
		return pod, false, err
	}
	p.notify("starting the pod " + pod.Name)
	if err := p.engine.Start(p.ctx, pod); err != nil {
		return nil, false, err
	}
	pod, err = p.pod()
	return pod, true, err
}
