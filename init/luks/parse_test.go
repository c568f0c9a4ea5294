package luks

import (
	"bytes"
	"errors"
	"fmt"
	"strings"
	"testing"
)

const soundMetadata = `{"keyslots":{"0":{"type":"luks2","key_size":64,"af":{"type":"luks1","stripes":4000,"hash":"sha256"},
"area":{"type":"raw","offset":"32768","size":"258048","encryption":"aes-xts-plain64","key_size":64},
"kdf":{"type":"argon2id","time":4,"memory":262144,"cpus":2,"salt":"pUdWjOwQF1ZhjNQ0nmk2yI+sMsk7MF7UHrbzwjsI1/I="}}},
"tokens":{},"segments":{"0":{"type":"crypt","offset":"2097152","size":"dynamic","iv_tweak":"0","encryption":"aes-xts-plain64","sector_size":4096}},
"digests":{"0":{"type":"pbkdf2","keyslots":["0"],"segments":["0"],"hash":"sha256","iterations":1000,"salt":"","digest":""}},
"config":{"json_size":"12288","keyslots_size":"2064384"}}`

func TestParseMetadata(t *testing.T) {
	const size = 16 << 20
	for _, c := range []struct {
		name, old, new string
		want           error
	}{
		{"sound", "", "", nil},
		{"not JSON", soundMetadata, "{", ErrDamaged},
		{"no segments", `"segments":{"0"`, `"segments":{},"x":{"0"`, ErrUnsupported},
		{"two segments", `"sector_size":4096}}`, `"sector_size":4096},"1":{"type":"crypt"}}`, ErrUnsupported},
		{"negative offset", `"2097152"`, `"-1"`, ErrDamaged},
		{"crooked offset", `"2097152"`, `"2097153"`, ErrDamaged},
		{"offset behind the end", `"2097152"`, `"16777216"`, ErrTruncated},
		{"offset overflows", `"2097152"`, `"9223372036854775808"`, ErrDamaged},
		{"crooked size", `"dynamic"`, `"4097"`, ErrDamaged},
		{"no size", `"dynamic"`, `"0"`, ErrDamaged},
		{"size overflows", `"dynamic"`, `"9223372036854771712"`, ErrTruncated},
		{"sector size", `4096}`, `8192}`, ErrUnsupported},
		{"integrity", `"sector_size"`, `"integrity":{"type":"hmac(sha256)"},"sector_size"`, ErrUnsupported},
		{"opal", `"type":"crypt"`, `"type":"hw-opal-crypt"`, ErrUnsupported},
		{"digest of another segment", `"segments":["0"]`, `"segments":["1"]`, ErrDamaged},
		{"missing keyslot", `"keyslots":["0"]`, `"keyslots":["7"]`, ErrDamaged},
		{"null keyslot", `"encryption":"aes-xts-plain64","key_size"`, `"encryption":"cipher_null-ecb","key_size"`, ErrUnsupported},
		{"keyslot without a cipher", `"encryption":"aes-xts-plain64","key_size"`, `"key_size"`, ErrUnsupported},
		{"keyslots size", `"2064384"`, `"-5"`, ErrDamaged},
	} {
		text := strings.Replace(soundMetadata, c.old, c.new, 1)
		m, err := parseMetadata([]byte(text))
		if err == nil {
			_, err = m.segment(size)
		}
		if !errors.Is(err, c.want) {
			t.Errorf("%s: %v; want %v", c.name, err, c.want)
		}
	}
}

func TestKDFMemory(t *testing.T) {
	for _, c := range []struct {
		old, new string
		want     int64
	}{
		{"", "", 256 << 20},
		{`"memory":262144,`, ``, 0},
		{`"type":"luks2",`, `"type":"luks2","priority":0,`, 0},
		{`"type":"luks2",`, `"type":"luks2","priority":2,`, 256 << 20},
		{`262144`, `9223372036854775807`, 1 << 50},
	} {
		m, err := parseMetadata([]byte(strings.Replace(soundMetadata, c.old, c.new, 1)))
		if err != nil {
			t.Fatal(err)
		}
		if got := m.kdfMemory(); got != c.want {
			t.Errorf("kdfMemory() with %s = %d; want %d", c.new, got, c.want)
		}
	}
}

