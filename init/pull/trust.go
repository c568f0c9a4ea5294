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

// Trust asks for a yes to each command of secrets.yml that had none yet.
type Trust struct {
	Dir      *os.Root
	Terminal *term.Terminal // nil where there is none
	Yes      bool           // it is given
}

// Allow is nil for a command that may be run.
func (t *Trust) Allow(ctx context.Context, command string) error {
	data, err := readFile(t.Dir, trusted)
	if err != nil && !errors.Is(err, os.ErrNotExist) {
		return err
	}
	hash := sum([]byte(command))
	if slices.Contains(strings.Fields(string(data)), hash) {
		return nil
	}
	if !t.Yes {
		if t.Terminal == nil {
			return fmt.Errorf("%s wants to run %q here, where it can read every secret: look at it; --trust gives your yes", wire.SecretsFile, command)
		}
		t.Terminal.Tell(fmt.Sprintf("tazpod: %s wants to run %q here, where it can read every secret.", wire.SecretsFile, command))
		yes, err := t.Terminal.Confirm(ctx, "Run it? [y/N] ")
		if err != nil {
			return err
		}
		if !yes {
			return fmt.Errorf("%q is not run", command)
		}
	}
	return write(t.Dir, []change{{file: trusted, perm: 0o600, value: append(data, hash+"\n"...)}})
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
		return nil, fmt.Errorf("%s: %w", path.Join(workspace, wire.SecretsFile), err)
	}
	return secrets.Parse(wire.SecretsFile, data)
}
