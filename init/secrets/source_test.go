package secrets

import (
	"strings"
	"testing"
)

func TestSources(t *testing.T) {
	file, err := Parse("secrets.yml", []byte(`config: {environment: prod, path: /backend}
secrets:
  - {name: A}
  - {name: B, environment: dev}
  - {name: C, path: /, source: infisical}
  - {name: D, source: 'exec  vault kv get -field=x "a b"', mode: 0400}
  - {name: E, source: file ~/.kube/config}
  - {name: F, source: prompt}
`))
	if err != nil {
		t.Fatal(err)
	}
	for i, want := range []string{
		"infisical||prod|/backend", "infisical||dev|/backend", "infisical||prod|/",
		`exec|vault kv get -field=x "a b"|prod|/backend`, "file|~/.kube/config|prod|/backend", "prompt||prod|/backend",
	} {
		e := file.Secrets[i]
		kind, argument := e.Kind()
		environment, folder := file.Config.Folder(e)
		if got := strings.Join([]string{kind, argument, environment, folder}, "|"); got != want {
			t.Errorf("%s: %s; want %s", e.Name, got, want)
		}
		if got, want := e.Perm(), map[bool]string{true: "-r--------", false: "-rw-------"}[e.Mode == 0o400]; got.String() != want {
			t.Errorf("Perm() of %s = %v; want %s", e.Name, got, want)
		}
	}
	if environment, folder := (Config{}).Folder(Entry{}); environment != "dev" || folder != "/" {
		t.Errorf("Folder() of nothing = %s, %s; want dev, /", environment, folder)
	}
}

func TestBadSources(t *testing.T) {
	for entry, want := range map[string]string{
		"{name: A, source: exec}":                                    `source exec: what? As in "exec vault`,
		"{name: A, source: file }":                                   "source file: what?",
		"{name: A, source: prompt me}":                               "takes nothing behind it",
		"{name: A, source: vault}":                                   `source "vault" begins with none of`,
		"{name: A, source: 'exec x', path: /a}":                      "are Infisical's",
		"{name: A, source: prompt, environment: dev}":                "are Infisical's",
		"{name: A, path: a}":                                         `path "a" is no folder`,
		"{name: A, path: /a/../b}":                                   "is no folder",
		"{name: A, path: /a/}":                                       "is no folder",
		"{name: A, environment: a/b}":                                `environment "a/b" is no slug`,
		"{name: A, mode: 600}":                                       "mode 01130 is none of",
		"{name: A, mode: 0644}":                                      "mode 0644 is none of",
		"{name: A, source: file x}":                                  `source file x: from the root or the home`,
		"{name: A, source: 'exec " + strings.Repeat("x", 500) + "'}": "longer than 500 bytes",
		`{name: "A\u202e"}`:                                          "don't print",
		"{name: " + strings.Repeat("x", 256) + "}":                   "short",
		"{name: A, mode: rw}":                                        "1: ",
		"{name: A, file: .tazpod/trusted}":                           `file ".tazpod/trusted" is not`,
		"{name: ../A}":                                               `file "../A" is not`,
		"{name: .tazpod}":                                            `file ".tazpod" is not`,
		`{name: A, source: "exec a\nb"}`:                             "control characters",
	} {
		if f, err := Parse("secrets.yml", []byte("secrets: ["+entry+"]")); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("Parse(%s) = %v, %v; want %q", entry, f, err, want)
		}
	}
	if _, err := Parse("secrets.yml", []byte("config: {path: a}")); err == nil || !strings.Contains(err.Error(), "config: path") {
		t.Errorf("Parse(a path in config) = %v", err)
	}
}
