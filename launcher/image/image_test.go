package image

import (
	"archive/tar"
	"bytes"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"io"
	"math/big"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"testing/fstest"
	"time"

	"github.com/tazzo/tazpod/images"
	"github.com/tazzo/tazpod/launcher/tree"
)

// list reads a tar as lines of mode, owner and name.
func list(t *testing.T, data []byte) (lines []string) {
	t.Helper()
	r := tar.NewReader(bytes.NewReader(data))
	for {
		h, err := r.Next()
		if errors.Is(err, io.EOF) {
			return lines
		}
		if err != nil {
			t.Fatal(err)
		}
		line := h.FileInfo().Mode().String() + " " + h.Name
		if h.Linkname != "" {
			line += " -> " + h.Linkname
		}
		if h.Uid != 0 || h.Gid != 0 || h.Uname != "" {
			line += " not root's"
		}
		lines = append(lines, line)
	}
}

func TestPack(t *testing.T) {
	tree := fstest.MapFS{
		"Dockerfile":      {Data: []byte("FROM x")},
		"etc/tool.conf":   {Data: []byte("x")},
		"bin/script":      {Data: []byte("#!/bin/sh\n")},
		"home/.bashrc":    {Data: []byte("x")},
		"home/empty/file": {},
	}
	data, err := pack(tree, map[string][]byte{"b.crt": nil, "a.crt": []byte("x")}, []byte("ELF"))
	if err != nil {
		t.Fatal(err)
	}
	want := []string{
		"-rw-r--r-- Dockerfile", "drwxr-xr-x bin/", "-rwxr-xr-x bin/script", "drwxr-xr-x etc/", "-rw-r--r-- etc/tool.conf",
		"drwxr-xr-x home/", "-rw-r--r-- home/.bashrc", "drwxr-xr-x home/empty/", "-rw-r--r-- home/empty/file",
		"drwxr-xr-x ca-certificates/", "-rw-r--r-- ca-certificates/a.crt", "-rw-r--r-- ca-certificates/b.crt",
		"-rwx--x--x tazpod-init",
	}
	if got := list(t, data); !slices.Equal(got, want) {
		t.Errorf("pack() =\n%s\nwant\n%s", strings.Join(got, "\n"), strings.Join(want, "\n"))
	}
	again, err := pack(tree, map[string][]byte{"a.crt": []byte("x"), "b.crt": nil}, []byte("ELF"))
	if err != nil || !bytes.Equal(data, again) {
		t.Errorf("the same input packs differently (%v)", err)
	}
	bare, err := pack(tree, nil, nil)
	if err != nil {
		t.Fatal(err)
	}
	if got := list(t, bare); !slices.Contains(got, "drwxr-xr-x ca-certificates/") || slices.Contains(got, "-rwx--x--x tazpod-init") {
		t.Errorf("pack() without extras = %s; want an empty directory of certificates and no tazpod-init", got)
	}
}

// TestOurContextsPack also sees that every image's base is known.
func TestOurContextsPack(t *testing.T) {
	for _, name := range images.Names() {
		tree, err := images.Context(name)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := pack(tree, nil, nil); err != nil {
			t.Errorf("%s: %v", name, err)
		}
		file, err := tree.Open("Dockerfile")
		if err != nil {
			t.Fatal(err)
		}
		dockerfile, err := io.ReadAll(file)
		file.Close()
		if err != nil {
			t.Fatal(err)
		}
		want := "debian:trixie-slim"
		if parent := images.Parent(name); parent != "" {
			want = Tag(parent)
		}
		if got := bases(dockerfile); !slices.Contains(got, want) {
			t.Errorf("%s starts from %q; want %q among them", name, got, want)
		}
	}
}

func TestBases(t *testing.T) {
	for dockerfile, want := range map[string][]string{
		"FROM a\n": {"a"},
		"# FROM no\nfrom --platform=linux/amd64 a:1 as x\nFROM x\nFROM b AS y\nCOPY --from=x / /\nFROM scratch": {"a:1", "b"},
		"ARG V\nFROM a:$V": nil,
		"RUN echo FROM":    nil,
	} {
		if got := bases([]byte(dockerfile)); !slices.Equal(got, want) {
			t.Errorf("bases(%q) = %q; want %q", dockerfile, got, want)
		}
	}
}

