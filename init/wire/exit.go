package wire

// Exit codes of both programs. They are an interface: published in the README,
// never reused for something else.
const (
	ExitOK            = 0
	ExitFailure       = 1
	ExitUsage         = 2
	ExitPassphrase    = 12  // wrong passphrase, three times, or none given
	ExitVault         = 13  // no vault, or a damaged or unsupported one
	ExitVaultInUse    = 14  // another pod has the vault open
	ExitNoEngine      = 15  // no container engine answers
	ExitPrivileges    = 16  // the pod lacks a privilege that a ghost needs
	ExitSession       = 125 // a session that could not be started or was lost
	ExitNotExecutable = 126 // the session's command is not executable
	ExitNotFound      = 127 // the session's command was not found
	ExitSignal        = 128 // plus the number of the signal that ended the session's command
)
