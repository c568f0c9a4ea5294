package engine

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/containerd/errdefs"
	"github.com/docker/docker/api/types/container"
	"github.com/docker/docker/api/types/filters"

	"github.com/tazzo/tazpod/init/wire"
)

// StateAbsent is the state of a pod that doesn't exist; the other states are
// the engine's: created, running, paused, restarting, removing, exited, dead.
const (
	StateAbsent  = "absent"
	StateRunning = "running"
)

// Pod is a container as it is now.
type Pod struct {
	ID       string `json:"id,omitempty"`
	Name     string `json:"name"`
	State    string `json:"state"`
	ExitCode int    `json:"exit_code"`         // of a pod that has ended
	Project  string `json:"project,omitempty"` // empty if tazpod didn't make it
	Image    string `json:"image,omitempty"`   // tag
	ImageID  string `json:"image_id,omitempty"`
	Started  string `json:"started,omitempty"` // RFC 3339
	config   string
}

// Running tells whether the pod can be connected to.
func (p *Pod) Running() bool { return p.State == StateRunning }

// Find returns the container called name; one that isn't there has StateAbsent.
func (e *Engine) Find(ctx context.Context, name string) (*Pod, error) {
	c, err := e.api.ContainerInspect(ctx, name)
	if errdefs.IsNotFound(err) {
		return &Pod{Name: name, State: StateAbsent}, nil
	}
	if err != nil {
		return nil, err
	}
	p := &Pod{ID: c.ID, Name: strings.TrimPrefix(c.Name, "/"), State: string(c.State.Status), ExitCode: c.State.ExitCode, ImageID: c.Image}
	if c.State.Status == StateRunning {
		p.Started = c.State.StartedAt
	}
	if c.Config != nil {
		p.Project, p.Image = c.Config.Labels[LabelProject], c.Config.Labels[LabelImage]
		p.config = c.Config.Labels[labelConfig]
		if p.Image == "" {
			p.Image = c.Config.Image
		}
	}
	return p, nil
}

// Pods returns every pod of the engine's machine that runs or is paused, whoever
// started it, in the order of their names; with an error, those that could be
// found.
func (e *Engine) Pods(ctx context.Context) ([]*Pod, error) {
	pods := map[string]*Pod{}
	var errs []error
	for _, label := range []string{labelPod, LabelProject} { // of the image, or by the launcher
		list, err := e.api.ContainerList(ctx, container.ListOptions{Filters: filters.NewArgs(filters.Arg("label", label))})
		errs = append(errs, err)
		for _, c := range list { // without options, those that are alive
			pod, err := e.Find(ctx, c.ID)
			errs = append(errs, err)
			if err == nil && pod.State != StateAbsent {
				pods[pod.Name] = pod
			}
		}
	}
	sorted := slices.SortedFunc(maps.Values(pods), func(a, b *Pod) int { return strings.Compare(a.Name, b.Name) })
	return sorted, errors.Join(errs...)
}

// ForeignError says that a pod's name is taken.
type ForeignError struct{ Name, Project string }

func (e *ForeignError) Error() string {
	if e.Project == "" {
		return fmt.Sprintf("there is a container %s that tazpod didn't make", e.Name)
	}
	return fmt.Sprintf("the pod %s belongs to %s", e.Name, e.Project)
}

// BusyError says that a pod can't be replaced by one of another image while a
// ghost is open in it.
type BusyError struct{ Name, Is, Wanted string }

func (e *BusyError) Error() string {
	return fmt.Sprintf("a ghost is open in the pod %s, which runs %s, not %s", e.Name, e.Is, e.Wanted)
}

// Busy tells whether a ghost is open in a running pod.
type Busy func(context.Context, *Pod) (bool, error)

