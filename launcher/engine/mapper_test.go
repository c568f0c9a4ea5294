package engine

import (
	"encoding/json"
	"errors"
	"strings"
	"testing"

	"github.com/docker/docker/api/types/system"
	"golang.org/x/sys/unix"

	"github.com/tazzo/tazpod/init/wire"
)

// TestMapperPrivileges is the whole of what a pod with dmcrypt gets beside what
// every pod does (TestPrivileges).
func TestMapperPrivileges(t *testing.T) {
	spec := Spec{Name: "a", Project: "/a", Pod: wire.Pod{Engine: wire.EngineDMCrypt}}
	_, got, err := spec.configs(host{Mapper: 254})
	if err != nil {
		t.Fatal(err)
	}
	text, err := json.Marshal([]any{got.CapAdd[len(capabilities):], got.Devices, got.DeviceCgroupRules, got.Privileged})
	const want = `[["MKNOD"],[{"PathOnHost":"/dev/mapper/control","PathInContainer":"/dev/mapper/control","CgroupPermissions":"rw"},` +
		`{"PathOnHost":"/dev/loop-control","PathInContainer":"/dev/loop-control","CgroupPermissions":"rw"}],["b 7:* rw","b 254:* rw"],false]`
	if string(text) != want || err != nil {
		t.Errorf("privileges = %s, %v\nwant %s", text, err, want)
	}
	spec.Pod.Engine = ""
	_, without, err := spec.configs(host{Mapper: 254})
	if err != nil || len(without.CapAdd) != len(capabilities) || len(without.Devices)+len(without.DeviceCgroupRules) > 0 {
		t.Errorf("without dmcrypt: %q, %v, %v", without.CapAdd, without.Devices, err)
	}
}

func TestMapper(t *testing.T) {
	var here unix.Utsname
	if err := unix.Uname(&here); err != nil {
		t.Fatal(err)
	}
	kernel := unix.ByteSliceToString(here.Release[:])
	for _, c := range []struct{ host, kernel, says string }{
		{"tcp://10.0.0.1:2376", kernel, "not on this machine's kernel"},
		{"ssh://me@elsewhere", kernel, "not on this machine's kernel"},
		{"unix:///run/docker.sock", "5.15-linuxkit", "not on this machine's kernel"}, // in a virtual machine
	} {
		var refused *MapperError
		if _, err := (&Engine{Host: c.host}).Mapper(system.Info{KernelVersion: c.kernel}); !errors.As(err, &refused) || !strings.Contains(err.Error(), c.says) {
			t.Errorf("Mapper(%s, kernel %s) = %v; want %q", c.host, c.kernel, err, c.says)
		}
	}
	if major, err := mapperIn([]byte("Block devices:\n253 device-mapper\n")); major != 253 || err != nil {
		t.Errorf("mapperIn = %d, %v; want 253", major, err)
	}
	var refused *MapperError
	if _, err := mapperIn([]byte("Block devices:\n  7 loop\n")); !errors.As(err, &refused) || !strings.Contains(refused.Hint, "modprobe") {
		t.Errorf("mapperIn without device-mapper = %v; want how to get it", err)
	}
}
