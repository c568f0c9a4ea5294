package ghost

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"golang.org/x/sys/unix"
)

// TestPlanted: what a program of the pod's user may have put in the way is
// refused by its name, and nothing is left of the attempt.
func TestPlanted(t *testing.T) {
	for name, e := range map[string]struct {
		plant func(t *testing.T, c *Config)
		want  string // in the error
	}{
		"workspace is a link": {func(t *testing.T, c *Config) {
			must(t, os.Rename(c.Workspace, c.Workspace+"2"), os.Symlink(c.Workspace+"2", c.Workspace))
		}, "/workspace"},
		"vault directory is a link": {func(t *testing.T, c *Config) {
			must(t, os.RemoveAll(c.Workspace+"/.tazpod/vault"), os.Symlink("/etc", c.Workspace+"/.tazpod/vault"))
		}, "workspace/.tazpod/vault"},
		".tazpod is a link": {func(t *testing.T, c *Config) {
			must(t, os.RemoveAll(c.Workspace+"/.tazpod"), os.Symlink("/etc", c.Workspace+"/.tazpod"))
		}, "workspace/.tazpod/vault"},
		"bridge is a link in the vault": {func(t *testing.T, c *Config) {
			must(t, os.Symlink("/workspace", c.Tree+"/.aws"))
			c.Bridges = []string{".aws"}
		}, ".aws"},
		"bridge leads out":  {func(t *testing.T, c *Config) { c.Bridges = []string{"../x"} }, `"../x"`},
		"bridge is secrets": {func(t *testing.T, c *Config) { c.Bridges = []string{"secrets"} }, `"secrets"`},
		"secrets is a link in the template": {func(t *testing.T, c *Config) {
			must(t, os.Symlink("/workspace", c.Template+"/secrets"))
		}, "secrets"},
		"template is the user's": {func(t *testing.T, c *Config) { must(t, os.Chown(c.Template, 1000, 1000)) }, "template"},
		"file of the template is the user's": {func(t *testing.T, c *Config) {
			must(t, os.Chown(c.Template+"/.bashrc", 1000, 1000))
		}, "template/.bashrc"},
		"file of the template is open to all": {func(t *testing.T, c *Config) {
			must(t, os.Chmod(c.Template+"/.bashrc", 0o666))
		}, "template/.bashrc"},
		"template has a pipe": {func(t *testing.T, c *Config) { must(t, unix.Mkfifo(c.Template+"/pipe", 0o600)) }, "template/pipe"},
		"tree is a link": {func(t *testing.T, c *Config) {
			must(t, os.Symlink(c.Workspace, c.Tree+"2"))
			c.Tree += "2"
		}, "tree2"},
		"tree is on disk": {func(t *testing.T, c *Config) { c.Tree = c.Workspace }, "not in RAM"},
		"tree of a device is no mount": {func(t *testing.T, c *Config) {
			c.Device, c.Tree = true, c.Workspace
		}, "nothing is mounted"},
		"base is on disk": {func(t *testing.T, c *Config) { c.Base = c.Workspace }, "not in RAM"},
		"user is root":    {func(t *testing.T, c *Config) { c.KernelID = 0 }, "root"},
		"no workspace":    {func(t *testing.T, c *Config) { must(t, os.RemoveAll(c.Workspace)) }, "workspace"},
	} {
		t.Run(name, func(t *testing.T) {
			c := prepare(t)
			e.plant(t, &c)
			mounts := mountsBelow(t, filepath.Dir(c.Base))
			_, err := Start(context.Background(), c)
			var refused *RefusedError
			if !errors.As(err, &refused) || !strings.Contains(err.Error(), e.want) {
				t.Fatalf("Start() = %v; want a *RefusedError with %q", err, e.want)
			}
			t.Log(err)
			if after := mountsBelow(t, filepath.Dir(c.Base)); after != mounts {
				t.Errorf("the attempt left mounts behind:\n%s", after)
			}
		})
	}
}

// mountsBelow lists the mounts that have to do with a directory; others come and go.
func mountsBelow(t *testing.T, dir string) string {
	t.Helper()
	mounts, err := os.ReadFile("/proc/self/mountinfo")
	must(t, err)
	var list strings.Builder
	for line := range strings.Lines(string(mounts)) {
		if strings.Contains(line, dir) {
			list.WriteString(line)
		}
	}
	return list.String()
}

func TestHints(t *testing.T) {
	for _, e := range []struct {
		err  error
		want string
	}{
		{os.NewSyscallError("clone CLONE_NEWNS|CLONE_NEWPID", unix.EPERM), "--cap-add SYS_ADMIN"},
		{os.NewSyscallError("clone CLONE_NEWUSER", unix.EPERM), "--cap-add SETFCAP"},
		{os.NewSyscallError("clone CLONE_NEWUSER", unix.ENOSPC), "user.max_user_namespaces"},
		{&os.PathError{Op: "mount MS_REC|MS_PRIVATE", Path: "/", Err: unix.EACCES}, "apparmor=unconfined"},
		{&os.PathError{Op: "mount MS_REC|MS_PRIVATE", Path: "/", Err: unix.EPERM}, "--cap-add SYS_ADMIN"},
		{&os.PathError{Op: "fsopen", Path: "tmpfs", Err: unix.ENOSYS}, "Linux 5.12"},
		{&os.PathError{Op: "open without symbolic links", Path: "/x", Err: unix.ELOOP}, "symbolic link"},
	} {
		if r := refuse(e.err); !strings.Contains(r.Hint, e.want) || r.Call == "" || r.Errno == 0 {
			t.Errorf("refuse(%v) = %+v; want a hint with %q", e.err, r, e.want)
		}
	}
}

func TestProbe(t *testing.T) {
	c := prepare(t)
	s := Probe(c.Workspace)
	if s.Refused != nil || !s.Idmap || s.KernelID != preferredID {
		t.Errorf("Probe() = %+v; want everything allowed", s)
	}
	for _, check := range s.Checks {
		t.Logf("%-20s %v %s %s", check.Name, check.OK, check.Found, check.Hint)
	}
	// tmpfs itself can be idmapped only since 6.3, proc never.
	if s := Probe("/proc/sys"); s.Idmap || s.Refused != nil || s.KernelID == 0 {
		t.Errorf("Probe(/proc/sys) = %+v; want no idmap and an id", s)
	}
	if s := Probe(filepath.Join(c.Workspace, "nonesuch")); s.Idmap || s.KernelID == 0 {
		t.Errorf("Probe of nothing = %+v; want no idmap and an id", s)
	}
}

// TestSameID: without idmap the ghost's user is the workspace's owner.
func TestSameID(t *testing.T) {
	c := prepare(t)
	c.Idmap, c.KernelID = false, owner
	must(t, os.Chown(c.Tree, owner, owner), os.Chown(c.Tree+"/token", owner, owner))
	g := start(t, c)
	expect(t, g, "id -u; cat ~/secrets/token; echo x >new; stat -c %u new ~", "1000\ns3cret\n1000\n1000")
	var st unix.Stat_t
	must(t, unix.Lstat(c.Workspace+"/new", &st))
	if st.Uid != owner {
		t.Errorf("owner of a new file = %d; want %d", st.Uid, owner)
	}
}
