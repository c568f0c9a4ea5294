package control

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/moby/sys/mountinfo"
	"golang.org/x/crypto/ssh"
	"golang.org/x/sys/unix"

	"github.com/tazzo/tazpod/init/sys"
	"github.com/tazzo/tazpod/init/vault"
	"github.com/tazzo/tazpod/init/wire"
)

// report is what doctor prints: what was tried at the start, and what can be
// seen now.
func (p *pod) report() []wire.Check {
	checks := append(slices.Clone(p.support.Checks), hidden(), p.privileges(), filtered(), cleared(), p.place(),
		p.engine(), programs(), pinned(), p.whole(), first())
	return append(checks, contents("/usr/share/tazpod/packages")...)
}

// contents tells the versions of what people ask for first, of each image that the
// pod's was made of (images/base/usr/lib/tazpod/list-packages).
func contents(dir string) (checks []wire.Check) {
	lists, _ := filepath.Glob(dir + "/*.txt") // of a good pattern
	for _, list := range lists {
		c := wire.Check{Name: "contents of " + strings.TrimSuffix(filepath.Base(list), ".txt"), OK: true}
		text, err := os.ReadFile(list)
		if c.Found = strings.Join(strings.Split(strings.TrimSpace(string(text)), "\n"), ", "); err != nil {
			c.OK, c.Beyond, c.Found = false, true, err.Error()
		}
		checks = append(checks, c)
	}
	return checks
}

// hidden looks for what pid1 did to the pod's /proc.
func hidden() wire.Check {
	c := wire.Check{Promise: "P2", Name: "processes of others are hidden", Found: "no",
		Hint: "start the pod with --cap-add SYS_ADMIN and without --pid=host; names and command lines in ghosts can be seen"}
	mounts, err := mountinfo.GetMounts(mountinfo.SingleEntryFilter("/proc"))
	for _, m := range mounts {
		if o := m.VFSOptions; strings.Contains(o, "hidepid=invisible") || strings.Contains(o, "hidepid=2") {
			c.OK, c.Found = true, "/proc has hidepid=invisible"
		}
	}
	if err != nil {
		c.Found = err.Error()
	}
	return c
}

// needed are the capabilities that a pod takes (launcher/engine).
var needed = []int{unix.CAP_SYS_ADMIN, unix.CAP_CHOWN, unix.CAP_DAC_OVERRIDE, unix.CAP_FOWNER, unix.CAP_SETUID, unix.CAP_SETGID,
	unix.CAP_SETFCAP, unix.CAP_SYS_CHROOT, unix.CAP_KILL}

// privileges counts what the pod has beyond that.
func (p *pod) privileges() wire.Check {
	c := wire.Check{Promise: "P6", Name: "no privilege beyond what ghosts take", Beyond: true,
		Hint: "start the pod with --cap-drop ALL and --cap-add only what README.md lists, as tazpod run does"}
	s, err := sys.ReadStatus("/proc/self/status")
	if err != nil {
		c.Found = err.Error()
		return c
	}
	wanted := needed
	if p.config.Engine == wire.EngineDMCrypt {
		wanted = append(slices.Clone(wanted), unix.CAP_MKNOD)
	}
	extra := 0
	for bit := range unix.CAP_LAST_CAP + 1 {
		if s.Bound&(1<<bit) != 0 && !slices.Contains(wanted, bit) {
			extra++
		}
	}
	c.OK, c.Found = extra == 0, "yes"
	if extra > 0 {
		c.Found = fmt.Sprintf("%d capabilities more", extra)
	}
	return c
}

// filtered looks for the engine's seccomp profile. Ghosts have a filter of their
// own.
func filtered() wire.Check {
	c := wire.Check{Promise: "P6", Name: "the pod's system calls are filtered", Found: "by the engine's profile", Beyond: true,
		Hint: "start the pod without --security-opt seccomp=unconfined"}
	s, err := sys.ReadStatus("/proc/self/status")
	if c.OK = err == nil && s.Seccomp != 0; !c.OK {
		c.Found = errors.Join(errors.New("no"), err).Error()
	}
	return c
}

// cleared tells what becomes of the memory of programs in ghosts.
func cleared() wire.Check {
	c := wire.Check{Promise: "P3", Name: "memory of ended programs is cleared at once", Found: "init_on_free=1", Beyond: true,
		Hint: "boot the host with init_on_free=1: else what a program in a ghost read stays in free memory until that is used again"}
	line, err := os.ReadFile("/proc/cmdline")
	if c.OK = err == nil && slices.Contains(strings.Fields(string(line)), "init_on_free=1"); !c.OK {
		c.Found = "no, as far as the kernel's command line tells"
	}
	return c
}

// programs looks for those that make vaults which stock tools open.
func programs() wire.Check {
	c := wire.Check{Promise: "P5", Name: "vaults are made by the reference tools", OK: true, Found: "cryptsetup, mke2fs, e2fsck",
		Hint: "use an image made FROM tazpod/base, or install cryptsetup-bin and e2fsprogs"}
	for _, name := range strings.Split(c.Found, ", ") {
		if unix.Access("/usr/sbin/"+name, unix.X_OK) != nil && unix.Access("/sbin/"+name, unix.X_OK) != nil {
			c.OK, c.Found = false, name+" is missing"
		}
	}
	return c
}

// pinned is what the launcher compares before it sends a passphrase.
func pinned() wire.Check {
	key, err := HostKey()
	if err != nil {
		return wire.Check{Promise: "P7", Name: "passphrases are encrypted to the supervisor", Found: err.Error(), Hint: "restart the pod"}
	}
	return wire.Check{Promise: "P7", Name: "passphrases are encrypted to the supervisor", OK: true, Found: "its key is " + ssh.FingerprintSHA256(key)}
}

// whole says what becomes of the rows above.
func (p *pod) whole() wire.Check {
	c := wire.Check{Promise: "P8", Name: "a ghost is complete, or there is none", OK: true, Found: "ghosts can be made here"}
	if err := p.support.Refused; err != nil {
		c.Found = "none is made here: " + err.Error()
	}
	return c
}

// first looks who reaps and forwards signals.
func first() wire.Check {
	c := wire.Check{Promise: "P9", Name: "the pod's first process is tazpod-init", Found: "no",
		Hint: "keep the image's ENTRYPOINT, and start the pod without --init and --pid=host"}
	name, err := os.ReadFile("/proc/1/comm")
	if c.OK = err == nil && strings.TrimSpace(string(name)) == "tazpod-init"; c.OK {
		c.Found = "yes"
	}
	return c
}

// place looks whether the vault can be replaced by its next generation.
func (p *pod) place() wire.Check {
	c := wire.Check{Promise: "P4", Name: "the vault can be saved", OK: true, Found: p.vaultPath()}
	place, err := findPlace(p.config.Vault, false)
	if errors.Is(err, vault.ErrAbsent) { // it is made with the vault
		return c
	}
	if err == nil {
		err = os.NewSyscallError("write there", unix.Faccessat2(int(place.Dir.Fd()), "", unix.W_OK, unix.AT_EMPTY_PATH|unix.AT_EACCESS))
		_, existsErr := vault.Exists(place)
		err = errors.Join(err, existsErr, place.Dir.Close())
	}
	if err != nil {
		c.OK, c.Found, c.Hint = false, err.Error(), hint(err)
	}
	return c
}
