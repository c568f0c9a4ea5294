package ghost

import (
	"fmt"
	"path"
	"slices"
	"strings"

	"github.com/moby/sys/mountinfo"

	"github.com/tazzo/tazpod/init/steps"
	"github.com/tazzo/tazpod/init/sys"
	"github.com/tazzo/tazpod/init/wire"
)

// fresh are the directories of the pod that a ghost sees nothing of, so that
// mounts below them aren't brought over either. /run hides wire.RuntimeDir and
// an engine's socket.
var fresh = []string{"/proc", "/sys", "/dev", "/run", "/tmp", "/var/tmp", wire.Home, wire.VaultMount, wire.PersistMount}

// What every engine keeps from a container's /proc and /sys (OCI runtime
// specification, the default of moby's oci/defaults.go). A ghost does so even
// when its pod doesn't.
var (
	procReadOnly = []string{"/proc/bus", "/proc/fs", "/proc/irq", "/proc/sys", "/proc/sysrq-trigger"}
	procMasked   = []string{"/proc/acpi", "/proc/asound", "/proc/interrupts", "/proc/kcore", "/proc/keys", "/proc/latency_stats",
		"/proc/sched_debug", "/proc/scsi", "/proc/timer_list", "/proc/timer_stats"}
	sysMasked = []string{"/sys/devices/virtual/powercap", "/sys/firmware"}
)

// plan lists all that makes the ghost's root, in order, given the mounts that
// its mount namespace started with. Nothing is undone: the ghost's PID 1 does
// it, and its mount namespace ends with it.
func (b *builder) plan(mounts []*mountinfo.Info) steps.List {
	c := b.config
	ro, quiet := uint64(sys.ReadOnly|sys.NoSUID|sys.NoDev), uint64(sys.NoSUID|sys.NoDev)
	list := steps.List{
		{Name: "make every mount private", Do: sys.MakePrivate},
		{Name: "mount proc of the ghost's own processes", Do: b.mountProc},
		{Name: "mount overlay: reads from /, writes to " + c.Base, Do: b.mountRoot},
	}
	add := func(do func() error, format string, args ...any) {
		list = append(list, steps.Step{Name: fmt.Sprintf(format, args...), Do: do})
	}
	for _, v := range volumes(mounts) {
		add(func() error { return b.bind(v, v, false, ro) }, "bind %s read-only", v)
	}
	for _, d := range []directory{{"tmp", "/tmp", 0o1777}, {"var-tmp", "/var/tmp", 0o1777}, {"run", "/run", 0o755}, {"dev", "/dev", 0o755}} {
		add(func() error { return b.mountFresh(d, 0, quiet) }, "mount a fresh %s in RAM, mode %o", d.target, d.mode)
	}
	add(b.fillRun, "make /run/lock and /run/user/%d", wire.UserID)
	if c.Socket != "" {
		add(b.bindSocket, "bind the socket %s to %s", c.Socket, wire.GhostSocket)
	}
	for _, d := range devices {
		add(func() error { return b.bindDevice(d) }, "bind /dev/%s", d.name)
	}
	add(b.fillDev, "link /dev/{%s}", strings.Join(deviceLinks.names(), ","))
	add(b.mountPts, "mount a new devpts on /dev/pts")
	add(b.mountQueues, "mount mqueue on /dev/mqueue")
	add(func() error { return b.mountFresh(directory{"shm", "/dev/shm", 0o1777}, 0, quiet|sys.NoExec) }, "mount a fresh /dev/shm in RAM, mode 1777")
	add(func() error { return b.bind("/proc", "/proc", false, 0) }, "move proc to /proc")
	for _, p := range union(procReadOnly, masks(mounts, "/proc", true)) {
		add(func() error { return b.readOnly(p) }, "make %s read-only", p)
	}
	for _, p := range union(procMasked, masks(mounts, "/proc", false)) {
		add(func() error { return b.mask(p) }, "mask %s", p)
	}
	add(func() error { return b.bind("/sys", "/sys", true, ro|sys.NoExec) }, "bind /sys read-only with all below it")
	for _, p := range sysMasked {
		add(func() error { return b.mask(p) }, "mask %s", p)
	}
	add(b.mountHome, "mount a fresh %s in RAM for uid %d, filled from %s", wire.Home, c.KernelID, c.Template)
	if c.Files == nil {
		add(b.bindSecrets, "bind the vault's content to %s", wire.Secrets)
		for _, name := range c.Bridges {
			add(func() error { return b.bridge(name) }, "bind %s of the vault to %s", name, path.Join(wire.Home, name))
		}
	} else {
		add(func() error { return b.mountFresh(directory{"secrets", wire.Secrets, 0o700}, c.KernelID, quiet) }, "mount a fresh %s in RAM", wire.Secrets)
		for _, f := range c.Files {
			add(func() error { return b.bindFile(f) }, "bind %s of the vault to %s", f.Path, path.Join(wire.Secrets, f.Name))
		}
	}
	for _, name := range c.Persist {
		add(func() error { return b.persist(name) }, "bind %s of the volume %s to %s", name, c.Volume, path.Join(wire.Home, name))
	}
	if c.Workspace != "" {
		how := "as it is"
		if c.Idmap {
			how = fmt.Sprintf("with its owner as uid %d", c.KernelID)
		}
		add(b.bindWorkspace, "bind %s to %s %s", c.Workspace, wire.Workspace, how)
		for _, v := range below(mounts, c.Workspace) {
			target := wire.Workspace + strings.TrimPrefix(v, c.Workspace)
			add(func() error { return b.bindWithin(v, target) }, "bind %s to %s, its owner likewise", v, target)
		}
		add(b.hideVault, "hide %s", path.Join(wire.Workspace, c.Vault))
	}
	if c.Hostname != "" {
		add(b.setHostname, "set the host name to %s", c.Hostname)
	}
	add(func() error { return b.enter(mounts) }, "make it the root, and let go of the old one")
	return list
}

// volumes are the mount points of the pod that a ghost sees read-only: writing
// there would reach a disk.
func volumes(mounts []*mountinfo.Info) []string {
	var points []string
	for _, m := range mounts {
		p := m.Mountpoint
		if p != "/" && !slices.ContainsFunc(append(fresh, wire.Workspace), func(f string) bool { return wire.Within(p, f) }) {
			points = append(points, p)
		}
	}
	slices.Sort(points) // a mount before those below it
	return slices.Compact(points)
}

// below are the mount points strictly below dir.
func below(mounts []*mountinfo.Info, dir string) []string {
	var points []string
	for _, m := range mounts {
		if m.Mountpoint != dir && wire.Within(m.Mountpoint, dir) {
			points = append(points, m.Mountpoint)
		}
	}
	slices.Sort(points)
	return slices.Compact(points)
}

// masks finds what the engine keeps from the pod in dir: parts of the same file
// system bound read-only over themselves, or something empty mounted over them.
func masks(mounts []*mountinfo.Info, dir string, readOnly bool) []string {
	var points []string
	for _, m := range mounts {
		if m.Mountpoint == dir || !wire.Within(m.Mountpoint, dir) {
			continue
		}
		same := m.FSType == "proc"
		if same == readOnly && (same || m.FSType == "tmpfs" || m.FSType == "devtmpfs") {
			points = append(points, m.Mountpoint)
		}
	}
	return points
}

func union(a, b []string) []string {
	all := slices.Concat(a, b)
	slices.Sort(all)
	return slices.Compact(all)
}
