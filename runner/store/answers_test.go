package store

import (
	"encoding/json"
	"maps"

	"os"
	"path/filepath"
	"reflect"
	"testing"
	"time"
)

func answer(host, task string, no int64, final ...string) Line {
	return Line{Answer: &Answer{Doing: Doing{Key: Key{Host: host, Task: task}, TaskNo: no}, Final: final, Kept: json.RawMessage(`{}`)}}
}

// onceAnswer is that of a task with run_once, which the first of hosts does.
func onceAnswer(task string, no int64, hosts ...string) Line {
	l := answer(hosts[0], task, no)
	l.For = hosts
	return l
}

func begun(host, task string, no int64) Line {
	return Line{Begun: &Doing{Key: Key{Host: host, Task: task}, TaskNo: no}}
}

// inRescue is the failure of a rescue section, of a block that began with task again.
func inRescue(host, task string, no, again int64) Line {
	l := answer(host, task, no, host)
	l.Again = again
	return l
}

// TestRecord writes lines as a run would and asks what a resume goes by.
func TestRecord(t *testing.T) {
	for name, c := range map[string]struct {
		lines []Line
		want  []string // "host task"
	}{
		"what was done stays":                  {[]Line{answer("a", "1", 1), answer("b", "1", 1), answer("a", "2", 2)}, []string{"a 1", "b 1", "a 2"}},
		"a failure and the cleaning up after":  {[]Line{answer("a", "1", 1), answer("a", "2", 2, "a"), answer("a", "always", 3), answer("b", "2", 2)}, []string{"a 1", "b 2"}},
		"done at the second try":               {[]Line{answer("a", "1", 1, "a"), {Resumed: true}, answer("a", "1", 2), answer("a", "2", 3)}, []string{"a 1", "a 2"}},
		"undone from a task on":                {[]Line{answer("a", "1", 1), answer("a", "2", 2), answer("b", "2", 2), {Undone: []string{"a"}, Since: 2}}, []string{"a 1", "b 2"}},
		"undone, and done again":               {[]Line{answer("a", "1", 1), {Undone: []string{"a"}}, {Resumed: true}, answer("a", "1", 2)}, []string{"a 1"}},
		"run_once goes with the host that did": {[]Line{onceAnswer("1", 1, "a", "b"), onceAnswer("2", 2, "b", "c"), {Undone: []string{"a"}}}, []string{"b 2", "c 2"}},
		"run_once of two batches":              {[]Line{onceAnswer("1", 1, "a", "b"), onceAnswer("1", 2, "c")}, []string{"a 1", "b 1", "c 1"}},
		"undone before it passed":              {[]Line{answer("a", "1", 1), {Passed: []string{"a"}}, {Undone: []string{"a"}, Since: 1}}, nil},
		"a failed run_once is everybody's":     {[]Line{answer("a", "1", 1, "a", "b"), answer("b", "always", 2)}, nil},
		"a rescue section that failed":         {[]Line{answer("a", "0", 1), answer("a", "1", 2), answer("a", "rescue", 3), inRescue("a", "fail", 4, 2), answer("b", "1", 2)}, []string{"a 0", "b 1"}},
	} {
		t.Run(name, func(t *testing.T) {
			got := recordOf(t, c.lines)
			if len(got.Answers) != len(c.want) {
				t.Errorf("%d answers are known, want %v: %v", len(got.Answers), c.want, got.Answers)
			}
			for _, w := range c.want {
				found := false
				for p := range got.Answers {
					found = found || p.Host+" "+p.Task == w
				}
				if !found {
					t.Errorf("the answer %q is not known: %v", w, got.Answers)
				}
			}
		})
	}
}

func recordOf(t *testing.T, lines []Line) *Record {
	t.Helper()
	s, r := newRun(t)
	for _, l := range lines {
		if err := r.Keep(l); err != nil {
			t.Fatal(err)
		}
	}
	rec, err := s.Record(r.ID)
	if err != nil {
		t.Fatal(err)
	}
	return rec
}

