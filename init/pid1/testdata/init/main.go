// Command init is tazpod-init with nothing but its first process, built as the
// real one is: for tests of what a test binary can't show.
package main

import _ "github.com/tazzo/tazpod/init/pid1"

func main() { panic("neither run nor pid1") }
