package pull

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os/exec"
	"path"
	"time"

	"github.com/tazzo/tazpod/init/secrets"
	"github.com/tazzo/tazpod/init/wire"
	"github.com/tazzo/tazpod/launcher/term"
)

// commandLimit is for commands that reach over the network, and may ask at the
// terminal first.
const commandLimit = 2 * time.Minute

// Commands is the source exec: a shell's command, whose standard output is the value,
// byte for byte. What it says besides goes where Stderr goes.
type Commands struct {
	Dir    string // where they run
	Stderr io.Writer
	// Allowed asks whether a command may be run. Whoever can write to the project can
	// name one, and in a ghost it can read every secret.
	Allowed func(ctx context.Context, e secrets.Entry) error
}

func (s *Commands) Fetch(ctx context.Context, e secrets.Entry) ([]byte, error) {
	_, command := e.Kind()
	if err := s.Allowed(ctx, e); err != nil {
		return nil, err
	}
	ctx, cancel := context.WithTimeoutCause(ctx, commandLimit, fmt.Errorf("it took longer than %v", commandLimit))
	defer cancel()
	cmd := exec.CommandContext(ctx, "/bin/sh", "-c", command)
	cmd.Dir, cmd.Stderr, cmd.WaitDelay = s.Dir, s.Stderr, time.Second
	out := &bounded{}
	cmd.Stdout = out
	err := cmd.Run()
	if errors.Is(err, exec.ErrWaitDelay) { // it left something running, which has its output too
		err = nil
	}
	switch {
	case out.full:
		err = fmt.Errorf("it is longer than %d KiB", maxValue>>10)
	case ctx.Err() != nil:
		err = context.Cause(ctx)
	case err == nil && len(out.data) == 0:
		err = errors.New("the command printed nothing")
	}
	if err != nil {
		clear(out.data)
		return nil, fmt.Errorf("%q: %w", command, err)
	}
	return out.data, nil
}

// bounded keeps up to the size of a secret, in memory that doesn't move, so that no
// copy is left where it was.
type bounded struct {
	data []byte
	full bool
}

func (b *bounded) Write(p []byte) (int, error) {
	if b.data == nil {
		b.data = make([]byte, 0, maxValue)
	}
	if b.full = b.full || len(b.data)+len(p) > maxValue; b.full {
		return 0, io.ErrShortWrite
	}
	b.data = append(b.data, p...)
	return len(p), nil
}

// Person is the source prompt: a line that is typed without echo.
type Person struct{ Terminal *term.Terminal }

func (s *Person) Fetch(ctx context.Context, e secrets.Entry) ([]byte, error) {
	if s.Terminal == nil {
		return nil, errors.New("it is to be typed, and there is no terminal to ask on")
	}
	line, err := s.Terminal.Passphrase(ctx, fmt.Sprintf("tazpod: %s asks for %q, for %q: ", wire.SecretsFile, e.Name, path.Join("~/secrets", e.Place())))
	if err != nil {
		return nil, err
	}
	defer line.Destroy()
	if line.Len() == 0 {
		return nil, errors.New("nothing was typed")
	}
	return bytes.Clone(line.Bytes()), nil
}

// FromHost is the source file. In is the file that the launcher brings, nil when none
// was.
type FromHost struct{ In io.Reader }

func (s FromHost) Fetch(_ context.Context, e secrets.Entry) ([]byte, error) {
	if s.In == nil {
		_, file := e.Kind()
		return nil, fmt.Errorf("it is to come from %s of your machine: on that, tazpod pull", file)
	}
	value := make([]byte, maxValue+1) // one piece, so that no copy is left where it was
	n, err := io.ReadFull(s.In, value)
	if errors.Is(err, io.EOF) {
		return nil, errors.New("the file is empty")
	}
	if err == nil || errors.Is(err, io.ErrUnexpectedEOF) {
		return value[:n], nil
	}
	clear(value)
	return nil, err
}
