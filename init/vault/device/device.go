// Package device shows the encrypted segment of a vault as a block device, by the
// kernel's own dm-crypt over a loop device.
//
// Nothing of it outlives its process, however that ends: the loop device goes
// when nothing has it open (autoclear), and so does the mapping (deferred
// removal), which holds the loop and the key. In order:
//
//	loop     vault.img, with autoclear
//	create   a mapping without a table, named after the vault: the kernel refuses a
//	         second one, and two file systems over one vault would destroy it
//	load     a table that only knows errors, so that there is something to open
//	open     by a node in a file system that is attached nowhere
//	remove   deferred
//	load     dm-crypt's table, with the key
//	resume
//
// Killed between create and remove it leaves a mapping without loop, key or
// table in use, which the next opening takes away.
//
// It trusts the pod's root and the kernel. The key goes to the kernel in locked
// memory, by no argument of a program, and is here no longer than that takes.
package device

import (
	"encoding/hex"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/tazzo/tazpod/init/locked"
	"github.com/tazzo/tazpod/init/luks"
	"github.com/tazzo/tazpod/init/sys"
	"golang.org/x/sys/unix"
)

var (
	// ErrOpen says that a mapping of the vault exists.
	ErrOpen = errors.New("this machine's device-mapper has the vault open")
	// ErrHeld says that something still has the device open: the key is taken from
	// it, and what is left goes with that something.
	ErrHeld = errors.New("a process that could not be ended still has the vault's file system; its key is gone")
)

// Device is a vault's segment, in plain.
type Device struct {
	*os.File
	control *os.File
	name    string
	size    int64
}

// Open makes a device of img, which must be open for writing and stays the
// caller's, as is the key.
func Open(img *os.File, uuid string, segment luks.Segment, key *locked.Buffer) (_ *Device, err error) {
	control, err := os.OpenFile(sys.MapperControl, os.O_RDWR, 0)
	if err != nil {
		return nil, err
	}
	d := &Device{control: control, name: "tazpod-" + uuid, size: segment.Size}
	defer func() {
		if err != nil {
			err = errors.Join(err, d.Close())
		}
	}()
	loop, number, err := openLoop(img)
	if err != nil {
		return nil, err
	}
	defer loop.Close() // the mapping has it open by then
	if err := d.reserve(uuid); err != nil {
		return nil, err
	}
	if err := d.loadCrypt(segment, number, key); err != nil {
		return nil, err
	}
	if err := sys.ResumeMapping(control, d.name, false); err != nil {
		return nil, err
	}
	return d, nil
}

// openLoop makes img the content of a loop device that nobody else has.
func openLoop(img *os.File) (loop *os.File, number uint64, err error) {
	control, err := os.OpenFile(sys.LoopControl, os.O_RDWR, 0)
	if err != nil {
		return nil, 0, err
	}
	defer control.Close()
	for range 100 { // others may look for one at the same time
		free, err := sys.FreeLoop(control)
		if err != nil {
			return nil, 0, err
		}
		if number, err = sys.LoopDevice(free); err != nil {
			return nil, 0, err
		}
		if loop, err = sys.OpenBlock(number); err != nil {
			return nil, 0, err
		}
		err = sys.ConfigureLoop(loop, img)
		if err == nil {
			return loop, number, nil
		}
		loop.Close()
		if !errors.Is(err, unix.EBUSY) {
			return nil, 0, err
		}
	}
	return nil, 0, errors.New("no loop device is free for long enough")
}

// reserve makes a mapping that goes by itself, has no key, and is open.
func (d *Device) reserve(uuid string) error {
	// As cryptsetup's are (lib/libdevmapper.c), whose status and close know it so.
	id := "CRYPT-LUKS2-" + strings.ReplaceAll(uuid, "-", "") + "-"
	if err := unmapped(id, d.name); err != nil {
		return err
	}
	m, err := sys.CreateMapping(d.control, d.name, id+d.name)
	if errors.Is(err, unix.EBUSY) {
		if err := d.removeRest(); err != nil {
			return err
		}
		m, err = sys.CreateMapping(d.control, d.name, id+d.name)
	}
	if err != nil {
		return err
	}
	if err = sys.LoadTable(d.control, d.name, "error", d.size, nil); err == nil {
		d.File, err = sys.OpenBlock(m.Device)
	}
	if err != nil {
		return errors.Join(err, sys.RemoveMapping(d.control, d.name, false))
	}
	return sys.RemoveMapping(d.control, d.name, true)
}

