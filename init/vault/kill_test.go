package vault

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

const sequenceEnv = "TAZPOD_TEST_SEQUENCE"

// step writes the nth state of a sequence: files that all tell its number.
func step(t testing.TB, tree *os.File, n int) {
	t.Helper()
	for i := range 4 {
		write(t, tree, fmt.Sprint("dir/", i), strings.Repeat(fmt.Sprint(n, " "), 1+n*i*997%5000))
	}
}

// state returns which state of the sequence a tree is in, and fails if in none.
func state(t testing.TB, tree *os.File) (n int) {
	t.Helper()
	if _, err := fmt.Sscan(read(t, tree, "dir/0"), &n); err != nil {
		t.Fatal(err)
	}
	for i := range 4 {
		if got := read(t, tree, fmt.Sprint("dir/", i)); got != strings.Repeat(fmt.Sprint(n, " "), 1+n*i*997%5000) {
			t.Fatalf("dir/%d isn't that of state %d: %.40q", i, n, got)
		}
	}
	return n
}

// TestSequenceHelper is what TestRealKills kills. It tells the state that it found
// in the vault, then each that it has saved.
func TestSequenceHelper(t *testing.T) {
	dir := os.Getenv(sequenceEnv)
	if dir == "" {
		return // an ordinary run
	}
	tree, err := os.Open(filepath.Join(dir, "tree"))
	if err != nil {
		t.Fatal(err)
	}
	v, err := Open(context.Background(), placeIn(t, filepath.Join(dir, "vault")), secret(t, "pass"), tree)
	if err != nil {
		t.Fatal(err)
	}
	noLitter(t, v.place)
	n := state(t, tree)
	fmt.Println("at", n, v.Info().Seal)
	for n++; ; n++ {
		step(t, tree, n)
		v.kept = v.kept.Add(-keepEvery / 3)
		mustSave(t, v, true)
		fmt.Println("at", n, SealIntact)
	}
}

// Killed by SIGKILL at moments of chance, again and again, a vault never is older
// than what was saved last.
func TestRealKills(t *testing.T) {
	lasts := 20 * time.Second
	if os.Getenv(crashEnv) == "long" {
		lasts = 10 * time.Minute
	}
	p := copyVault(t, smallVault(t, "first"))
	v := mustOpen(t, p)
	step(t, v.tree, 0)
	mustSave(t, v, true)
	v.Close()
	kills, saved := 0, 0
	for start := time.Now(); time.Since(start) < lasts || kills < 10; kills++ {
		saved = killedSequence(t, p.Dir.Name(), saved)
		if kills%16 == 0 {
			stockAccepts(t, vaultPath(p))
		}
	}
	t.Logf("%d kills, %d saves", kills, saved)
	if saved < kills/4 {
		t.Errorf("only %d saves in %d runs: it was killed before it did anything", saved, kills)
	}
}

// killedSequence runs the helper for a moment and returns the last state that it
// told.
func killedSequence(t *testing.T, vaultDir string, saved int) int {
	t.Helper()
	dir := t.TempDir()
	tree, err := os.MkdirTemp("/dev/shm", "vault-kill-")
	if err != nil {
		t.Fatal(err)
	}
	defer os.RemoveAll(tree)
	for name, target := range map[string]string{"vault": vaultDir, "tree": tree} {
		if err := os.Symlink(target, filepath.Join(dir, name)); err != nil {
			t.Fatal(err)
		}
	}
	cmd := exec.Command(os.Args[0], "-test.run=^TestSequenceHelper$")
	cmd.Env = append(os.Environ(), sequenceEnv+"="+dir)
	var stderr strings.Builder
	cmd.Stderr = &stderr
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	defer cmd.Wait() // killed: its status says nothing
	lines := bufio.NewReader(out)
	told := func() (n int, seal Seal, err error) {
		line, err := lines.ReadString('\n')
		if err == nil {
			if _, err = fmt.Sscanf(line, "at %d %s", &n, &seal); err != nil {
				rest, _ := io.ReadAll(lines)
				t.Fatalf("after %d the helper says %s%s%s", saved, line, rest, &stderr)
			}
		}
		return n, seal, err
	}
	found, seal, err := told()
	if err != nil {
		t.Fatalf("after %d the helper says nothing: %v %s", saved, err, &stderr)
	}
	// What was saved as the last one died may not have been told.
	if found != saved && found != saved+1 || seal != SealIntact {
		t.Errorf("after state %d was saved the vault holds %d, its seal %s", saved, found, seal)
	}
	time.AfterFunc(rand.N(500*time.Millisecond), func() { cmd.Process.Kill() })
	for {
		n, _, err := told()
		if err != nil {
			return found
		}
		found = n
	}
}
