package wire

import (
	"encoding/json"
	"strings"
	"testing"
	"time"
)

func TestParseLimit(t *testing.T) {
	for _, c := range []struct {
		text string
		want time.Duration
		says string
	}{
		{"90s", 90 * time.Second, ""},
		{"1h30m", 90 * time.Minute, ""},
		{"0", 0, ""},
		{"1s", time.Second, ""},
		{"999ms", 0, "between 1s and 8784h0m0s"},
		{"-5m", 0, "not between"},
		{"8784h", 8784 * time.Hour, ""},
		{"2562047h47m", 0, "not between"},
		{"8", 0, "not a duration"},
		{"", 0, "not a duration"},
		{"a while", 0, "such as 90s"},
	} {
		got, err := ParseLimit(c.text)
		if got != c.want || (err != nil) != (c.says != "") || err != nil && !strings.Contains(err.Error(), c.says) {
			t.Errorf("ParseLimit(%q) = %v, %v; want %v, %q", c.text, got, err, c.want, c.says)
		}
	}
}

func TestTighter(t *testing.T) {
	for _, c := range [][3]time.Duration{{0, 0, 0}, {0, 5, 5}, {5, 0, 5}, {5, 3, 3}, {3, 5, 3}} {
		if got := Tighter(c[0], c[1]); got != c[2] {
			t.Errorf("Tighter(%d, %d) = %d; want %d", c[0], c[1], got, c[2])
		}
	}
}

func TestCheckProfile(t *testing.T) {
	for name, want := range map[string]bool{
		"prod": true, "a": true, "0-x_y": true, strings.Repeat("a", 32): true,
		"": false, "-a": false, "_a": false, "Prod": false, "a b": false, "a/b": false, "..": false, "ü": false, strings.Repeat("a", 33): false,
	} {
		if err := CheckProfile(name); (err == nil) != want {
			t.Errorf("CheckProfile(%q) = %v; want ok %v", name, err, want)
		}
	}
}

func TestCheckHome(t *testing.T) {
	for _, c := range []struct{ bridges, persist, says string }{
		{".aws .kube", ".cache .vscode-server", ""},
		{".config/gcloud", ".config/nvim", ""},
		{".aws2", ".aws", ""},
		{".aws", ".aws", `persist ".aws" would keep ".aws"`},
		{".config/gcloud", ".config", `would keep ".config/gcloud"`},
		{".aws", ".aws/cache", `would keep ".aws"`},
		{"", "secrets", `would keep "secrets"`},
		{"", "secrets/cache", `would keep "secrets"`},
		{"", ".cache .cache/go", "lie in each other"},
		{"", "../x", "below the home"},
		{"", "/x", "below the home"},
		{"", ".", "below the home"},
		{"", "a/../b", "below the home"},
		{"secrets", "", "beside ~/secrets"},
		{"..", "", "beside ~/secrets"},
		{"a\x1bb", "", "beside ~/secrets"},
		{"", "a\u0081b", "below the home"},
	} {
		err := CheckHome(strings.Fields(c.bridges), strings.Fields(c.persist))
		if (err != nil) != (c.says != "") || err != nil && !strings.Contains(err.Error(), c.says) {
			t.Errorf("CheckHome(%s; %s) = %v; want %q", c.bridges, c.persist, err, c.says)
		}
	}
}

// TestPodInJSON: what the launcher writes into a pod's environment is read there.
func TestPodInJSON(t *testing.T) {
	want := Pod{Name: "x", TTL: Duration(8 * time.Hour), Idle: Duration(90 * time.Second)}
	text, err := json.Marshal(want)
	if err != nil || string(text) != `{"name":"x","ttl":"8h0m0s","idle":"1m30s"}` {
		t.Errorf("Marshal = %s, %v", text, err)
	}
	var got Pod
	if err := json.Unmarshal(text, &got); err != nil || got.TTL != want.TTL || got.Idle != want.Idle {
		t.Errorf("Unmarshal(%s) = %+v, %v; want %+v", text, got, err, want)
	}
	if err := json.Unmarshal([]byte(`{"ttl":"soon"}`), &got); err == nil {
		t.Error("a ttl of soon is taken")
	}
}

func TestBlockMajor(t *testing.T) {
	const devices = "Character devices:\n  1 mem\n 10 misc\n253 device-mapper\n\nBlock devices:\n  7 loop\n  8 sd\n254 device-mapper\n"
	for _, c := range []struct {
		text, kind string
		want       int
		ok         bool
	}{
		{devices, DeviceMapper, 254, true},
		{devices, "loop", 7, true},
		{devices, "misc", 0, false},
		{devices, "device", 0, false},
		{"", DeviceMapper, 0, false},
	} {
		if got, ok := BlockMajor([]byte(c.text), c.kind); got != c.want || ok != c.ok {
			t.Errorf("BlockMajor(%q, %q) = %d, %v; want %d, %v", c.text, c.kind, got, ok, c.want, c.ok)
		}
	}
}

func TestCheckEngine(t *testing.T) {
	for name, want := range map[string]bool{"": true, EngineMemory: true, EngineDMCrypt: true, "auto": false, "luks": false} {
		if err := CheckEngine(name); (err == nil) != want {
			t.Errorf("CheckEngine(%q) = %v; want ok %v", name, err, want)
		}
	}
}
