package journal

import (
	"testing"
	"time"
)

// PassTime moves the host's clock since boot for this process.
func PassTime(d time.Duration) { passed += d }

var passed time.Duration

func init() {
	real := boottime
	boottime = func() time.Duration { return real() + passed }
}

// StopTime has that clock stand still until the test ends, but for PassTime.
func StopTime(t *testing.T) {
	was := boottime
	t.Cleanup(func() { boottime = was })
	now, since := was(), passed
	boottime = func() time.Duration { return now + passed - since }
}