// Up makes sure that the pod of a Spec runs: starts it if it is stopped, and
// makes it anew if image or configuration have changed and no ghost is open.
// fresh is set when it was started; notes are for people.
func (e *Engine) Up(ctx context.Context, s Spec, busy Busy) (pod *Pod, fresh bool, notes []string, err error) {
	info, err := e.api.Info(ctx)
	if err != nil {
		return nil, false, nil, err
	}
	on := hostOf(info)
	if s.Pod.Engine == wire.EngineDMCrypt {
		if on.Mapper, err = e.Mapper(info); err != nil {
			return nil, false, nil, err
		}
	}
	config, hostConfig, err := s.configs(on)
	if err != nil {
		return nil, false, nil, err
	}
	for range 5 { // another launcher may do the same at the same time
		pod, err = e.Find(ctx, s.Name)
		switch {
		case err != nil:
			return nil, false, notes, err
		case pod.State == StateAbsent:
			_, err = e.api.ContainerCreate(ctx, config, hostConfig, nil, nil, s.Name)
			if err != nil && !errdefs.IsConflict(err) {
				return nil, false, notes, fmt.Errorf("make the pod: %w", err)
			}
			continue
		case pod.Project != s.Project:
			return nil, false, notes, &ForeignError{s.Name, pod.Project}
		case pod.State == "paused":
			return nil, false, notes, fmt.Errorf("the pod %s is paused: docker unpause %s", s.Name, s.Name)
		case pod.config != config.Labels[labelConfig] || pod.ImageID != s.ImageID:
			if pod.Running() {
				open, err := busy(ctx, pod)
				if err != nil {
					return nil, false, notes, err
				}
				if open && pod.Image != s.Image {
					return nil, false, notes, &BusyError{s.Name, pod.Image, s.Image}
				}
				if open {
					return pod, false, append(notes, "a ghost is open, so the pod goes on with its old image or settings; the next start after its end takes the new ones"), nil
				}
			}
			notes = append(notes, "the pod is made anew: its image or settings have changed")
			if err := e.Down(ctx, pod); err != nil {
				return nil, false, notes, err
			}
			continue
		case pod.Running():
			return pod, fresh, notes, nil
		case pod.State == "removing" || pod.State == "restarting":
			select {
			case <-time.After(500 * time.Millisecond):
			case <-ctx.Done():
				return nil, false, notes, ctx.Err()
			}
			continue
		}
		err = e.Start(ctx, pod)
		if err != nil && strings.Contains(err.Error(), "rlimit") && !on.FixedLimits {
			on.FixedLimits = true
			notes = append(notes, "this engine can't raise the limit of locked memory; doctor tells what that means")
			if config, hostConfig, err = s.configs(on); err == nil {
				err = e.Down(ctx, pod)
			}
			if err == nil {
				continue
			}
		}
		if err != nil && !errdefs.IsNotFound(err) {
			return nil, false, notes, fmt.Errorf("start the pod: %w", err)
		}
		pod, err = e.Find(ctx, s.Name)
		return pod, true, notes, err
	}
	return nil, false, notes, errors.New("the pod " + s.Name + " keeps changing: is another program at work on it?")
}

// Start starts a pod that is stopped, as it is.
func (e *Engine) Start(ctx context.Context, pod *Pod) error {
	return e.api.ContainerStart(ctx, pod.ID, container.StartOptions{})
}

// Stop ends a pod and keeps its container. The pod gets time to save.
func (e *Engine) Stop(ctx context.Context, pod *Pod) error {
	seconds := stopSeconds
	err := e.api.ContainerStop(ctx, pod.ID, container.StopOptions{Timeout: &seconds})
	if errdefs.IsNotFound(err) {
		return nil
	}
	return err
}

// Down ends a pod and removes its container.
func (e *Engine) Down(ctx context.Context, pod *Pod) error {
	if pod.Running() {
		if err := e.Stop(ctx, pod); err != nil {
			return err
		}
	}
	err := e.api.ContainerRemove(ctx, pod.ID, container.RemoveOptions{RemoveVolumes: true})
	if errdefs.IsNotFound(err) || errdefs.IsConflict(err) { // gone, or somebody else removes it
		return nil
	}
	return err
}
