package ghost

import (
	"errors"
	"fmt"
	"os"

	"golang.org/x/sys/unix"

	"github.com/tazzo/tazpod/init/sys"
)

// setHostname also writes the files by which programs find the name's address.
func (b *builder) setHostname() error {
	name := b.config.Hostname
	if err := unix.Sethostname([]byte(name)); err != nil {
		return os.NewSyscallError("sethostname", err)
	}
	hosts, err := os.ReadFile("/etc/hosts")
	if err != nil && !errors.Is(err, os.ErrNotExist) {
		return err
	}
	for file, text := range map[string]string{
		"hostname": name + "\n",
		"hosts":    fmt.Sprintf("%s127.0.1.1\t%s\n", hosts, name),
	} {
		source, err := sys.OpenFile(b.base, file, unix.O_RDWR|unix.O_CREAT|unix.O_EXCL)
		if err != nil {
			return err
		}
		_, err = source.WriteString(text)
		err = errors.Join(err, chmod(source, 0o644))
		if err == nil {
			err = b.cover(source, "/etc/"+file)
		}
		if err := errors.Join(err, source.Close()); err != nil {
			return err
		}
	}
	return nil
}

// cover mounts a file of the RAM file system over one of the ghost, if that has
// it.
func (b *builder) cover(source *os.File, target string) error {
	to, err := b.open(target)
	if errors.Is(err, unix.ENOENT) {
		return nil
	}
	if err != nil {
		return err
	}
	defer to.Close()
	return attach(source, to, false, sys.ReadOnly|sys.NoSUID|sys.NoDev)
}
