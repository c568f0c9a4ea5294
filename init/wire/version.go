package wire

import "runtime/debug"

// release is the version of these sources. The next release's has no suffix.
const release = "0.1.0-dev"

// Version is that of the running program: from its build, as far as that knows one,
// or the sources'. tazpod-init always has the latter (Makefile).
func Version() string {
	info, ok := debug.ReadBuildInfo()
	if ok && info.Main.Version != "" && info.Main.Version != "(devel)" {
		return info.Main.Version
	}
	return release
}
