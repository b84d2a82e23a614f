package runner

import (
	"path/filepath"
	"strings"
	"testing"

	"github.com/calroll/calroll/runner/conn"
	"github.com/calroll/calroll/runner/event"
	"github.com/calroll/calroll/runner/store"
	"github.com/calroll/calroll/tasks"
	"github.com/calroll/calroll/tasks/journal"
)

// twofold is a host on which a run has worked itself, and on whose behalf the controller has: task 2 of the controller has made a file, and task 3 of the host
// has put down a point of no return.
type twofold struct {
	*crowd
	run              *run
	host, controller way
	file             string
	said             string // the last line about the host
}

func newTwofold(t *testing.T) *twofold {
	t.Helper()
	f := &twofold{crowd: newCrowd(t, 1, 3), file: filepath.Join(t.TempDir(), "made")}
	kinds := tasks.NodeKinds(tasks.KindOptions{})
	f.fleet.carried.Kinds = kinds
	f.fleet.carried.ClusterKinds = func(tasks.Reach) tasks.Kinds { return kinds }
	f.host = f.crowd.ways[0]
	f.controller = f.host
	f.controller.cluster = true
	f.run = &run{o: Options{Forks: 1}, id: "run1", fleet: f.fleet, counts: map[string]*event.Counts{}, open: map[string]event.Status{}, sink: f}
	f.did(f.fleet.clusterDir(f.host.Host), 2, func(s *tasks.Sys) error {
		_, err := s.WriteFile(t.Context(), f.file, tasks.Text(nil), tasks.Attrs{}, tasks.WriteOptions{})
		return err
	})
	f.did(f.journalOf(f.host), 3, func(s *tasks.Sys) error { return s.Guard(t.Context(), "the data moved", nil) })
	f.remember(f.host, true)
	f.remember(f.controller, true)
	return f
}

// Emit implements event.Sink.
func (f *twofold) Emit(e event.Event) {
	if e.Kind == event.UndoHost {
		f.said = string(e.Status) + ": " + e.Message
	}
}

func (f *twofold) did(dir string, number int64, what func(*tasks.Sys) error) {
	f.Helper()
	j := f.of(dir, "run1")
	if err := what(tasks.NewSys(tasks.Options{Recorder: j, Task: number})); err != nil {
		f.Fatal(err)
	}
	f.gives(j)
}

// of is a journal of another controller.
func (f *twofold) of(dir, run string) *journal.Journal {
	f.Helper()
	j, err := journal.Open(dir, run, journal.Holder{User: "ann", Bastion: "east", PID: 7})
	if err == nil {
		err = j.Lock(f.Context())
	}
	if err != nil {
		f.Fatal(err)
	}
	return j
}

func (f *twofold) gives(j *journal.Journal) {
	f.Helper()
	if err := j.Release(); err != nil {
		f.Error(err)
	}
	_ = j.Close()
}

// back takes the host back; made is whether the file of the controller is still there then.
func (f *twofold) back(u undoing, made bool, status event.Status, words string) *taken {
	f.Helper()
	u.run = "run1"
	t, _ := f.run.undoHost(f.Context(), f.host.Host, u)
	if found, _ := filepath.Glob(f.file); (len(found) > 0) != made {
		f.Errorf("the controller's file is there: %v", found)
	}
	if !strings.HasPrefix(f.said, string(status)+": ") || !strings.Contains(f.said, words) {
		f.Errorf("it says %q", f.said)
	}
	return t
}

// TestNothingGoesBackBeforeEveryIdentityIsAsked for points of no return: one of the host's holds up the controller as well.
func TestNothingGoesBackBeforeEveryIdentityIsAsked(t *testing.T) {
	f := newTwofold(t)
	other := f.of(f.journalOf(f.host), "run2")
	if taken := f.back(undoing{}, true, event.Failed, "cannot ask for points of no return"); taken.begun || f.run.open["h0"] != event.Failed {
		t.Errorf("it was begun: %v, and is open as %q", taken.begun, f.run.open["h0"])
	}
	f.gives(other)
	f.back(undoing{}, true, event.Failed, "the data moved")

	f = newTwofold(t)
	other = f.of(f.journalOf(f.host), "run2")
	f.back(undoing{force: true}, false, event.Failed, "another run holds it")
	f.gives(other)
}

// TestAHostThatDoesNotAnswerHoldsUpTheController: what it may have put down is not known.
func TestAHostThatDoesNotAnswerHoldsUpTheController(t *testing.T) {
	f := newTwofold(t)
	gone := way{Host: "h0", SSH: conn.Options{Host: "127.0.0.1", Port: 1}}
	f.remember(gone, false)
	f.back(undoing{}, true, event.Unreachable, "its run stays open: cannot connect to")
}

// TestWhoHasNeverWorkedHoldsUpNobody: the run, of which this process is all, could not become that user.
func TestWhoHasNeverWorkedHoldsUpNobody(t *testing.T) {
	f := newTwofold(t)
	f.run.record = &store.Run{}
	f.remember(way{Host: "h0", SSH: conn.Options{Host: "127.0.0.1", Port: 1}}, false)
	f.back(undoing{}, false, event.Unreachable, "its run stays open: cannot connect to")
}

// TestAPreviewTakesNoLock, and tells all the same what holds up which identity.
func TestAPreviewTakesNoLock(t *testing.T) {
	f := newTwofold(t)
	f.fleet.run = "" // as that of a preview
	other := f.of(f.journalOf(f.host), "run2")
	f.back(undoing{preview: true}, true, event.Failed, "the data moved")
	if strings.Contains(f.said, f.file) {
		t.Errorf("it would go past the point of no return: %s", f.said)
	}
	if l := f.lock(f.host); l.Holder == nil || l.Holder.Run != "run2" {
		t.Errorf("the lock is %+v", l)
	}
	f.gives(other)
	f.back(undoing{preview: true}, true, event.Failed, "the data moved")
	if l := f.lock(f.host); l.Standing != journal.Free {
		t.Errorf("the lock is %+v", l)
	}
}
