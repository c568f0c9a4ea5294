package pull

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path"

	"golang.org/x/sys/unix"

	"github.com/tazzo/tazpod/init/secrets"
	"github.com/tazzo/tazpod/init/wire"
)

// Variables are those that secrets.yml gives to the sessions of a ghost, as commands
// for a shell, as they are now. What can't be one is told, and its variable removed, as
// is that of a file that is missing.
func Variables(dir *os.Root, list secrets.List, profile string, tell func(string)) []byte {
	var out bytes.Buffer
	for _, e := range list.Variables(profile) {
		place := e.File
		if profile == "" {
			if _, err := dir.Stat(e.Place()); err == nil {
				place = e.Place()
			}
		}
		value, err := variable(dir, e, place)
		switch {
		case err == nil:
			out.WriteString("export " + e.Env + "=")
			quote(&out, value)
			clear(value)
		case errors.Is(err, fs.ErrNotExist):
			out.WriteString("unset " + e.Env)
		default:
			tell(fmt.Sprintf("note: %s is not set: %v", e.Env, err))
			out.WriteString("unset " + e.Env)
		}
		out.WriteByte('\n')
	}
	return out.Bytes()
}

func variable(dir *os.Root, e secrets.Entry, place string) ([]byte, error) {
	if err := plain(dir, place); err != nil {
		return nil, err
	}
	f, err := dir.OpenFile(place, os.O_RDONLY|unix.O_NONBLOCK, 0)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	if !e.Value {
		return []byte(path.Join(wire.Secrets, place)), nil
	}
	return secrets.Content(f)
}

// quote writes a word of the shell that stands for exactly value (POSIX.1, Shell
// Command Language, section 2.2.2): between single quotes every byte is itself, and
// one of them stands outside, behind a backslash.
func quote(out *bytes.Buffer, value []byte) {
	out.WriteByte('\'')
	out.Write(bytes.ReplaceAll(value, []byte("'"), []byte(`'\''`)))
	out.WriteByte('\'')
}
