package remote

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"hash"
	"io"
	"os"
	"path/filepath"
	"strconv"
	"sync"
)

// spool keeps the blobs of one session on the host: small ones in memory, the others one after the other in a file that has no
// name any more, so that nothing of it stays when the helper is killed and nobody else can open it.
type spool struct {
	folders []string // where the file may be, best first

	mu     sync.Mutex
	memory int64             // bytes in small; guarded by mu, as is all below
	small  map[string][]byte // by hash
	large  map[string]extent // by hash
	file   *os.File          // nil until the first large blob
	end    int64
}

type extent struct{ at, size int64 }

// memoryLimit is how much small blobs may take before they go to the file too.
const memoryLimit = 4 << 20

func newSpool(folders ...string) *spool {
	return &spool{folders: folders, small: map[string][]byte{}, large: map[string]extent{}}
}

// open returns the blob's content, and false when the spool does not have it.
func (s *spool) open(hash string) (io.ReadCloser, bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if b, ok := s.small[hash]; ok {
		return io.NopCloser(bytes.NewReader(b)), true
	}
	if e, ok := s.large[hash]; ok {
		return io.NopCloser(io.NewSectionReader(s.file, e.at, e.size)), true
	}
	return nil, false
}

// add keeps a small blob. A hash that is not the content's is an error.
func (s *spool) add(want string, content []byte) error {
	s.mu.Lock()
	full := s.memory+int64(len(content)) > memoryLimit
	s.mu.Unlock()
	if full {
		return s.addLarge(want, content)
	}
	if sum := sha256.Sum256(content); hex.EncodeToString(sum[:]) != want {
		return mismatch(want)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if _, ok := s.small[want]; !ok {
		s.small[want] = content
		s.memory += int64(len(content))
	}
	return nil
}

func (s *spool) addLarge(want string, content []byte) error {
	w, err := s.create(want)
	if err == nil {
		_, err = w.Write(content)
	}
	if err == nil {
		err = w.keep()
	}
	return err
}

// create begins a large blob. Only one is written at a time; one that is not kept is overwritten by the next.
func (s *spool) create(want string) (*spoolWriter, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.file == nil {
		f, err := unnamedFile(s.folders)
		if err != nil {
			return nil, err
		}
		s.file = f
	}
	return &spoolWriter{s: s, want: want, at: s.end, hash: sha256.New()}, nil
}

func (s *spool) close() {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.file != nil {
		_ = s.file.Close() // it has no name: nothing is left whether this works or not
		s.file = nil
	}
}

// spoolWriter takes a large blob as it arrives.
type spoolWriter struct {
	s        *spool
	want     string
	at, size int64
	hash     hash.Hash
}

// Write appends p.
func (w *spoolWriter) Write(p []byte) (int, error) {
	n, err := w.s.file.WriteAt(p, w.at+w.size)
	w.hash.Write(p[:n])
	w.size += int64(n)
	if err != nil {
		return n, fmt.Errorf("keep it on the host: %w", err)
	}
	return n, nil
}

// keep makes the blob known, if it is what was asked for.
func (w *spoolWriter) keep() error {
	if hex.EncodeToString(w.hash.Sum(nil)) != w.want {
		return mismatch(w.want)
	}
	w.s.mu.Lock()
	defer w.s.mu.Unlock()
	w.s.large[w.want] = extent{at: w.at, size: w.size}
	w.s.end = w.at + w.size
	return nil
}

func mismatch(want string) error {
	return fmt.Errorf("its content is not the announced one (sha256 %s): it changed while the run was going on", want)
}

// unnamedFile makes a file in the first folder that takes one, and removes its name.
func unnamedFile(folders []string) (*os.File, error) {
	var first error
	for _, dir := range folders {
		f, err := os.CreateTemp(dir, ".calroll-spool-*")
		if err == nil {
			_ = os.Remove(f.Name())
			return f, nil
		}
		if first == nil {
			first = err
		}
	}
	return nil, fmt.Errorf("keep content on the host: %w", first)
}

// spoolFolders are folders with room for large contents: the identity's own, then those for everybody.
func spoolFolders(uid int) []string {
	own := "/var/cache/calroll"
	if uid != 0 {
		own = filepath.Join(os.Getenv("HOME"), ".cache/calroll")
	}
	return []string{own, "/var/tmp/calroll-" + strconv.Itoa(uid), "/var/tmp", os.TempDir()}
}
