package pull

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path"
	"slices"
	"strings"

	"github.com/tazzo/tazpod/init/secrets"
	"github.com/tazzo/tazpod/init/wire"
	"github.com/tazzo/tazpod/launcher/term"
)

// trusted has a line, a SHA-256, for each command that its user allowed. It is in the
// vault, where programs outside of ghosts can't write their own.
const trusted = wire.Kept + "/trusted"

const maxSecretsFile = 64 << 10 // bytes, as for ghosts

// Trust asks for a yes to each command of secrets.yml that had none yet. The yes is for
// the command together with where its output goes: elsewhere it could show one group's
// secret to another, or be read as something that it isn't.
type Trust struct {
	Dir      *os.Root
	Terminal *term.Terminal // nil where there is none
	Yes      bool           // it is given
	DryRun   bool           // it isn't kept
}

// Allow is nil for an entry whose command may be run.
func (t *Trust) Allow(ctx context.Context, e secrets.Entry) error {
	data, err := readFile(t.Dir, trusted)
	if err != nil && !errors.Is(err, os.ErrNotExist) {
		return err
	}
	_, command := e.Kind()
	what := fmt.Sprintf("%s wants to run %q here, where it can read every secret, for %q", wire.SecretsFile, command, path.Join("~/secrets", e.Place()))
	if e.Env != "" {
		what += " and the variable " + e.Env
	}
	hash := sum(fmt.Appendf(nil, "%q %q %q %q %q %v", command, e.Name, e.Profile, e.File, e.Env, e.Value))
	lines := strings.Fields(string(data))
	if slices.Contains(lines, hash) {
		return nil
	}
	if !t.Yes {
		if t.Terminal == nil {
			return errors.New(what + ": look at it; --trust gives your yes")
		}
		t.Terminal.Tell("tazpod: " + what + ".")
		yes, err := t.Terminal.Confirm(ctx, "Run it? [y/N] ")
		if err != nil {
			return err
		}
		if !yes {
			return fmt.Errorf("%q is not run", command)
		}
	}
	if t.DryRun {
		return nil
	}
	text := strings.Join(append(lines, hash), "\n") + "\n"
	return write(t.Dir, []change{{file: trusted, perm: 0o600, value: []byte(text)}})
}

// Secrets is the secrets.yml of a workspace.
func Secrets(workspace string) (*secrets.File, error) {
	dir, err := os.OpenRoot(workspace)
	if err != nil {
		return nil, err
	}
	defer dir.Close()
	data, err := readFile(dir, wire.SecretsFile)
	if err != nil {
		return nil, err
	}
	if len(data) > maxSecretsFile {
		return nil, fmt.Errorf("%s is longer than %d KiB", path.Join(workspace, wire.SecretsFile), maxSecretsFile>>10)
	}
	return secrets.Parse(wire.SecretsFile, data)
}
