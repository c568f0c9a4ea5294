package strict

import (
	"runtime"
	"strings"
	"testing"
)

type settings struct {
	Name string `yaml:"name"`
	List []struct {
		Key string `yaml:"key"`
	} `yaml:"list"`
	Plain []string `yaml:"plain"`
}

func TestDecode(t *testing.T) {
	var s settings
	if err := Decode("f", []byte("name: x\nlist:\n- key: a\n- {key: b}\nplain: [c, d]\n"), &s); err != nil {
		t.Fatal(err)
	}
	if s.Name != "x" || len(s.List) != 2 || s.List[1].Key != "b" || strings.Join(s.Plain, "") != "cd" {
		t.Errorf("Decode() gives %+v", s)
	}
}

func TestDecodeErrors(t *testing.T) {
	for text, says := range map[string]string{
		"nmae: x":                      `f:1: unknown key "nmae"; do you mean "name"?`,
		"name: x\nlist:\n- kye: a":     `f:3: unknown key "list.kye"; do you mean "key"?`,
		"list:\n- a":                   "f:2: list must hold keys and values",
		"list: {key: a}":               "list holds no keys",
		"plain:\n- {a: b}":             "f:2: ",
		"name: x\nname: y":             "f:2: ",
		"name: &a x":                   "anchors",
		"name: x\n---\nname: y":        "more than one document",
		"name: [":                      "f:1: ",
		strings.Repeat("[", 65):        "f: nested deeper than 64",
		strings.Repeat("- ", 65) + "x": "f: nested deeper than 64",
	} {
		var s settings
		if err := Decode("f", []byte(text), &s); err == nil || !strings.Contains(err.Error(), says) {
			t.Errorf("Decode(%.40q) = %v; want %q", text, err, says)
		}
	}
}

// TestMemory: what a stranger wrote costs no more than its length explains.
func TestMemory(t *testing.T) {
	const size = 64 << 10
	for _, unit := range []string{"[", "{", "- ", "-\t", "? ", "a: ", "- - - - ", "[[]", "{a: [", "!!str ", "#\n", "'", "\"", "|", "\n-", " -\n", "a:\n "} {
		data := []byte(strings.Repeat(unit, size/len(unit)))
		var before, after runtime.MemStats
		runtime.ReadMemStats(&before)
		var s settings
		_ = Decode("f", data, &s) // mostly an error
		runtime.ReadMemStats(&after)
		if used := (after.TotalAlloc - before.TotalAlloc) >> 20; used > 256 {
			t.Errorf("64 KiB of %q take %d MiB", unit, used)
		}
	}
}
