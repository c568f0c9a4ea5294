package wire

import "time"

// VaultChannel is the type of the SSH channel on which a ControlUser sends one
// command about the vault, a VaultRequest in JSON as the channel's extra data
// (RFC 4254 section 5.1). The pod leads what follows:
//
//	client                                      pod
//	  │ ◄── extended data: VaultMessage, a line each
//	  │ data: answer: length (4 bytes, big-endian), bytes ──► │ to each Ask and Confirm
//	  │ data: the file, VaultRequest.Size bytes ────────────► │ after Send
//	  │ ◄── data: what the command gives out, up to its end
//	  │ ◄── extended data: VaultMessage with Done, then EOF
const VaultChannel = "vault@tazpod"

// Commands of a VaultRequest.
const (
	VaultCreate      = "create"
	VaultPasswd      = "passwd"
	VaultKeyList     = "key list"
	VaultKeyAdd      = "key add"
	VaultKeyRemove   = "key remove"
	VaultRecovery    = "recovery"
	VaultCheck       = "check"
	VaultGenerations = "generations"
	VaultRollback    = "rollback"
	VaultBackup      = "backup"  // gives out the file
	VaultRestore     = "restore" // takes one
	VaultResize      = "resize"
	VaultExport      = "export" // gives out a tar archive
)

// MinVault is the size in bytes below which a header and an empty file system leave
// nothing.
const MinVault = 16 << 20

// What trying a new passphrase may take.
const (
	ShortestTry = 100 * time.Millisecond
	LongestTry  = time.Minute
)

// MaxAnswer is the longest answer, in bytes.
const MaxAnswer = 4096

// VaultRequest is a command with what it takes.
type VaultRequest struct {
	Command string        `json:"command"`
	Number  int           `json:"number,omitempty"` // of a keyslot, or of a generation
	Label   string        `json:"label,omitempty"`  // of a new keyslot
	Size    int64         `json:"size,omitempty"`   // bytes: of the vault, or of the file that follows
	Time    time.Duration `json:"time,omitempty"`   // ns; what trying a new passphrase shall take, the usual if 0
	Header  bool          `json:"header,omitempty"` // backup and restore: the header alone
	To      string        `json:"to,omitempty"`     // export: where it goes, for the question
}

// VaultMessage is one of: a question, a remark, a word on what comes next, the end.
type VaultMessage struct {
	Ask     string       `json:"ask,omitempty"`     // for a passphrase: the answer is a secret
	New     bool         `json:"new,omitempty"`     // it is a new one
	Confirm string       `json:"confirm,omitempty"` // the answer is yes or no
	Tell    string       `json:"tell,omitempty"`
	Show    int          `json:"show,omitempty"` // so many bytes of data are for people's eyes
	Send    bool         `json:"send,omitempty"` // the pod waits for the file
	Done    *VaultResult `json:"done,omitempty"`
}

// VaultResult is what became of a command.
type VaultResult struct {
	Code        int               `json:"code"` // exit code
	Error       string            `json:"error,omitempty"`
	Hint        string            `json:"hint,omitempty"`
	Keys        []VaultKey        `json:"keys,omitempty"`
	Generations []VaultGeneration `json:"generations,omitempty"`
	Checks      []Check           `json:"checks,omitempty"`
	Sum         string            `json:"sum,omitempty"` // SHA-256 of what was given out, hexadecimal
}

// VaultKey is a keyslot.
type VaultKey struct {
	Number   int    `json:"number"`
	Label    string `json:"label,omitempty"`
	Recovery bool   `json:"recovery,omitempty"` // it is that of a recovery code
	Added    string `json:"added,omitempty"`    // RFC 3339
	KDF      string `json:"kdf"`                // with its cost
}

// VaultGeneration is a vault file: the vault, or one beside it.
type VaultGeneration struct {
	Name    string    `json:"name"`
	Written time.Time `json:"written"`
	OnDisk  int64     `json:"on_disk"`           // bytes
	Keys    string    `json:"keys,omitempty"`    // whether the vault's keys open it
	Problem string    `json:"problem,omitempty"` // why it can't be used
}
