package runner

import (
	"fmt"
	"strings"
	"testing"

	"github.com/calroll/calroll/runner/event"
)

// story makes a Course of words: "2/3:" begins a batch, ":" a play without batches, "t" a task, "t=h1,h2" one that altered hosts. A word after
// "1|" or "2|" is of one of two plays that go at the same time.
func story(text string) *Course {
	h, task := &Course{}, int64(0)
	for _, word := range strings.Fields(text) {
		lane := 0
		if n, rest, ok := strings.Cut(word, "|"); ok {
			lane, word = int(n[0]-'0'), rest
		}
		if head, ok := strings.CutSuffix(word, ":"); ok {
			e := event.Event{Kind: event.BatchStart, Lane: lane, Batch: 1, Batches: 1}
			_, _ = fmt.Sscanf(head, "%d/%d", &e.Batch, &e.Batches)
			h.Emit(e)
			continue
		}
		name, hosts, _ := strings.Cut(word, "=")
		task++
		h.Emit(event.Event{Kind: event.TaskStart, Lane: lane, TaskNo: task, Task: name, Where: "p.yml"})
		for host := range strings.SplitSeq(hosts, ",") {
			if host != "" {
				h.Emit(event.Event{Kind: event.HostDone, Lane: lane, Host: host, Status: event.Changed})
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
		{"two plays at the same time", "1|1/2: 2|1/2: 1|t=a,b 2|t=x 1|t=a 2|t=x 2|2/2: 2|t=y 1|2/2: 1|t=c", "a b c x y", "c y x a+b"},
		{"two at the same time, one without batches", "1|1/2: 2|: 1|t=a 2|t=x 1|2/2: 1|t=b 2|t=x : t=a,b,x", "a b x", "b x a"},
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

// TestSince: what is newer than the first task of a wave's batch goes back before it.
func TestSince(t *testing.T) {
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

// TestSteps: what the controller did goes back where it was done, between what was done on hosts.
func TestSteps(t *testing.T) {
	for _, c := range []struct {
		name, story string
		controller  []int64
		since       int64
		want        string
	}{
		{"nothing is known", "", nil, 0, "controller 0, hosts 0"},
		{"the controller has done nothing", ": t=a t=b", nil, 0, "controller 0, hosts 0"},
		{"the controller was last", ": t=a t=a t=a", []int64{2, 3}, 0, "controller 0, hosts 0"},
		{"hosts were last", ": t=a t=a t=a", []int64{1, 2}, 0, "hosts 3, controller 0, hosts 0"},
		{"in turn", ": t=a t=a t=a t=b t=b t=a", []int64{2, 4, 5}, 0, "hosts 6, controller 4, hosts 3, controller 0, hosts 0"},
		{"no further than a batch", "1/2: t=a t=a 2/2: t=b t=b : t=a t=a", []int64{1, 4, 5}, 3, "hosts 6, controller 3, hosts 3"},
		{"what was cut before it was told", ": t=a", []int64{2}, 0, "controller 0, hosts 0"},
	} {
		var got []string
		for _, s := range downTo(c.since, story(c.story).backwards(c.controller)) {
			got = append(got, fmt.Sprint(map[bool]string{true: "controller ", false: "hosts "}[s.controller], s.since))
		}
		if got := strings.Join(got, ", "); got != c.want {
			t.Errorf("%s: %s, not %s", c.name, got, c.want)
		}
	}
}

// TestFree: what a host did after its last batch goes back in parts.
func TestFree(t *testing.T) {
	h := story(": t=a,b,c 1/2: t=a 2/2: t=b : t=a,b : t=a 1/2: t=b 2/2: t : t=a,b,c")
	for host, want := range map[string]int64{"a": 3, "b": 7, "c": 0, "unknown": 0} {
		if got := h.free(host); got != want {
			t.Errorf("%s is free from task %d on, not %d", host, got, want)
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
