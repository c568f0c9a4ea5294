package secrets

import (
	"slices"
	"strings"
	"testing"
)

const example = `config:
  infisical_project_id: "abc"
  infisical_url: "https://eu.infisical.com/api"
secrets:
  - name: KUBECONFIG_CONTENT
    file: kubeconfig
    env: KUBECONFIG
    profile: prod
  - name: AGE
    file: keys/age.key
  - {name: BARE, env: BARE}
  - {name: KUBECONFIG_CONTENT, file: other, profile: dev}
`

func TestParse(t *testing.T) {
	f, err := Parse("secrets.yml", []byte(example))
	want := List{{Name: "KUBECONFIG_CONTENT", File: "kubeconfig", Env: "KUBECONFIG", Profile: "prod"}, {Name: "AGE", File: "keys/age.key"},
		{Name: "BARE", Env: "BARE", File: ".tazpod/values/BARE", Value: true}, {Name: "KUBECONFIG_CONTENT", File: "other", Profile: "dev"}}
	if err != nil || !slices.Equal(f.Secrets, want) {
		t.Fatalf("Parse(example) = %+v, %v; want %+v", f, err, want)
	}
	got := f.Secrets
	if p := strings.Join(got.Profiles(), " "); p != "dev prod" {
		t.Errorf("Profiles() = %s; want dev prod", p)
	}
	for i, want := range []string{"profiles/prod/kubeconfig", "keys/age.key"} {
		if p := got[i].Place(); p != want {
			t.Errorf("Place() of %s = %s; want %s", got[i].Name, p, want)
		}
	}
	if empty, err := Parse("secrets.yml", []byte("config: {}\nsecrets: []\n")); err != nil || len(empty.Secrets) != 0 {
		t.Errorf("Parse(empty) = %v, %v", empty, err)
	}
}

func TestParseErrors(t *testing.T) {
	for text, says := range map[string]string{
		"secrets:\n  - nmae: X\n":                             `secrets.yml:2: unknown key "secrets.nmae"; do you mean "name"?`,
		"secrets:\n  - name: X\n    file: [a]\n":              "secrets.yml:3: ",
		"secrets:\n  - X\n":                                   "secrets.yml:2: secrets must hold keys",
		"secrets: X\n":                                        "secrets.yml:1: ",
		"secret: []\n":                                        "secrets.yml:1: unknown key",
		"secrets:\n  - file: x\n":                             `secrets[0]: name ""`,
		"secrets:\n  - name: 'a,b'\n":                         `secrets[0]: name "a,b"`,
		"secrets:\n  - {name: X, file: ../x}\n":               `file "../x"`,
		"secrets:\n  - {name: X, file: /etc/passwd}\n":        `file "/etc/passwd"`,
		"secrets:\n  - {name: X, file: profiles/prod/x}\n":    `file "profiles/prod/x"`,
		"secrets:\n  - {name: X, file: \"a\\u0007\"}\n":       "control characters",
		"secrets:\n  - {name: X, file: x, profile: ../dev}\n": "not a profile's name",
		"a: &a [x]\nsecrets: *a\n":                            "secrets.yml:1: ",
		"secrets:\n  - &a {name: X}\n":                        "anchors",
		"secrets:\n  - name: X\n    name: Y\n":                "secrets.yml:3: ",
		"secrets: []\n---\nsecrets: []\n":                     "more than one document",
		"\x00":                                                "secrets.yml",
	} {
		got, err := Parse("secrets.yml", []byte(text))
		if err == nil || !strings.Contains(err.Error(), says) {
			t.Errorf("Parse(%q) = %v, %v; want %q", text, got, err, says)
		}
	}
}

func TestOnly(t *testing.T) {
	f, err := Parse("secrets.yml", []byte(example))
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct{ profile, names, want string }{
		{"", "AGE", "keys/age.key"},
		{"", "KUBECONFIG_CONTENT", "kubeconfig other"},
		{"", "KUBECONFIG_CONTENT AGE", "kubeconfig other keys/age.key"},
		{"dev", "KUBECONFIG_CONTENT", "other"},
		{"dev", "AGE", ""}, // in no group of its
		{"", "BARE", ".tazpod/values/BARE"},
		{"", "AGE NONE", ""}, // all or nothing
		{"", "age.key", ""},
	} {
		got, err := f.Secrets.Only(c.profile, strings.Fields(c.names))
		var files []string
		for _, e := range got {
			files = append(files, e.File)
		}
		if strings.Join(files, " ") != c.want || (err == nil) != (c.want != "") {
			t.Errorf("Only(%q, %s) = %v, %v; want %s", c.profile, c.names, files, err, c.want)
		}
	}
}

func FuzzParse(f *testing.F) {
	f.Add([]byte(example))
	f.Add([]byte("secrets:\n- {name: X, file: y, profile: z}\n"))
	f.Fuzz(func(t *testing.T, data []byte) {
		file, err := Parse("secrets.yml", data)
		if err != nil {
			return
		}
		for _, e := range file.Secrets {
			if strings.Contains("/"+e.Place()+"/", "/../") || strings.HasPrefix(e.Place(), "/") {
				t.Errorf("Parse(%q) lets a file lie at %q", data, e.Place())
			}
		}
	})
}
