package luks

import (
	"bytes"
	"encoding/json"
	"slices"
	"strconv"
)

// metadata is a header's JSON (LUKS2 specification section 3) as cryptsetup
// prints it. Where an unknown field could change how sectors are read, it is an
// error.
type metadata struct {
	keyslots     map[string]keyslot
	digests      map[string]digest
	tokens       map[string]json.RawMessage
	crypt        cryptSegment
	segmentName  string
	keyslotsSize int64
}

// dynamicSize is the size of a segment that ends with its file.
const dynamicSize = "dynamic"

// sectorCipher is how the sectors and the volume key are encrypted.
const sectorCipher = "aes-xts-plain64"

type keyslot struct {
	Type     string `json:"type"`
	KeySize  int    `json:"key_size"` // bytes
	Priority *int   `json:"priority"` // 0: never tried unless asked for; 1 if absent
	KDF      struct {
		Type       string `json:"type"`
		Salt       string `json:"salt"`
		Memory     int64  `json:"memory"`     // KiB; argon2 only, as the next two
		Time       int    `json:"time"`       // passes
		CPUs       int    `json:"cpus"`       // lanes
		Iterations int    `json:"iterations"` // pbkdf2 only
	} `json:"kdf"`
	Area struct {
		Encryption string `json:"encryption"`
		Offset     int64  `json:"offset,string"` // bytes from the vault's start
		Size       int64  `json:"size,string"`   // bytes
	} `json:"area"`
}

type digest struct {
	Keyslots []string `json:"keyslots"`
	Segments []string `json:"segments"`
}

type cryptSegment struct {
	Type       string          `json:"type"`
	Offset     string          `json:"offset"` // bytes
	Size       string          `json:"size"`   // bytes, or dynamicSize
	IVTweak    string          `json:"iv_tweak"`
	Encryption string          `json:"encryption"`
	SectorSize int             `json:"sector_size"` // bytes
	Flags      []string        `json:"flags"`
	Integrity  json.RawMessage `json:"integrity"`
}

func parseMetadata(text []byte) (*metadata, error) {
	var top struct {
		Keyslots map[string]keyslot         `json:"keyslots"`
		Tokens   map[string]json.RawMessage `json:"tokens"`
		Segments map[string]json.RawMessage `json:"segments"`
		Digests  map[string]digest          `json:"digests"`
		Config   struct {
			KeyslotsSize string          `json:"keyslots_size"`
			Requirements json.RawMessage `json:"requirements"`
		} `json:"config"`
	}
	if err := json.Unmarshal(text, &top); err != nil {
		return nil, damaged("its metadata: %v", err)
	}
	if err := checkRequirements(top.Config.Requirements); err != nil {
		return nil, err
	}
	m := &metadata{keyslots: top.Keyslots, digests: top.Digests, tokens: top.Tokens}
	var err error
	if m.keyslotsSize, err = strconv.ParseInt(top.Config.KeyslotsSize, 10, 64); err != nil || m.keyslotsSize < 0 {
		return nil, damaged("a keyslots_size of %.40q", top.Config.KeyslotsSize)
	}
	if len(top.Segments) != 1 {
		return nil, unsupported("it has %d segments instead of one", len(top.Segments))
	}
	for name, raw := range top.Segments {
		m.segmentName = name
		m.crypt, err = parseSegment(raw)
	}
	if err != nil {
		return nil, err
	}
	return m, m.checkAreas()
}

// checkAreas refuses keyslots that keep the volume key in any way but the one
// that cryptsetup itself chooses for this cipher: in a keyslot with the cipher
// "null" it lies open, whatever the passphrase.
func (m *metadata) checkAreas() error {
	for _, slot := range m.keyslots {
		if slot.Type == "luks2" && slot.Area.Encryption != sectorCipher {
			return unsupported("a keyslot with cipher %.60q instead of %s", slot.Area.Encryption, sectorCipher)
		}
	}
	return nil
}

// checkRequirements refuses every mandatory flag: each stands for a state or a
// feature in which the sectors can't be read as usual (re-encryption, opal …).
func checkRequirements(raw json.RawMessage) error {
	if len(raw) == 0 {
		return nil
	}
	var requirements struct {
		Mandatory []string `json:"mandatory"`
	}
	if err := json.Unmarshal(raw, &requirements); err != nil {
		return damaged("its requirements: %v", err)
	}
	if len(requirements.Mandatory) > 0 {
		return unsupported("it requires %.80q", requirements.Mandatory[0])
	}
	return nil
}

