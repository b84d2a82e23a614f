package journal

import "time"

// PassTime moves the host's clock since boot for this process.
func PassTime(d time.Duration) { passed += d }

var passed time.Duration

func init() {
	real := boottime
	boottime = func() time.Duration { return real() + passed }
}
