package etcd

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"slices"

	"golang.org/x/sys/unix"
)

const (
	metaName  = "run.json"
	grownName = ".jsonl"  // the end of the names of files that are only appended to
	markName  = ".shared" // what of a folder is in etcd
)

// mark says how far the folder of a run and etcd were last alike. By it one tells who of the two has changed since.
type mark struct {
	Meta  string           `json:"meta"` // hash of run.json
	Files map[string]int64 `json:"files,omitempty"`
	// Sent are hashes of run.json that were sent and may have come, although etcd did not say so any more. What is found there is no other bastion's then.
	Sent []string `json:"sent,omitempty"`
	Born int64    `json:"born,omitempty"` // the revision that created run.json in etcd: a run that was dropped there and came again has another
	At   int64    `json:"at,omitempty"`   // the revision of run.json in etcd
}

func readMark(folder string) (m mark) {
	text, err := os.ReadFile(filepath.Join(folder, markName))
	if err == nil {
		_ = json.Unmarshal(text, &m) // damaged is none: nothing of the folder is taken to be in etcd
	}
	if m.Files == nil {
		m.Files = map[string]int64{}
	}
	return m
}

func (m mark) write(folder string) error {
	text, err := json.Marshal(m)
	if err != nil {
		return err
	}
	return replace(filepath.Join(folder, markName), text)
}

// behind tells that run.json has changed in etcd since both were last alike. Whether it has changed here too does not matter.
func (m mark) behind(here []byte, h held) bool {
	sum := hash(h.text)
	switch {
	case here == nil:
		return true
	case sum == hash(here), sum == m.Meta, slices.Contains(m.Sent, sum):
		return false
	}
	return !m.newer(h)
}

// newer tells that this bastion has written run.json after etcd was looked at.
func (m mark) newer(h held) bool { return h.early && m.Born == h.born && h.at < m.At }

// of is what the mark says about the run as etcd has it now. Of one that was dropped and came again nothing is known to be alike.
func (m mark) of(h held) mark {
	if m.Born != 0 && m.Born != h.born {
		m.Files = map[string]int64{}
	}
	return m
}

// settled is the mark after run.json was found to be alike, or not to be changed there.
func (m mark) settled(h held) mark {
	if h.text != nil && !m.newer(h) {
		m.Meta, m.Born, m.At = hash(h.text), h.born, h.at
	}
	return m
}

// errMoved is that another bastion has recorded a run since it was fetched: what was made of it here must not go over that.
var errMoved = errors.New("another bastion has recorded it since it was fetched")

// goingOn is the mark of a folder that is shipped from where etcd is; errMoved says that etcd is not where it was when both were last alike.
func (m mark) goingOn(here []byte, h held) (mark, error) {
	if h.none() { // it never had the run, or has dropped it: all is shipped
		return mark{Files: map[string]int64{}}, nil
	}
	m = m.of(h)
	if h.text != nil && m.behind(here, h) || !maps.Equal(m.Files, h.ends()) {
		return m, errMoved
	}
	return m.settled(h), nil
}

func (m mark) equal(o mark) bool {
	return m.Meta == o.Meta && m.Born == o.Born && m.At == o.At && slices.Equal(m.Sent, o.Sent) && maps.Equal(m.Files, o.Files)
}

// replace writes a file whole or not at all.
func replace(name string, text []byte) error {
	tmp, err := os.CreateTemp(filepath.Dir(name), ".new-*")
	if err != nil {
		return err
	}
	defer func() { _ = os.Remove(tmp.Name()) }() // gone already when all went well
	_, err = tmp.Write(text)
	if err = errors.Join(err, tmp.Sync(), tmp.Close()); err != nil {
		return err
	}
	return os.Rename(tmp.Name(), name)
}

func hash(text []byte) string {
	sum := sha256.Sum256(text)
	return hex.EncodeToString(sum[:])
}

// readMeta is run.json of a folder; nil for none.
func readMeta(folder string) ([]byte, error) {
	text, err := os.ReadFile(filepath.Join(folder, metaName))
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	return text, err
}

// grown are the names of the files of a folder that are only appended to.
func grown(folder string) ([]string, error) {
	return fs.Glob(os.DirFS(folder), "*"+grownName)
}

// lockFolder locks a folder until the file is closed; nil for one that is not there.
func lockFolder(folder string, how int) (*os.File, error) {
	f, err := os.Open(folder)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	if err := unix.Flock(int(f.Fd()), how); err != nil {
		return nil, errors.Join(err, f.Close())
	}
	return f, nil
}
