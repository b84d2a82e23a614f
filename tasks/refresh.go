package tasks

import (
	"context"
	"encoding/json"
	"errors"
)

// refreshMeta is the Meta of a refresh record.
type refreshMeta struct {
	Do      string      `json:"do"` // daemon-reload, restart, reload, handler
	Unit    string      `json:"unit,omitempty"`
	Handler *Invocation `json:"handler,omitempty"`
}

func (s *Sys) recordRefresh(ctx context.Context, do, unit string) error {
	key := do
	if unit != "" {
		key += " " + unit
	}
	return s.record(ctx, Before{Kind: "refresh", Key: key}, refreshMeta{Do: do, Unit: unit}, nil)
}

// refreshKind fires refreshes again.
type refreshKind struct{ kindOptions }

// State is of no meaning: a refresh has none.
func (refreshKind) State(context.Context, Before) (string, error) { return "", nil }

// Restore is never asked for.
func (refreshKind) Restore(context.Context, Before, Kept, bool) error {
	return errors.New("a refresh has no state to restore")
}

// Refresh does once more what was done. A unit that is not active now needs no restart.
func (k refreshKind) Refresh(ctx context.Context, b Before) (bool, error) {
	var m refreshMeta
	if err := json.Unmarshal(b.Meta, &m); err != nil {
		return false, failed("read the record of "+b.Key, err)
	}
	switch m.Do {
	case "handler":
		return true, k.invoke(ctx, *m.Handler)
	case "daemon-reload":
		return true, daemonReload(ctx)
	case "restart", "reload":
		return refreshUnit(ctx, m.Do, m.Unit)
	}
	return false, refused("do "+m.Do+" again", "this program does not know it")
}
