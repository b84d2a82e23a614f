package node

import (
	"context"
	"encoding/json"
	"errors"
	"os"

	"github.com/calroll/calroll/tasks"
)

// calicoKindName is the kind of records about Calico's objects.
const calicoKindName = "calico"

// Kinds are the Restorers of what modules of this package alter in other ways than through Sys.
func Kinds() tasks.Kinds { return tasks.Kinds{calicoKindName: calicoKind{}} }

// calicoMeta is what a record needs besides the object that was there.
type calicoMeta struct {
	Ctl   calicoctl  `json:"calicoctl"`
	ID    calicoID   `json:"id"`
	Owned [][]string `json:"owned"` // the fields that were altered; what others do to the rest of the object is not undone
}

// calicoKind takes changes of Calico's objects back, with the program that made them.
type calicoKind struct{}

func (calicoKind) meta(b tasks.Before) (calicoMeta, error) {
	var m calicoMeta
	if err := json.Unmarshal(b.Meta, &m); err != nil {
		return m, &tasks.Error{Kind: tasks.Failed, Op: "read the record of " + b.Key, Err: err}
	}
	m.Ctl.run, m.Ctl.limit = tasks.NewSys(tasks.Options{}).Exec, answerLimit
	return m, nil
}

// State implements tasks.Restorer. An object whose kind the datastore has no more counts as taken back: what removed the kind answers for it, and undoing
// a run that made the kind too does that before it comes to what a host recorded.
func (k calicoKind) State(ctx context.Context, b tasks.Before) (string, error) {
	m, err := k.meta(b)
	if err != nil {
		return "", err
	}
	now, err := m.now(ctx)
	if err == nil && now == nil && m.Ctl.lacksKind(ctx, m.ID) {
		return b.Was, nil
	}
	return m.ID.word(now, m.Owned), err
}

// now is the object as it is. While nodes of two versions run calicoctl refuses all work; an undo must not end there.
func (m *calicoMeta) now(ctx context.Context) (object, error) {
	now, err := m.Ctl.get(ctx, m.ID)
	if isMismatch(err) && !m.Ctl.lenient {
		m.Ctl.lenient = true
		now, err = m.Ctl.get(ctx, m.ID)
	}
	return now, err
}

// Restore implements tasks.Restorer.
func (k calicoKind) Restore(ctx context.Context, b tasks.Before, kept tasks.Kept, force bool) error {
	m, err := k.meta(b)
	if err != nil {
		return err
	}
	var before object
	if kept.Path != "" {
		raw, err := os.ReadFile(kept.Path)
		if err == nil {
			before, err = readObject(raw)
		}
		if err != nil {
			return &tasks.Error{Kind: tasks.Failed, Op: "take back " + b.Key, Err: err}
		}
	}
	for range conflictTries {
		err = m.restore(ctx, b, before, force)
		if !errors.Is(err, errConflict) {
			return err
		}
	}
	return &tasks.Error{Kind: tasks.Refused, Op: "take back " + b.Key, Err: err}
}

func (m *calicoMeta) restore(ctx context.Context, b tasks.Before, before object, force bool) error {
	now, err := m.now(ctx)
	if err != nil {
		return err
	}
	switch word := m.ID.word(now, m.Owned); {
	case word == b.Was && word != b.After:
		return nil
	case word != b.After && !force:
		return &tasks.Error{Kind: tasks.Refused, Op: "take back " + b.Key, Detail: "somebody else changed it since"}
	case before == nil && now == nil:
		return nil
	case before == nil:
		return m.Ctl.remove(ctx, m.ID, now)
	case now == nil:
		return m.Ctl.write(ctx, m.ID, "create", before.fresh())
	}
	return m.Ctl.write(ctx, m.ID, "replace", now.with(before, m.Owned).withVersionOf(now))
}
