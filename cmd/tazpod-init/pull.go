package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/signal"
	"slices"
	"syscall"
	"time"

	"github.com/alecthomas/kingpin/v2"

	"github.com/tazzo/tazpod/init/pull"
	"github.com/tazzo/tazpod/init/secrets"
	"github.com/tazzo/tazpod/init/wire"
	"github.com/tazzo/tazpod/launcher/dial"
	"github.com/tazzo/tazpod/launcher/term"
)

// shortestWatch keeps a whole team below what Infisical allows.
const shortestWatch = 10 * time.Second

var pullCommand = command{"pull", "In a ghost: bring the secrets that secrets.yml names into the vault.", false,
	func(c *kingpin.CmdClause) func([]string) (int, error) {
		dryRun := c.Flag("dry-run", "Tell what would change.").Bool()
		replace := c.Flag("replace", "Even what was changed here.").Bool()
		yes := c.Flag("trust", "Say yes to the commands that secrets.yml wants to run.").Bool()
		watch := c.Flag("watch", "Go on, and pull again after each such time.").PlaceHolder("5m").Duration()
		wanted := c.Flag("wanted", "Print the files that the launcher is to bring.").Hidden().Bool()
		given := c.Flag("import", "Bring this entry of those alone, whose file is on standard input.").Hidden().String()
		return func([]string) (int, error) {
			if *watch != 0 && *watch < shortestWatch {
				return 0, &exit{wire.ExitUsage, fmt.Errorf("--watch: %v is less than %v", *watch, shortestWatch), ""}
			}
			if *watch != 0 && *yes {
				return 0, &exit{wire.ExitUsage, errors.New("--trust would say yes to what secrets.yml names later"), "tazpod pull --trust once, then --watch"}
			}
			g, err := inside()
			if err != nil {
				return 0, err
			}
			defer g.dir.Close()
			p := &pull.Pull{Dir: g.dir, Profile: g.profile, DryRun: *dryRun, Replace: *replace, Watch: *watch != 0, Tell: tell}
			trust := &pull.Trust{Dir: g.dir, Terminal: g.terminal, Yes: *yes, DryRun: *dryRun}
			ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGINT, syscall.SIGTERM, syscall.SIGHUP)
			defer stop()
			if *wanted || *given != "" {
				return wire.ExitOK, fromHost(ctx, p, *given)
			}
			from := &pull.FromInfisical{}
			for {
				err := pullOnce(ctx, g, p, trust, from)
				if *watch == 0 && (err == nil || ctx.Err() == nil) {
					return wire.ExitOK, err
				}
				if err != nil {
					tell("error: " + err.Error())
				}
				select {
				case <-ctx.Done():
					return wire.ExitSignal + int(syscall.SIGINT), nil
				case <-time.After(*watch):
				}
			}
		}
	}}

func pullOnce(ctx context.Context, g *here, p *pull.Pull, trust *pull.Trust, from *pull.FromInfisical) error {
	file, err := pull.Secrets(wire.Workspace)
	if err != nil {
		return err
	}
	if from.Again(); from.Config != file.Config {
		*from = pull.FromInfisical{Dir: g.dir, Config: file.Config}
	}
	p.Sources = map[string]pull.Source{
		secrets.Infisical: from,
		secrets.Exec:      &pull.Commands{Dir: wire.Home, Stderr: os.Stderr, Allowed: trust.Allow},
		secrets.Prompt:    &pull.Person{Terminal: g.terminal},
		secrets.FromHost:  pull.FromHost{},
	}
	list := file.Secrets
	if file.Config.Project == "" { // what has no source then is kept by hand
		list = slices.DeleteFunc(list, func(e secrets.Entry) bool { return e.Source == "" })
	}
	return p.Run(ctx, list)
}

// fromHost is the launcher's part of a pull: the list of what it is to bring, and one
// of those.
func fromHost(ctx context.Context, p *pull.Pull, entry string) error {
	file, err := pull.Secrets(wire.Workspace)
	if err != nil {
		return err
	}
	if entry == "" {
		return json.NewEncoder(os.Stdout).Encode(p.FromHost(file.Secrets))
	}
	var w wire.Wanted
	if err := json.Unmarshal([]byte(entry), &w); err != nil {
		return fmt.Errorf("--import: %w", err)
	}
	list := slices.DeleteFunc(file.Secrets, func(e secrets.Entry) bool {
		kind, path := e.Kind()
		return kind != secrets.FromHost || w != wire.Wanted{Name: e.Name, Profile: e.Profile, File: e.File, Path: path}
	})
	if len(list) != 1 {
		return fmt.Errorf("%s: %s has changed meanwhile", w.Name, wire.SecretsFile)
	}
	p.Sources = map[string]pull.Source{secrets.FromHost: pull.FromHost{In: os.Stdin}}
	return p.Run(ctx, list)
}

var envCommand = command{"env", `In a ghost: print the variables of secrets.yml as they are now, for eval "$(tazpod env)".`, false,
	func(c *kingpin.CmdClause) func([]string) (int, error) {
		return func([]string) (int, error) {
			g, err := inside()
			if err != nil {
				return 0, err
			}
			defer g.dir.Close()
			if _, ok := term.From(os.Stdout); ok {
				return 0, &exit{wire.ExitUsage, errors.New("values are not for the screen"), `eval "$(tazpod env)" sets them in this shell`}
			}
			file, err := pull.Secrets(wire.Workspace)
			if err != nil {
				return 0, err
			}
			_, err = os.Stdout.Write(pull.Variables(g.dir, file.Secrets, g.profile, tell))
			return wire.ExitOK, err
		}
	}}

// here is the ghost that this process is in.
type here struct {
	dir      *os.Root // of its secrets
	profile  string
	terminal *term.Terminal // nil if there is none
}

func inside() (*here, error) {
	if _, err := os.Stat(wire.GhostSocket); err != nil {
		return nil, &exit{wire.ExitUsage, errors.New("secrets are in a ghost alone, and this is none"), "tazpod-init ghost opens one; on the host: tazpod pull"}
	}
	mounts, err := os.ReadFile("/proc/self/mountinfo")
	if err != nil {
		return nil, err
	}
	if bytes.Contains(mounts, []byte(" "+wire.Secrets+"/")) {
		return nil, &exit{wire.ExitUsage, errors.New("this ghost shows single files (--only), which can't be replaced"), "use one without --only"}
	}
	dir, err := os.OpenRoot(wire.Secrets)
	if err != nil {
		return nil, err
	}
	g := &here{dir: dir, profile: os.Getenv("TAZPOD_PROFILE")}
	if g.terminal, err = term.Controlling(); err != nil {
		g.terminal = nil
	}
	return g, nil
}

func tell(text string) { fmt.Fprintln(os.Stderr, "tazpod: "+dial.Printable(text)) }
