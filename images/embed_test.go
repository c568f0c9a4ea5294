package images

import (
	"bytes"
	"errors"
	"io/fs"
	"regexp"
	"slices"
	"strings"
	"testing"
)

func dockerfile(t *testing.T, name string) string {
	t.Helper()
	context, err := Context(name)
	if err != nil {
		t.Fatal(err)
	}
	text, err := fs.ReadFile(context, "Dockerfile")
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}

func TestEveryImageStandsOnItsParent(t *testing.T) {
	names := Names()
	for i, name := range names {
		from := "debian:trixie-slim"
		if parent := Parent(name); parent != "" {
			if !slices.Contains(names[:i], parent) {
				t.Errorf("Names() = %q; want %s before %s", names, parent, name)
			}
			from = "tazpod/" + parent
		}
		stages := regexp.MustCompile(`(?m)^FROM (\S+)( AS \S+)?$`).FindAllStringSubmatch(dockerfile(t, name), -1)
		// Made of its parent, and then the list of its packages comes in.
		if made, last := stages[len(stages)-3][0], stages[len(stages)-1][0]; made != "FROM "+from+" AS made" || last != "FROM made" {
			t.Errorf("%s: the stages are %q; want FROM %s AS made, another, and FROM made", name, stages, from)
		}
	}
}

// The classic builder is the one that every engine has.
func TestDockerfilesNeedNoBuildKit(t *testing.T) {
	newer := regexp.MustCompile(`(?m)^# *syntax=|<<|^RUN --|--chmod|--link|--exclude|^ADD http`)
	for _, name := range Names() {
		if found := newer.FindString(dockerfile(t, name)); found != "" {
			t.Errorf("%s/Dockerfile has %q, which the classic builder lacks", name, found)
		}
	}
}

func TestBaseStartsAsRootUnderInit(t *testing.T) {
	text := dockerfile(t, "base")
	for _, want := range []string{
		`ENTRYPOINT ["/usr/bin/tazpod-init", "pid1", "--"]`,
		`CMD ["/usr/bin/tazpod-init", "healthcheck"]`,
		"STOPSIGNAL SIGTERM",
	} {
		if !strings.Contains(text, want) {
			t.Errorf("base/Dockerfile lacks %s", want)
		}
	}
	for _, name := range Names() {
		if found := regexp.MustCompile(`(?m)^(USER|CMD).*`).FindString(dockerfile(t, name)); found != "" {
			t.Errorf("%s/Dockerfile has %q", name, found)
		}
	}
}

// Dot files are what `all:` is for.
func TestContextHasTheHomeTemplate(t *testing.T) {
	context, err := Context("base")
	if err != nil {
		t.Fatal(err)
	}
	for _, path := range []string{"home/.bashrc", "home/.profile", "home/.tmux.conf", "home/.config/nvim/init.lua"} {
		if _, err := fs.Stat(context, path); err != nil {
			t.Error(err)
		}
	}
}

func TestLockFilePinsEveryPackage(t *testing.T) {
	context, err := Context("gemini")
	if err != nil {
		t.Fatal(err)
	}
	lock, err := fs.ReadFile(context, "package-lock.json")
	if err != nil {
		t.Fatal(err)
	}
	packages := bytes.Count(lock, []byte(`"node_modules/`))
	hashes := bytes.Count(lock, []byte(`"integrity": "sha512-`))
	if packages == 0 || packages != hashes {
		t.Errorf("package-lock.json: %d packages, %d hashes; want as many of each", packages, hashes)
	}
}

func TestUnknownImage(t *testing.T) {
	_, err := Context("no-such-image")
	if err == nil || !strings.Contains(err.Error(), "gemini") {
		t.Errorf("Context(no-such-image) = %v; want an error that lists the images", err)
	}
}

func TestInitIsAProgramOrSaysHowToGetIt(t *testing.T) {
	binary, err := Init()
	if err == nil && !bytes.HasPrefix(binary, []byte("\x7fELF")) {
		t.Errorf("Init() = %d bytes; want an ELF program", len(binary))
	}
	if err != nil && !errors.Is(err, ErrNoInit) {
		t.Errorf("Init() = %v; want ErrNoInit", err)
	}
}
