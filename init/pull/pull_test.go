package pull

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/tazzo/tazpod/init/secrets"
)

// values is a source that has them by the secrets' names.
type values map[string]string

func (v values) Fetch(_ context.Context, e secrets.Entry) ([]byte, error) {
	value, ok := v[e.Name]
	if !ok {
		return nil, errors.New("nobody has it")
	}
	return []byte(value), nil
}

// ghost is a vault's directory, and what a test says of it.
type ghost struct {
	t    *testing.T
	dir  *os.Root
	told []string
}

func newGhost(t *testing.T) *ghost {
	t.Helper()
	dir, err := os.OpenRoot(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { dir.Close() })
	return &ghost{t: t, dir: dir}
}

// pull runs with values from everywhere.
func (g *ghost) pull(p Pull, list string, v values) error {
	g.t.Helper()
	file, err := secrets.Parse("secrets.yml", []byte("secrets: "+list))
	if err != nil {
		g.t.Fatal(err)
	}
	g.told = nil
	p.Dir, p.Tell = g.dir, func(text string) { g.told = append(g.told, text) }
	p.Sources = map[string]Source{secrets.Infisical: v, secrets.Prompt: v, secrets.Exec: v}
	return p.Run(g.t.Context(), file.Secrets)
}

func (g *ghost) put(name, content string) {
	g.t.Helper()
	if err := g.dir.MkdirAll(filepath.Dir(name), 0o700); err != nil {
		g.t.Fatal(err)
	}
	if err := g.dir.WriteFile(name, []byte(content), 0o600); err != nil {
		g.t.Fatal(err)
	}
}

// files are those of the vault with their content, but for tazpod's records.
func (g *ghost) files() string {
	g.t.Helper()
	var all []string
	err := fs.WalkDir(g.dir.FS(), ".", func(name string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() || filepath.Base(name) == "pulled" {
			return err
		}
		content, err := g.dir.ReadFile(name)
		all = append(all, name+"="+string(content))
		return err
	})
	if err != nil {
		g.t.Fatal(err)
	}
	slices.Sort(all)
	return strings.Join(all, " ")
}

func (g *ghost) want(what string, err error, says, files string) {
	g.t.Helper()
	if (err != nil) != (says != "") || err != nil && !strings.Contains(err.Error(), says) {
		g.t.Errorf("%s: %v; want %q", what, err, says)
	}
	if got := g.files(); got != files {
		g.t.Errorf("%s: files %q; want %q", what, got, files)
	}
	for _, line := range g.told {
		if strings.Contains(line, "VALUE") {
			g.t.Errorf("%s: it told %q", what, line)
		}
	}
}

func TestRun(t *testing.T) {
	const list = "[{name: A, file: a/b}, {name: T, env: T}, {name: P, file: p, profile: prod}]"
	g := newGhost(t)
	all := values{"A": "VALUE1", "T": "VALUE2\n", "P": "VALUE3"}
	g.want("dry run", g.pull(Pull{DryRun: true}, list, all), "", "")
	g.want("one is missing", g.pull(Pull{}, list, values{"A": "VALUE1", "P": "VALUE3"}), "T: nobody has it", "")
	const first = ".tazpod/values/T=VALUE2\n a/b=VALUE1 profiles/prod/p=VALUE3"
	g.want("first", g.pull(Pull{}, list, all), "", first)
	if got := strings.Join(g.told, ", "); got != "A: ~/secrets/a/b is new, T: ~/secrets/.tazpod/values/T is new, P: ~/secrets/profiles/prod/p is new" {
		t.Errorf("it told %s", got)
	}
	g.want("again", g.pull(Pull{}, list, all), "", first)
	if got := strings.Join(g.told, ", "); strings.Count(got, "is unchanged") != 3 {
		t.Errorf("it told %s", got)
	}
	all["A"] = "VALUE4"
	g.want("dry run of a new value", g.pull(Pull{DryRun: true}, list, all), "", first)
	g.want("a new value", g.pull(Pull{}, list, all), "", strings.Replace(first, "VALUE1", "VALUE4", 1))
	if info, err := g.dir.Stat("a/b"); err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("mode %v, %v; want 0600", info, err)
	}
}

// TestProfile pulls in the ghost of a profile, whose directory is all that there is.
func TestProfile(t *testing.T) {
	g := newGhost(t)
	err := g.pull(Pull{Profile: "prod"}, "[{name: A, file: a}, {name: P, file: p, profile: prod}, {name: D, file: d, profile: dev}]", values{"P": "VALUE"})
	g.want("prod", err, "", "p=VALUE")
}

