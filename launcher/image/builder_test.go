package image

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/containerd/errdefs"
	"github.com/docker/docker/api/types/build"
	"github.com/docker/docker/api/types/image"
	"github.com/docker/docker/client"
)

// store stands in for an engine: it has images, by their tags, and a registry.
type store struct {
	client.ImageAPIClient
	images   map[string]image.InspectResponse
	registry map[string]string // ids
	options  []build.ImageBuildOptions
	removed  []string
	made     int
}

func (s *store) ImageInspect(_ context.Context, tag string, _ ...client.ImageInspectOption) (image.InspectResponse, error) {
	if found, ok := s.images[tag]; ok {
		return found, nil
	}
	return image.InspectResponse{}, errdefs.ErrNotFound
}

func (s *store) ImageBuild(_ context.Context, content io.Reader, options build.ImageBuildOptions) (build.ImageBuildResponse, error) {
	if _, err := io.Copy(io.Discard, content); err != nil {
		return build.ImageBuildResponse{}, err
	}
	s.made++
	s.options = append(s.options, options)
	for _, tag := range options.Tags {
		s.put(tag, fmt.Sprintf("sha256:made%d", s.made), options.Labels)
	}
	return build.ImageBuildResponse{Body: io.NopCloser(strings.NewReader(`{"stream":"Step 1/1 : FROM x\n"}`))}, nil
}

func (s *store) ImagePull(_ context.Context, ref string, _ image.PullOptions) (io.ReadCloser, error) {
	id, ok := s.registry[ref]
	if !ok {
		return nil, errors.New("manifest unknown")
	}
	s.put(ref, id, nil)
	return io.NopCloser(strings.NewReader(`{"status":"Pulling from x"}`)), nil
}

func (s *store) ImageList(context.Context, image.ListOptions) (list []image.Summary, err error) {
	for tag, i := range s.images {
		if i.Config != nil {
			list = append(list, image.Summary{ID: i.ID, RepoTags: []string{tag}, Labels: i.Config.Labels})
		}
	}
	return list, nil
}

func (s *store) ImageRemove(_ context.Context, tag string, _ image.RemoveOptions) ([]image.DeleteResponse, error) {
	s.removed = append(s.removed, tag)
	delete(s.images, tag)
	return nil, nil
}

func (s *store) put(tag, id string, labels map[string]string) {
	text, err := json.Marshal(map[string]any{"Id": id, "Config": map[string]any{"Labels": labels}})
	if err != nil {
		panic(err)
	}
	var i image.InspectResponse
	if err := json.Unmarshal(text, &i); err != nil {
		panic(err)
	}
	s.images[tag] = i
}

