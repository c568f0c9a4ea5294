package main

import (
	"context"
	"errors"
	"fmt"
	"time"

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
		if err != nil && !locked && !errors.Is(err, errUnasked) { // who can't be asked saves when told to stop
			return err
		}
		if err != nil { // nothing is left in the pod that its end could lose
			p.notify(dial.Printable(err.Error()))
		}
	}
	return how(p.ctx, pod)
}

// errUnasked says that a pod's supervisor gave no answer, so that nobody knows
// what it holds.
var errUnasked = errors.New("the pod's supervisor can't be asked to lock")

// lockLimit is how long it may take: a large vault is saved before.
const lockLimit = 2 * time.Minute

// lock ends the pod's ghosts and waits until the vault is saved. locked tells,
// with an error too, that the pod holds nothing any more.
func (p *place) lock(pod *engine.Pod) (locked bool, err error) {
	limited := *p.call
	var cancel context.CancelFunc
	limited.ctx, cancel = context.WithTimeout(p.ctx, lockLimit)
	defer cancel()
	unasked := func(err error) error {
		if p.ctx.Err() != nil {
			return p.ctx.Err()
		}
		return &exit{0, fmt.Errorf("%w: %w", errUnasked, err), "a ghost may still be open; tazpod stop ends the pod"}
	}
	client, err := (&place{&limited, p.config, p.engine}).control(pod, false)
	if err != nil {
		return false, unasked(err)
	}
	defer client.Close()
	defer context.AfterFunc(limited.ctx, func() { client.Close() })()
	reply, err := client.Lock()
	if err != nil {
		return false, unasked(err)
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
