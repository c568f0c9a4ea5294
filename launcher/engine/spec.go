package engine

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"path"
	"path/filepath"
	"slices"

	"github.com/docker/docker/api/types/container"
	"github.com/docker/docker/api/types/mount"
	"github.com/docker/docker/api/types/system"
	"github.com/docker/go-connections/nat"

	"github.com/tazzo/tazpod/init/wire"
	"github.com/tazzo/tazpod/launcher/project"
)

// Labels of a pod's container.
const (
	LabelProject = "io.tazpod.project" // directory on the host
	LabelName    = "io.tazpod.name"
	LabelImage   = "io.tazpod.image"  // tag
	labelConfig  = "io.tazpod.config" // hash of what the container was made from
	labelPod     = "io.tazpod.pod"    // of the images: every container of one is a pod
)

// stopSeconds is the grace between SIGTERM and SIGKILL: time to save a vault.
const stopSeconds = 45

// capabilities are what ghosts take to build; users' processes get none of
// them. SYS_ADMIN makes namespaces and mounts; SYS_CHROOT enters the new root;
// CHOWN, DAC_OVERRIDE, FOWNER and SETFCAP fill home and vault with other users'
// files; SETUID and SETGID become the user; KILL ends the ghost.
var capabilities = []string{
	"SYS_ADMIN", "CHOWN", "DAC_OVERRIDE", "FOWNER", "SETUID", "SETGID", "SETFCAP", "SYS_CHROOT", "KILL",
}

// mapperCapability is what a pod with wire.EngineDMCrypt takes beside them: it makes
// the nodes of its devices itself.
const mapperCapability = "MKNOD"

// devices are those that such a pod has.
func devices() (list []container.DeviceMapping) {
	for _, path := range []string{"/dev/mapper/control", "/dev/loop-control"} {
		list = append(list, container.DeviceMapping{PathOnHost: path, PathInContainer: path, CgroupPermissions: "rw"})
	}
	return list
}

// maxProcesses is what a pod may have: enough for any work, and too few for a
// fork bomb to take the host along.
const maxProcesses = 4096

// Spec is the pod that is wanted.
type Spec struct {
	Name    string
	Project string // directory on the host
	Vault   string // directory below Project; it exists
	Image   string // tag
	ImageID string
	Pod     wire.Pod
	Memory  int64 // bytes; 0 for no limit
	Network string
	Ports   []string // as `docker run -p` takes them
}

// host is what matters of the engine's machine.
type host struct {
	AppArmor    bool
	Rootless    bool  // an engine of a user's own, which can't raise a limit
	FixedLimits bool  // nor can this one
	Memory      int64 // bytes of RAM, if a pod's swap can be limited; else 0
	Mapper      int   // major number of device-mapper's devices, for pods that need it
}

func hostOf(info system.Info) host {
	has := func(name string) bool {
		return slices.ContainsFunc(info.SecurityOptions, func(o string) bool {
			return o == name || o == "name="+name || len(o) > len(name)+5 && o[:len(name)+6] == "name="+name+","
		})
	}
	h := host{AppArmor: has("apparmor"), Rootless: has("rootless")}
	if info.SwapLimit {
		h.Memory = info.MemTotal
	}
	return h
}

// configs are the engine's words for a Spec: DESIGN's privileges and no more.
func (s Spec) configs(on host) (*container.Config, *container.HostConfig, error) {
	pod, err := json.Marshal(s.Pod)
	if err != nil {
		return nil, nil, err
	}
	exposed, bindings, err := nat.ParsePortSpecs(s.Ports)
	if err != nil {
		return nil, nil, fmt.Errorf("ports: %w", err)
	}
	seconds, pids := stopSeconds, int64(maxProcesses)
	config := &container.Config{
		Hostname:     s.Name,
		Image:        s.ImageID,
		Env:          []string{wire.EnvPod + "=" + string(pod)},
		ExposedPorts: exposed,
		StopTimeout:  &seconds,
		Labels:       map[string]string{LabelProject: s.Project, LabelName: s.Name, LabelImage: s.Image},
	}
	hostConfig := &container.HostConfig{
		CapDrop:      []string{"ALL"},
		CapAdd:       capabilities,
		SecurityOpt:  []string{"no-new-privileges"},
		NetworkMode:  container.NetworkMode(s.Network),
		PortBindings: bindings,
		Mounts:       s.mounts(),
		Resources:    container.Resources{Memory: s.Memory, PidsLimit: &pids},
	}
	if s.Pod.Engine == wire.EngineDMCrypt {
		hostConfig.CapAdd = append(slices.Clone(capabilities), mapperCapability)
		hostConfig.Devices = devices()
		// Loop devices have number 7 everywhere (Documentation/admin-guide/devices.txt).
		hostConfig.DeviceCgroupRules = []string{"b 7:* rw", fmt.Sprintf("b %d:* rw", on.Mapper)}
	}
	if hostConfig.Memory == 0 { // what programs in ghosts have in memory may reach no disk either
		hostConfig.Memory = on.Memory
	}
	hostConfig.MemorySwap = hostConfig.Memory // the sum of both, so no swap
	if on.AppArmor {
		hostConfig.SecurityOpt = append(hostConfig.SecurityOpt, "apparmor=unconfined")
	}
	// The hash leaves the limit out: it is what the engine can give, not what is
	// asked for.
	hash, err := json.Marshal(struct {
		Config *container.Config
		Host   *container.HostConfig
	}{config, hostConfig})
	if err != nil {
		return nil, nil, err
	}
	sum := sha256.Sum256(hash)
	config.Labels[labelConfig] = hex.EncodeToString(sum[:])
	if !on.Rootless && !on.FixedLimits {
		hostConfig.Ulimits = []*container.Ulimit{{Name: "memlock", Soft: -1, Hard: -1}}
	}
	return config, hostConfig, nil
}

// mounts give the pod its project, but neither the settings, by which a program
// in the pod would decide what the user runs next, nor the vault's file. The
// vault is mounted once more where only the pod's root gets.
//
// Its place in the project is covered with something empty rather than with
// itself, read-only: the engine follows links in the source of a bind whenever
// it starts a pod, so a link put there meanwhile would show the pod whatever it
// points to.
func (s Spec) mounts() []mount.Mount {
	settings := path.Dir(project.File)
	mounts := []mount.Mount{
		{Type: mount.TypeBind, Source: s.Project, Target: wire.Workspace},
		// Not recursively: what is mounted below would stay writable (mount(2), MS_BIND).
		{Type: mount.TypeBind, Source: filepath.Join(s.Project, settings), Target: path.Join(wire.Workspace, settings),
			ReadOnly: true, BindOptions: &mount.BindOptions{NonRecursive: true}},
		{Type: mount.TypeTmpfs, Target: path.Join(wire.Workspace, filepath.ToSlash(s.Vault)),
			ReadOnly: true, TmpfsOptions: &mount.TmpfsOptions{SizeBytes: 4 << 10, Mode: 0o500}},
		{Type: mount.TypeBind, Source: filepath.Join(s.Project, s.Vault), Target: wire.VaultMount},
	}
	if len(s.Pod.Persist) > 0 {
		mounts = append(mounts, mount.Mount{Type: mount.TypeVolume, Source: s.volume(), Target: wire.PersistMount})
	}
	return mounts
}

// volume names what is kept for the ghosts of a project. The directory has a say
// in it: no other project's file gets at it by choosing the same name.
func (s Spec) volume() string {
	sum := sha256.Sum256([]byte(s.Project))
	return s.Name + "-persist-" + hex.EncodeToString(sum[:8])
}
