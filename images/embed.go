// Package images carries the build contexts of TazPod's images, and the
// tazpod-init that goes into them, inside the launcher, so that it can build
// them outside of the repository. It only hands out bytes: it builds nothing.
package images

import (
	"embed"
	"errors"
	"fmt"
	"io/fs"
	"slices"
)

//go:embed all:base all:k8s all:gemini
var contexts embed.FS

//go:embed all:payload
var payload embed.FS

// ErrNoInit says that this program was compiled without tazpod-init.
var ErrNoInit = errors.New("built without tazpod-init: use make build")

// parents names the image that each image is built on; "" is debian:trixie-slim.
var parents = map[string]string{
	"base":   "",
	"k8s":    "base",
	"gemini": "k8s",
}

// Names lists the images, each after the one that it is built on.
func Names() []string {
	return []string{"base", "k8s", "gemini"}
}

// Parent names the image that name is built on, "" for base and for images that
// are not ours.
func Parent(name string) string {
	return parents[name]
}

// Context is the build context of image name: Dockerfile and root files. The
// builder expects two things more in it: ca-certificates/, with the host's extra
// certificates if there are any, and, for base, the bytes of Init as tazpod-init.
// Modes don't matter: the Dockerfiles set their own.
func Context(name string) (fs.FS, error) {
	if !slices.Contains(Names(), name) {
		return nil, fmt.Errorf("no image %q: there are %q", name, Names())
	}
	return fs.Sub(contexts, name)
}

// Init is the static tazpod-init of the same build as this program, or ErrNoInit.
func Init() ([]byte, error) {
	binary, err := payload.ReadFile("payload/tazpod-init")
	if errors.Is(err, fs.ErrNotExist) {
		return nil, ErrNoInit
	}
	return binary, err
}
