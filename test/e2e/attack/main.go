// Command attack is the hostile program of the isolation suite: it runs as the
// pod's user, in the pod and outside the ghost, and tries each way that is known
// to get at another process of one's own user. With `hold` it is also the
// victim, which keeps one secret wherever a process can keep one.
//
// It never trusts what only root could have told it, with one exception: the
// numbers of the processes to attack, which it could try one by one (and does,
// in a row of its own). A row has succeeded only with proof, as a rule the
// victim's secret, of which the attacker knows nothing but its form.
//
// It harms only its own victim, and what runs as the same user in the same pod:
// the last row kills all of that. Never run it outside a container.
package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"regexp"
	"runtime"
	"slices"
	"strconv"
)

// secret is the form of what the victim keeps.
var secret = regexp.MustCompile(`ghost-secret-[0-9a-f]{16}`)

// target says whom to attack, in numbers of the pod.
type target struct {
	Victim     int   `json:"victim"`
	Clients    []int `json:"clients"`    // between the user's terminal and the supervisor
	Supervisor []int `json:"supervisor"` // serve, and the pod's first process
	Ghost      []int `json:"ghost"`      // its first process and its keeper
}

// outcome of a row; without evidence it got nothing.
type outcome struct {
	Name     string `json:"name"`
	Evidence string `json:"evidence"`
}

func main() {
	if len(os.Args) < 2 {
		fail(errors.New("usage: attack list, plant, run [ROW...] <TARGET, hold SECRET or start N COMMAND [ARGUMENT...]"))
	}
	switch verb, args := os.Args[1], os.Args[2:]; verb {
	case "list":
		check(json.NewEncoder(os.Stdout).Encode(rows))
	case "plant":
		check(plant())
	case "run":
		var t target
		check(json.NewDecoder(os.Stdin).Decode(&t))
		run(&t, args)
	case "hold":
		check(hold(args[0]))
	case "start":
		n, err := strconv.Atoi(args[0])
		check(err)
		check(start(n, args[1:]))
	case "elevated":
		pid, err := strconv.Atoi(args[0])
		check(err)
		fmt.Print(elevated(pid))
	default:
		fail(fmt.Errorf("no verb %q", verb))
	}
}

// run tries the named rows in the table's order, or all that the test doesn't
// try alone, and writes an outcome for each.
func run(t *target, names []string) {
	runtime.LockOSThread() // a tracer is a thread
	encoder := json.NewEncoder(os.Stdout)
	for _, r := range rows {
		if r.try == nil || len(names) == 0 && r.ID != "" || len(names) > 0 && !slices.Contains(names, r.Name) {
			continue
		}
		check(encoder.Encode(outcome{r.Name, r.try(t)}))
	}
}

func check(err error) {
	if err != nil {
		fail(err)
	}
}

func fail(err error) {
	fmt.Fprintln(os.Stderr, "attack:", err)
	os.Exit(1)
}
