package machine

import "fmt"

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
	NotLast        bool // among After: it stands between batches, and the last one does without it
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
	Hosts             []string          // in the order they are taken
	Gone              []string          // those of Hosts that failed in an earlier play: they have a place in their batch, but no part in the play
	Absent            []string          // hosts beside Hosts that are known to be away: they have no part, and count against FailureBudget
	Serial            []string          // batch sizes as written: "2", "30%"; empty: one batch of all
	Canaries          []string          // those of Hosts that come first, in batches of their own
	Spread            map[string]string // the group (a rack, a zone) of each host: no batch has two hosts of one; hosts without a group are free
	MaxFailPercentage *float64          // of a batch; nil: not set
	FailureBudget     string            // how many hosts may fail over the whole play: "3", "5%" of all; empty: not set
	AnyErrorsFatal    bool
	ForceHandlers     bool
	Rollback          Scope
	Confirm           bool // hosts go back by themselves unless they are told at the end of their batch that it stays
	// Facts come first in every batch, for what the gates need to know; then Before. After and Soak follow the sections.
	Facts               []*Node
	Before, After, Soak []*Node // gates
	Sections            [][]*Node
	Handlers            []*Node // in the order they run; Done names them by index
}
