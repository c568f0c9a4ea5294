package main

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/alecthomas/kingpin/v2"

	"github.com/tazzo/tazpod/init/wire"
	"github.com/tazzo/tazpod/launcher/image"
	"github.com/tazzo/tazpod/launcher/project"
	"github.com/tazzo/tazpod/launcher/term"
	"github.com/tazzo/tazpod/launcher/trust"
)

// question is what a project has a say in that decides what reads the passphrase:
// its Dockerfile, an image, certificates. Whoever wrote it need not be trusted, so
// the user is asked, once for the same content.
//
// The answer is for the Dockerfile's text, the paths of the build section and the
// certificates, or for an image's id. It isn't for the files of the build
// context: those change with every line of code that is written, and nobody reads
// what is asked a hundred times. The price is that who may change these files
// has a say in the next build, which the question tells. A new Dockerfile is
// needed for such a build by itself, or a new base image, or tazpod build.
type question struct {
	project string
	what    []string // for people
	parts   [][]byte // that the answer is for
	code    bool     // some of it will read the passphrase
}

func (p *place) question(certificates map[string][]byte) *question {
	q := &question{project: p.config.Dir}
	if persist := p.config.Ghost.TheirPersist; len(persist) > 0 {
		q.parts = append(q.parts, []byte("persist"), []byte(strings.Join(persist, "\n")))
		q.what = append(q.what, fmt.Sprintf("what ghosts write to %q of the home to stay on disk, not encrypted, for ghosts of every profile to use and run", persist))
	}
	if vault := p.config.Vault; vault.TheirEngine {
		q.parts = append(q.parts, []byte("engine"), []byte(vault.Engine))
		q.what = append(q.what, fmt.Sprintf("the vault's engine %q, with this machine's device-mapper and loop devices for the pod's root", vault.Engine))
	}
	if !p.config.Build.TheirCA {
		return q
	}
	names := make([]string, 0, len(certificates))
	for name := range certificates {
		names = append(names, name)
	}
	slices.Sort(names)
	for _, name := range names {
		q.add("certificate", name, certificates[name])
	}
	for _, path := range p.config.Build.CACertificates {
		q.what = append(q.what, fmt.Sprintf("the CA certificate %q, which may speak for any site", filepath.Join(p.config.Dir, path)))
	}
	return q
}

func (q *question) add(kind, name string, content []byte) {
	q.parts = append(q.parts, []byte(kind), []byte(name), content)
	q.code = true
}

func (q *question) dockerfile(r *image.Recipe) {
	q.add("dockerfile", r.Dockerfile, r.Text)
	q.add("context", r.Context, nil)
	from := fmt.Sprintf("with files of %q", filepath.Join(r.Dir, r.Context))
	settings := filepath.Dir(project.File)
	if r.Context != settings && !strings.HasPrefix(r.Context, settings+string(filepath.Separator)) {
		from += ", as they are when it is built: programs in the pod can change them"
	}
	q.what = append(q.what, fmt.Sprintf("an image that %q describes, %s", filepath.Join(r.Dir, r.Dockerfile), from))
}

func (q *question) image(tag, id string) {
	q.add("image", tag, []byte(id))
	q.what = append(q.what, fmt.Sprintf("the image %q, %s", tag, id))
}

// consent makes sure that the user agrees: before, by --trust, or now.
func (p *place) consent(q *question, yes bool) error {
	if len(q.parts) == 0 {
		return nil
	}
	hash := trust.Hash(append([][]byte{[]byte(q.project)}, q.parts...)...)
	store, storeErr := trust.Open(os.Getenv, q.project)
	if storeErr == nil {
		had, err := store.Has(hash)
		if had {
			return nil
		}
		storeErr = err
	}
	if !yes {
		agreed, err := p.ask(q)
		if err != nil {
			return err
		}
		if !agreed {
			hint := "change the project's settings"
			if q.code {
				hint += ", or choose the image yourself: tazpod run base"
			}
			return &exit{wire.ExitUsage, errors.New("nothing was built or started"), hint}
		}
	}
	if storeErr == nil {
		storeErr = store.Add(hash, q.project, strings.Join(q.what, "; "))
	}
	if storeErr != nil {
		p.notify("your answer can't be kept: " + storeErr.Error())
	}
	return nil
}

func (p *place) ask(q *question) (bool, error) {
	wants := "the settings in " + fmt.Sprintf("%q", filepath.Join(q.project, project.File)) + " ask for\n  " + strings.Join(q.what, "\n  ")
	t, err := term.Controlling()
	if err != nil {
		return false, &exit{wire.ExitUsage, errors.New(wants + "\nand there is no terminal to ask on whether you trust them"),
			"look at them; --trust gives your yes, which holds until they change"}
	}
	defer t.Close()
	t.Tell("tazpod: " + wants)
	if q.code {
		t.Tell("Whoever wrote that can have the vault's passphrase and every secret in it. Look before you say yes.")
	}
	return t.Confirm(p.ctx, "Trust it? [y/N] ")
}

func trustFlag(c *kingpin.CmdClause) *bool {
	return c.Flag("trust", "Say yes to the Dockerfile, image, certificates, persistent directories and vault engine that the project's settings ask for.").Bool()
}
