package journal

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"hash/crc32"
	"io"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"time"

	"golang.org/x/sys/unix"
)

// The files of the lock, beside the runs. Whoever reads or writes the text of the others holds the gate, for a moment.
const (
	gateName = "gate" // its text is when the holder was heard last
	lockName = "lock" // held, shared, by every helper of the holder; its text is the record
)

// record is the text of the lock file. It outlives helpers and boots, because tokens must grow.
type record struct {
	Seq     uint64           `json:"seq"` // of the record: the higher one counts
	Token   int64            `json:"token"`
	Life    string           `json:"life,omitempty"`   // of the machine, when Holder took the lock
	Holder  *Holder          `json:"holder,omitempty"` // nil when the lock was given back
	Helpers []Process        `json:"helpers,omitempty"`
	Back    *displaced       `json:"back,omitempty"`   // who lost the host because it went back by itself
	Leases  map[string]int64 `json:"leases,omitempty"` // the newest revision that each issuer of leases has given to a holder
}

// slotSize is the room for one record. There are two: one is written while the other is whole, so that a crash never loses the token.
const slotSize = 4096

// readRecord is the newest whole record; an empty or damaged file has none.
func readRecord(f io.ReaderAt) (record, error) {
	var newest record
	for slot := range int64(2) {
		raw := make([]byte, slotSize)
		n, err := f.ReadAt(raw, slot*slotSize)
		if err != nil && !errors.Is(err, io.EOF) {
			return record{}, fmt.Errorf("cannot read who holds the host: %w", err)
		}
		if r, ok := parseRecord(raw[:n]); ok && r.Seq > newest.Seq {
			newest = r
		}
	}
	return newest, nil
}

// parseRecord reads "<checksum> <JSON>\n".
func parseRecord(raw []byte) (r record, ok bool) {
	line, _, whole := bytes.Cut(raw, []byte("\n"))
	sum, text, spaced := bytes.Cut(line, []byte(" "))
	if !whole || !spaced || string(sum) != checksum(text) {
		return record{}, false
	}
	return r, json.Unmarshal(text, &r) == nil
}

func checksum(text []byte) string { return fmt.Sprintf("%08x", crc32.ChecksumIEEE(text)) }

// write puts the record over the older of the two. With sync it is on stable storage afterwards.
func (r record) write(f *os.File, sync bool) error {
	r.Seq++
	r.Helpers = slices.DeleteFunc(slices.Clone(r.Helpers), Process.Gone)
	text, err := json.Marshal(r)
	if err != nil {
		return err
	}
	line := checksum(text) + " " + string(text) + "\n"
	if len(line) > slotSize {
		return fmt.Errorf("cannot note who holds the host: %d bytes are too many", len(line))
	}
	if _, err := f.WriteAt([]byte(line), int64(r.Seq%2)*slotSize); err != nil {
		return err
	}
	if !sync {
		return nil
	}
	return unix.Fdatasync(int(f.Fd()))
}

// held tells whether somebody has the host as far as the record goes: a reboot frees it.
func (r record) held() bool { return r.Holder != nil && r.Life == life() }

// granted is the record of a lock that was taken or joined by this process, which may do so often.
func (r record) granted(h Holder) record {
	r.Token, r.Holder, r.Life = h.Token, &h, life()
	if !slices.Contains(r.Helpers, Self()) {
		r.Helpers = append(slices.Clone(r.Helpers), Self())
	}
	if h.Lease != nil {
		r.Leases = maps.Clone(r.Leases)
		if r.Leases == nil {
			r.Leases = map[string]int64{}
		}
		r.Leases[h.Lease.Issuer] = h.Lease.Revision
	}
	return r
}

// heardLine is the text of the gate, of one length always.
type heardLine struct {
	Life string
	At   time.Duration // on the machine's own clock since its boot
}

func (h heardLine) String() string { return fmt.Sprintf("%020d %s\n", h.At, h.Life) }

// noteHeard says that the holder has been heard now. It is not synced: a boot frees the lock anyway.
func noteHeard(gate *os.File) error {
	_, err := gate.WriteAt([]byte(heardLine{life(), boottime()}.String()), 0)
	return err
}

// silence is how long the holder has not been heard. What cannot be read counts as heard now.
func silence(gate *os.File) time.Duration {
	raw := make([]byte, 512)
	n, _ := gate.ReadAt(raw, 0) // nothing to read is nothing heard
	var h heardLine
	if _, err := fmt.Sscanf(string(raw[:n]), "%d %s\n", &h.At, &h.Life); err != nil || h.Life != life() {
		return 0
	}
	return max(boottime()-h.At, 0)
}

// openGate waits for its turn to look at the lock below dir. Closing the file gives the turn to the next.
func openGate(dir string, flags int) (*os.File, error) {
	gate, err := os.OpenFile(filepath.Join(dir, gateName), flags, 0o600)
	if err != nil {
		return nil, err
	}
	if err := unix.Flock(int(gate.Fd()), unix.LOCK_EX); err != nil {
		_ = gate.Close()
		return nil, err
	}
	return gate, nil
}
