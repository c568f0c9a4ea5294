package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"time"

	"github.com/alecthomas/kingpin/v2"

	"github.com/tazzo/tazpod/init/control"
	"github.com/tazzo/tazpod/init/pid1"
	"github.com/tazzo/tazpod/init/wire"
)

var lockCommand = command{"lock", "End every ghost of this pod, save its vault and forget the key.", false,
	func(c *kingpin.CmdClause) func([]string) (int, error) {
		return func([]string) (int, error) {
			if _, err := os.Stat(wire.GhostSocket); err == nil { // this is a ghost
				return wire.ExitFailure, control.LockInside()
			}
			var reply wire.LockReply
			if err := ask(wire.RequestLock, &reply); err != nil {
				return wire.ExitFailure, err
			}
			if reply.Error != "" {
				return wire.ExitFailure, &exit{wire.ExitFailure, fmt.Errorf("the vault is not saved: %s", reply.Error), reply.Hint}
			}
			return wire.ExitOK, nil
		}
	}}

var statusCommand = command{"status", "Tell what is open.", false,
	func(c *kingpin.CmdClause) func([]string) (int, error) {
		asJSON := c.Flag("json", "Print JSON.").Bool()
		return func([]string) (int, error) {
			var status wire.Status
			if err := ask(wire.RequestStatus, &status); err != nil {
				return wire.ExitFailure, err
			}
			if *asJSON {
				return wire.ExitOK, json.NewEncoder(os.Stdout).Encode(status)
			}
			_, err := fmt.Print(status.Text())
			return wire.ExitOK, err
		}
	}}

var doctorCommand = command{"doctor", "Print every guarantee and whether this host gives it.", false,
	func(c *kingpin.CmdClause) func([]string) (int, error) {
		asJSON := c.Flag("json", "Print JSON.").Bool()
		return func([]string) (int, error) {
			var checks []wire.Check
			if err := ask(wire.RequestReport, &checks); err != nil {
				return wire.ExitFailure, err
			}
			code := wire.ExitOK
			if !wire.Fulfilled(checks) {
				code = wire.ExitPrivileges
			}
			if *asJSON {
				return code, json.NewEncoder(os.Stdout).Encode(checks)
			}
			for _, check := range checks {
				fmt.Println(check.Text())
			}
			return code, nil
		}
	}}

var healthcheckCommand = command{"healthcheck", "Succeed if the pod's supervisor answers, and isn't one that ends again and again.", false,
	func(c *kingpin.CmdClause) func([]string) (int, error) {
		return func([]string) (int, error) {
			if err := crashLoop(); err != nil {
				return wire.ExitFailure, err
			}
			var status wire.Status
			if err := ask(wire.RequestStatus, &status); err != nil {
				return wire.ExitFailure, err
			}
			if status.Vault.SaveError != "" {
				return wire.ExitFailure, errors.New("the vault is not saved: " + status.Vault.SaveError)
			}
			return wire.ExitOK, nil
		}
	}}

// crashLoop returns an error while the supervisor has been started again more
// than once and not yet run for a minute since.
func crashLoop() error {
	var s pid1.State
	text, err := os.ReadFile(pid1.StateFile)
	if err != nil || json.Unmarshal(text, &s) != nil {
		return nil // another first process; whether the supervisor answers says enough
	}
	since, err := time.Parse(time.RFC3339, s.Since)
	if err != nil || s.Restarts < 2 || s.Running && time.Since(since) >= time.Minute {
		return nil
	}
	return &exit{wire.ExitFailure, fmt.Errorf("the pod's supervisor ended %d times, last with: %s", s.Restarts, s.Last), "docker logs POD tells more"}
}

// ask sends a request and explains a supervisor that can't be reached.
func ask(request string, reply any) error {
	err := control.Ask(request, reply)
	if err == nil {
		return nil
	}
	if why, hint, ok := control.Unreachable(err); ok {
		return &exit{wire.ExitFailure, why, hint}
	}
	return err
}