func newRun(t *testing.T) (*Store, *Run) {
	t.Helper()
	s, err := Open(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	r, err := s.Create(Meta{ID: NewID(time.Now()), State: Running, Started: time.Now()})
	if err != nil {
		t.Fatal(err)
	}
	return s, r
}

// TestRecordOfAKilledRun has a line that was torn, behind which the next process goes on.
func TestRecordOfAKilledRun(t *testing.T) {
	s, r := newRun(t)
	if err := r.Keep(answer("a", "1", 1)); err != nil {
		t.Fatal(err)
	}
	file := filepath.Join(s.dir, r.ID, answersName)
	f, err := os.OpenFile(file, os.O_APPEND|os.O_WRONLY, 0)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := f.WriteString(`{"play":0,"host":"a","ta`); err != nil {
		t.Fatal(err)
	}
	if err := f.Close(); err != nil {
		t.Fatal(err)
	}
	again, err := s.Resume(r.Meta)
	if err != nil {
		t.Fatal(err)
	}
	if err := again.Keep(answer("a", "2", 2)); err != nil {
		t.Fatal(err)
	}
	rec, err := s.Record(r.ID)
	if err != nil || len(rec.Answers) != 2 || rec.LastNo != 2 {
		t.Errorf("known are %v up to task %d (%v), want both whole lines", rec.Answers, rec.LastNo, err)
	}
	if st, err := os.Stat(file); err != nil || st.Mode().Perm() != 0o600 {
		t.Errorf("the record must be its owner's alone: %v %v", st.Mode(), err)
	}
}

// TestWhoMayHaveGoneBack: hosts that wait to be confirmed, from their oldest task on.
func TestWhoMayHaveGoneBack(t *testing.T) {
	awaits := func(since int64, hosts ...string) Line { return Line{Batch: hosts, Since: since, Awaits: hosts} }
	for name, c := range map[string]struct {
		lines []Line
		want  map[string]int64
	}{
		"waits":              {[]Line{awaits(3, "a", "b")}, map[string]int64{"a": 3, "b": 3}},
		"waits since before": {[]Line{awaits(3, "a"), awaits(5, "a")}, map[string]int64{"a": 3}},
		"confirmed":          {[]Line{awaits(3, "a", "b"), {Confirmed: []string{"a"}}}, map[string]int64{"b": 3}},
		"passed":             {[]Line{awaits(3, "a"), {Passed: []string{"a"}}}, nil},
		"taken back":         {[]Line{awaits(3, "a", "b"), {Undone: []string{"a"}, Since: 3}}, map[string]int64{"b": 3}},
		"taken back in part": {[]Line{awaits(3, "a"), {Undone: []string{"a"}, Since: 4}}, map[string]int64{"a": 3}},
		"of a later batch":   {[]Line{{Since: 1, Awaits: []string{"c"}}}, map[string]int64{"c": 1}},
	} {
		t.Run(name, func(t *testing.T) {
			if got := recordOf(t, c.lines).Unconfirmed; !maps.Equal(got, c.want) {
				t.Errorf("got %v, want %v", got, c.want)
			}
		})
	}
}

// TestRecordOfAnUndo: an undo is half done until its hosts are undone, or spared.
func TestRecordOfAnUndo(t *testing.T) {
	got := recordOf(t, []Line{answer("a", "1", 1), answer("b", "1", 1), answer("c", "1", 1), {Undoing: []string{"a", "b", "c"}, InPlace: map[string][]string{"c": {"d"}}, Since: 1},
		{Undone: []string{"a"}, Spared: []string{"b"}, Since: 1}})
	if want := map[string]HalfUndone{"c": {1, []string{"d"}}}; !reflect.DeepEqual(got.Undoing, want) || len(got.Answers) != 2 {
		t.Errorf("half undone are %v, want %v; answers: %v", got.Undoing, want, got.Answers)
	}
}

// TestWhatIsOver: a batch is over until something of its own play is taken back.
func TestWhatIsOver(t *testing.T) {
	later := answer("a", "2", 5)
	later.Play = 1
	lines := []Line{answer("a", "1", 1), {Passed: []string{"a"}}, later, {Play: 1, Passed: []string{"a"}}}
	for since, want := range map[int64]map[HostOf]bool{5: {{0, "a"}: true}, 1: {}, 0: {}, 6: {{0, "a"}: true, {1, "a"}: true}} {
		got := recordOf(t, append(lines, Line{Undone: []string{"a"}, Since: since}))
		if !maps.Equal(got.Passed, want) {
			t.Errorf("undone from task %d on, these are over: %v, want %v", since, got.Passed, want)
		}
	}
}

// TestWhatMayHaveAltered: tasks that notify handlers and have begun without an answer, or whose answer does not count any more.
func TestWhatMayHaveAltered(t *testing.T) {
	for name, c := range map[string]struct {
		lines []Line
		want  []string
	}{
		"no answer":                {[]Line{begun("a", "1", 1), begun("b", "1", 1)}, []string{"a", "b"}},
		"an answer":                {[]Line{begun("a", "1", 1), answer("a", "1", 1)}, nil},
		"lost":                     {[]Line{begun("a", "1", 1), answer("a", "1", 1, "a")}, []string{"a"}},
		"undone":                   {[]Line{begun("a", "1", 3), {Undone: []string{"a"}, Since: 2}}, nil},
		"its rescue section fails": {[]Line{begun("a", "1", 1), answer("a", "1", 1), inRescue("a", "fail", 2, 1)}, []string{"a"}},
	} {
		got := recordOf(t, c.lines)
		for _, h := range c.want {
			if got.Begun[Place{Key: Key{Host: h, Task: "1"}}] == 0 {
				t.Errorf("%s: that %s has begun the task is not known: %v", name, h, got.Begun)
			}
		}
		if len(got.Begun) != len(c.want) {
			t.Errorf("%s: begun are %v, want %v", name, got.Begun, c.want)
		}
	}
}
