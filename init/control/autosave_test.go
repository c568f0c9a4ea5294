package control

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/rs/zerolog"
	"golang.org/x/sys/unix"

	"github.com/tazzo/tazpod/init/ghost"
	"github.com/tazzo/tazpod/init/locked"
	"github.com/tazzo/tazpod/init/vault"
	"github.com/tazzo/tazpod/init/wire"
	"github.com/tazzo/tazpod/test/need"
)

// every is changes from start on.
func every(gap, start, end time.Duration) (changes []time.Duration) {
	for at := start; at <= end; at += gap {
		changes = append(changes, at)
	}
	return changes
}

// simulate looks at a tree that changes at given moments, and returns when saves
// begin, each of which takes took.
func simulate(changes []time.Duration, took, length time.Duration, err error) (saves []time.Duration) {
	var s schedule
	epoch, looked := time.Unix(0, 0), time.Duration(0)
	for now := lookEvery; now < length; now += lookEvery {
		moved := false
		for _, at := range changes {
			moved = moved || at > looked && at <= now
		}
		looked = now
		if s.due(moved, epoch.Add(now)) {
			saves = append(saves, now)
			s.saved(epoch.Add(now), epoch.Add(now+took), err)
			now += took
		}
	}
	return saves
}

// The last change is saved within a second, or when the save that is under way
// has ended; changes that don't stop leave the disk alone most of the time; and
// a save that fails is tried again, not all the time.
func TestSchedule(t *testing.T) {
	const length = time.Minute
	for _, took := range []time.Duration{10 * time.Millisecond, 100 * time.Millisecond, time.Second, 3 * time.Second, 10 * time.Second} {
		for name, changes := range map[string][]time.Duration{
			"one change":               {1234 * time.Millisecond},
			"two":                      {1234 * time.Millisecond, 1834 * time.Millisecond},
			"two looks apart":          {400 * time.Millisecond, 1600 * time.Millisecond},
			"a burst":                  every(10*time.Millisecond, 100*time.Millisecond, 3*time.Second),
			"now and then":             every(3*time.Second, time.Second, 30*time.Second),
			"one at the end of a save": {400 * time.Millisecond, 500*time.Millisecond + took},
			"changes that don't stop":  every(20*time.Millisecond, 100*time.Millisecond, 40*time.Second),
		} {
			saves := simulate(changes, took, length, nil)
			last, free := changes[len(changes)-1], time.Duration(0) // since when no save is under way
			saved := time.Duration(-1)
			for _, at := range saves {
				if at >= last {
					saved = at
					break
				}
				free = at + took
			}
			if limit := max(last, free) + 2*lookEvery; saved < 0 || saved > limit {
				t.Errorf("%s, saves of %v: the last change, at %v, is saved at %v; want at most %v", name, took, last, saved, limit)
			}
			if saves[len(saves)-1] > last+2*lookEvery+took {
				t.Errorf("%s, saves of %v: one at %v, where nothing has changed since %v", name, took, saves[len(saves)-1], last)
			}
			if busy := time.Duration(len(saves)) * took; name == "changes that don't stop" && busy > length/5+2*took {
				t.Errorf("%s, saves of %v: the disk is busy for %v of %v", name, took, busy, length)
			}
		}
		tries := len(simulate([]time.Duration{time.Second}, took, length, unix.EIO))
		if most := int(length / (took + max(retryAfter, restFactor*took))); tries < 2 && took < 5*time.Second || tries > most+1 {
			t.Errorf("failures that take %v: %d tries; want up to %d", took, tries, most)
		}
	}
}

// openedVault is a new vault that is open as in a pod, in a tree of its own.
func openedVault(t *testing.T) *opened {
	t.Helper()
	need.Root(t)
	need.Command(t, "cryptsetup", "mke2fs")
	dir, mount := t.TempDir(), t.TempDir()
	if err := ghost.MountRAM(mount, 0); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := ghost.UnmountRAM(mount); err != nil {
			t.Error(err)
		}
	})
	tree, err := os.Open(mount)
	if err != nil {
		t.Fatal(err)
	}
	place, err := os.Open(dir)
	if err != nil {
		t.Fatal(err)
	}
	pass, err := locked.Take([]byte("pass"))
	if err != nil {
		t.Fatal(err)
	}
	defer pass.Destroy()
	p := vault.Place{Dir: place, TreeID: wire.UserID}
	if err := vault.Create(t.Context(), p, pass, 16<<20, vault.Cost{}); err != nil {
		t.Fatal(err)
	}
	o := &opened{pod: newPod(wire.Pod{}, ghost.Support{}, zerolog.Nop()), tree: tree, quit: make(chan struct{})}
	v, err := vault.Open(t.Context(), p, pass, tree)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := errors.Join(v.Close(), tree.Close(), place.Close()); err != nil {
			t.Error(err)
		}
	})
	o.vault = inRAM{v}
	o.prepare()
	return o
}