const soundDump = "Key slot 3 unlocked.\nLUKS header information for x\nCipher name:   \taes\nCipher mode:   \txts-plain64\nPayload offset:\t4096\n" +
	"UUID:          \tdc8c5e75-3ac1-4169-9a7f-4a145ebef0a9\nMK bits:       \t256\n" +
	"MK dump:\t05 af 66 8a c9 4c 18 d0 44 f2 b9 10 32 ea 12 fa \n\t\tdb 15 3a 29 52 f2 42 f4 37 a0 2d 40 aa ce 2b 08 \n\nCommand successful.\n"

func TestParseDump(t *testing.T) {
	for _, c := range []struct {
		old, new string
		ok       bool
	}{
		{"", "", true},
		{"256", "512", false},
		{"MK dump", "MK bump", false},
		{"05 af", "5 af", false},
		{"05 af", "05af", true},
		{"05 af", "05 a f", false},
		{"05 af", "05 xf", false},
		{" 2b 08", " 2b", false},
		{" 2b 08", " 2b 08 08", false},
		{" 2b 08", " 2b 0", false},
		{"slot 3", "slot x", false},
		{"slot 3 unlocked.", "", false},
		{"Command successful.", "", false},
		{soundDump, "", false},
	} {
		key, slot, err := parseDump([]byte(strings.Replace(soundDump, c.old, c.new, 1)), 32)
		if (err == nil) != c.ok {
			t.Errorf("parseDump() with %q = %v; want ok %v", c.new, err, c.ok)
		}
		if c.ok && err == nil {
			if slot != 3 {
				t.Errorf("parseDump() = keyslot %d; want 3", slot)
			}
			if got, want := fmt.Sprintf("%x", key.Bytes()), "05af668ac94c18d044f2b91032ea12fadb153a2952f242f437a02d40aace2b08"; got != want {
				t.Errorf("parseDump() = %s; want %s", got, want)
			}
		}
		key.Destroy()
	}
}

func FuzzParseDump(f *testing.F) {
	f.Add([]byte(soundDump))
	f.Add([]byte("Key slot 0 unlocked.\n\nMK bits:256\nMK dump:"))
	f.Fuzz(func(t *testing.T, dump []byte) {
		before := bytes.Clone(dump)
		key, _, err := parseDump(dump, 32)
		if (err == nil) != (key != nil) || err == nil && key.Len() != 32 {
			t.Errorf("parseDump(%q) = %d bytes, %v", dump, key.Len(), err)
		}
		if !bytes.Equal(before, dump) {
			t.Error("parseDump changes its input")
		}
		key.Destroy()
	})
}

func FuzzParseMetadata(f *testing.F) {
	f.Add([]byte(soundMetadata), int64(16<<20))
	f.Add([]byte(strings.Replace(soundMetadata, `"tokens":{}`, `"tokens":{"0":{"type":"tazpod-seal","keyslots":[],"seal":"00","written":"00"},"7":{"type":5},"x":null}`, 1)), int64(16<<20))
	f.Add([]byte(strings.Replace(soundMetadata, "dynamic", "4096", 1)), int64(16<<20))
	f.Fuzz(func(t *testing.T, text []byte, size int64) {
		m, err := parseMetadata(text)
		if err != nil {
			return
		}
		if n := m.kdfMemory(); n < 0 {
			t.Errorf("kdfMemory() = %d", n)
		}
		h := &Header{metadata: m}
		var token struct{ Type, Seal, Written string }
		if found, err := h.Token("tazpod-seal", &token); found && err == nil && token.Type != "tazpod-seal" {
			t.Errorf("Token() = %+v", token)
		}
		if name, err := h.freeToken(); err == nil && m.tokens[name] != nil {
			t.Errorf("freeToken() = %s, which is taken", name)
		}
		if size < 0 {
			return
		}
		s, err := m.segment(size)
		if err != nil {
			return
		}
		if s.Offset <= 0 || s.Size <= 0 || s.Offset > size-s.Size || s.Size%int64(s.SectorSize) != 0 || s.KeySize != 32 && s.KeySize != 64 {
			t.Errorf("segment(%d) = %+v", size, s)
		}
	})
}

func FuzzProbe(f *testing.F) {
	f.Add([]byte("LUKS\xba\xbe\x00\x02\x00\x00\x00\x00\x00\x00\x40\x00"))
	f.Add([]byte("LUKS\xba\xbe\x00\x01"))
	f.Fuzz(func(t *testing.T, file []byte) {
		n, err := probe(bytes.NewReader(file), int64(len(file)))
		if err == nil && (n < secondaryOffset || n > maxMetadata) {
			t.Errorf("probe() = %d", n)
		}
	})
}
