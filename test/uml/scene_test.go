package uml

import (
	"crypto/rand"
	_ "embed"
	"encoding/hex"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"testing"

	"github.com/tazzo/tazpod/init/wire"
	"github.com/tazzo/tazpod/test/bare"
	"github.com/tazzo/tazpod/test/need"
)

var (
	//go:embed testdata/feed.py
	feed string
	//go:embed testdata/mark.py
	mark string
)

func TestMain(m *testing.M) {
	code := m.Run()
	if err := bare.RemoveImage(); err != nil {
		fmt.Fprintln(os.Stderr, err)
		code = max(code, 1)
	}
	os.Exit(code)
}

// vault is one that scenes use after each other.
type vault struct {
	file            string // of the host; empty until a scene has made it
	passphrase, key []byte
}

func newVault(t *testing.T) *vault {
	return &vault{file: filepath.Join(t.TempDir(), "vault.img"), passphrase: []byte(hex.EncodeToString(random(24)))}
}

// learn takes the volume key out of a copy of the vault, on the host: so the
// guest's memory gets no copy by it. It makes the copy cheap to open.
func (v *vault) learn(t *testing.T) {
	t.Helper()
	dir := t.TempDir()
	passphrase, key := filepath.Join(dir, "passphrase"), filepath.Join(dir, "key")
	err := os.WriteFile(passphrase, v.passphrase, 0o600)
	for _, args := range [][]string{
		{"luksDump", "--dump-volume-key", "--volume-key-file", key},
		{"luksConvertKey", "--pbkdf", "pbkdf2", "--pbkdf-force-iterations", "1000"},
	} {
		if err == nil {
			var out []byte
			cmd := exec.Command("cryptsetup", append(args, "--batch-mode", "--key-file", passphrase, v.file)...)
			if out, err = cmd.CombinedOutput(); err != nil {
				err = fmt.Errorf("cryptsetup %s: %w: %s", args[0], err, out)
			}
		}
	}
	if err == nil {
		v.key, err = os.ReadFile(key)
	}
	if err != nil {
		t.Fatal(err)
	}
}

// A scene is a pod in a machine. The guest is told no secret: it gets two shares
// whose exclusive or it is, so every copy that is found is of the making of what
// is tested.
type scene struct {
	*Machine
	t     *testing.T
	pod   *bare.Pod
	vault *vault
}

const (
	workspace = "/scratch/workspace"
	vaultDir  = workspace + "/" + wire.VaultDir
)

// stage boots a machine with a pod, in which the vault is if it was made.
func stage(t *testing.T, o Options, v *vault) *scene {
	t.Helper()
	need.UML(t)
	need.Command(t, "cryptsetup")
	image := bare.Image(t)
	o.Binds, o.ScratchMB = []string{image, filepath.Dir(v.file)}, 200
	s := &scene{Machine: Start(t, o), t: t, vault: v}
	owner := strconv.Itoa(wire.UserID)
	s.ok("install", "-d", "-o", owner, "-g", owner, workspace)
	if v.key != nil {
		s.ok("mkdir", "-p", vaultDir)
		s.bringVault()
	}
	s.open(image)
	return s
}

// bringVault replaces the vault by the copy that is cheap to open.
func (s *scene) bringVault() {
	s.t.Helper()
	s.ok("cp", s.vault.file, vaultDir)
}

// open starts the pod.
func (s *scene) open(image string) {
	s.t.Helper()
	s.pod = bare.Start(s.t, image, bare.Options{Workspace: workspace, Env: []string{wire.EnvPod + `={"vault_size":67108864}`},
		Run: func(argv ...string) error { return s.Run(argv...).Err() }})
	s.until("tazpod-init healthcheck 2>/dev/null")
}

func random(n int) []byte {
	b := make([]byte, n)
	_, _ = rand.Read(b) // never fails
	return b
}

// shares are two texts for the guest, neither of which tells anything.
func shares(secret []byte) []string {
	first := random(len(secret))
	second := make([]byte, len(secret))
	for i := range secret {
		second[i] = first[i] ^ secret[i]
	}
	return []string{hex.EncodeToString(first), hex.EncodeToString(second)}
}

// ok runs a command in the machine that must succeed.
func (s *scene) ok(argv ...string) {
	s.t.Helper()
	if err := s.Run(argv...).Err(); err != nil {
		s.t.Fatal(err)
	}
}

// inPod runs a shell's command in the pod, as root, that must succeed.
func (s *scene) inPod(script string) {
	s.t.Helper()
	if err := s.Run(s.pod.Argv("0", "sh", "-c", script)...).Err(); err != nil {
		s.t.Fatalf("%v\n%s", err, s.Run("cat", s.pod.Log()).Stdout)
	}
}

// until waits for a shell's condition in the pod.
func (s *scene) until(condition string) {
	s.t.Helper()
	s.inPod("for i in $(seq 2000); do " + condition + " && exit; sleep 0.1; done; exit 1")
}

// locked waits until the vault is.
func (s *scene) locked() {
	s.t.Helper()
	s.until(`tazpod-init status --json 2>/dev/null | grep -q '"` + wire.VaultLocked + `"'`)
}

// session starts a program in a ghost.
func (s *scene) session(argv ...string) *Job {
	s.t.Helper()
	enter := append([]string{"python3", "-c", feed}, shares(s.vault.passphrase)...)
	enter = append(enter, "tazpod-init", "ghost", "--passphrase-fd", "3", "--")
	return s.Start(s.pod.Argv("0", append(enter, argv...)...)...)
}

// marked is a session that has made pages in every place, and a mark for each.
func (s *scene) marked() (session *Job, marks [][]byte) {
	s.t.Helper()
	s.ok("rm", "-f", workspace+"/ready", workspace+"/go")
	argv := []string{"python3", "-c", mark, strconv.Itoa(pages)}
	for _, place := range places {
		marker := random(64)
		marks = append(marks, marker)
		argv = append(append(argv, place), shares(marker)...)
	}
	session = s.session(argv...)
	s.until("[ -e /workspace/ready ]")
	if s.vault.key == nil {
		s.ok("cp", vaultDir+"/"+wire.VaultFile, s.vault.file)
		s.vault.learn(s.t)
	}
	return session, marks
}

// keyText is the beginning of the key as cryptsetup prints it.
func (v *vault) keyText() []byte { return fmt.Appendf(nil, "% x", v.key[:16]) }

// end makes marked's program end.
func (s *scene) end() { s.t.Helper(); s.ok("touch", workspace+"/go") }
