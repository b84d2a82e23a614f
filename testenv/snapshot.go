package testenv

import (
	"context"
	"crypto/sha256"
	_ "embed"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"strings"
)

//go:embed snapshot.py
var snapshotProgram string

// Watch says what a snapshot looks at.
type Watch struct {
	// Paths are files and folders with everything below: kind, mode, owner, size, content,
	// link target, device number, hard links to each other, extended attributes (among
	// them access control lists and security labels). A path that is not there is fine.
	Paths []string `json:"paths"`
	// Exclude are paths left out with everything below.
	Exclude []string `json:"exclude"`
	// Times includes the modification times, to the nanosecond.
	Times bool `json:"times"`
	// Units are systemd units: loaded, active, enabled or masked, from which files.
	Units []string `json:"units"`
	// Sysctls are kernel parameters, with dots: net.ipv4.ip_forward.
	Sysctls []string `json:"sysctls"`
	// Links includes network interfaces: kind, MTU, whether they are up, to which bridge they belong, addresses.
	Links bool `json:"links"`
	// Routes includes the routes of all tables, and the rules that choose a table.
	Routes bool `json:"routes"`
	// Rules includes iptables' chains and rules of all tables, with their order in the chain, for both protocols and both
	// kernel interfaces; and ipsets with their members.
	Rules bool `json:"rules"`
}

// A Snapshot is a picture of a host. It has an entry "path /etc/hosts", "unit ssh.service",
// "sysctl net.ipv4.ip_forward", "link eth0", "route main 10.0.0.0/8 dev eth0" or "iptables
// filter -A FORWARD -j ACCEPT" for each thing that was there.
type Snapshot map[string]string

// Snapshot takes a picture of the host.
func (h *Host) Snapshot(ctx context.Context, w Watch) (Snapshot, error) {
	question, err := json.Marshal(w)
	if err != nil {
		return nil, err
	}
	answer, err := h.Output(ctx, "python3", "-IS", "-c", snapshotProgram, string(question))
	if err != nil {
		// The program is a page of text; the reason is in the last line.
		return nil, fmt.Errorf("cannot take a snapshot of %s: %s", h.Name, tail([]byte(err.Error()), 1))
	}
	var s Snapshot
	if err := json.Unmarshal([]byte(answer), &s); err != nil {
		return nil, fmt.Errorf("cannot take a snapshot of %s: %w", h.Name, err)
	}
	return s, nil
}

// TreeHash is the hash of a snapshot of these paths, without times.
func (h *Host) TreeHash(ctx context.Context, paths ...string) (string, error) {
	s, err := h.Snapshot(ctx, Watch{Paths: paths})
	return s.Hash(), err
}

// Hash is the same for equal snapshots only.
func (s Snapshot) Hash() string {
	sum := sha256.New()
	for _, what := range slices.Sorted(maps.Keys(s)) {
		fmt.Fprintf(sum, "%q %q\n", what, s[what])
	}
	return hex.EncodeToString(sum.Sum(nil))
}

// Diff tells how later differs from s, one line a difference, sorted. It is empty if they
// are equal.
func (s Snapshot) Diff(later Snapshot) []string {
	var lines []string
	for what, was := range s {
		switch is, ok := later[what]; {
		case !ok:
			lines = append(lines, fmt.Sprintf("%s: gone (was %s)", what, was))
		case is != was:
			lines = append(lines, fmt.Sprintf("%s: %s", what, changedWords(was, is)))
		}
	}
	for what, is := range later {
		if _, ok := s[what]; !ok {
			lines = append(lines, fmt.Sprintf("%s: new (%s)", what, is))
		}
	}
	slices.Sort(lines)
	return lines
}

// changedWords are the words of an entry that differ.
func changedWords(was, is string) string {
	before, after := strings.Fields(was), strings.Fields(is)
	lost := slices.DeleteFunc(slices.Clone(before), func(w string) bool { return slices.Contains(after, w) })
	won := slices.DeleteFunc(after, func(w string) bool { return slices.Contains(before, w) })
	return strings.Join(lost, " ") + " -> " + strings.Join(won, " ")
}
