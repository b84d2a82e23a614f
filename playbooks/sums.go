package playbooks

import (
	"crypto/sha256"
	"encoding/hex"
	"maps"
	"sync"
)

// Sums are the SHA-256 hashes of the files that were read, in hex, by name as they were asked for. The zero value is ready; it may be used by
// many goroutines.
type Sums struct {
	mu  sync.Mutex // guards all
	all map[string]string
}

// All are the hashes so far.
func (s *Sums) All() map[string]string {
	if s == nil {
		return nil
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	return maps.Clone(s.all)
}

// add notes the hash of a file; a nil Sums notes nothing.
func (s *Sums) add(name string, content []byte) {
	if s == nil {
		return
	}
	sum := SumOf(content)
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.all == nil {
		s.all = map[string]string{}
	}
	s.all[name] = sum
}

// SumOf is the hash of a file's content as Sums has it.
func SumOf(content []byte) string {
	sum := sha256.Sum256(content)
	return hex.EncodeToString(sum[:])
}
