package dial

import (
	"context"
	"errors"
	"io"
	"strconv"
	"strings"
	"unsafe"

	"github.com/tazzo/tazpod/init/locked"
	"github.com/tazzo/tazpod/init/wire"
)

var (
	// ErrPassphrase is returned when every try was wrong.
	ErrPassphrase = errors.New("wrong passphrase")
	// ErrNoPassphrase is returned when none was given: the input ended, or there
	// was nobody to ask.
	ErrNoPassphrase = errors.New("no passphrase was given")
)

// Refusal is why the pod gives no session, whatever the passphrase.
type Refusal struct {
	Code int    // one of wire's exit codes
	Text string // what is wrong
	Hint string // the way out; may be empty
}

func (r *Refusal) Error() string { return r.Text }

// repeat begins the second question for a new vault's passphrase.
const repeat = "Repeat"

// login answers the pod's questions.
type login struct {
	ctx     context.Context
	source  Source
	answer  *locked.Buffer // the last one, until the library has sent it
	tries   int            // that were begun
	told    bool           // the pod said itself what was wrong with the last try
	failure error          // that ends the dialogue
}

// challenge is one round of it.
//
// The SSH library wants answers as strings. They alias the locked buffer, which
// lives until the next round or the end of the login, when forget zeroes it.
// What the library copies into the packet that it encrypts is out of reach;
// the garbage collector reuses that memory.
func (l *login) challenge(name, instruction string, questions []string, _ []bool) ([]string, error) {
	l.forget()
	if code, ok := strings.CutPrefix(name, wire.ErrorPrompt+" "); ok {
		l.failure = refusal(code, instruction)
		return nil, nil
	}
	if len(questions) > 1 {
		l.failure = errors.New("the pod asks several things at once")
		return nil, l.failure
	}
	if len(questions) == 1 && !strings.HasPrefix(questions[0], repeat) {
		if l.tries > 0 && !l.told {
			l.source.Tell("tazpod: wrong passphrase; try again")
		}
		l.tries++
		l.told = false
	}
	if text := Printable(instruction); text != "" {
		l.source.Tell(text)
		l.told = l.told || len(questions) == 0
	}
	if len(questions) == 0 {
		return nil, nil
	}
	answer, err := l.source.Ask(l.ctx, Printable(questions[0]))
	if err != nil {
		if errors.Is(err, io.EOF) {
			err = ErrNoPassphrase
		}
		l.failure = err
		return nil, err
	}
	l.answer = answer
	return []string{unsafe.String(unsafe.SliceData(answer.Bytes()), answer.Len())}, nil
}

func (l *login) forget() {
	l.answer.Destroy()
	l.answer = nil
}

// explain turns the library's error into one that says what happened.
func (l *login) explain(err error) error {
	switch {
	case l.failure != nil:
		return l.failure
	case errors.Is(err, ErrHostKey):
		return err
	case l.tries == 0 || l.tries < l.source.Tries() || errors.Is(err, io.EOF):
		return &LostError{err, l.tries == 0}
	case l.told:
		return ErrNoPassphrase
	}
	return ErrPassphrase
}

// refusal reads the round in which the pod says why there will be no session.
func refusal(code, text string) *Refusal {
	r := &Refusal{Code: wire.ExitSession}
	if n, err := strconv.Atoi(code); err == nil && n > 0 && n < 256 {
		r.Code = n
	}
	text, r.Hint, _ = strings.Cut(Printable(text), "\ntazpod: hint: ")
	r.Text = strings.TrimPrefix(text, "tazpod: error: ")
	return r
}
