package journal_test

import (
	"context"
	"errors"
	"maps"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/calroll/calroll/tasks"
	"github.com/calroll/calroll/tasks/journal"
)

// things are names with a state each, and what was done to them.
type things struct {
	is   map[string]string
	done []string
}

func (k *things) Absent() string { return "absent" }

func (k *things) State(_ context.Context, b tasks.Before) (string, error) {
	if s, ok := k.is[b.Key]; ok {
		return s, nil
	}
	return k.Absent(), nil
}

func (k *things) Restore(_ context.Context, b tasks.Before, _ tasks.Kept, _ bool) error {
	k.done = append(k.done, b.Key+" "+b.Was)
	k.is[b.Key] = b.Was
	return nil
}

// Holds has a thing hold those whose name goes on after its own.
func (k *things) Holds(holder, b tasks.Before) bool { return strings.HasPrefix(b.Key, holder.Key+"/") }

// TestWhatARunMadeAndTookAwayStaysAway: it does not come back for the time of the undo, also if that is cut; what somebody made since stays; what was there
// before the run comes back.
func TestWhatARunMadeAndTookAwayStaysAway(t *testing.T) {
	type step struct{ key, was, after string }
	madeAndGone := []step{{"a", "absent", "1"}, {"b", "0", "1"}, {"a", "1", "2"}, {"a", "2", "absent"}, {"c", "absent", "1"}}
	for _, c := range []struct {
		name     string
		steps    []step
		now      map[string]string
		cut      int // before this many items have been undone; 0 is never
		downTo   int64
		done     []string
		problems int
	}{
		{"made, changed and gone", madeAndGone, map[string]string{"b": "1", "c": "1"}, 0, 0, []string{"c absent", "b 0"}, 0},
		{"what was in it", []step{{"a", "absent", "1"}, {"a/x", "absent", "1"}, {"a/y", "theirs", "absent"}, {"a/x", "1", "absent"}, {"a", "1", "absent"}}, map[string]string{}, 0, 0, nil, 0},
		{"cut in between", madeAndGone, map[string]string{"b": "1", "c": "1"}, 3, 0, []string{"c absent", "b 0"}, 0},
		{"somebody made it anew", madeAndGone, map[string]string{"a": "theirs", "b": "1", "c": "1"}, 0, 0, []string{"c absent", "b 0"}, 3},
		{"it was to go, and is there", madeAndGone, map[string]string{"a": "2", "b": "1", "c": "1"}, 0, 0, []string{"c absent", "a 1", "b 0", "a absent"}, 0},
		{"there before", []step{{"a", "0", "absent"}, {"a", "absent", "1"}, {"a", "1", "absent"}}, map[string]string{}, 0, 0, []string{"a 0"}, 0},
		{"made before the task", madeAndGone, map[string]string{"b": "1", "c": "1"}, 0, 3, []string{"c absent", "a 2", "a 1"}, 0},
	} {
		dir := filepath.Join(t.TempDir(), "runs")
		j := open(t, dir, "r")
		for i, s := range c.steps {
			_, err := j.Record(ctx, tasks.Before{Task: int64(i + 1), Kind: "thing", Key: s.key, Was: s.was, After: s.after}, nil)
			must(t, err)
		}
		must(t, j.Close())
		k := &things{is: maps.Clone(c.now)}
		kinds := tasks.Kinds{"thing": k}
		if c.cut > 0 {
			ctx, cancel := context.WithCancelCause(ctx)
			n := 0
			_, err := journal.Undo(ctx, dir, "r", journal.UndoOptions{Report: func(journal.Item) {
				if n++; n == c.cut {
					cancel(errors.New("cut"))
				}
			}}, kinds)
			if err == nil {
				t.Errorf("%s: the undo was not cut", c.name)
			}
		}
		report, err := journal.Undo(ctx, dir, "r", journal.UndoOptions{DownTo: c.downTo}, kinds)
		must(t, err)
		if !slices.Equal(k.done, c.done) || len(report.Problems()) != c.problems {
			t.Errorf("%s: it did %q with the problems %v, not %q with %d", c.name, k.done, report.Problems(), c.done, c.problems)
		}
	}
}