func parseSegment(raw json.RawMessage) (s cryptSegment, err error) {
	var kind struct {
		Type string `json:"type"`
	}
	if err := json.Unmarshal(raw, &kind); err != nil {
		return s, damaged("its segment: %v", err)
	}
	if kind.Type != "crypt" {
		return s, unsupported("a segment of type %.40q", kind.Type)
	}
	decoder := json.NewDecoder(bytes.NewReader(raw))
	decoder.DisallowUnknownFields()
	if err := decoder.Decode(&s); err != nil {
		return s, unsupported("its segment: %v", err)
	}
	switch {
	case s.Encryption != sectorCipher:
		return s, unsupported("cipher %.60q instead of %s", s.Encryption, sectorCipher)
	case !slices.Contains([]int{512, 1024, 2048, 4096}, s.SectorSize):
		return s, unsupported("sectors of %d bytes", s.SectorSize)
	case s.IVTweak != "0":
		return s, unsupported("an IV offset of %.40q", s.IVTweak)
	case len(s.Flags) > 0:
		return s, unsupported("a segment with the flag %.60q", s.Flags[0])
	case len(s.Integrity) > 0 && !bytes.Equal(s.Integrity, []byte("null")):
		return s, unsupported("authenticated encryption (dm-integrity)")
	}
	return s, nil
}

// segment resolves the place of the sectors in a vault of size bytes.
func (m *metadata) segment(size int64) (Segment, error) {
	s := Segment{SectorSize: m.crypt.SectorSize}
	sector := int64(s.SectorSize)
	var err error
	if m.crypt.Offset == "0" {
		return s, unsupported("its header is detached: the data are in another file")
	}
	if s.Offset, err = strconv.ParseInt(m.crypt.Offset, 10, 64); err != nil || s.Offset <= 0 || s.Offset%512 != 0 {
		return s, damaged("a segment at %.40q", m.crypt.Offset)
	}
	if s.KeySize, err = m.keySize(); err != nil {
		return s, err
	}
	if m.crypt.Size == dynamicSize {
		s.Size = (size - s.Offset) / sector * sector
		if s.Size <= 0 {
			return s, truncated(size, s.Offset+sector)
		}
		return s, nil
	}
	if s.Size, err = strconv.ParseInt(m.crypt.Size, 10, 64); err != nil || s.Size <= 0 || s.Size%sector != 0 {
		return s, damaged("a segment of %.40q bytes", m.crypt.Size)
	}
	if size-s.Offset < s.Size {
		return s, truncated(size, s.Offset+s.Size)
	}
	return s, nil
}

// keySize returns the length of the segment's volume key: what its keyslots
// say, all of them alike.
func (m *metadata) keySize() (int, error) {
	size, usable := 0, 0
	for _, d := range m.digests {
		if !slices.Contains(d.Segments, m.segmentName) {
			continue
		}
		for _, name := range d.Keyslots {
			slot, ok := m.keyslots[name]
			switch {
			case !ok:
				return 0, damaged("keyslot %.20q is missing", name)
			case slot.Type != "luks2":
				return 0, unsupported("a keyslot of type %.40q", slot.Type)
			case size != 0 && slot.KeySize != size:
				return 0, damaged("keyslots with keys of %d and %d bytes", size, slot.KeySize)
			}
			size = slot.KeySize
			usable++
		}
	}
	if usable == 0 {
		return 0, damaged("no keyslot is left: no passphrase can open it")
	}
	if size != 32 && size != 64 {
		return 0, unsupported("an aes-xts key of %d bits", size*8)
	}
	return size, nil
}

// kdfMemory returns what trying every keyslot takes at most, in bytes.
func (m *metadata) kdfMemory() int64 {
	const limit = 1 << 40 // KiB; keeps the product from overflowing
	var most int64
	for _, slot := range m.keyslots {
		if slot.Priority == nil || *slot.Priority != 0 {
			most = max(most, min(slot.KDF.Memory, limit)<<10)
		}
	}
	return most
}
