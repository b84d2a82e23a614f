package tasks

import (
	"context"
	"encoding/json"
	"strings"
)

// guardMeta is the Meta of a guard record.
type guardMeta struct {
	Reason string   `json:"reason"`
	Argv   []string `json:"argv,omitempty"`
}

// Guard records that what this run did before may be taken back only if argv exits 0 at that time; without argv it may not be taken back at all.
// reason tells whoever tries why.
func (s *Sys) Guard(ctx context.Context, reason string, argv []string) error {
	return s.record(ctx, Before{Kind: "guard", Key: "the point of no return", Was: "ahead", After: "passed"}, guardMeta{reason, argv}, nil)
}

// guardKind holds up an undo at a point of no return.
type guardKind struct{ kindOptions }

// Guards marks it as a Guard.
func (guardKind) Guards() {}

// State is "ahead" when the way back is open.
func (k guardKind) State(ctx context.Context, b Before) (string, error) {
	m, err := k.meta(b)
	if err != nil || len(m.Argv) == 0 {
		return b.After, err
	}
	out, err := run(ctx, Cmd{Argv: m.Argv})
	if err != nil {
		return "", err
	}
	if out.Code == 0 {
		return b.Was, nil
	}
	return b.After, nil
}

// Restore refuses: it is asked for only when the way back is closed.
func (k guardKind) Restore(_ context.Context, b Before, _ Kept, _ bool) error {
	m, err := k.meta(b)
	if err != nil {
		return err
	}
	return refused("take back what was done before", strings.TrimSpace(m.Reason))
}

func (guardKind) meta(b Before) (guardMeta, error) {
	var m guardMeta
	if err := json.Unmarshal(b.Meta, &m); err != nil {
		return m, failed("read the record of "+b.Key, err)
	}
	return m, nil
}
