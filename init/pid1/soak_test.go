package pid1

import "os"

// soak picks the amount of a test: the second with TAZPOD_SOAK=long (make soak).
func soak(usual, long int) int {
	if os.Getenv("TAZPOD_SOAK") == "long" {
		return long
	}
	return usual
}
