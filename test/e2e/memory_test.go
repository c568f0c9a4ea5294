package e2e

import (
	"fmt"
	"os"
	"path/filepath"
	"testing"

	"github.com/tazzo/tazpod/test/need"
)

// TestOutOfMemory has a program in the ghost take all the pod's memory, and
// another fill its RAM files. It alone is killed, or told that there is no room.
func TestOutOfMemory(t *testing.T) {
	need.Root(t)
	need.Command(t, "cryptsetup")
	p := newProject(t)
	config := filepath.Join(p.dir, ".tazpod", "config.yaml")
	text, err := os.ReadFile(config)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(config, append(text, "memory: 400MiB\n"...), 0o644); err != nil {
		t.Fatal(err)
	}
	p.ghost("run", "base", "--", "sh", "-c", "echo kept >~/secrets/kept").ok()
	h := p.host()
	serve := h.programs("role serve")
	for _, hunger := range []struct{ name, script, says string }{
		{"heap", eats, "Killed"},
		{"files", "yes | tee /tmp/large /dev/shm/large >~/secrets/large", "No space left"},
		// serve needs memory for its saves meanwhile.
		{"files and heaps", "yes | tee /tmp/large >/dev/shm/large; yes | head -c 40M >~/secrets/large\n" +
			"for i in 1 2 3 4; do date >>~/secrets/large; " + eats + " & sleep 1; done; wait", "Killed"},
	} {
		t.Run(hunger.name, func(t *testing.T) {
			p, h := *p, *h
			p.t, h.t = t, t
			if err := os.WriteFile(filepath.Join(p.dir, "hunger"), []byte(hunger.script+"\n"), 0o644); err != nil {
				t.Fatal(err)
			}
			term := p.terminal("ghost")
			term.unlock()
			term.send("bash /workspace/hunger; exit 3\n")
			term.expect(hunger.says)
			equal(t, "status", term.end(), 3)
			h.nothing()
			equal(t, "serve", fmt.Sprint(h.programs("role serve")), fmt.Sprint(serve))
			equal(t, "what was saved", p.ghost("ghost", "--", "sh", "-c", "rm -f ~/secrets/large; cat ~/secrets/kept").ok(), "kept\n")
		})
	}
}

// eats takes memory until it is killed.
const eats = `python3 -c 'b = []
while True: b.append(b"x" * (1 << 20))'`
