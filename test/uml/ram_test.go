package uml

import (
	"bytes"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/tazzo/tazpod/test/bare"
)

// pages are made in each place; half of them must be found before the end, or
// the search proves nothing.
const pages = 2048

// places are where a ghost has secrets: in the vault, in its other files, and in
// a program.
var places = []string{"~/secrets/marked", "~/marked", "/tmp/marked", "memory"}

// files are those of places that are zeroed at the end.
var files = places[:3]

// What else is searched for, after the places.
const (
	volumeKey = iota + 4
	keyAsText // as it comes from cryptsetup
	passphrase
	inRegisters // the volume key, of a thread that copied it
)

var rows = append(slices.Clone(places), "volume key", "volume key as text", "passphrase", "key in registers")

// TestMemory searches all of a machine's memory, while a ghost is open and after
// each way that it can end.
func TestMemory(t *testing.T) {
	v := newVault(t)
	t.Run("kernel as it is", func(t *testing.T) {
		s := stage(t, Options{MemoryMB: 768}, v)
		var results []result
		for _, how := range []string{"exit", "lock", "stop"} {
			r := s.round(how)
			results = append(results, r)
			for i, place := range files {
				equal(t, how+": "+place+" after the end", r.after[i], 0)
			}
			for _, i := range []int{volumeKey, keyAsText} {
				equal(t, how+": "+rows[i]+" after the end", r.after[i], 0)
			}
		}
		s.open(bare.Image(t))
		results = append(results, s.round("kill"))
		table(t, results)
	})
	t.Run("init_on_free", func(t *testing.T) {
		s := stage(t, Options{MemoryMB: 768, Kernel: []string{"init_on_free=1"}}, v)
		var results []result
		for _, how := range []string{"exit", "kill"} {
			r := s.round(how)
			results = append(results, r)
			for i, row := range rows[:inRegisters] {
				equal(t, how+": "+row+" after the end", r.after[i], 0)
			}
		}
		table(t, results)
	})
	t.Run("swap", func(t *testing.T) {
		s := stage(t, Options{MemoryMB: 256, SwapMB: 512}, v)
		session, marks := s.marked()
		swapped := s.press()
		found := s.ScanSwap(s.patterns(marks)...)
		s.end()
		if err := session.Wait().Err(); err != nil {
			t.Error(err)
		}
		if swapped < pages/2 {
			t.Errorf("%d pages of an ordinary process are swapped; want at least %d", swapped, pages/2)
		}
		for _, i := range []int{0, 1, 2, volumeKey, keyAsText} {
			equal(t, "swapped: "+rows[i], found[i], 0)
		}
		t.Logf("swapped: %d pages of an ordinary process, %d of a ghost's program, %d passphrases", swapped, found[len(files)], found[passphrase])
	})
}

// result is what was found of each row.
type result struct {
	how           string
	before, after []int
}

// round opens a ghost, searches, ends it, and searches again.
func (s *scene) round(how string) result {
	s.t.Helper()
	session, marks := s.marked()
	r := result{how: how, before: s.find(marks)}
	for i, place := range places {
		if r.before[i] < pages/2 {
			s.t.Errorf("%s: %d pages of %s found before the end; want at least %d", how, r.before[i], place, pages/2)
		}
	}
	for _, i := range []int{volumeKey, passphrase} {
		if r.before[i] == 0 {
			s.t.Errorf("%s: no %s found before the end", how, rows[i])
		}
	}
	switch how {
	case "exit":
		s.end()
	case "lock":
		s.inPod("tazpod-init lock")
	case "stop":
		s.Run(s.pod.Argv("0", "sh", "-c", "kill -TERM 1")...) // which ends this, too
	case "kill":
		s.inPod("kill -KILL $(jq .pid /run/tazpod/serve.json)")
	}
	session.Wait()
	if how == "stop" {
		s.pod.Wait()
	} else {
		s.locked()
	}
	r.after = s.find(marks)
	s.bringVault()
	return r
}

// find counts what the rows name.
func (s *scene) find(marks [][]byte) []int {
	s.t.Helper()
	hits := make([]int, len(rows))
	err := search(s.ram, s.patterns(marks), func(row int, before []byte) {
		if row == volumeKey && register(before) {
			row = inRegisters
		}
		hits[row]++
	})
	if err != nil {
		s.t.Fatal(err)
	}
	return hits
}

func (s *scene) patterns(marks [][]byte) [][]byte {
	return append(slices.Clone(marks), s.vault.key[:32], s.vault.keyText(), s.vault.passphrase)
}

// register tells whether what follows before is a saved vector register (Intel
// SDM volume 1, table 10-2: FXSAVE). The kernel has those of every thread that
// sleeps; the thread's next use of them replaces it.
func register(before []byte) bool {
	const first, size, last = 160, 16, 15
	for n := 0; n <= last; n++ {
		at := len(before) - first - n*size
		if at < 0 {
			break
		}
		// x87's control word and, but for its flags of what happened, that of
		// the vector unit are as at a program's start.
		x87, vector := before[at:at+2], before[at+24:at+28]
		if bytes.Equal(x87, []byte{0x7f, 0x03}) && vector[0]&^0x3f == 0x80 && bytes.Equal(vector[1:], []byte{0x1f, 0, 0}) {
			return true
		}
	}
	return false
}

// press makes memory short and returns how many pages of the process that does
// were swapped.
func (s *scene) press() int {
	s.t.Helper()
	marker := random(64)
	argv := append([]string{"sh", "-c", `cd /tmp && touch go && exec "$@"`, "-",
		"python3", "-c", mark, strconv.Itoa(300 << 20 >> 12), "memory"}, shares(marker)...)
	s.ok(s.pod.Argv("0", argv...)...)
	return s.ScanSwap(marker)[0]
}

func TestRegister(t *testing.T) {
	saved := make([]byte, 200)
	copy(saved[8:], []byte{0x7f, 0x03})
	copy(saved[8+24:], []byte{0xa0, 0x1f})
	for length, want := range map[int]bool{8: false, 167: false, 168: true, 169: false, 184: true, 200: true} {
		if got := register(saved[:length]); got != want {
			t.Errorf("register after %d bytes = %t; want %t", length, got, want)
		}
	}
}

func equal(t *testing.T, what string, got, want int) {
	t.Helper()
	if got != want {
		t.Errorf("%s = %d; want %d", what, got, want)
	}
}

// table prints what was found, before and after each end.
func table(t *testing.T, results []result) {
	var b strings.Builder
	fmt.Fprintf(&b, "\n%-20s", "")
	for _, r := range results {
		fmt.Fprintf(&b, "%14s", r.how)
	}
	for i, row := range rows {
		fmt.Fprintf(&b, "\n%-20s", row)
		for _, r := range results {
			fmt.Fprintf(&b, "%8d %5d", r.before[i], r.after[i])
		}
	}
	t.Log(b.String())
}
