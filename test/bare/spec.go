package bare

import (
	"github.com/tazzo/tazpod/init/wire"
)

// object is JSON as runc takes it (OCI runtime specification, config.md).
type object = map[string]any

// capabilities are those that the launcher asks for.
var capabilities = []string{"CAP_SYS_ADMIN", "CAP_CHOWN", "CAP_DAC_OVERRIDE", "CAP_FOWNER", "CAP_SETUID",
	"CAP_SETGID", "CAP_SETFCAP", "CAP_SYS_CHROOT", "CAP_KILL"}

// Docker's.
var (
	masked = []string{"/proc/asound", "/proc/acpi", "/proc/kcore", "/proc/keys", "/proc/latency_stats", "/proc/timer_list",
		"/proc/timer_stats", "/proc/sched_debug", "/proc/scsi", "/sys/firmware"}
	readOnly = []string{"/proc/bus", "/proc/fs", "/proc/irq", "/proc/sys", "/proc/sysrq-trigger"}
)

func mount(kind, destination string, options ...string) object {
	return object{"type": kind, "source": kind, "destination": destination, "options": options}
}

func (o Options) spec(name string) object {
	mounts := []object{
		mount("proc", "/proc", "nosuid", "noexec", "nodev"),
		mount("tmpfs", "/dev", "nosuid", "strictatime", "mode=755", "size=65536k"),
		mount("devpts", "/dev/pts", "nosuid", "noexec", "newinstance", "ptmxmode=0666", "mode=0620", "gid=5"),
		mount("sysfs", "/sys", "nosuid", "noexec", "nodev", "ro"),
		mount("cgroup", "/sys/fs/cgroup", "ro", "nosuid", "noexec", "nodev"),
		mount("mqueue", "/dev/mqueue", "nosuid", "noexec", "nodev"),
		mount("tmpfs", "/dev/shm", "nosuid", "noexec", "nodev", "mode=1777", "size=67108864"),
	}
	if o.Workspace != "" {
		mounts = append(mounts, object{"type": "bind", "source": o.Workspace, "destination": wire.Workspace, "options": []string{"rbind", "rprivate"}})
	}
	var namespaces []object
	for _, kind := range []string{"mount", "pid", "ipc", "uts", "network", "cgroup"} {
		namespaces = append(namespaces, object{"type": kind})
	}
	resources := object{"devices": []object{{"allow": false, "access": "rwm"}}}
	if o.MemoryMB > 0 {
		limit := int64(o.MemoryMB) << 20
		resources["memory"] = object{"limit": limit, "swap": limit} // the sum of both, so no swap
	}
	return object{
		"ociVersion": "1.0.2",
		"root":       object{"path": "root"},
		"hostname":   name,
		"mounts":     mounts,
		"process": object{
			"args":            append([]string{"/usr/bin/tazpod-init", "pid1", "--"}, o.Command...),
			"cwd":             wire.Workspace,
			"env":             append([]string{"PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin", "LANG=C.UTF-8"}, o.Env...),
			"user":            object{"uid": 0, "gid": 0},
			"noNewPrivileges": true,
			// Neither inheritable nor ambient: other users lose them at exec.
			"capabilities": object{"bounding": capabilities, "effective": capabilities, "permitted": capabilities},
		},
		"linux": object{
			"cgroupsPath":   "/tazpod-" + name,
			"namespaces":    namespaces,
			"resources":     resources,
			"maskedPaths":   masked,
			"readonlyPaths": readOnly,
		},
	}
}