func TestChangesOfPeople(t *testing.T) {
	const list = "[{name: A, file: a}, {name: B, file: b}]"
	g := newGhost(t)
	g.put("a", "mine")
	g.want("a file that was not pulled", g.pull(Pull{}, list, values{"A": "VALUE", "B": "VALUE"}), "~/secrets/a holds something else", "a=mine")
	g.want("replaced", g.pull(Pull{Replace: true}, list, values{"A": "VALUE1", "B": "VALUE2"}), "", "a=VALUE1 b=VALUE2")
	g.put("a", "VALUE1 and mine")
	g.want("changed here", g.pull(Pull{}, list, values{"A": "VALUE1", "B": "VALUE3"}), "", "a=VALUE1 and mine b=VALUE3")
	g.want("changed in both places", g.pull(Pull{}, list, values{"A": "VALUE4", "B": "VALUE5"}), "~/secrets/a holds something else", "a=VALUE1 and mine b=VALUE3")
	g.put("a", "VALUE4")
	g.want("changed to the same", g.pull(Pull{}, list, values{"A": "VALUE4", "B": "VALUE3"}), "", "a=VALUE4 b=VALUE3")
	g.want("and on", g.pull(Pull{}, list, values{"A": "VALUE6", "B": "VALUE3"}), "", "a=VALUE6 b=VALUE3")
	g.put(".tazpod/pulled", "{damaged")
	g.want("without a record", g.pull(Pull{}, list, values{"A": "VALUE7", "B": "VALUE3"}), "holds something else", "a=VALUE6 b=VALUE3")
}

func TestOnce(t *testing.T) {
	const list = "[{name: A, file: a, source: prompt, mode: 0400}]"
	g := newGhost(t)
	g.want("first", g.pull(Pull{}, list, values{"A": "VALUE1"}), "", "a=VALUE1")
	g.want("again", g.pull(Pull{}, list, values{"A": "VALUE2"}), "", "a=VALUE1")
	if info, err := g.dir.Stat("a"); err != nil || info.Mode().Perm() != 0o400 {
		t.Errorf("mode %v, %v; want 0400", info, err)
	}
}

// TestAllOrNothing has what lies in the vault refuse the last of the files.
func TestAllOrNothing(t *testing.T) {
	const list = "[{name: A, file: a}, {name: B, file: b}, {name: C, file: c/c}]"
	v := values{"A": "VALUE1", "B": "VALUE2", "C": "VALUE3"}
	for what, plant := range map[string]func(g *ghost) error{
		"a file as a directory": func(g *ghost) error { g.put("c", ""); return nil },
		"a link out of it":      func(g *ghost) error { return g.dir.Symlink("/tmp", "c") },
		"a link to nothing":     func(g *ghost) error { return g.dir.Symlink("nothing", "c") },
	} {
		g := newGhost(t)
		if err := g.pull(Pull{}, "[{name: A, file: a}]", values{"A": "VALUE0"}); err != nil {
			t.Fatal(err)
		}
		if err := plant(g); err != nil {
			t.Fatal(err)
		}
		err := g.pull(Pull{}, list, v)
		if err == nil {
			t.Errorf("%s: it was pulled", what)
		}
		if a, err := g.dir.ReadFile("a"); err != nil || string(a) != "VALUE0" {
			t.Errorf("%s: a = %s, %v; want it as it was", what, a, err)
		}
		entries, err := fs.ReadDir(g.dir.FS(), ".")
		if err != nil || len(entries) != 3 { // .tazpod, a, c
			t.Errorf("%s: %v, %v is left", what, entries, err)
		}
	}
}

// TestUndo takes back what was renamed when a later rename fails.
func TestUndo(t *testing.T) {
	g := newGhost(t)
	g.put("a", "old")
	err := write(g.dir, []change{{file: "a", perm: 0o600, value: []byte("new")}, {file: "b", perm: 0o600, value: []byte("new")}, {file: "d", perm: 0o600}})
	g.want("without an error", err, "", "a=new b=new d=")
	if err := g.dir.Mkdir("e", 0o700); err != nil {
		t.Fatal(err)
	}
	err = write(g.dir, []change{{file: "a", perm: 0o600, value: []byte("newer")}, {file: "c", perm: 0o600, value: []byte("new")}, {file: "e", perm: 0o600}})
	g.want("with one", err, "e", "a=new b=new d=")
}

