package remote

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"io"
	"os"
	"runtime"
	"slices"
	"strings"
	"sync"
)

// Helper is a helper program for one platform. Its hash is known without reading it, because a warm host never needs more.
type Helper struct {
	Platform string // "linux/amd64"
	Hash     string // SHA-256 of the program, hex
	Size     int64
	Open     func() (io.ReadCloser, error)
}

// Helpers are the programs that a controller carries.
type Helpers struct {
	List []Helper
	Hint string // what to do about a platform that is not in the list
}

// Self is this very program as the only helper, for a controller that was built without others: it answers to Command too.
var Self = sync.OnceValues(func() (Helpers, error) {
	const path = "/proc/self/exe"
	f, err := os.Open(path)
	if err != nil {
		return Helpers{}, fmt.Errorf("cannot read this program to use it as the helper: %w", err)
	}
	defer f.Close()
	sum := sha256.New()
	size, err := io.Copy(sum, f)
	if err != nil {
		return Helpers{}, fmt.Errorf("cannot read this program to use it as the helper: %w", err)
	}
	return Helpers{
		List: []Helper{{
			Platform: runtime.GOOS + "/" + runtime.GOARCH,
			Hash:     hex.EncodeToString(sum.Sum(nil)),
			Size:     size,
			Open:     func() (io.ReadCloser, error) { return os.Open(path) },
		}},
		Hint: "this calroll was built without helpers and can only send itself; `make build` builds one that has them",
	}, nil
})

// find is the helper for what uname says of a host.
func (hs Helpers) find(system, machine string) (Helper, error) {
	platform := strings.ToLower(system) + "/" + machine
	for p, names := range machines {
		if strings.EqualFold(system, "linux") && slices.Contains(names, machine) {
			platform = p
		}
	}
	var have []string
	for _, h := range hs.List {
		if h.Platform == platform {
			return h, nil
		}
		have = append(have, h.Platform)
	}
	err := fmt.Errorf("the host is %s, and there are helpers for %s only", platform, strings.Join(have, ", "))
	if hs.Hint != "" {
		err = fmt.Errorf("%w (%s)", err, hs.Hint)
	}
	return Helper{}, err
}
