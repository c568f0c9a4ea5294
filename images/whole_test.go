package images

import (
	"bytes"
	"fmt"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"strings"
	"testing"
)

// head begins the Dockerfile at the repository's top: it compiles what the launcher
// is otherwise there for.
const head = `# Generated from images/*/Dockerfile, for those who have docker only: TAZPOD_UPDATE=1 go test ./images
#
#	docker build --target gemini --tag tazpod/gemini .
#	docker build --target binaries --tag tazpod-binaries .    # then docker create and docker cp
#
# Extra certificates go into images/ca-certificates.

FROM debian:trixie-slim AS compile
COPY images/ca-certificates/ /usr/local/share/ca-certificates/
RUN apt-get update --error-on=any \
 && mirror="$(apt-get indextargets --format '$(RELEASE) $(REPO_URI)' 'Created-By: Packages' | sed -n 's/^trixie //p' | head -n 1)" \
 && echo "deb [signed-by=/usr/share/keyrings/debian-archive-keyring.gpg] $mirror trixie-backports main" > /etc/apt/sources.list.d/backports.list \
 && apt-get update --error-on=any \
 && DEBIAN_FRONTEND=noninteractive apt-get install -y --no-install-recommends ca-certificates golang-1.26-go make \
 && update-ca-certificates
COPY . /src
RUN make -C /src build GO=/usr/lib/go-1.26/bin/go \
 && rm -rf /root/go /root/.cache

FROM scratch AS binaries
COPY --from=compile /src/bin/ /
`

// whole is a Dockerfile with every image as a target, whose context is the
// repository.
func whole(t *testing.T) string {
	t.Helper()
	text := head
	for _, name := range Names() {
		text += "\n"
		for line := range strings.Lines(dockerfile(t, name)) {
			text += renamed(name, line)
		}
	}
	return text
}

// renamed is a line of an image's Dockerfile as it stands among the others: its
// stages have the image's name before theirs, and its files the image's directory.
func renamed(name, line string) string {
	words := strings.Fields(line)
	if len(words) > 1 && words[0] == "FROM" && !strings.ContainsAny(words[1], "/:") {
		words[1] = name + "-" + words[1]
	}
	switch {
	case len(words) == 4 && words[0] == "FROM":
		return fmt.Sprintf("FROM %s AS %s-%s\n", strings.TrimPrefix(words[1], "tazpod/"), name, words[3])
	case len(words) == 2 && words[0] == "FROM":
		return fmt.Sprintf("FROM %s AS %s\n", words[1], name)
	case len(words) < 3 || words[0] != "COPY":
		return line
	case strings.HasPrefix(words[1], "--from="):
		return strings.Replace(line, "--from=", "--from="+name+"-", 1)
	}
	for i, file := range words[1 : len(words)-1] {
		switch file {
		case "tazpod-init":
			return strings.Replace(line, file, "--from=compile /src/bin/"+file, 1)
		case "ca-certificates/":
			words[i+1] = "images/" + file
		default:
			words[i+1] = path.Join("images", name, file)
			if strings.HasSuffix(file, "/") {
				words[i+1] += "/"
			}
		}
	}
	return strings.Join(words, " ") + "\n"
}

// TestWhole compares the Dockerfile at the top with what it is generated from, and
// writes it when TAZPOD_UPDATE is set.
func TestWhole(t *testing.T) {
	const file = "../Dockerfile"
	want := whole(t)
	if os.Getenv("TAZPOD_UPDATE") != "" {
		if err := os.WriteFile(file, []byte(want), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	got, err := os.ReadFile(file)
	if err != nil || string(got) != want {
		t.Errorf("%s is not what images/*/Dockerfile make (%v): TAZPOD_UPDATE=1 go test ./images", file, err)
	}
}

// TestModes finds programs that docker alone would copy into an image without the
// right to run them; the launcher goes by what a file begins with.
func TestModes(t *testing.T) {
	for _, name := range Names() {
		err := filepath.WalkDir(name, func(file string, d fs.DirEntry, err error) error {
			if err != nil || d.IsDir() {
				return err
			}
			text, err := os.ReadFile(file)
			if err != nil {
				return err
			}
			info, err := d.Info()
			if program := bytes.HasPrefix(text, []byte("#!")); err == nil && program != (info.Mode()&0o111 != 0) {
				t.Errorf("%s has the mode %v; is it a program: %v", file, info.Mode(), program)
			}
			return err
		})
		if err != nil {
			t.Error(err)
		}
	}
}