func TestBoundedValues(t *testing.T) {
	g := newGhost(t)
	g.want("long", g.pull(Pull{}, "[{name: A}]", values{"A": strings.Repeat("x", maxValue+1)}), "A: it is longer than 1024 KiB", "")
	g.want("none", g.pull(Pull{}, "[{name: A}]", values{"A": ""}), "", "A=")
	g.want("of the host", g.pull(Pull{}, "[{name: H, source: file ~/x}]", nil), "source file can't be had here", "A=")
	if err := g.dir.Remove("A"); err != nil {
		t.Fatal(err)
	}
	if err := g.dir.Symlink("/etc/passwd", "A"); err != nil {
		t.Fatal(err)
	}
	if err := g.pull(Pull{}, "[{name: A}]", values{"A": "VALUE"}); err == nil {
		t.Error("a link out of the vault was followed")
	}
}

func TestCancel(t *testing.T) {
	g := newGhost(t)
	cause := errors.New("enough")
	ctx, cancel := context.WithCancelCause(t.Context())
	p := Pull{Dir: g.dir, Tell: func(string) {}, Sources: map[string]Source{secrets.Infisical: fetcher(func() ([]byte, error) {
		cancel(cause)
		return []byte("VALUE"), nil
	})}}
	err := p.Run(ctx, secrets.List{{Name: "A", File: "a"}, {Name: "B", File: "b"}})
	g.want("cancelled", err, "enough", "")
}

type fetcher func() ([]byte, error)

func (f fetcher) Fetch(context.Context, secrets.Entry) ([]byte, error) { return f() }

func TestCommands(t *testing.T) {
	var stderr strings.Builder
	allow := func(context.Context, secrets.Entry) error { return nil }
	for command, want := range map[string]string{
		"printf 'a\\nb\\n'":            "a\nb\n",
		"echo value; echo warning >&2": "value\n",
		"printf '\\000\\377'":          "\x00\xff",
		"true":                         `error "true": the command printed nothing`,
		"echo x; exit 3":               `error "echo x; exit 3": exit status 3`,
		"head -c 2000000 /dev/zero":    `error "head -c 2000000 /dev/zero": it is longer than 1024 KiB`,
		"read x && echo $x || echo no": "no\n", // there is no input
	} {
		s := &Commands{Dir: "/", Stderr: &stderr, Allowed: allow}
		got, err := s.Fetch(t.Context(), secrets.Entry{Name: "X", Source: "exec " + command})
		text := string(got)
		if err != nil {
			text = "error " + err.Error()
		}
		if text != want {
			t.Errorf("Fetch(%s) = %.80q; want %q", command, text, want)
		}
	}
	if stderr.String() != "warning\n" {
		t.Errorf("stderr = %q; want the warning alone", stderr.String())
	}
	refused := errors.New("refused")
	s := &Commands{Allowed: func(context.Context, secrets.Entry) error { return refused }}
	if _, err := s.Fetch(t.Context(), secrets.Entry{Source: "exec touch " + filepath.Join(t.TempDir(), "ran")}); !errors.Is(err, refused) {
		t.Errorf("Fetch(refused) = %v", err)
	}
}

func TestTrust(t *testing.T) {
	g := newGhost(t)
	trust := &Trust{Dir: g.dir}
	ask := func(command, says string) {
		t.Helper()
		err := trust.Allow(t.Context(), secrets.Entry{Name: "A", File: "a", Source: "exec " + command})
		if (err != nil) != (says != "") || err != nil && !strings.Contains(err.Error(), says) {
			t.Errorf("Allow(%s) = %v; want %q", command, err, says)
		}
	}
	ask("one", `wants to run "one" here`)
	trust.Yes = true
	ask("one", "")
	trust.Yes = false
	ask("one", "")
	ask("one x", "wants to run")
	trust.Yes = true
	ask("two", "")
	trust.Yes = false
	ask("one", "")
	ask("two", "")
	for _, e := range []secrets.Entry{{Name: "B", File: "a"}, {Name: "A", File: "b"}, {Name: "A", File: "a", Profile: "dev"}, {Name: "A", File: "a", Env: "X"}} {
		e.Source = "exec one"
		if err := trust.Allow(t.Context(), e); err == nil {
			t.Errorf("Allow(%+v) = nil: the yes was for another place", e)
		}
	}
	trust.Yes, trust.DryRun = true, true
	ask("three", "")
	trust.Yes, trust.DryRun = false, false
	ask("three", "wants to run")
}

