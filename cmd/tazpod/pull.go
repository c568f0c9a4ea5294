package main

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/alecthomas/kingpin/v2"
	"golang.org/x/sys/unix"

	"github.com/tazzo/tazpod/init/wire"
	"github.com/tazzo/tazpod/launcher/dial"
	"github.com/tazzo/tazpod/launcher/term"
)

var pullCommand = command{"pull", "Bring the secrets that secrets.yml names into the vault.", false, false,
	func(c *kingpin.CmdClause) func(*call) (int, error) {
		flags, profile := declarePassphrase(c), profileFlag(c)
		dryRun := c.Flag("dry-run", "Tell what would change.").Bool()
		replace := c.Flag("replace", "Even what was changed in the vault.").Bool()
		yes := c.Flag("trust", "Say yes to the commands that secrets.yml wants to run in the ghost.").Bool()
		files := c.Flag("trust-file", "Say yes to this file of this machine, if secrets.yml wants it (may be repeated).").PlaceHolder("PATH").Strings()
		watch := c.Flag("watch", "Go on, and pull again after each such time.").PlaceHolder("5m").String()
		return func(c *call) (int, error) {
			argv := []string{"pull"}
			for flag, given := range map[string]bool{"--dry-run": *dryRun, "--replace": *replace, "--trust": *yes, "--watch=" + *watch: *watch != ""} {
				if given {
					argv = append(argv, flag)
				}
			}
			return c.inGhost(flags, *profile, argv, func(p *place, client *dial.Client) error {
				if *dryRun {
					return nil
				}
				return p.bring(client, *files)
			})
		}
	}}

const maxList = 64 << 10 // bytes, of the pod's list of files

// bring hands the pod the files of this machine that secrets.yml names and the vault
// doesn't have. Whoever can write to the project could name any file, so each needs a
// yes: on the terminal, or by its path in trusted.
func (p *place) bring(client *dial.Client, trusted []string) error {
	list := &limited{left: maxList}
	if err := inPod(client, dial.Streams{In: strings.NewReader(""), Out: list, Err: dial.PrintableWriter(os.Stderr)}, "pull", "--wanted"); err != nil {
		return err
	}
	var wanted []wire.Wanted
	if err := json.Unmarshal(list.Bytes(), &wanted); err != nil {
		return fmt.Errorf("the pod's list of files: %w", err)
	}
	for _, w := range wanted {
		if err := p.bringOne(client, w, trusted); err != nil {
			return err
		}
	}
	return nil
}

func (p *place) bringOne(client *dial.Client, w wire.Wanted, trusted []string) error {
	f, path, err := hostFile(w.Path)
	if err != nil {
		return fmt.Errorf("%q: %w", w.Name, err)
	}
	defer f.Close()
	if err := p.agree(w, path, trusted); err != nil {
		return err
	}
	entry, err := json.Marshal(w)
	if err != nil {
		return err
	}
	return inPod(client, dial.Streams{In: f, Out: io.Discard, Err: dial.PrintableWriter(os.Stderr)}, "pull", "--import="+string(entry))
}

// agree asks about a file that is open already, by the path that it really has.
func (p *place) agree(w wire.Wanted, path string, trusted []string) error {
	what := fmt.Sprintf("%s wants the file %q of this machine in the vault, as the secret %q", wire.SecretsFile, path, w.Name)
	if slices.Contains(trusted, path) {
		return nil
	}
	t, err := term.Controlling()
	if err != nil {
		return &exit{wire.ExitUsage, errors.New(what), fmt.Sprintf("if you want that: --trust-file %q", path)}
	}
	defer t.Close()
	t.Tell("tazpod: " + what + ". Programs in its ghosts can read it there.")
	agreed, err := t.Confirm(p.ctx, "Copy it? [y/N] ")
	if err == nil && !agreed {
		err = &exit{wire.ExitUsage, errors.New("nothing was pulled"), ""}
	}
	return err
}

// hostFile opens a file that secrets.yml names, and tells where it really is: links may
// lie on the way.
func hostFile(name string) (f *os.File, path string, err error) {
	if rest, ok := strings.CutPrefix(name, "~/"); ok {
		home, err := os.UserHomeDir()
		if err != nil {
			return nil, "", err
		}
		name = filepath.Join(home, rest)
	}
	if !filepath.IsAbs(name) {
		return nil, "", fmt.Errorf("%q begins neither with / nor with ~/", name)
	}
	if f, err = os.OpenFile(name, os.O_RDONLY|unix.O_NONBLOCK, 0); err != nil {
		return nil, "", err
	}
	info, err := f.Stat()
	if err == nil && !info.Mode().IsRegular() {
		err = fmt.Errorf("%s is no file", name)
	}
	if err == nil {
		path, err = os.Readlink(fmt.Sprintf("/proc/self/fd/%d", f.Fd()))
	}
	if err != nil {
		f.Close()
		return nil, "", err
	}
	return f, path, nil
}

// limited is a buffer for what a pod says.
type limited struct {
	bytes.Buffer
	left int
}

func (l *limited) Write(p []byte) (int, error) {
	if l.left -= len(p); l.left < 0 {
		return 0, io.ErrShortBuffer
	}
	return l.Buffer.Write(p)
}

// ReadFrom would go around Write.
func (l *limited) ReadFrom(r io.Reader) (int64, error) {
	return io.Copy(struct{ io.Writer }{l}, r)
}

// inPod runs a command of tazpod-init in the client's ghost.
func inPod(client *dial.Client, streams dial.Streams, args ...string) error {
	status, err := client.Run(dial.Quote(append([]string{wire.Binary}, args...)), nil, streams)
	if err == nil && status != 0 {
		err = &exit{wire.ExitFailure, fmt.Errorf("tazpod-init %s ended with status %d", strings.Join(args, " "), status), ""}
	}
	return err
}

// inGhost runs a command of tazpod-init in a ghost, as the user's session, after what
// has to be done there before.
func (c *call) inGhost(flags passphraseFlags, profile string, argv []string, before func(*place, *dial.Client) error) (int, error) {
	ask, err := dial.ParseAsk(profile, nil, "", "", func(name string) string {
		if name == wire.AskOnly { // there, no file can be replaced
			return ""
		}
		return os.Getenv(name)
	})
	if err != nil {
		return 0, &exit{wire.ExitUsage, err, ""}
	}
	c.argv = append([]string{wire.Binary}, argv...)
	return c.ghost(flags, ask, false, before)
}
