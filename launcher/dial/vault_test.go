package dial

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"
	"testing"

	"golang.org/x/crypto/ssh"

	"github.com/tazzo/tazpod/init/wire"
)

// talker is the pod's side of a command, line by line.
type talker struct{ ssh.Channel }

func (t talker) say(line string) { fmt.Fprintln(t.Stderr(), line) }

func (t talker) heard() string {
	var length [4]byte
	if _, err := io.ReadFull(t, length[:]); err != nil {
		return err.Error()
	}
	answer := make([]byte, binary.BigEndian.Uint32(length[:]))
	_, _ = io.ReadFull(t, answer)
	return string(answer)
}

// command runs a command against a pod that talks so.
func command(t *testing.T, talk func(talker), request wire.VaultRequest, desk Desk) (*wire.VaultResult, error) {
	t.Helper()
	p := newPod(t, "pass")
	if talk != nil {
		p.vault = func(c ssh.Channel) { talk(talker{c}); _ = c.CloseWrite() }
	}
	client, err := Control(t.Context(), p.carrier(t), p.hostKey)
	if err != nil {
		t.Fatal(err)
	}
	defer client.Close()
	return client.Vault(t.Context(), request, desk)
}

func fromPipe(t *testing.T, pass string, log io.Writer) Source {
	t.Helper()
	r, w, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	fmt.Fprintln(w, pass)
	w.Close()
	source, err := Given(r, log)
	if err != nil {
		t.Fatal(err)
	}
	return source
}

const emptySum = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"

func TestVaultDialogue(t *testing.T) {
	var said, shown, out bytes.Buffer
	var answers []string
	desk := Desk{Source: fromPipe(t, "today", &said), New: fromPipe(t, "tomorrow", &said), In: strings.NewReader("the file and more"),
		Confirm: func(_ context.Context, question string) (bool, error) { return question == "Sure?", nil },
		Show:    func(secret []byte) error { shown.Write(secret); return nil }}
	result, err := command(t, func(p talker) {
		p.say(`{"tell":"one\u001b[2J"}`)
		p.say(`{"ask":"Passphrase: "}`)
		answers = append(answers, p.heard())
		p.say(`{"ask":"New passphrase: ","new":true}`)
		answers = append(answers, p.heard())
		p.say(`{"ask":"Repeat passphrase: ","new":true}`)
		answers = append(answers, p.heard())
		for _, question := range []string{"Sure?", "Really?"} {
			p.say(`{"confirm":"` + question + `"}`)
			answers = append(answers, p.heard())
		}
		_, _ = io.WriteString(p, "CODE")
		p.say(`{"show":4}`)
		p.say(`{"send":true}`)
		file := make([]byte, 8)
		_, _ = io.ReadFull(p, file)
		answers = append(answers, string(file))
		p.say(`{"unknown":1}`)
		p.say(`{"done":{"code":3,"keys":[{"number":1,"label":"a\u0007da"}]}}`)
	}, wire.VaultRequest{Size: 8}, desk)
	if err != nil {
		t.Fatal(err)
	}
	if got, want := strings.Join(answers, ","), "today,tomorrow,tomorrow,yes,no,the file"; got != want {
		t.Errorf("the pod heard %q; want %q", got, want)
	}
	if said.String() != "one[2J\n" || shown.String() != "CODE" || result.Code != 3 || result.Keys[0].Label != "ada" {
		t.Errorf("told %q, shown %q, result %+v", said.String(), shown.String(), result)
	}
	_, err = command(t, func(p talker) {
		_, _ = io.WriteString(p, "data")
		p.say(`{"done":{"sum":"3a6eb0790f39ac87c94f3856b2dd2c5d110e6811602261a9a923d3bb23adc8b7"}}`)
	}, wire.VaultRequest{}, Desk{Source: Nobody(), Out: &out})
	if err != nil || out.String() != "data" {
		t.Errorf("Vault() = %v, data %q", err, out.String())
	}
}

func TestVaultTrouble(t *testing.T) {
	var lost *LostError
	var refused *Refusal
	is := func(want error) func(error) bool { return func(err error) bool { return errors.Is(err, want) } }
	for name, c := range map[string]struct {
		talk func(talker)
		want func(error) bool
	}{
		"an old pod":         {nil, func(err error) bool { return err != nil && strings.Contains(err.Error(), "older") }},
		"asks a file twice":  {func(p talker) { p.say(`{"ask":"P"}`); p.heard(); p.say(`{"ask":"P"}`) }, is(ErrPassphrase)},
		"breaks off":         {func(p talker) { p.Close() }, func(err error) bool { return errors.As(err, &lost) }},
		"no JSON":            {func(p talker) { p.say("hello") }, func(err error) bool { return err != nil }},
		"a line without end": {func(p talker) { p.say(strings.Repeat("x", 2<<20)) }, func(err error) bool { return err != nil }},
		"shows a book":       {func(p talker) { p.say(`{"show":1000000000}`) }, func(err error) bool { return err != nil && errors.Is(err, errUnasked) }},
		"an error": {func(p talker) { p.say(`{"done":{"code":14,"error":"in\u001b use","hint":"h"}}`) }, func(err error) bool {
			return errors.As(err, &refused) && refused.Code == 14 && refused.Text == "in use" && refused.Hint == "h"
		}},
		"wrong sum":           {func(p talker) { _, _ = io.WriteString(p, "x"); p.say(`{"done":{"sum":"` + emptySum + `"}}`) }, is(ErrSum)},
		"no new passphrase":   {func(p talker) { p.say(`{"ask":"P","new":true}`) }, is(ErrNoPassphrase)},
		"nothing but the end": {func(p talker) { p.say(`{"done":{"sum":"` + emptySum + `"}}`) }, func(err error) bool { return err == nil }},
	} {
		_, err := command(t, c.talk, wire.VaultRequest{Command: "x"}, Desk{Source: fromPipe(t, "today", io.Discard), New: Nobody(), Out: io.Discard})
		if !c.want(err) {
			t.Errorf("%s: Vault() = %v", name, err)
		}
	}
}
