package tasks

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
)

// Before is one record: what was there before one atomic alteration, and what is there after it.
type Before struct {
	Seq    int64           `json:"seq"`              // order within the run, assigned by the recorder
	Task   int64           `json:"task,omitempty"`   // the controller's number of the task
	For    string          `json:"for,omitempty"`    // the host that it was done for, by another one in its place; "" is the host itself
	Kind   string          `json:"kind"`             // finds the Restorer in a Kinds table
	Key    string          `json:"key"`              // what it is about: a path, a unit, a sysctl
	Was    string          `json:"was,omitempty"`    // the state before, as Restorer.State says it
	After  string          `json:"after,omitempty"`  // the state after, likewise
	Meta   json.RawMessage `json:"meta,omitempty"`   // what the Restorer needs besides the image
	Blob   string          `json:"blob,omitempty"`   // names the kept image; assigned by the recorder
	Linked bool            `json:"linked,omitempty"` // the image is a hard link to the old file, not a copy; assigned by the recorder
	Moved  bool            `json:"moved,omitempty"`  // the image is the thing itself, moved away by the alteration (see Mover)
	Done   bool            `json:"-"`                // the recorder was told that the alteration is complete; set when records are read
	// StandIn is another state that counts as After: what the undo of a newer record has brought back in its stead (see Substitute).
	StandIn string `json:"-"`
}

// String is what the record is about, for messages.
func (b Before) String() string { return b.Kind + " " + b.Key }

// Image is a before-image on its way to the recorder, which reads it at most once and then calls no func of it again.
type Image struct {
	// Open starts reading the image; nil where there is nothing to read (a link, a device): without LinkFrom nothing is kept then.
	Open func() (io.ReadCloser, error)
	// LinkFrom, if set, is the path of the thing itself, whose inode the alteration leaves alone: the recorder may keep a hard
	// link to it instead of a copy. It must not be followed.
	LinkFrom string
}

// Kept is a before-image that a recorder kept. The zero value means that there is none.
type Kept struct {
	Path   string // of the file that holds it, readable only by its owner
	Linked bool   // it is the old file itself: it may be renamed back into place, and its content has to be verified
}

// Recorder keeps records on stable storage.
type Recorder interface {
	// Record returns once b and its image (nil: none) are on stable storage, with the sequence number it gave b.
	// Records are kept in the order of the calls. After an error the alteration must not happen.
	Record(ctx context.Context, b Before, image *Image) (seq int64, err error)
	// Done says that the alteration of seq is complete. Only alterations that are not one atomic step say so (a file
	// written in place); it need not be on stable storage when Done returns.
	Done(ctx context.Context, seq int64) error
}

// Mover is implemented by recorders that can keep a thing itself: the alteration is a rename to where MovePath says.
type Mover interface {
	// MovePath is where the alteration of seq moves its thing to. It is free, and its Restorer gets it as Kept.Path when
	// the record has Moved.
	MovePath(seq int64) string
}

// NoRecord is the Recorder of work that is not to be undone: an undo's own.
type NoRecord struct{}

// Record keeps nothing.
func (NoRecord) Record(context.Context, Before, *Image) (int64, error) { return 0, nil }

// Done keeps nothing.
func (NoRecord) Done(context.Context, int64) error { return nil }

// Restorer knows one kind of state: how it is now, and how to bring it back.
type Restorer interface {
	// State is the state of b.Key now, in the words of b.Was and b.After.
	State(ctx context.Context, b Before) (string, error)
	// Restore brings b.Key from any state to b.Was. It alters by one atomic step and may be called again after
	// having been cut anywhere. Without force it destroys nothing that is neither state.
	Restore(ctx context.Context, b Before, kept Kept, force bool) error
}

// Refresher is implemented by the Restorers of refreshes: records without a state to restore, fired again after the restores.
type Refresher interface {
	// Refresh fires b again. It returns false when there was no need to (a unit that is not active any more).
	Refresh(ctx context.Context, b Before) (fired bool, err error)
}

// Tidier is implemented by Restorers that have to clear up after an alteration or a restore that was cut (temporary files),
// whatever the state is.
type Tidier interface {
	Tidy(ctx context.Context, b Before) error
}

// Substitute is implemented by Restorers of things that may come back as others, which stand for them: a name of a file with several.
type Substitute interface {
	// StandsFor tells whether what newer brings back, the state newer.Was, stands for what older had made. Both are about the same key.
	StandsFor(newer, older Before) bool
}

// Guard is implemented by the Restorers of records that alter nothing: while restoring one fails, nothing older is restored.
type Guard interface {
	Guards()
}

// Passing is implemented by Restorers of things that need not come back in the course of an undo if the run had made them itself: a namespace for a test.
type Passing interface {
	// Absent is the state of what is not there.
	Absent() string
	// Holds tells whether what b is about is within what holder is about, and goes together with it.
	Holds(holder, b Before) bool
}

// Settler is implemented by Restorers that must do something once after all restores and before the refreshes.
type Settler interface {
	Settle(ctx context.Context) error
}

// Kinds finds the Restorer of a record by its Kind.
type Kinds map[string]Restorer

// Outcome says what undoing one record came to.
type Outcome string

// The outcomes of undoing one record.
const (
	Restored  Outcome = "restored"  // it was in the state after, and is in the state before now
	Unchanged Outcome = "unchanged" // it was in the state before already
	Foreign   Outcome = "refused"   // it is in neither state: somebody else changed it
	Forced    Outcome = "forced"    // likewise, and it was restored all the same
	Undoable  Outcome = "failed"    // it could not be restored
	Fired     Outcome = "fired"     // a refresh was fired again
	Needless  Outcome = "needless"  // a refresh had nothing to do; or the run made and removed it, so that it need not come back
)

// StandIn is what the undo of newer has left in place of what older had made; "" where that has come back itself.
func (k Kinds) StandIn(newer, older Before) string {
	if s, ok := k[older.Kind].(Substitute); ok && newer.String() == older.String() && s.StandsFor(newer, older) {
		return newer.Was
	}
	return ""
}

// Restore undoes one record: the three cases of package tasks. The error explains Foreign and Undoable.
func (k Kinds) Restore(ctx context.Context, b Before, kept Kept, force bool) (Outcome, error) {
	r, ok := k[b.Kind]
	if !ok {
		return Undoable, refused("undo "+b.String(), fmt.Sprintf("this program does not know records of kind %q", b.Kind))
	}
	if t, ok := r.(Tidier); ok {
		if err := t.Tidy(ctx, b); err != nil {
			return Undoable, err
		}
	}
	now, err := r.State(ctx, b)
	if err != nil {
		return Undoable, err
	}
	out := Restored
	switch {
	case now == b.After || b.StandIn != "" && now == b.StandIn: // asked first: where both are the same, restoring again is harmless
	case now == b.Was:
		out = Unchanged
	case !force:
		return Foreign, refused("undo "+b.String(), fmt.Sprintf("somebody else changed it since (it is %s, not %s)", now, b.After))
	default:
		out = Forced
	}
	if out == Unchanged {
		return out, nil
	}
	if err := r.Restore(ctx, b, kept, out == Forced); err != nil {
		return Undoable, err
	}
	return out, nil
}

// Cut is the panic value by which a proof cuts the work at a point; nothing recovers it or clears up after it, as after a crash.
type Cut struct{ Point string }
