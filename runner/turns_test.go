package runner

import (
	"fmt"
	"strings"
	"testing"

	"github.com/calroll/calroll/runner/event"
)

// story makes a Course of words: "2/3:" begins a batch, ":" a play without batches, "t" a task, "t=h1,h2" one that altered hosts.
func story(text string) *Course {
	h, task := &Course{}, int64(0)
	for _, word := range strings.Fields(text) {
		if head, ok := strings.CutSuffix(word, ":"); ok {
			e := event.Event{Kind: event.BatchStart, Batch: 1, Batches: 1}
			_, _ = fmt.Sscanf(head, "%d/%d", &e.Batch, &e.Batches)
			h.Emit(e)
			continue
		}
		name, hosts, _ := strings.Cut(word, "=")
		task++
		h.Emit(event.Event{Kind: event.TaskStart, TaskNo: task, Task: name, Where: "p.yml"})
		for host := range strings.SplitSeq(hosts, ",") {
			if host != "" {
				h.Emit(event.Event{Kind: event.HostDone, Host: host, Status: event.Changed})
			}
		}
	}
	return h
}

func waves(h *Course, hosts string, limit int) string {
	var out []string
	for _, w := range h.waves(strings.Fields(hosts), limit) {
		out = append(out, strings.Join(w.hosts, "+"))
	}
	return strings.Join(out, " ")
}

func TestWaves(t *testing.T) {
	for _, c := range []struct{ name, story, hosts, want string }{
		{"nothing is known", "", "a b", "a+b"},
		{"no batches", ": t=a,b : t=b,c", "a b c", "a+b+c"},
		{"newest batch first", "1/3: t=a 2/3: t=b 3/3: t=c", "a b c", "c b a"},
		{"a play for all after batches does not take them together", "1/2: t=a 2/2: t=b : t=a,b", "a b", "b a"},
		{"the narrower of two plays' batches", "1/2: t=a 2/2: t=b 1/2: t=a,b 2/2: t=c", "a b c", "c b a"},
		{"in the last batch that altered it", "1/2: t=a,b 2/2: t=c 1/3: t=a 2/3: t 3/3: t", "a b c", "a c b"},
		{"what no batch altered has its turn", ": t=m 1/2: t=a 2/2: t=b : t=n", "m a b n", "n b a m"},
		{"parts of what no batch altered", ": t=m 1/2: t=a 2/2: t=b : t=m", "m a b", "b a m"},
		{"one that may have been cut goes first", "1/2: t=a 2/2: t", "a b", "b a"},
	} {
		if got := waves(story(c.story), c.hosts, 0); got != c.want {
			t.Errorf("%s: %s go back as %q, not %q", c.name, c.hosts, got, c.want)
		}
	}
	if got := waves(story("1/2: t=a,b,c 2/2: t=d"), "a b c d", 2); got != "d a+b c" {
		t.Errorf("at most two at a time: %q", got)
	}
}

// TestTurnOfCluster: what the controller did goes back in the turn in which it was done, before the hosts of that turn.
func TestTurnOfCluster(t *testing.T) {
	h := story(": t=m 1/2: t=a,m 2/2: t=b t : t=m")
	var since []int64
	for _, w := range h.waves([]string{"m", "a", "b"}, 0) {
		since = append(since, w.since)
	}
	if fmt.Sprint(since) != "[3 2]" { // b; a and m, which the first batch altered
		t.Errorf("the waves begin with the tasks %v", since)
	}
	for _, c := range []struct {
		since, before int64
		want          bool
	}{{5, 99, true}, {3, 5, false}, {2, 5, true}, {0, 2, true}} {
		if got := h.alteredIn("m", c.since, c.before); got != c.want {
			t.Errorf("m was altered from %d to %d: %v", c.since, c.before, got)
		}
	}
}

func TestTaskOfCourse(t *testing.T) {
	h := story("1/2: r=a once=a 2/2: r=b")
	h.Emit(event.Event{Kind: event.TaskStart, TaskNo: 4, Task: "web : restart", Where: "r.yml"})
	for word, want := range map[string]string{"": "0", "2": "2", "once": "2", "restart": "4", "web : restart": "4",
		"r": "1: r, batch 1/2 (p.yml)\n  3: r, batch 2/2 (p.yml)", "5": "the last task of the run was 4", "onec": `did you mean "once"?`} {
		n, err := h.Task(word)
		if got := fmt.Sprint(n, err); !strings.Contains(got, want) {
			t.Errorf("--to %q is %s, not %s", word, got, want)
		}
	}
}
