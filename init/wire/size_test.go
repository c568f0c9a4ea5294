package wire

import "testing"

func TestParseSize(t *testing.T) {
	for text, want := range map[string]int64{
		"1": 1, "1b": 1, "2k": 2048, "2kB": 2048, "2 KiB": 2048, "256MiB": 256 << 20, "3g": 3 << 30, "1T": 1 << 40,
		"": -1, "MiB": -1, "1x": -1, "-1": -1, "1.5g": -1, "99999999999999999999": -1, "9999999999T": -1, "5ib": -1, "1mi": -1,
	} {
		got, err := ParseSize(text)
		if err != nil {
			got = -1
		}
		if got != want {
			t.Errorf("ParseSize(%q) = %d, %v; want %d", text, got, err, want)
		}
	}
}
