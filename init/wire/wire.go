// Package wire is what both sides of the control channel must agree on: paths,
// user names, request names, message shapes, limits and exit codes. It imports nothing
// of the project and touches nothing outside of its arguments, so that launcher
// and pod can share it without sharing anything else.
package wire

// Paths inside a pod. RuntimeDir and the host key are readable by everyone;
// ControlDir is root's alone (mode 0700), and so is the socket in it.
const (
	RuntimeDir  = "/run/tazpod"
	HostKeyFile = RuntimeDir + "/host_key.pub" // one line, authorized_keys format
	ControlDir  = RuntimeDir + "/control"
	Socket      = ControlDir + "/control.sock"
	Binary      = "/usr/bin/tazpod-init"
	Workspace   = "/workspace"
	Home        = "/home/tazpod"
	Secrets     = Home + "/secrets"
	HomeSource  = "/usr/share/tazpod/home" // root-owned template of a ghost's home
	VaultDir    = ".tazpod/vault"          // below Workspace
	VaultFile   = "vault.img"              // in the vault's directory
	VaultMount  = "/var/lib/tazpod/vault"  // where the launcher mounts the vault's directory, out of the user's reach
	// PersistMount is where a volume for Pod.Persist is mounted, out of the user's
	// reach likewise: what lies there is run inside ghosts.
	PersistMount = "/var/lib/tazpod/persist"
	// GhostSocket is, in a ghost alone, where its sessions may ask for a lock.
	GhostSocket = RuntimeDir + "/ghost.sock"
	Profiles    = "profiles"    // directory of the vault with one for each profile
	SecretsFile = "secrets.yml" // below Workspace: the secrets' names, and who shows them
	// Kept is a directory of the vault, and of each profile's, for what tazpod itself
	// keeps there. Values in it has secrets that only a variable shows, and Pulled the
	// record of the last pull.
	Kept     = ".tazpod"
	Values   = Kept + "/values"
	Pulled   = Kept + "/pulled"
	UserName = "tazpod"
	UserID   = 1000 // uid and gid of UserName, in the image and in the vault
)

// User names of the SSH connection. GhostUser opens or joins the default ghost,
// GhostUser+ProfileMark+NAME that of a profile; both need the vault's passphrase.
// ControlUser may only send the requests below and needs none: reaching the
// socket already takes the pod's root.
const (
	GhostUser   = "ghost"
	ProfileMark = "+"
	ControlUser = "control"
)

// Variables (RFC 4254 section 6.4) by which a client says more about the session
// that it asks for. They don't reach the session's environment, and can make
// nothing looser than the pod's own settings.
const (
	AskOnly = "TAZPOD_ONLY" // names of secrets, separated by commas: a ghost of its own with only these
	AskTTL  = "TAZPOD_TTL"  // the ghost ends after this time (Go's duration format)
	AskIdle = "TAZPOD_IDLE" // and after this time without a keystroke
)

// Global requests (RFC 4254 section 4) that a ControlUser may send; the reply's
// payload is JSON.
const (
	RequestStatus = "status@tazpod" // reply: Status
	RequestLock   = "lock@tazpod"   // reply: LockReply; ends every ghost, saves, forgets the key
	RequestReport = "doctor@tazpod" // reply: []Check
)

// ErrorPrompt begins the name of a keyboard-interactive round without questions
// (RFC 4256 section 3.2) by which the pod says why there will be no session:
// ErrorPrompt + " " + exit code. The round's instruction is the text for people.
const ErrorPrompt = "tazpod error"

// EnvPod names the variable of the pod's first process that holds its
// configuration, a Pod in JSON. Nothing in it is secret.
const EnvPod = "TAZPOD_POD"

// ImageBridges is a directory of an image. Its files have a bridge a line, which
// every ghost of the image's pods has.
const ImageBridges = "/usr/share/tazpod/bridges.d"

