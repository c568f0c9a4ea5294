package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"

	"github.com/alecthomas/kingpin/v2"

	"github.com/tazzo/tazpod/init/wire"
	"github.com/tazzo/tazpod/launcher/engine"
	"github.com/tazzo/tazpod/launcher/project"
)

var doctorCommand = command{"doctor", "Print every guarantee and whether this machine gives it.", false, false,
	func(c *kingpin.CmdClause) func(*call) (int, error) {
		asJSON := c.Flag("json", "Print JSON.").Bool()
		return func(c *call) (int, error) {
			e, err := engine.Open(c.ctx, os.Getenv)
			if err != nil {
				return 0, err
			}
			checks, err := onHost(c, e)
			if err != nil {
				return 0, err
			}
			inPod, err := c.inPod(e)
			if err != nil {
				return 0, err
			}
			checks = append(checks, inPod...)
			code := wire.ExitOK
			if !wire.Fulfilled(checks) {
				code = wire.ExitPrivileges
			}
			if *asJSON {
				return code, json.NewEncoder(os.Stdout).Encode(checks)
			}
			for _, check := range checks {
				if _, err := fmt.Println(check.Text()); err != nil {
					return 0, err
				}
			}
			return code, nil
		}
	}}

// onHost checks what can be seen without a pod.
func onHost(c *call, e *engine.Engine) ([]wire.Check, error) {
	info, err := e.Info(c.ctx)
	if err != nil {
		return nil, err
	}
	swap := map[bool]string{true: "yes", false: "no"}[info.SwapLimit]
	checks := []wire.Check{
		{Promise: "P6", Name: "container engine", OK: true, Found: fmt.Sprintf("%s %s at %s, API %s", info.Name, info.ServerVersion, e.Host, e.Version)},
		{Promise: "P1", Name: "swap of a pod's memory can be forbidden", OK: info.SwapLimit, Found: swap,
			Hint: "the kernel needs swapaccount=1, or a machine without swap"},
	}
	mapper := wire.Check{Promise: "P6", Name: "device-mapper, for the vault engine dmcrypt alone", Beyond: true, Found: "yes"}
	if _, err := e.Mapper(info); err != nil {
		_, mapper.Hint = explain(err)
		mapper.Found = "no: " + err.Error()
	} else {
		mapper.OK = true
	}
	client := wire.Check{Name: "OpenSSH client (for tazpod ssh only)", OK: true}
	if client.Found, err = exec.LookPath("ssh"); err != nil {
		client.Found = "none"
	}
	return append(checks, mapper, client), nil
}

// inPod asks the project's pod. Without one that runs there is nothing to ask,
// and that is said.
func (c *call) inPod(e *engine.Engine) ([]wire.Check, error) {
	const name = "guarantees inside a pod"
	config, err := c.project(project.Overrides{})
	if errors.Is(err, project.ErrNone) {
		return []wire.Check{{Name: name, OK: true, Found: "not checked: " + err.Error()}}, nil
	}
	if err != nil {
		return nil, err
	}
	p := &place{c, config, e}
	pod, err := p.pod()
	if err != nil {
		return nil, err
	}
	if !pod.Running() {
		return []wire.Check{{Name: name, OK: true, Found: "not checked: the pod " + pod.Name + " is not running; tazpod up starts it"}}, nil
	}
	client, err := p.control(pod, false)
	if err != nil {
		return nil, err
	}
	defer client.Close()
	return client.Report()
}
