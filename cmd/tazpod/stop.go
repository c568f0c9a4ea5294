package main

import (
	"context"
	"errors"
	"fmt"

	"github.com/alecthomas/kingpin/v2"

	"github.com/tazzo/tazpod/init/wire"
	"github.com/tazzo/tazpod/launcher/engine"
	"github.com/tazzo/tazpod/launcher/project"
)

var stopCommand = command{"stop", "End every ghost, save the vault and stop the pod.", false, false,
	func(c *kingpin.CmdClause) func(*call) (int, error) {
		force := forceFlag(c)
		return func(c *call) (int, error) {
			p, err := c.here(project.Overrides{})
			if err != nil {
				return 0, err
			}
			return wire.ExitOK, p.end(*force, p.engine.Stop)
		}
	}}

func forceFlag(c *kingpin.CmdClause) *bool {
	return c.Flag("force", "Stop the pod even if what it holds can't be saved, and is lost.").Bool()
}

// end saves what the pod holds and then ends it.
func (p *place) end(force bool, how func(context.Context, *engine.Pod) error) error {
	pod, err := p.pod()
	if err != nil {
		return err
	}
	if pod.State == engine.StateAbsent {
		p.notify("there is no pod " + pod.Name)
		return nil
	}
	if pod.Running() && !force {
		if err := p.lock(pod); err != nil {
			return err
		}
	}
	return how(p.ctx, pod)
}

// lock ends the pod's ghosts and waits until the vault is saved. A supervisor
// that doesn't answer holds no ghost.
func (p *place) lock(pod *engine.Pod) error {
	client, err := p.control(pod, false)
	if err != nil {
		if p.ctx.Err() == nil {
			p.notify("the pod's supervisor can't be asked: " + err.Error())
		}
		return p.ctx.Err()
	}
	defer client.Close()
	reply, err := client.Lock()
	if err != nil {
		return err
	}
	if reply.Error != "" {
		return &exit{0, errors.New("the vault is not saved: " + reply.Error),
			"the pod goes on, keeps the content in its memory and tries again; tazpod stop --force gives it up"}
	}
	if reply.Sessions > 0 {
		p.notify(fmt.Sprintf("%d session(s) ended", reply.Sessions))
	}
	return nil
}
