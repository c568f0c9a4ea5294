package main

import (
	"errors"
	"fmt"
	"os"
	"sync"

	"github.com/alecthomas/kingpin/v2"

	"github.com/tazzo/tazpod/init/wire"
	"github.com/tazzo/tazpod/launcher/engine"
	"github.com/tazzo/tazpod/launcher/project"
)

var lockCommand = command{"lock", "End every ghost of this project, save the vault and forget the key, at once.", false, false,
	func(c *kingpin.CmdClause) func(*call) (int, error) {
		all := c.Flag("all", "In every pod of this machine.").Short('a').Bool()
		return func(c *call) (int, error) {
			if *all {
				return wire.ExitOK, c.lockAll()
			}
			p, err := c.here(project.Overrides{})
			if err != nil {
				return 0, err
			}
			pod, err := p.pod()
			if err != nil {
				return 0, err
			}
			if !pod.Running() {
				c.notify("the pod " + pod.Name + " is not running: nothing is open")
				return wire.ExitOK, nil
			}
			_, err = p.lock(pod)
			return wire.ExitOK, err
		}
	}}

// lockAll locks whatever runs, all at once: a pod that can't be locked keeps no
// other open.
func (c *call) lockAll() error {
	e, err := engine.Open(c.ctx, os.Getenv)
	if err != nil {
		return err
	}
	pods, err := e.Pods(c.ctx)
	if err == nil && len(pods) == 0 {
		c.notify("no pod is running: nothing is open")
	}
	errs := make([]error, len(pods))
	var all sync.WaitGroup
	for i, pod := range pods {
		all.Go(func() {
			locked, err := false, error(nil)
			if pod.Running() {
				locked, err = (&place{c, nil, e}).lock(pod)
			} else {
				err = errors.New("it is " + pod.State + ", and can't be asked")
			}
			if locked {
				c.notify("locked " + pod.Name)
			}
			if err != nil {
				errs[i] = fmt.Errorf("the pod %s: %w", pod.Name, err)
			}
		})
	}
	all.Wait()
	return errors.Join(append(errs, err)...)
}
