package image

import (
	"strings"
	"testing"
	"time"
)

// answer is a classic builder's, with what steps write between.
const answer = `{"stream":"Step 1/2 : FROM debian:trixie-slim"}
{"stream":"\n"}
{"stream":" ---\u003e 9f5c7601e4ce\n"}
{"stream":"Step 2/2 : RUN apt-get update  \u0026\u0026 apt-get install x\n"}
{"stream":"\u001b[32mGet:1\u001b[0m http://deb"}
{"stream":".debian.org\n 10%\r 100%\n"}
{"aux":{"ID":"sha256:1234"}}
`

func TestProgress(t *testing.T) {
	clock := time.Unix(0, 0)
	for _, c := range []struct {
		name, answer string
		verbose      bool
		width        func() int
		want         string
		err          string
	}{
		{"a line a step", answer, false, nil, `tazpod: building tazpod/base
tazpod: tazpod/base, 0s, step 1/2: FROM debian:trixie-slim
tazpod: tazpod/base, 0s, step 2/2: RUN apt-get update && apt-get install x
tazpod: built tazpod/base in 3s
`, ""},
		{"everything", answer, true, nil, `tazpod: building tazpod/base
tazpod: tazpod/base, 0s, step 1/2: FROM debian:trixie-slim
 ---> 9f5c7601e4ce
tazpod: tazpod/base, 0s, step 2/2: RUN apt-get update && apt-get install x
Get:1 http://deb.debian.org
 100%
tazpod: built tazpod/base in 3s
`, ""},
		{"one line on a terminal", answer, false, func() int { return 38 }, "\r\x1b[K⠋ tazpod: tazpod/base, 0s" +
			"\r\x1b[K⠋ tazpod: tazpod/base, 0s, step 1/2:…\r\x1b[K⠋ tazpod: tazpod/base, 0s, step 2/2:…\r\x1b[Ktazpod: built tazpod/base in 3s\n", ""},
		{"a failing step", answer + `{"errorDetail":{"code":100},"error":"The command '/bin/sh' returned: 100"}`, false, nil, `tazpod: building tazpod/base
tazpod: tazpod/base, 0s, step 1/2: FROM debian:trixie-slim
tazpod: tazpod/base, 0s, step 2/2: RUN apt-get update && apt-get install x
tazpod: tazpod/base, 3s, step 2/2: RUN apt-get update && apt-get install x
  | Get:1 http://deb.debian.org
  |  100%
`, "The command '/bin/sh' returned: 100"},
		{"an engine that dies", `{"stream":"Step 1/1 : FROM x\n"}{"str`, false, nil, `tazpod: building tazpod/base
tazpod: tazpod/base, 0s, step 1/1: FROM x
tazpod: tazpod/base, 3s, step 1/1: FROM x
`, "the engine broke off: unexpected EOF"},
	} {
		t.Run(c.name, func(t *testing.T) {
			var out strings.Builder
			now := clock
			p := &Progress{W: &out, Width: c.width, Verbose: c.verbose, Now: func() time.Time { return now }}
			p.begin("building", "built", "tazpod/base")
			err := p.follow(strings.NewReader(c.answer))
			now = now.Add(3 * time.Second)
			p.end(err)
			if got := out.String(); got != c.want {
				t.Errorf("written:\n%q\nwant\n%q", got, c.want)
			}
			if err == nil && c.err != "" || err != nil && err.Error() != c.err {
				t.Errorf("error = %v; want %q", err, c.err)
			}
		})
	}
}

func FuzzProgress(f *testing.F) {
	f.Add([]byte(answer))
	f.Add([]byte(`{"error":"\u001b]0;x\u0007"}`))
	f.Fuzz(func(t *testing.T, data []byte) {
		var out strings.Builder
		p := &Progress{W: &out, Verbose: true}
		p.begin("building", "built", "x")
		err := p.follow(strings.NewReader(string(data)))
		p.end(err)
		if strings.ContainsAny(out.String(), "\x1b\x07\r\b") {
			t.Errorf("%q reaches the terminal as %q", data, out.String())
		}
	})
}
