package dial

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"

	"github.com/tazzo/tazpod/init/locked"
	"github.com/tazzo/tazpod/launcher/term"
)

// Source is who knows the passphrase.
type Source interface {
	// Ask returns what the caller destroys, io.EOF when there is nothing, or the
	// cause of ctx when that is done first.
	Ask(ctx context.Context, prompt string) (*locked.Buffer, error)
	Tell(text string) // for people
	Tries() int       // how often asking can help
}

const (
	triesOnTerminal = 3
	maxPassphrase   = 4096 // bytes, from a file
)

// person asks on a terminal.
type person struct{ *term.Terminal }

// Person is whoever sits at t.
func Person(t *term.Terminal) Source { return person{t} }

func (p person) Tries() int { return triesOnTerminal }

func (p person) Ask(ctx context.Context, prompt string) (*locked.Buffer, error) {
	return p.Passphrase(ctx, prompt)
}

// given is a passphrase that was read beforehand.
type given struct {
	passphrase *locked.Buffer
	log        io.Writer
}

// Given reads the passphrase from f to its end, without one line feed there,
// and closes f. What the pod says to people goes to log.
func Given(f *os.File, log io.Writer) (Source, error) {
	defer f.Close()
	b, err := locked.New(maxPassphrase)
	if err != nil {
		return nil, err
	}
	if err := b.Fill(f); err != nil {
		b.Destroy()
		if errors.Is(err, locked.ErrFull) {
			err = fmt.Errorf("longer than %d bytes", maxPassphrase)
		}
		return nil, fmt.Errorf("passphrase from %s: %w", f.Name(), err)
	}
	if bytes.HasSuffix(b.Bytes(), []byte("\n")) {
		b.Truncate(b.Len() - 1)
	}
	return &given{b, log}, nil
}

func (g *given) Tries() int { return 1 }

func (g *given) Tell(text string) { fmt.Fprintln(g.log, text) }

func (g *given) Ask(context.Context, string) (*locked.Buffer, error) {
	if g.passphrase.Len() == 0 {
		return nil, fmt.Errorf("%w: what was given is empty", ErrNoPassphrase)
	}
	return g.passphrase.Clone()
}

// nobody is asked where there is neither a terminal nor a file.
type nobody struct{}

// Nobody is the source without a passphrase.
func Nobody() Source { return nobody{} }

func (nobody) Tries() int                                          { return 1 }
func (nobody) Tell(string)                                         {}
func (nobody) Ask(context.Context, string) (*locked.Buffer, error) { return nil, io.EOF }
