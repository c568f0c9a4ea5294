package secrets

import (
	"slices"
	"strings"
	"testing"
)

func TestVariableNames(t *testing.T) {
	for name, want := range map[string]bool{
		"KUBECONFIG": true, "_x1": true, "AWS_SECRET_ACCESS_KEY": true, "HTTPS_PROXY": true, "PATH_TO_KEY": true,
		"1X": false, "A-B": false, "A B": false, "A=B": false, "é": false, "PATH": false, "LD_PRELOAD": false, "BASH_ENV": false,
		"TAZPOD_GHOST": false, "PYTHONSTARTUP": false, "GIT_SSH_COMMAND": false, "LC_ALL": false,
	} {
		if err := checkVariable(name); (err == nil) != want {
			t.Errorf("checkVariable(%s) = %v; want it allowed: %v", name, err, want)
		}
	}
}

func TestVariables(t *testing.T) {
	file, err := Parse("secrets.yml", []byte(`secrets:
  - {name: a, file: kubeconfig, env: KUBECONFIG, profile: prod}
  - {name: b, file: dev-config, env: KUBECONFIG, profile: dev}
  - {name: c, file: token, env: TOKEN, value: true}
  - {name: d, file: prod-token, env: TOKEN, profile: prod}
  - {name: e, file: key, env: KEY, profile: dev}
  - {name: f, env: UNKNOWN}
  - {name: g, file: other}
`))
	if err != nil {
		t.Fatal(err)
	}
	for profile, want := range map[string]string{"": "cef", "prod": "ad", "dev": "be", "none": ""} {
		var got strings.Builder
		for _, e := range file.Secrets.Variables(profile) {
			got.WriteString(e.Name)
		}
		if got.String() != want {
			t.Errorf("Variables(%q) = %s; want %s", profile, got.String(), want)
		}
	}
}

func TestBadVariables(t *testing.T) {
	for text, want := range map[string]string{
		"[{name: a, env: LD_PRELOAD, file: x}]":                           "secrets[0]: env LD_PRELOAD",
		"[{name: a, env: A B, file: x}]":                                  `secrets[0]: env "A B"`,
		"[{name: a, value: true, file: x}]":                               "secrets[0]: value",
		"[{name: a, value: true, env: X}]":                                "",
		"[{name: a, env: X, file: a}, {name: b, env: X, file: b}]":        "secrets[1]: env X: another secret",
		"[{name: a}, {name: b, file: a}]":                                 "secrets[1]: file a: another secret",
		"[{name: a, env: X, file: a, value: 'yes please'}]":               "1: ",
		"[{name: a, env: X, file: a, profile: p}, {name: b, env: X}]":     "",
		"[{name: a, env: X, file: a, value: false}, {name: b, file: aa}]": "",
	} {
		_, err := Parse("secrets.yml", []byte("secrets: "+text))
		if (err == nil) != (want == "") || err != nil && !strings.Contains(err.Error(), want) {
			t.Errorf("Parse(%s) = %v; want %q", text, err, want)
		}
	}
	if !slices.IsSorted(steering) || !slices.IsSorted(steeringPrefixes) {
		t.Error("the lists are not in order")
	}
}
