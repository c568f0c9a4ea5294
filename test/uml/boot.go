package uml

import (
	_ "embed"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"syscall"

	"golang.org/x/sys/unix"
)

//go:embed init.sh
var initScript []byte

// mounts is the guest's fstab. Modules come from Debian's package, not from the
// host's kernel.
const mounts = `
proc   /proc                proc
sys    /sys                 sysfs
dev    /dev                 devtmpfs
run    /run                 tmpfs     mode=755
tmp    /tmp                 tmpfs
pts    /dev/pts             devpts    ptmxmode=666,X-mount.mkdir
shm    /dev/shm             tmpfs     X-mount.mkdir
cgroup /sys/fs/cgroup       cgroup2
/usr/lib/uml/modules /lib/modules none bind,X-mount.mkdir
`

// prepare makes the files that the guest starts from, and returns the kernel
// parameters that speak of them.
func (m *Machine) prepare(o Options) ([]string, error) {
	shared := filepath.Join(m.dir, "shared")
	if err := os.Mkdir(shared, 0o755); err != nil {
		return nil, err
	}
	var disks []string
	disk := func(name string, megabytes int, format ...string) (device string, err error) {
		path := filepath.Join(m.dir, name)
		device = fmt.Sprintf("/dev/ubd%c", 'a'+len(disks))
		disks = append(disks, fmt.Sprintf("ubd%d=%s", len(disks), path))
		if err := os.WriteFile(path, nil, 0o600); err != nil {
			return "", err
		}
		if err := os.Truncate(path, int64(megabytes)<<20); err != nil {
			return "", err
		}
		cmd := exec.Command(format[0], append(format[1:], path)...)
		if out, err := cmd.CombinedOutput(); err != nil {
			return "", fmt.Errorf("%s: %w: %s", cmd, err, out)
		}
		return device, nil
	}
	table := mounts + "host /run/uml hostfs " + shared + ",X-mount.mkdir\n"
	for _, path := range o.Binds {
		path = strings.ReplaceAll(path, " ", `\040`)
		table += "host " + path + " hostfs " + path + ",X-mount.mkdir\n"
	}
	scratch, swap := "scratch /scratch tmpfs", ""
	var err error
	if o.ScratchMB > 0 {
		device, err := disk("scratch", o.ScratchMB, "mke2fs", "-q", "-t", "ext4", "-O", "^has_journal", "-E", "lazy_itable_init=1,nodiscard")
		if err != nil {
			return nil, err
		}
		scratch = device + " /scratch ext4"
	}
	table += scratch + " X-mount.mkdir\n"
	if o.SwapMB > 0 {
		if swap, err = disk("swap", o.SwapMB, "mkswap", "-q"); err != nil {
			return nil, err
		}
		m.swap = filepath.Join(m.dir, "swap")
	}
	if len(disks) == 0 { // else the kernel looks for one of its own
		if _, err := disk("none", 1, "true"); err != nil {
			return nil, err
		}
	}
	for name, content := range map[string][]byte{"fstab": []byte(table), "swap": []byte(swap), "init": initScript} {
		if err := os.WriteFile(filepath.Join(shared, name), content, 0o755); err != nil {
			return nil, err
		}
	}
	return append(disks, "machine="+shared, "init="+shared+"/init"), nil
}

// boot starts the kernel. It is the only child of the first process of a PID
// namespace, whose death takes along all of the processes that a User-Mode Linux
// is made of; and that one dies with us.
func (m *Machine) boot(o Options, parameters []string) error {
	console, err := os.Create(m.console())
	if err != nil {
		return err
	}
	defer console.Close()
	requests, jobs, err := os.Pipe()
	if err != nil {
		return err
	}
	defer requests.Close()
	answers, replies, err := os.Pipe()
	if err != nil {
		return err
	}
	defer replies.Close()
	cmd := exec.Command("bash", append([]string{"-c", `"$@"; exit $?`, "-", "linux.uml",
		"quiet", "root=/dev/root", "rootfstype=hostfs", "rootflags=/", "ro", "devtmpfs.mount=0",
		"mem=" + strconv.Itoa(o.MemoryMB) + "M", "uml_dir=" + m.dir + "/", "umid=uml",
		"con=null", "con0=null,fd:2", "ssl=null", "ssl0=fd:3,fd:4"}, append(parameters, o.Kernel...)...)...)
	cmd.Env = append(os.Environ(), "TMPDIR="+m.memoryDirectory(o.MemoryMB))
	cmd.Stdout, cmd.Stderr = console, console
	cmd.ExtraFiles = []*os.File{requests, replies}
	cmd.SysProcAttr = &syscall.SysProcAttr{Cloneflags: syscall.CLONE_NEWPID, Pdeathsig: syscall.SIGKILL, Setsid: true}
	started, ended := make(chan error), make(chan struct{})
	go func() {
		runtime.LockOSThread() // Pdeathsig means the thread that started it
		defer runtime.UnlockOSThread()
		err := cmd.Start()
		started <- err
		if err == nil {
			_ = cmd.Wait() // killed, as a rule
		}
		close(ended)
	}()
	if err := <-started; err != nil {
		return err
	}
	m.t.Cleanup(func() {
		_ = cmd.Process.Kill() // may have ended
		<-ended
		jobs.Close()
	})
	m.jobs.requests = jobs
	go func() {
		defer answers.Close()
		m.jobs.answer(answers)
	}()
	return nil
}

func (m *Machine) console() string { return filepath.Join(m.dir, "console") }

// messages are the last ones of the guest's kernel.
func (m *Machine) messages() string {
	text, _ := os.ReadFile(m.console()) // only for people
	lines := strings.Split(strings.TrimSpace(string(text)), "\n")
	return strings.Join(lines[max(0, len(lines)-30):], "\n")
}

// memoryDirectory is where the machine's memory can be a deleted file: in RAM if
// there is enough.
func (m *Machine) memoryDirectory(megabytes int) string {
	const best = "/dev/shm"
	var fs unix.Statfs_t
	if unix.Statfs(best, &fs) == nil && fs.Flags&unix.ST_NOEXEC == 0 && int64(fs.Bavail)*fs.Bsize > int64(megabytes)<<20 {
		return best
	}
	return m.dir
}

// memory opens the file that is the machine's memory: the deleted one that is
// open in a process of it.
func (m *Machine) memory() (*os.File, error) {
	arguments, err := filepath.Glob("/proc/[0-9]*/cmdline")
	if err != nil {
		return nil, err
	}
	for _, path := range arguments {
		line, _ := os.ReadFile(path) // of a process that may have ended
		if !strings.HasPrefix(string(line), "linux.uml") || !strings.Contains(string(line), m.dir+"/\x00") {
			continue
		}
		descriptors, _ := filepath.Glob(filepath.Dir(path) + "/fd/*")
		for _, fd := range descriptors {
			if target, err := os.Readlink(fd); err == nil && strings.HasSuffix(target, " (deleted)") {
				return os.Open(fd)
			}
		}
	}
	return nil, fmt.Errorf("no process of the machine in %s has its memory open", m.dir)
}
