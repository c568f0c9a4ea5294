package ghost

import (
	"errors"
	"fmt"
	"os"
	"syscall"

	"golang.org/x/sys/unix"

	"github.com/tazzo/tazpod/init/sys"
	"github.com/tazzo/tazpod/init/wire"
)

// preferredID is what a ghost's user is outside: an id that neither images nor
// hosts give to anybody (above 65534, below the first subordinate ids of
// useradd(8)).
const preferredID = 71000

// Support is what this pod allows.
type Support struct {
	Refused  error        // a *RefusedError when no ghost can be made at all
	KernelID uint32       // what uid and gid 1000 of a ghost are outside
	Idmap    bool         // the workspace can be shown to the ghost as KernelID's
	Checks   []wire.Check // all that was tried, for doctor
}

// Probe tries, without changing anything, what a ghost takes. It is called once,
// in serve, and takes some milliseconds.
func Probe(workspace string) Support {
	var s Support
	check := func(promise, name string, required bool, do func() (found string, err error)) bool {
		found, err := do()
		c := wire.Check{Promise: promise, Name: name, OK: err == nil, Found: found}
		if err != nil {
			r := refuse(fmt.Errorf("%s: %w", name, err))
			c.Found, c.Hint = r.Error(), r.Hint
			if required && s.Refused == nil {
				s.Refused = r
			}
		}
		s.Checks = append(s.Checks, c)
		return err == nil
	}
	check("P2", "namespaces", true, probeNamespaces)
	check("P2", "user namespace", true, probeUserNamespace)
	check("P1", "mounts", true, func() (string, error) { return "allowed", sys.MayMount("/proc/self/task") })
	check("P1", "root", true, probeRoot)
	check("P1", "files", true, probeFiles)
	check("P1", "RAM", true, probeRAM)
	check("P2", "filter", true, probeFilter)
	check("P2", "idmapped workspace", false, func() (string, error) {
		id, err := probeIdmap(workspace)
		s.KernelID, s.Idmap = id, err == nil
		return fmt.Sprintf("yes: the ghost's user is %d outside, which nobody else is", id), err
	})
	return s
}

// probeNamespaces makes those of a ghost, with a process that it ends at once.
func probeNamespaces() (string, error) {
	return sys.Namespaces(sys.GhostNamespaces), probeSpawn(syscall.SysProcAttr{Cloneflags: sys.GhostNamespaces})
}

// probeUserNamespace maps ids as for a keeper, root's among them.
func probeUserNamespace() (string, error) {
	mapped, err := sys.MappedIDs("/proc/self/uid_map")
	if err != nil {
		return "", err
	}
	ids := sys.IDs{Inside: wire.UserID, Outside: wire.UserID}.Extents(min(1<<16, mapped.Limit()))
	return "allowed", probeSpawn(syscall.SysProcAttr{
		Cloneflags: unix.CLONE_NEWUSER, UidMappings: ids, GidMappings: ids, GidMappingsEnableSetgroups: true,
	})
}

func probeSpawn(attr syscall.SysProcAttr) error {
	read, write, err := os.Pipe()
	if err != nil {
		return err
	}
	defer write.Close()
	hold, err := spawn("hold", []*os.File{read}, attr)
	read.Close()
	if err != nil {
		return err
	}
	err = hold.Kill()
	_, waited := hold.Wait()
	return errors.Join(err, waited)
}

// probeRoot changes the root to what it is.
func probeRoot() (string, error) {
	if err := unix.Chroot("/"); err != nil {
		return "", &os.PathError{Op: "chroot", Path: "/", Err: err}
	}
	return "can be changed", nil
}

// probeFiles looks whether root may give files to the ghost's user and zero
// that user's files.
func probeFiles() (string, error) {
	s, err := sys.ReadStatus("/proc/self/status")
	if err != nil {
		return "", err
	}
	for _, c := range []struct {
		bit        int
		call, name string
	}{{unix.CAP_CHOWN, "chown", "CHOWN"}, {unix.CAP_DAC_OVERRIDE, "openat2", "DAC_OVERRIDE"}, {unix.CAP_FOWNER, "chmod", "FOWNER"}} {
		if s.Effective&(1<<c.bit) == 0 {
			return "", &RefusedError{Call: c.call, Errno: unix.EPERM, Hint: "run the pod with --cap-add " + c.name,
				Detail: c.call + " of another user's files: operation not permitted"}
		}
	}
	return "can be given away", nil
}

func probeRAM() (string, error) {
	mount, kind, err := sys.NewRAM(1 << 20)
	if err != nil {
		return "", err
	}
	return kind, mount.Close()
}

// probeFilter asks whether the kernel has the filter's actions.
func probeFilter() (string, error) {
	action := uint32(unix.SECCOMP_RET_KILL_PROCESS)
	if err := sys.FilterAction(action); err != nil {
		return "", err
	}
	return "seccomp", nil
}

// probeIdmap finds out whether the workspace can be idmapped, and the id that
// the ghost's user gets. When it can't, that is the workspace's owner, who is
// the same user outside and inside: what doctor then says is lost is the wall
// between users, while the one between namespaces stands.
func probeIdmap(workspace string) (uint32, error) {
	dir, err := sys.OpenPath(nil, workspace, unix.O_DIRECTORY)
	if err != nil {
		return wire.UserID, err
	}
	defer dir.Close()
	var st unix.Stat_t
	if err := unix.Fstat(int(dir.Fd()), &st); err != nil {
		return wire.UserID, &os.PathError{Op: "fstat", Path: workspace, Err: err}
	}
	fallback := st.Uid
	if fallback == 0 { // a session must not be the pod's root
		fallback = wire.UserID
	}
	uids, err := sys.MappedIDs("/proc/self/uid_map")
	if err != nil {
		return fallback, err
	}
	gids, err := sys.MappedIDs("/proc/self/gid_map")
	if err != nil {
		return fallback, err
	}
	if !uids.Has(preferredID) || !gids.Has(preferredID) {
		return fallback, fmt.Errorf("the pod's user namespace has no id %d", preferredID)
	}
	mount, err := sys.CloneMount(dir, false)
	if err != nil {
		return fallback, err
	}
	defer mount.Close()
	namespace, err := ownerNamespace(dir, preferredID)
	if err != nil {
		return fallback, err
	}
	defer namespace.Close()
	if err := sys.SetIDMap(mount, namespace); err != nil {
		return fallback, err
	}
	return preferredID, nil
}