// TestCurrent follows an image through what makes a new one of it.
func TestCurrent(t *testing.T) {
	s := &store{images: map[string]image.InspectResponse{}, registry: map[string]string{"debian": "sha256:one"}}
	var out strings.Builder
	b := &Builder{Engine: s, Env: func(string) string { return "" }, Progress: &Progress{W: &out}}
	make := func(content string, args map[string]string) *recipe {
		t.Helper()
		r := &recipe{tag: "tazpod/base", dockerfile: []byte("FROM debian\nARG A=1"), args: args, parts: [][]byte{[]byte(content)}}
		id, err := b.current(t.Context(), r)
		if err == nil && (id == "" || b.NoCache) {
			if _, err = b.build(t.Context(), r, strings.NewReader("")); err == nil {
				err = b.forget(t.Context(), r)
			}
		}
		if err != nil {
			t.Fatal(err)
		}
		return r
	}
	made := func(what string, want int) {
		t.Helper()
		if s.made != want {
			t.Errorf("%s: %d builds so far; want %d", what, s.made, want)
		}
	}

	first := make("x", nil)
	made("nothing is there", 1)
	if first.from[0] != "sha256:one" {
		t.Errorf("it starts from %q; want what the registry has", first.from)
	}
	if o := s.options[0]; !slices.Equal(o.Tags, []string{"tazpod/base", "tazpod/base:" + first.hash[:12]}) || o.Labels[labelContext] != first.hash {
		t.Errorf("tags %q, labels %q; want the hash %s in both", o.Tags, o.Labels, first.hash)
	}
	make("x", nil)
	made("the same", 1)
	delete(s.images, "debian")
	make("x", nil)
	made("what it started from is gone", 1)
	s.put("debian", "sha256:two", nil)
	make("x", nil)
	made("it would start from another image", 2)
	if want := []string{first.unique()}; !slices.Equal(s.removed, want) {
		t.Errorf("removed %q; want %q", s.removed, want)
	}
	make("x", map[string]string{"A": "2"})
	made("another argument", 3)
	if got := s.options[2].BuildArgs["A"]; got == nil || *got != "2" {
		t.Errorf("the builder gets A = %v; want 2", got)
	}
	b.NoCache = true
	make("x", map[string]string{"A": "2"})
	made("no cache", 4)
	b.NoCache, b.Pull = false, true
	s.registry["debian"] = "sha256:three"
	make("x", map[string]string{"A": "2"})
	made("a newer one in the registry", 5)
	if _, ok := s.images["tazpod/base"]; !ok {
		t.Error("the image itself was removed")
	}
	for _, want := range []string{"tazpod: pulling debian\n", "tazpod: pulled debian in 0s\n", "tazpod: built tazpod/base in 0s\n"} {
		if !strings.Contains(out.String(), want) {
			t.Errorf("progress has no %q:\n%s", want, out.String())
		}
	}
}

func TestNoRegistry(t *testing.T) {
	s := &store{images: map[string]image.InspectResponse{}}
	b := &Builder{Engine: s, Env: func(string) string { return "" }, Progress: &Progress{W: io.Discard}}
	for _, c := range []struct {
		ref, hint string
		pull      bool
	}{
		{"debian:trixie-slim", "mmdebstrap", false},
		{"other", "pull or build it first", false},
		{"here", "without --pull", true},
	} {
		b.Pull = c.pull
		s.put("here", "sha256:x", nil)
		_, err := b.current(t.Context(), &recipe{tag: "tazpod/base", dockerfile: []byte("FROM " + c.ref)})
		var wrong *Error
		if !errors.As(err, &wrong) || wrong.Tag != c.ref || !strings.Contains(wrong.Hint, c.hint) {
			t.Errorf("FROM %s: %v; want an error with the hint %q", c.ref, err, c.hint)
		}
	}
}

func TestArgs(t *testing.T) {
	got, err := Args()
	if err != nil || !slices.Contains(got, "HELM") {
		t.Errorf("Args() = %q, %v; want HELM among them", got, err)
	}
	known := declared([]byte("FROM x\nARG HELM=v4\nRUN echo ARG K9S"), map[string]string{"HELM": "v3", "K9S": "none"})
	if len(known) != 1 || known["HELM"] != "v3" {
		t.Errorf("declared() = %q; want HELM alone", known)
	}
}

// TestLock has a second launcher wait for the first.
func TestLock(t *testing.T) {
	var out strings.Builder
	b := &Builder{Locks: filepath.Join(t.TempDir(), "tazpod"), Progress: &Progress{W: &out}}
	unlock, err := b.lock(t.Context(), "tazpod/base")
	if err != nil {
		t.Fatal(err)
	}
	other, err := b.lock(t.Context(), "tazpod/k8s")
	if err != nil {
		t.Fatalf("lock(another image) = %v; want it at once", err)
	}
	other()
	ctx, cancel := context.WithTimeout(t.Context(), 2*lockedAgain)
	defer cancel()
	if _, err := b.lock(ctx, "tazpod/base"); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("lock() a second time = %v; want %v", err, context.DeadlineExceeded)
	}
	if want := "tazpod: another tazpod builds tazpod/base; waiting for it\n"; out.String() != want {
		t.Errorf("written: %q; want %q", out.String(), want)
	}
	unlock()
	if unlock, err = b.lock(t.Context(), "tazpod/base"); err != nil {
		t.Fatalf("lock() afterwards = %v", err)
	}
	unlock()
}
