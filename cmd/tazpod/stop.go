package main

import (
	"context"
	"errors"
	"fmt"

	"github.com/alecthomas/kingpin/v2"

	"github.com/tazzo/tazpod/init/wire"
	"github.com/tazzo/tazpod/launcher/dial"
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
		locked, err := p.lock(pod)
		if err != nil && !locked {
			return err
		}
		if err != nil { // nothing is left in the pod that its end could lose
			p.notify(dial.Printable(err.Error()))
		}
	}
	return how(p.ctx, pod)
}

// lock ends the pod's ghosts and waits until the vault is saved. locked tells,
// with an error too, that the pod holds nothing any more. A supervisor that
// doesn't answer holds no ghost.
func (p *place) lock(pod *engine.Pod) (locked bool, err error) {
	client, err := p.control(pod, false)
	if err != nil {
		if p.ctx.Err() == nil {
			p.notify("the pod's supervisor can't be asked: " + err.Error())
		}
		return p.ctx.Err() == nil, p.ctx.Err()
	}
	defer client.Close()
	reply, err := client.Lock()
	if err != nil {
		return false, err
	}
	if reply.Sessions > 0 {
		p.notify(fmt.Sprintf("%d session(s) ended", reply.Sessions))
	}
	if reply.Error == "" {
		return reply.Locked, nil
	}
	hint := reply.Hint
	if !reply.Locked {
		hint = "the pod goes on, keeps the content in its memory and tries again; tazpod stop --force gives it up\n" + hint
	}
	return reply.Locked, &exit{0, errors.New("the vault is not saved: " + reply.Error), hint}
}