// removeRest removes a mapping that nothing has open: one in use always is.
func (d *Device) removeRest() error {
	m, err := sys.StatMapping(d.control, d.name)
	if errors.Is(err, unix.ENXIO) { // gone meanwhile
		return nil
	}
	if err == nil && m.Open == 0 {
		err = sys.RemoveMapping(d.control, d.name, false)
	}
	if err == nil && m.Open > 0 || errors.Is(err, unix.EBUSY) {
		return fmt.Errorf("%w, as %s", ErrOpen, d.name)
	}
	return err
}

// unmapped looks for mappings of the vault by other names than ours, which the
// kernel would not refuse.
func unmapped(id, ours string) error {
	paths, err := filepath.Glob("/sys/block/dm-*/dm/uuid")
	if err != nil {
		return err
	}
	for _, path := range paths {
		text, _ := os.ReadFile(path) // of one that may have gone
		if name, ok := strings.CutPrefix(strings.TrimSpace(string(text)), id); ok && name != ours {
			return fmt.Errorf("%w, as %s", ErrOpen, name)
		}
	}
	return nil
}

// loadCrypt hands over the key (Documentation/admin-guide/device-mapper/dm-crypt.rst):
//
//	aes-xts-plain64 KEY 0 7:N OFFSET [1 sector_size:SIZE]
func (d *Device) loadCrypt(segment luks.Segment, loop uint64, key *locked.Buffer) error {
	rest := fmt.Sprintf(" 0 %d:%d %d", unix.Major(loop), unix.Minor(loop), segment.Offset/512)
	if segment.SectorSize != 512 {
		rest += fmt.Sprintf(" 1 sector_size:%d", segment.SectorSize)
	}
	table, err := locked.New(len(cipher) + 2*key.Len() + len(rest))
	if err != nil {
		return err
	}
	defer table.Destroy()
	digits := make([]byte, 2)
	defer clear(digits)
	_, err = table.Write([]byte(cipher))
	for _, b := range key.Bytes() {
		hex.Encode(digits, []byte{b})
		if err == nil {
			_, err = table.Write(digits)
		}
	}
	if err == nil {
		_, err = table.Write([]byte(rest))
	}
	if err != nil {
		return err
	}
	return sys.LoadTable(d.control, d.name, "crypt", d.size, table.Bytes())
}

const cipher = "aes-xts-plain64 "

// patience is how long the kernel may take to let go of what was unmounted: the
// namespaces of a ghost end a little after its processes.
const patience = 3 * time.Second

// Close gives the device up and returns when it is no more. If something still
// has it after a moment, it is ErrHeld.
func (d *Device) Close() error {
	var errs []error
	if d.File != nil {
		errs = append(errs, d.File.Close(), d.end())
	}
	return errors.Join(append(errs, d.control.Close())...)
}

func (d *Device) end() error {
	for deadline := time.Now().Add(patience); ; time.Sleep(2 * time.Millisecond) {
		_, err := sys.StatMapping(d.control, d.name)
		if errors.Is(err, unix.ENXIO) {
			return nil
		}
		if err != nil {
			return err
		}
		if time.Now().After(deadline) {
			break
		}
	}
	err := sys.LoadTable(d.control, d.name, "error", d.size, nil)
	if err == nil {
		err = sys.ResumeMapping(d.control, d.name, true)
	}
	if errors.Is(err, unix.ENXIO) { // it went at the last moment
		return nil
	}
	return errors.Join(ErrHeld, err)
}