// Pod is the part of a project's configuration that the pod itself needs.
type Pod struct {
	Name      string   `json:"name,omitempty"`       // shown in the prompt and as the ghost's host name
	Vault     string   `json:"vault,omitempty"`      // directory below Workspace; VaultDir if empty
	VaultSize int64    `json:"vault_size,omitempty"` // bytes, of a new vault; 256 MiB if 0
	GhostRAM  int64    `json:"ghost_ram,omitempty"`  // bytes, limit of a ghost's RAM files; a quarter of the pod's memory if 0
	Bridges   []string `json:"bridges,omitempty"`    // directories below Home, kept in the vault
	Persist   []string `json:"persist,omitempty"`    // directories below Home, kept in clear on the volume at PersistMount
	TTL       Duration `json:"ttl,omitempty"`        // a ghost's longest life; 0 for no limit
	Idle      Duration `json:"idle,omitempty"`       // how long a ghost lives without a keystroke; 0 for ever
	History   bool     `json:"history,omitempty"`    // the shell's history is kept in the vault
	Engine    string   `json:"engine,omitempty"`     // how the vault is opened; EngineMemory if empty
}

// Values of Pod.Engine.
const (
	EngineMemory  = "memory"  // its files are brought into RAM, and saved as a whole
	EngineDMCrypt = "dmcrypt" // the kernel mounts it
)

// DeviceMapper is the name of what EngineDMCrypt needs, in /proc/devices.
const DeviceMapper = "device-mapper"

// Status is what `status` reports.
type Status struct {
	Version string        `json:"version"`
	Vault   VaultStatus   `json:"vault"`
	Ghosts  []GhostStatus `json:"ghosts"`
}

// Values of VaultStatus.State.
const (
	VaultAbsent  = "absent"  // there is no vault file yet
	VaultLocked  = "locked"  // closed; no key in memory
	VaultOpen    = "open"    // its content is in RAM
	VaultUnsaved = "unsaved" // open, and the last save failed: see SaveError
)

// VaultStatus describes the vault. Times are RFC 3339, empty when they don't apply.
type VaultStatus struct {
	Path   string `json:"path"`
	State  string `json:"state"`
	Size   int64  `json:"size"`           // bytes, capacity
	Used   int64  `json:"used,omitempty"` // bytes of content, known while open
	Opened string `json:"opened,omitempty"`
	Saved  string `json:"saved,omitempty"`
	// When secrets were last pulled into the open vault, by profile; "" is that of
	// the default ghost.
	Pulled    map[string]string `json:"pulled,omitempty"`
	Changed   bool              `json:"changed"` // something is not saved yet
	SaveError string            `json:"save_error,omitempty"`
	// What no vault can hold, and so was left out of the last save: a path, quoted,
	// and why.
	LeftOut []string `json:"left_out,omitempty"`
	// What people should know about the open vault: damage that was mended,
	// writes by other programs, things that could not be taken over.
	Notes []string `json:"notes,omitempty"`
}

// GhostStatus describes one ghost.
type GhostStatus struct {
	Profile  string          `json:"profile"`        // empty for the default ghost
	Only     []string        `json:"only,omitempty"` // the secrets that it is narrowed to
	Started  string          `json:"started"`
	Ends     string          `json:"ends,omitempty"` // when its time to live is over
	Idle     Duration        `json:"idle,omitempty"` // its limit without a keystroke
	Sessions []SessionStatus `json:"sessions"`
}

// SessionStatus describes one session. It never holds the command: a command
// line can contain a secret.
type SessionStatus struct {
	ID       int    `json:"id"`
	Terminal bool   `json:"terminal"`
	Started  string `json:"started"`
}

// Wanted is a secret that secrets.yml takes from a file of the launcher's machine, and
// that the vault doesn't have: `tazpod-init pull --wanted` prints a list in JSON, and
// `pull --import=ENTRY` takes one of its entries and reads the file.
type Wanted struct {
	Name    string `json:"name"`
	Profile string `json:"profile"`
	File    string `json:"file"` // in the vault
	Path    string `json:"path"` // on the launcher's machine
}

// LockReply answers RequestLock.
type LockReply struct {
	Sessions int    `json:"sessions"`        // ended by it
	Saved    bool   `json:"saved"`           // a vault was open, and all of it is on disk now
	Error    string `json:"error,omitempty"` // why it is not saved, or not as the vault
	Hint     string `json:"hint,omitempty"`  // the way out
	Locked   bool   `json:"locked"`          // no content and no key is left in memory
}

// Check is one row of `doctor`.
type Check struct {
	Promise string `json:"promise,omitempty"` // of THREAT_MODEL.md, that it is about
	Name    string `json:"name"`
	OK      bool   `json:"ok"`
	// Beyond says that nothing promised depends on it: what it would give comes on
	// top.
	Beyond bool   `json:"beyond,omitempty"`
	Found  string `json:"found"`          // what this host gives
	Hint   string `json:"hint,omitempty"` // what to change, when not OK
}