// Whether the kernel tells of changes or all files are looked at: what changes is
// saved, and when nothing does nothing is done.
func TestAutosaves(t *testing.T) {
	o := openedVault(t)
	if o.watch == nil {
		t.Log("this kernel can't watch a tree")
	}
	for _, watch := range []bool{true, false} {
		o.quit = make(chan struct{})
		if !watch {
			o.watch = nil
		}
		done := make(chan struct{})
		for round := range 3 {
			path := filepath.Join(o.tree.Name(), fmt.Sprintf("dir-%v-%d/file", watch, round))
			if err := errors.Join(os.Mkdir(filepath.Dir(path), 0o700), os.WriteFile(path, []byte("content"), 0o600)); err != nil {
				t.Fatal(err)
			}
			if round == 0 { // it has changed before anybody looks
				go func() { o.autosave(); close(done) }()
				time.Sleep(lookEvery / 2) // its first look is alone
			}
			start := time.Now()
			for o.changed() {
				if time.Since(start) > 10*time.Second {
					t.Fatal("not saved after ten seconds")
				}
				time.Sleep(50 * time.Millisecond) // a look keeps others from looking
			}
			t.Logf("watched: %v; saved after %v", watch, time.Since(start))
		}
		time.Sleep(3 * lookEvery) // what would happen happens at a look
		saved := o.vault.Info().Saved
		time.Sleep(3 * lookEvery)
		if again := o.vault.Info().Saved; again != saved {
			t.Error("it was saved again without a change")
		}
		close(o.quit)
		<-done
	}
}

// A tree grows to what its vault holds: who fills it is told by write(2), and
// what there is can be saved.
func TestTreeIsLimited(t *testing.T) {
	o := openedVault(t)
	defer o.watch.Close()
	if percent, _ := fullness(o.tree.Name(), bound{}); percent >= ramFull {
		t.Errorf("the empty tree is %d%% full", percent)
	}
	for i := range 5000 {
		f, err := os.Create(filepath.Join(o.tree.Name(), fmt.Sprint("name ", i)))
		if err != nil {
			if percent, text := fullness(o.tree.Name(), bound{"it", "less"}); !errors.Is(err, unix.ENOSPC) || i < 1000 || percent != 100 || !strings.HasSuffix(text, " files): less") {
				t.Errorf("file %d: %v; %d%%, %q", i, err, percent, text)
			}
			break
		}
		f.Close()
	}
	for i := range 1000 {
		if err := os.Remove(filepath.Join(o.tree.Name(), fmt.Sprint("name ", i))); err != nil {
			t.Fatal(err)
		}
	}
	f, err := os.Create(filepath.Join(o.tree.Name(), "big"))
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	written := 0
	piece := make([]byte, 64<<10)
	for i := range piece {
		piece[i] = byte(i%251) + 1
	}
	for err == nil {
		var n int
		n, err = f.Write(piece)
		written += n
	}
	if !errors.Is(err, unix.ENOSPC) || written < 10<<20 {
		t.Errorf("after %d bytes Write() = %v; want %v", written, err, unix.ENOSPC)
	}
	if percent, text := fullness(o.tree.Name(), o.bounded()); percent < ramFull || o.bounded().what != "the vault" {
		t.Errorf("fullness() = %d, %q", percent, text)
	}
	if saved, err := o.vault.Save(context.Background()); !saved || err != nil {
		t.Errorf("Save() of a full tree = %v, %v; want true", saved, err)
	}
}

// What is left out of a save is told once on the terminals of the ghosts that
// have it, and again when it comes back; the log gets no names.
func TestTellsWhatIsNotSaved(t *testing.T) {
	o := openedVault(t)
	defer o.watch.Close()
	var log bytes.Buffer
	o.pod.log = zerolog.New(&log)
	told := make(chan string, 10)
	for _, profile := range []string{"", "other"} {
		tell := func(text string) { told <- profile + ": " + text }
		o.pod.ghosts[profile] = &running{profile: profile, sessions: map[int]*attached{1: {tell: tell}}}
	}
	name := filepath.Join(o.tree.Name(), "lost+found") // which can't be a file
	for round := range 2 {
		if err := os.WriteFile(name, fmt.Appendf(nil, "%d", round), 0o600); err != nil {
			t.Fatal(err)
		}
		for range 2 { // only the first tells
			if err := o.save(); err != nil {
				t.Fatal(err)
			}
		}
		if got := <-told; !strings.HasPrefix(got, `: NOT SAVED: "lost+found": `) {
			t.Errorf("told %q; want what is not saved, in the ghost that has it", got)
		}
		if err := os.Remove(name); err != nil {
			t.Fatal(err)
		}
		if err := o.save(); err != nil {
			t.Fatal(err)
		}
	}
	if len(told) > 0 {
		t.Errorf("also told %q", <-told)
	}
	if text := log.String(); !strings.Contains(text, `"event":"left out"`) || strings.Contains(text, "lost+found") {
		t.Errorf("the log has %s; want the event, and no name", text)
	}
}

func TestHasLeftOut(t *testing.T) {
	for _, c := range []struct {
		ghost *running
		path  string
		want  bool
	}{
		{&running{}, "file", true},
		{&running{}, "profiles/prod/file", true},
		{&running{}, "", true},
		{&running{profile: "prod"}, "profiles/prod/file", true},
		{&running{profile: "prod"}, "profiles/prod", false},
		{&running{profile: "prod"}, "profiles/production/file", false},
		{&running{profile: "prod"}, "file", false},
		{&running{profile: "prod"}, "", true},
		{&running{only: []string{"key"}}, "file", false},
		{&running{only: []string{"key"}}, "", false},
	} {
		if got := c.ghost.has(vault.LeftOut{Path: c.path}); got != c.want {
			t.Errorf("has(%q) of the ghost of %q, only %q = %v; want %v", c.path, c.ghost.profile, c.ghost.only, got, c.want)
		}
	}
}
