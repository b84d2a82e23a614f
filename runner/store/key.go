package store

import (
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
)

const keySize = 32

// keyFile is beside the folder, in which there is nothing but runs.
func (s *Store) keyFile() string { return s.dir + ".key" }

// Key is the store's secret for Keyed, made when it is first asked for.
func (s *Store) Key() ([]byte, error) {
	file := s.keyFile()
	key, err := os.ReadFile(file)
	if errors.Is(err, fs.ErrNotExist) {
		if err = makeKey(file); err == nil {
			key, err = os.ReadFile(file)
		}
	}
	if err == nil && len(key) != keySize {
		err = fmt.Errorf("it has %d bytes, not %d", len(key), keySize)
	}
	if err != nil {
		return nil, fmt.Errorf("cannot use the key of the run store %s: %w", file, err)
	}
	return key, nil
}

// makeKey makes the key whole or not at all; when another process was faster its key stays.
func makeKey(file string) error {
	tmp, err := os.CreateTemp(filepath.Dir(file), ".key-*") // private to its owner
	if err != nil {
		return err
	}
	defer func() { _ = os.Remove(tmp.Name()) }()
	var key [keySize]byte
	_, _ = rand.Read(key[:]) // never fails since Go 1.24
	_, err = tmp.Write(key[:])
	if err = errors.Join(err, tmp.Sync(), tmp.Close()); err != nil {
		return err
	}
	if err = os.Link(tmp.Name(), file); errors.Is(err, fs.ErrExist) {
		return nil
	}
	return err
}

// KeyName tells keys apart and does not tell them.
func KeyName(key []byte) string { return Keyed(key, "name")[:8] }

// Keyed is a hash of text that only the holder of the key can make: equal texts have equal ones, and guesses cannot be tried out.
func Keyed(key []byte, text string) string {
	mac := hmac.New(sha256.New, key)
	_, _ = mac.Write([]byte(text)) // a hash takes everything
	return hex.EncodeToString(mac.Sum(nil)[:16])
}