func TestTags(t *testing.T) {
	for name, want := range map[string]string{
		"base": "tazpod/base", "tazpod/k8s": "tazpod/k8s", "gemini": "tazpod/gemini",
		"debian": "debian", "tazzo/tazlab.net:tazpod-gemini": "tazzo/tazlab.net:tazpod-gemini", "tazpod/other": "tazpod/other",
	} {
		if got := Tag(name); got != want {
			t.Errorf("Tag(%q) = %q; want %q", name, got, want)
		}
	}
	if Ours("tazpod/other") || Ours("debian") || !Ours("tazpod/base:latest") {
		t.Error("Ours doesn't tell ours from others'")
	}
}

// certificate makes a real one.
func certificate(t *testing.T) []byte {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{SerialNumber: big.NewInt(1), NotAfter: time.Now().Add(time.Hour)}
	der, err := x509.CreateCertificate(rand.Reader, template, template, &key.PublicKey, key)
	if err != nil {
		t.Fatal(err)
	}
	return pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der})
}

func TestCertificates(t *testing.T) {
	dir := t.TempDir()
	put := func(name string, data []byte) string {
		t.Helper()
		path := filepath.Join(dir, name)
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, data, 0o600); err != nil {
			t.Fatal(err)
		}
		return path
	}
	good := put("corp.pem", certificate(t))
	got, err := Certificates(nil, []string{good})
	if err != nil || len(got) != 1 || got["corp.crt"] == nil {
		t.Errorf("Certificates(corp.pem) = %d files, %v; want corp.crt", len(got), err)
	}
	if got, err := Certificates(nil, []string{}); err != nil || len(got) != 0 {
		t.Errorf("Certificates(none) = %d files, %v; want none, whatever the host has", len(got), err)
	}
	for name, paths := range map[string][]string{
		"missing":  {filepath.Join(dir, "none")},
		"no PEM":   {put("text.crt", []byte("hello"))},
		"no cert":  {put("key.crt", pem.EncodeToMemory(&pem.Block{Type: "X", Bytes: []byte("x")}))},
		"same one": {good, put("other/corp.crt", certificate(t))},
	} {
		if _, err := Certificates(nil, paths); err == nil {
			t.Errorf("%s: no error; want one, rather than a build that silently goes without", name)
		}
	}
}

func TestProjectContext(t *testing.T) {
	dir := t.TempDir()
	for name, content := range map[string]string{
		".tazpod/Dockerfile": "FROM tazpod/base", ".tazpod/vault/vault.img": "secret", ".git/config": "x",
		"src/main.go": "x", "src/main_test.go": "x", "node_modules/a/b": "x", "keep/node_modules/x": "x", "a.log": "x", "important.log": "x",
		".dockerignore": "# comment\n**/*_test.go\nnode_modules\n*.log\n!important.log\n",
	} {
		path := filepath.Join(dir, name)
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte(content), 0o640); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.Symlink("../../etc/passwd", filepath.Join(dir, "link")); err != nil {
		t.Fatal(err)
	}
	out := contextOf(t, Project{Dir: dir, Dockerfile: ".tazpod/Dockerfile", Context: ".", Vault: ".tazpod/vault"})
	want := []string{
		"-rw-r----- .dockerignore", "drwxr-xr-x .tazpod/", "-rw-r----- .tazpod/Dockerfile", "-rw-r----- important.log",
		"drwxr-xr-x keep/", "drwxr-xr-x keep/node_modules/", "-rw-r----- keep/node_modules/x",
		"Lrwxrwxrwx link -> ../../etc/passwd", "drwxr-xr-x src/", "-rw-r----- src/main.go",
	}
	if got := list(t, out); !slices.Equal(got, want) {
		t.Errorf("context =\n%s\nwant\n%s", strings.Join(got, "\n"), strings.Join(want, "\n"))
	}
}

// contextOf packs a project's build context.
func contextOf(t *testing.T, p Project) []byte {
	t.Helper()
	r, err := Read(p)
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	skip, err := ignored(r.files, p.Vault)
	if err != nil {
		t.Fatal(err)
	}
	var out bytes.Buffer
	if err := packProject(&out, r.files, r.inside, r.Text, skip); err != nil {
		t.Fatal(err)
	}
	return out.Bytes()
}

