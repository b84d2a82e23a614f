package machine

import (
	"fmt"
	"strconv"
	"strings"
)

// Kind tells what a Node is.
type Kind int

// The kinds of nodes. Flush is the place where notified handlers run: the end of a section, or meta: flush_handlers.
const (
	Task Kind = iota
	Block
	Flush
)

// Node is a task or a block as far as deciding is concerned. The caller finds its own task behind Ref.
type Node struct {
	Kind   Kind
	Name   string // for scenarios and messages
	Ref    any    // the caller's task
	Main   []*Node
	Rescue []*Node
	Always []*Node

	RunOnce        bool // the first host carries it out for all
	AnyErrorsFatal bool
	IgnoreErrors   bool // run_once with ignore_errors is not fatal to the others
}

// Scope is how much is undone when a batch fails.
type Scope string

// The scopes of rollback. None, the default, leaves everything as it failed, as Ansible does.
const (
	None  Scope = "none"
	Host  Scope = "host"  // each failed host
	Batch Scope = "batch" // every host of the failed batch
	All   Scope = "all"   // every host of the play
)

// ParseScope reads a scope.
func ParseScope(s string) (Scope, error) {
	switch Scope(s) {
	case None, Host, Batch, All:
		return Scope(s), nil
	}
	return None, fmt.Errorf("cannot use rollback scope %q: it is one of host, batch, all, none", s)
}

// Play is what the machine has to get done.
type Play struct {
	Hosts             []string // in the order they are taken
	Gone              []string // those of Hosts that failed in an earlier play: they have a place in their batch, but no part in the play
	Serial            []string // batch sizes as written: "2", "30%"; empty: one batch of all
	MaxFailPercentage *float64 // nil: not set
	AnyErrorsFatal    bool
	ForceHandlers     bool
	Rollback          Scope
	Sections          [][]*Node
	Handlers          []*Node // in the order they run; Done names them by index
}

// Batches cuts hosts by the sizes of serial: each size once, the last for all that remain. A percentage is of all hosts,
// rounded down, and at least one host; a size of zero or less takes all that remain.
func Batches(hosts, serial []string) ([][]string, error) {
	sizes := make([]int, len(serial))
	for i, s := range serial {
		n, err := Share(s, len(hosts))
		if err != nil {
			return nil, err
		}
		sizes[i] = n
	}
	var batches [][]string
	for i, left := 0, hosts; len(left) > 0; i++ {
		n := len(left)
		if len(sizes) > 0 {
			if size := sizes[min(i, len(sizes)-1)]; size > 0 {
				n = min(size, n)
			}
		}
		batches = append(batches, left[:n])
		left = left[n:]
	}
	return batches, nil
}

// Share is the number that s ("3" or "30%") means out of total. A percentage gives at least one.
func Share(s string, total int) (int, error) {
	s = strings.TrimSpace(s)
	if p, ok := strings.CutSuffix(s, "%"); ok {
		f, err := strconv.ParseFloat(strings.TrimSpace(p), 64)
		if err != nil {
			return 0, fmt.Errorf("cannot use %q as a share of hosts: it is neither a number nor a percentage", s)
		}
		return max(int(f/100*float64(total)), 1), nil
	}
	n, err := strconv.Atoi(s)
	if err != nil {
		return 0, fmt.Errorf("cannot use %q as a share of hosts: it is neither a number nor a percentage", s)
	}
	return n, nil
}
