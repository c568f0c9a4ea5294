package luks

import (
	"bufio"
	"bytes"
	"math"
	"os"
	"path"
	"strconv"
	"strings"

	"github.com/moby/sys/mountinfo"
)

// overhead is what cryptsetup, and we ourselves meanwhile, take besides the key
// derivation's memory.
const overhead = 32 << 20 // bytes

// checkMemory refuses a key derivation of need bytes that would end in the
// kernel killing something of the pod.
func checkMemory(need int64) error {
	if have := available(); need+overhead > have {
		return &MemoryError{Need: need + overhead, Have: have}
	}
	return nil
}

// Available returns how many bytes this process and its children can still take.
func Available() int64 { return available() }

// available is what the machine has, and each control group above us leaves.
var available = func() int64 {
	have := meminfo("/proc/meminfo")
	for _, g := range memoryGroups() {
		have = min(have, g.free())
	}
	return max(0, have)
}

// limit returns the lowest memory limit that applies to this process, in bytes.
var limit = func() int64 {
	lowest := int64(math.MaxInt64)
	for _, g := range memoryGroups() {
		lowest = min(lowest, g.limit())
	}
	return lowest
}

// meminfo returns MemAvailable in bytes (proc_meminfo(5)).
func meminfo(name string) int64 {
	text, err := os.ReadFile(name)
	if err != nil {
		return math.MaxInt64 // /proc is hidden: the control groups decide
	}
	return field(text, "MemAvailable:", math.MaxInt64>>10) << 10
}

// group is a memory control group, as files in a directory.
type group struct {
	dir string
	v1  bool
}

func (g group) limit() int64 {
	if g.v1 {
		return number(g.dir+"/memory.limit_in_bytes", math.MaxInt64)
	}
	return number(g.dir+"/memory.max", math.MaxInt64) // "max": no limit
}

// free returns what the group may still take, counting cached file pages that
// the kernel would drop first.
func (g group) free() int64 {
	limit := g.limit()
	if limit == math.MaxInt64 {
		return limit
	}
	usage, cache := g.dir+"/memory.current", "inactive_file"
	if g.v1 {
		usage, cache = g.dir+"/memory.usage_in_bytes", "total_inactive_file"
	}
	stat, _ := os.ReadFile(g.dir + "/memory.stat") // without it nothing counts as cache
	return limit - number(usage, 0) + field(stat, cache, 0)
}

// memoryGroups lists the groups that we are in, the nearest first. In a
// container the mount usually shows our own group as its top, and
// /proc/self/cgroup may name a path outside of what is mounted.
func memoryGroups() []group {
	mounts, err := mountinfo.GetMounts(mountinfo.FSTypeFilter("cgroup", "cgroup2"))
	if err != nil {
		return nil
	}
	own, err := os.ReadFile("/proc/self/cgroup")
	if err != nil {
		return nil
	}
	return groupsOf(mounts, own)
}

func groupsOf(mounts []*mountinfo.Info, own []byte) (groups []group) {
	for _, m := range mounts {
		v1 := m.FSType == "cgroup"
		if v1 && !hasOption(m.VFSOptions, "memory") {
			continue
		}
		relative, ok := strings.CutPrefix(groupPath(own, v1), strings.TrimSuffix(m.Root, "/"))
		if !ok || strings.HasPrefix(relative, "/..") {
			relative = ""
		}
		for dir := path.Join(m.Mountpoint, relative); ; dir = path.Dir(dir) {
			groups = append(groups, group{dir, v1})
			if dir == m.Mountpoint || len(dir) < len(m.Mountpoint) {
				break
			}
		}
	}
	return groups
}

// groupPath finds our path in /proc/self/cgroup (cgroups(7)): "0::PATH" for
// version 2, "N:CONTROLLERS:PATH" for version 1.
func groupPath(own []byte, v1 bool) string {
	for line := range strings.Lines(string(own)) {
		parts := strings.SplitN(strings.TrimSpace(line), ":", 3)
		if len(parts) == 3 && (v1 && hasOption(parts[1], "memory") || !v1 && parts[0] == "0") {
			return parts[2]
		}
	}
	return "/"
}

func hasOption(list, name string) bool {
	for option := range strings.SplitSeq(list, ",") {
		if option == name {
			return true
		}
	}
	return false
}

// number reads a file that holds one number; anything else is otherwise.
func number(name string, otherwise int64) int64 {
	text, err := os.ReadFile(name)
	if err != nil {
		return otherwise
	}
	n, err := strconv.ParseInt(strings.TrimSpace(string(text)), 10, 64)
	if err != nil {
		return otherwise
	}
	return n
}

// field returns the number behind name in lines of "name number …".
func field(text []byte, name string, otherwise int64) int64 {
	lines := bufio.NewScanner(bytes.NewReader(text))
	for lines.Scan() {
		words := strings.Fields(lines.Text())
		if len(words) >= 2 && words[0] == name {
			if n, err := strconv.ParseInt(words[1], 10, 64); err == nil {
				return n
			}
		}
	}
	return otherwise
}
