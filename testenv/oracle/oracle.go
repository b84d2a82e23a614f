// Package oracle keeps what Ansible answered, for tests that compare calroll with it. It answers the same every time, and slowly.
package oracle

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"os"
	"os/exec"
	"path/filepath"
	"sync"
	"testing"
)

var version = sync.OnceValues(func() ([]byte, error) { return exec.Command("ansible-playbook", "--version").Output() })

// Ask is what ask answers, or what it answered when Ansible and the question, in all its parts, were the same. T has to survive JSON. Answers are in the
// user's cache; without one each test asks anew.
func Ask[T any](t testing.TB, ask func() T, question ...[]byte) T {
	t.Helper()
	v, err := version()
	if err != nil {
		t.Fatalf("ansible-playbook is needed to compare with (make setup installs it): %v", err)
	}
	file := place(append(question, v))
	var answer T
	if raw, err := os.ReadFile(file); err == nil && json.Unmarshal(raw, &answer) == nil {
		return answer
	}
	answer = ask()
	raw, err := json.Marshal(answer)
	if err != nil {
		t.Fatal(err)
	}
	if !t.Failed() && os.MkdirAll(filepath.Dir(file), 0o755) == nil {
		keep(file, raw)
	}
	return answer
}

// place is the file of the answer to a question.
func place(question [][]byte) string {
	cache, err := os.UserCacheDir()
	if err != nil {
		cache = os.TempDir()
	}
	all := sha256.New()
	for _, part := range question {
		one := sha256.Sum256(part)
		all.Write(one[:])
	}
	return filepath.Join(cache, "calroll", "differential", hex.EncodeToString(all.Sum(nil))+".json")
}

// keep writes the file as a whole or not at all: a test may end at any time.
func keep(file string, raw []byte) {
	f, err := os.CreateTemp(filepath.Dir(file), ".new-")
	if err != nil {
		return
	}
	_, err = f.Write(raw)
	if cerr := f.Close(); err == nil && cerr == nil {
		err = os.Rename(f.Name(), file)
	}
	if err != nil {
		_ = os.Remove(f.Name())
	}
}