// TestContextStaysInside has every part of a build reached through a link out of
// the project, as a program in the pod could plant it.
func TestContextStaysInside(t *testing.T) {
	outside := t.TempDir()
	for name, content := range map[string]string{"id_ed25519": "private", "Dockerfile": "FROM x", ".dockerignore": "", "ca.crt": string(certificate(t))} {
		if err := os.WriteFile(filepath.Join(outside, name), []byte(content), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	for _, c := range []struct {
		link, target string
		p            Project
	}{
		{"ctx", "", Project{Dockerfile: "ctx/Dockerfile"}},
		{"ctx", "", Project{Dockerfile: "ctx/Dockerfile", Context: "ctx"}},
		{"ctx", "..", Project{Dockerfile: "ctx/Dockerfile", Context: "ctx"}},
		{"Dockerfile", "Dockerfile", Project{Dockerfile: "Dockerfile"}},
		{".dockerignore", ".dockerignore", Project{Dockerfile: "D"}},
	} {
		dir := t.TempDir()
		if err := os.WriteFile(filepath.Join(dir, "D"), []byte("FROM x"), 0o600); err != nil {
			t.Fatal(err)
		}
		if err := os.Symlink(filepath.Join(outside, c.target), filepath.Join(dir, c.link)); err != nil {
			t.Fatal(err)
		}
		c.p.Dir, c.p.Vault = dir, ".tazpod/vault"
		r, err := Read(c.p)
		if err == nil {
			_, err = ignored(r.files, c.p.Vault)
			r.Close()
		}
		if !errors.Is(err, tree.ErrLink) {
			t.Errorf("%+v: %v; want %v", c.p, err, tree.ErrLink)
		}
		in, err := tree.Open(dir)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := Certificates(in, []string{"ctx/ca.crt"}); c.link == "ctx" && !errors.Is(err, tree.ErrLink) {
			t.Errorf("Certificates(through a link) = %v; want %v", err, tree.ErrLink)
		}
		in.Close()
	}
}

// TestBuiltIsWhatWasRead changes the Dockerfile after the user agreed to it.
func TestBuiltIsWhatWasRead(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, "Dockerfile")
	for name, content := range map[string]string{path: "FROM good", filepath.Join(dir, ".dockerignore"): "*"} {
		if err := os.WriteFile(name, []byte(content), 0o640); err != nil {
			t.Fatal(err)
		}
	}
	r, err := Read(Project{Dir: dir, Dockerfile: "Dockerfile"})
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	if err := os.WriteFile(path, []byte("FROM evil"), 0o640); err != nil {
		t.Fatal(err)
	}
	for _, all := range []bool{true, false} {
		var out bytes.Buffer
		if err := packProject(&out, r.files, r.inside, r.Text, func(name string) bool { return !all || name == ".dockerignore" }); err != nil {
			t.Fatal(err)
		}
		in := tar.NewReader(&out)
		h, err := in.Next()
		if err != nil || h.Name != "Dockerfile" {
			t.Fatalf("context has %+v, %v; want the Dockerfile, ignored or not", h, err)
		}
		if text, err := io.ReadAll(in); err != nil || string(text) != "FROM good" {
			t.Errorf("Dockerfile = %q, %v; want it as it was read", text, err)
		}
	}
}

func TestCovers(t *testing.T) {
	for _, c := range []struct {
		pattern, name string
		want          bool
	}{
		{"a", "a", true}, {"a", "a/b", true}, {"a", "b/a", false}, {"*/a", "b/a", true}, {"**/a", "a", true},
		{"**/a", "x/y/a", true}, {"a/**", "a/b", true}, {"a/**", "a", false}, {"**", "a", true}, {"a/*.go", "a/b.go", true}, {"a/*.go", "a/b/c.go", false},
	} {
		if got := covers(c.pattern, c.name); got != c.want {
			t.Errorf("covers(%q, %q) = %v; want %v", c.pattern, c.name, got, c.want)
		}
	}
}

func TestProxies(t *testing.T) {
	got := proxies(func(name string) string {
		return map[string]string{"https_proxy": "http://p", "NO_PROXY": "x", "PATH": "/bin"}[name]
	})
	if len(got) != 2 || *got["https_proxy"] != "http://p" || *got["NO_PROXY"] != "x" {
		t.Errorf("proxies() = %v; want the two that are set", got)
	}
}
