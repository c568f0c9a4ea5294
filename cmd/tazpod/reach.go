package main

import (
	"context"
	"errors"
	"fmt"
	"net"
	"strings"
	"time"

	"golang.org/x/crypto/ssh"

	"github.com/tazzo/tazpod/init/wire"
	"github.com/tazzo/tazpod/launcher/dial"
	"github.com/tazzo/tazpod/launcher/engine"
)

const (
	startLimit = 10 * time.Second // from a pod's start to its supervisor's first answer
	retryAfter = 50 * time.Millisecond
)

// control connects to ask about the pod.
func (p *place) control(pod *engine.Pod, fresh bool) (*dial.Client, error) {
	return p.reach(pod, fresh, dial.Control)
}

// ghost connects to open a session.
func (p *place) ghost(pod *engine.Pod, fresh bool, source dial.Source, ask dial.Ask) (*dial.Client, error) {
	return p.reach(pod, fresh, func(ctx context.Context, carrier net.Conn, key dial.HostKey) (*dial.Client, error) {
		return dial.Ghost(ctx, carrier, key, source, ask)
	})
}

// reach connects to a pod. A pod that starts needs a moment, and may still show
// the key of its last start; nothing is tried again once a passphrase was asked
// for.
func (p *place) reach(pod *engine.Pod, fresh bool, connect func(context.Context, net.Conn, dial.HostKey) (*dial.Client, error)) (*dial.Client, error) {
	deadline := time.Now().Add(startLimit)
	if !fresh {
		deadline = time.Now().Add(startLimit / 5) // its supervisor may be starting again
	}
	for {
		client, why, err := p.try(pod, connect)
		var lost *dial.LostError
		again := errors.As(err, &lost) && lost.Early || errors.Is(err, dial.ErrHostKey) || errors.Is(err, engine.ErrNoHostKey)
		if err == nil || !again || p.ctx.Err() != nil {
			return client, err
		}
		now, findErr := p.engine.Find(p.ctx, pod.Name)
		if findErr == nil && (now.ID != pod.ID || !now.Running()) {
			return nil, p.ended(now, err)
		}
		if time.Now().After(deadline) {
			if why != "" {
				err = &exit{0, errors.New(why), "tazpod logs shows what the pod says"}
			}
			return nil, err
		}
		time.Sleep(retryAfter)
	}
}

// try connects once. why is what the pod's end of the carrier says about a
// failure, if anything.
func (p *place) try(pod *engine.Pod, connect func(context.Context, net.Conn, dial.HostKey) (*dial.Client, error)) (client *dial.Client, why string, err error) {
	type answer struct {
		key ssh.PublicKey
		err error
	}
	keys := make(chan answer, 1)
	go func() {
		key, err := p.engine.HostKey(p.ctx, pod)
		keys <- answer{key, err}
	}()
	carrier, err := p.engine.Connect(p.ctx, pod)
	if err != nil {
		return nil, "", &dial.LostError{Err: err, Early: true}
	}
	client, err = connect(p.ctx, carrier, func() (ssh.PublicKey, error) {
		a := <-keys
		return a.key, a.err
	})
	var lost *dial.LostError
	if errors.As(err, &lost) && lost.Early && p.ctx.Err() == nil {
		text, missing := carrier.Why()
		if missing {
			return nil, "", &exit{wire.ExitSession, fmt.Errorf("the image %s has no %s", pod.Image, wire.Binary), "use base, k8s, gemini, or an image made FROM one of them"}
		}
		text, _, _ = strings.Cut(strings.TrimPrefix(text, "tazpod: error: "), "\n")
		return nil, text, err
	}
	return client, "", err
}

// ended describes a pod that has gone away.
func (p *place) ended(pod *engine.Pod, err error) error {
	if pod.State == engine.StateAbsent {
		return &exit{0, fmt.Errorf("the pod %s was removed: %w", pod.Name, err), "tazpod run starts a new one"}
	}
	if pod.Running() {
		return &exit{0, fmt.Errorf("the pod %s was started anew: %w", pod.Name, err), ""}
	}
	var log strings.Builder
	_ = p.engine.Logs(context.WithoutCancel(p.ctx), pod, &log, &log, 10, false) // the error says enough without
	for line := range strings.Lines(log.String()) {
		p.notify("log: " + strings.TrimRight(line, "\r\n"))
	}
	return &exit{0, fmt.Errorf("the pod %s has ended with status %d: %w", pod.Name, pod.ExitCode, err), "tazpod logs shows all that it said"}
}

// lost adds to the error of a broken session what has become of the pod.
func (p *place) lost(pod *engine.Pod, err error) error {
	var lost *dial.LostError
	if !errors.As(err, &lost) {
		return err
	}
	ctx, cancel := context.WithTimeout(context.WithoutCancel(p.ctx), 5*time.Second)
	defer cancel()
	var now *engine.Pod
	var findErr error
	for range 20 { // a pod that is being stopped goes away a little later than its sessions
		time.Sleep(retryAfter)
		if now, findErr = p.engine.Find(ctx, pod.Name); findErr != nil || !now.Running() {
			break
		}
	}
	switch {
	case findErr != nil:
		return err
	case now.State == engine.StateAbsent:
		return &exit{0, fmt.Errorf("%w: the pod was removed", err), ""}
	case !now.Running():
		return &exit{0, fmt.Errorf("%w: the pod has ended with status %d", err, now.ExitCode), "tazpod logs shows what it said, and which changes were saved"}
	}
	return &exit{0, err, "the pod still runs: tazpod status"}
}