// TestMeanwhile has somebody write a file while the values are fetched.
func TestMeanwhile(t *testing.T) {
	for what, before := range map[string]bool{"a file that was there": true, "a new one": false} {
		g := newGhost(t)
		if before {
			if err := g.pull(Pull{}, "[{name: A, file: a}]", values{"A": "VALUE1"}); err != nil {
				t.Fatal(err)
			}
		}
		file, err := secrets.Parse("secrets.yml", []byte("secrets: [{name: A, file: a}, {name: B, file: b}]"))
		if err != nil {
			t.Fatal(err)
		}
		p := Pull{Dir: g.dir, Tell: func(string) {}, Sources: map[string]Source{secrets.Infisical: fetcher(func() ([]byte, error) {
			g.put("a", "mine")
			return []byte("VALUE2"), nil
		})}}
		if before { // A is compared before B is fetched
			n := 0
			p.Sources[secrets.Infisical] = fetcher(func() ([]byte, error) {
				if n++; n == 2 {
					g.put("a", "mine")
				}
				return []byte("VALUE2"), nil
			})
		}
		g.want(what, p.Run(t.Context(), file.Secrets), "a was changed meanwhile", "a=mine")
	}
}

// TestOneAtATime refuses a pull beside another.
func TestOneAtATime(t *testing.T) {
	g := newGhost(t)
	l, err := lock(g.dir)
	if err != nil {
		t.Fatal(err)
	}
	g.want("beside another", g.pull(Pull{}, "[{name: A}]", values{"A": "VALUE"}), "another pull is running", "")
	if err := l.Close(); err != nil {
		t.Fatal(err)
	}
	g.want("after it", g.pull(Pull{}, "[{name: A}]", values{"A": "VALUE"}), "", "A=VALUE")
}

// TestLinksBetweenProfiles plants links by which one profile's secret would land in
// another.
func TestLinksBetweenProfiles(t *testing.T) {
	g := newGhost(t)
	g.put("profiles/prod/x", "")
	g.put("profiles/dev/x", "")
	if err := g.dir.Symlink("../prod", "profiles/dev/sub"); err != nil {
		t.Fatal(err)
	}
	err := g.pull(Pull{}, "[{name: A, file: sub/a, profile: dev}]", values{"A": "VALUE"})
	if err == nil || !strings.Contains(err.Error(), "~/secrets/profiles/dev/sub is a link") {
		t.Errorf("Run() through a link = %v", err)
	}
	if _, err := g.dir.Stat("profiles/prod/a"); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("prod has a file: %v", err)
	}
}

// TestMoved gives a pulled secret to a profile, to which its file has moved.
func TestMoved(t *testing.T) {
	g := newGhost(t)
	g.want("at first", g.pull(Pull{}, "[{name: A, file: a}]", values{"A": "VALUE1"}), "", "a=VALUE1")
	g.put("profiles/prod/x", "")
	if err := g.dir.Rename("a", "profiles/prod/a"); err != nil {
		t.Fatal(err)
	}
	g.want("moved", g.pull(Pull{}, "[{name: A, file: a, profile: prod}]", values{"A": "VALUE2"}), "", "profiles/prod/a=VALUE2 profiles/prod/x=")
	g.want("with a mode", g.pull(Pull{}, "[{name: A, file: a, profile: prod, mode: 0400}]", values{"A": "VALUE2"}), "", "profiles/prod/a=VALUE2 profiles/prod/x=")
	if info, err := g.dir.Stat("profiles/prod/a"); err != nil || info.Mode().Perm() != 0o400 {
		t.Errorf("mode %v, %v; want 0400", info, err)
	}
}

func TestVariables(t *testing.T) {
	g := newGhost(t)
	every := make([]byte, 0, 255)
	for b := 1; b < 256; b++ {
		every = append(every, byte(b))
	}
	g.put("bytes", string(every)+"\n\n")
	g.put("kube", "x")
	g.put("zero", "a\x00b")
	g.put("profiles/prod/p", "prod")
	file, err := secrets.Parse("secrets.yml", []byte(`secrets:
  - {name: A, file: bytes, env: BYTES, value: true}
  - {name: K, file: kube, env: KUBECONFIG}
  - {name: Z, file: zero, env: ZERO, value: true}
  - {name: M, file: missing, env: MISSING}
  - {name: P, file: p, env: PROD, value: true, profile: prod}
  - {name: N, file: nothing}
`))
	if err != nil {
		t.Fatal(err)
	}
	var told []string
	out := string(Variables(g.dir, file.Secrets, "", func(text string) { told = append(told, text) }))
	const rest = "export KUBECONFIG='/home/tazpod/secrets/kube'\nunset ZERO\nunset MISSING\nexport PROD='prod'\n"
	if !strings.HasSuffix(out, rest) || fmt.Sprint(told) != "[note: ZERO is not set: a variable can't hold its null byte]" {
		t.Errorf("Variables() = %q, told %q", out, told)
	}
	sh := exec.Command("sh")
	sh.Stdin = strings.NewReader(out + `printf %s "$BYTES"`)
	got, err := sh.Output()
	if want := string(every) + "\n"; err != nil || string(got) != want {
		t.Errorf("a shell has %q, %v; want %q", got, err, want)
	}
}
