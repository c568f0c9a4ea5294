package ghost

import (
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/tazzo/tazpod/init/sys"
	"github.com/tazzo/tazpod/init/wire"
)

// treeFile puts a file of the ghost's user into the vault's content.
func treeFile(t *testing.T, c Config, name, text string) {
	t.Helper()
	place := filepath.Join(c.Tree, name)
	must(t, os.MkdirAll(filepath.Dir(place), 0o755), os.WriteFile(place, []byte(text), 0o600))
	for dir := place; dir != c.Tree; dir = filepath.Dir(dir) {
		must(t, os.Chown(dir, preferredID, preferredID))
	}
}

// TestPart: a ghost that shows a directory of the vault sees nothing else of it.
func TestPart(t *testing.T) {
	c := prepare(t)
	treeFile(t, c, "profiles/prod/kube", "prod\n")
	treeFile(t, c, "profiles/dev/kube", "dev\n")
	c.Part, c.Bridges = "profiles/prod", []string{".aws"}
	g := start(t, c)
	expect(t, g, "cat ~/secrets/kube; ls -A ~/secrets; echo x >~/.aws/x; echo new >~/secrets/new", "prod\n.aws\nkube")
	expect(t, g, "cat ~/secrets/../secrets/../token ~/secrets/../kube 2>/dev/null; grep -rl -e s3cret -e dev ~ /run /tmp 2>/dev/null; true", "")
	for name, want := range map[string]string{"profiles/prod/new": "new\n", "profiles/prod/.aws/x": "x\n"} {
		if text, err := os.ReadFile(filepath.Join(c.Tree, name)); string(text) != want {
			t.Errorf("%s of the vault = %q, %v; want %q", name, text, err, want)
		}
	}
	c.Part = "../x"
	if _, err := Start(t.Context(), c); err == nil {
		t.Error("a part outside of the vault is shown")
	}
}

// TestFiles: a ghost that shows some files has them for writing, and neither the
// rest nor a bridge.
func TestFiles(t *testing.T) {
	c := prepare(t)
	treeFile(t, c, "profiles/prod/kube", "prod\n")
	treeFile(t, c, ".aws/credentials", "aws\n")
	c.Bridges = []string{".aws"}
	c.Files = []File{{"profiles/prod/kube", "deep/kube"}}
	g := start(t, c)
	expect(t, g, "find ~/secrets -type f; cat ~/secrets/deep/kube; ls -A ~/.aws 2>/dev/null; echo more >>~/secrets/deep/kube; touch ~/secrets/gone",
		"/home/tazpod/secrets/deep/kube\nprod")
	if text, err := os.ReadFile(c.Tree + "/profiles/prod/kube"); string(text) != "prod\nmore\n" {
		t.Errorf("file of the vault = %q, %v; want what was appended", text, err)
	}
	if _, err := os.Stat(c.Tree + "/gone"); err == nil {
		t.Error("a file that a narrowed ghost made is in the vault")
	}
	must(t, g.Kill(), UnmountRAM(c.Base), MountRAM(c.Base, 64<<20))
	for _, f := range []File{{"missing", "x"}, {"profiles", "x"}, {"../token", "x"}, {"token", "../x"}} {
		c.Files = []File{f}
		if g, err := Start(t.Context(), c); err == nil {
			t.Errorf("a ghost shows %+v", f)
			must(t, g.Kill())
		}
		must(t, UnmountRAM(c.Base), MountRAM(c.Base, 64<<20))
	}
	must(t, os.Symlink("token", c.Tree+"/link"))
	c.Files = []File{{"link", "x"}}
	if _, err := Start(t.Context(), c); err == nil {
		t.Error("a ghost shows what a link leads to")
	}
}

// volume mounts a file system for persistent directories, where a container's
// engine would.
func volume(t *testing.T, c *Config, fstype string) {
	t.Helper()
	c.Volume = filepath.Join(filepath.Dir(c.Base), "volume of "+fstype)
	must(t, os.Mkdir(c.Volume, 0o755))
	target, err := sys.OpenPath(nil, c.Volume, unix.O_DIRECTORY)
	must(t, err)
	mount, err := sys.NewMount(fstype, 0, "mode=0755")
	must(t, err, sys.Attach(mount, target), mount.Close(), target.Close())
	dir := c.Volume
	t.Cleanup(func() { must(t, UnmountRAM(dir)) })
}

// TestPersist: what is declared stays, on the volume, under a name without a way
// for links, and belongs to the pod's user where that can be.
func TestPersist(t *testing.T) {
	c := prepare(t)
	c.Persist = []string{".cache/go", ".vscode-server"}
	if _, err := Start(t.Context(), c); err == nil || !strings.Contains(err.Error(), "no volume") {
		t.Errorf("Start without a volume = %v; want it refused", err)
	}
	must(t, UnmountRAM(c.Base), MountRAM(c.Base, 64<<20))
	for fstype, owner := range map[string]uint32{"tmpfs": wire.UserID, "ramfs": preferredID} { // one can be idmapped, one can't
		volume(t, &c, fstype)
		for _, line := range []string{"echo kept >~/.cache/go/x; stat -c %u ~/.cache/go ~/.cache/go/x; ls -A ~/.vscode-server", "cat ~/.cache/go/x; echo kept >~/.cache/go/x"} {
			g := start(t, c)
			expect(t, g, line, map[bool]string{true: "1000\n1000", false: "kept"}[strings.HasPrefix(line, "echo")])
			must(t, g.Kill(), UnmountRAM(c.Base), MountRAM(c.Base, 64<<20))
		}
		var st unix.Stat_t
		must(t, unix.Lstat(c.Volume+"/.cache%2Fgo/x", &st))
		if st.Uid != owner {
			t.Errorf("owner on %s = %d; want %d", fstype, st.Uid, owner)
		}
		must(t, os.RemoveAll(c.Volume+"/.cache%2Fgo"), os.Symlink("/etc", c.Volume+"/.cache%2Fgo"))
		if _, err := Start(t.Context(), c); err == nil {
			t.Error("a link on the volume was followed")
		}
		must(t, UnmountRAM(c.Base), MountRAM(c.Base, 64<<20))
	}
	c.Bridges = []string{".cache"}
	if _, err := Start(t.Context(), c); err == nil || !strings.Contains(err.Error(), "would keep") {
		t.Errorf("Start with a bridge over what persists = %v; want it refused", err)
	}
}

// TestSocket: a ghost reaches the socket that was made for it, and has no name
// for others.
func TestSocket(t *testing.T) {
	c := prepare(t)
	visitor(t, c)
	c.Socket, c.History = "ghost.sock", true
	listener, err := net.Listen("unix", c.Base+"/ghost.sock")
	must(t, err, os.Chmod(c.Base+"/ghost.sock", 0o666))
	defer listener.Close()
	heard := make(chan string, 1)
	go func() {
		conn, err := listener.Accept()
		if err != nil {
			heard <- err.Error()
			return
		}
		defer conn.Close()
		line := make([]byte, 5)
		_ = conn.SetDeadline(time.Now().Add(10 * time.Second))
		n, _ := conn.Read(line)
		heard <- string(line[:n])
	}()
	g := start(t, c)
	expect(t, g, "ls -A /run/tazpod; echo $HISTFILE; ./visitor role say",
		"ghost.sock\n/home/tazpod/secrets/.bash_history")
	if got := <-heard; got != "lock\n" {
		t.Errorf("heard %q", got)
	}
}
