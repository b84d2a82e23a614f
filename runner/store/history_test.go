package store

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/calroll/calroll/runner/event"
)

// script makes events of lines such as "host h1 failed"; a second passes with each.
func script(t *testing.T, text string) []event.Event {
	t.Helper()
	var events []event.Event
	var number int64
	now := time.Date(2026, 11, 21, 9, 0, 0, 0, time.UTC)
	for line := range strings.Lines(text) {
		w := strings.Fields(line)
		if len(w) == 0 {
			continue
		}
		now = now.Add(time.Second)
		e := event.Event{Time: now}
		if n, rest, ok := strings.Cut(w[0], "|"); ok { // of one of several plays that go at the same time
			e.Lane, w[0] = int(n[0]-'0'), rest
		}
		switch w[0] {
		case "run":
			e.Kind = event.RunStart
		case "play":
			e.Kind, e.Play = event.PlayStart, w[1]
		case "hosts":
			e.Kind, e.Hosts = event.PlayHosts, w[1:]
		case "batch":
			e.Kind, e.Hosts = event.BatchStart, w[2:]
			if _, err := fmt.Sscanf(w[1], "%d/%d", &e.Batch, &e.Batches); err != nil {
				t.Fatal(err)
			}
		case "task":
			number++
			e.Kind, e.Task, e.TaskNo, e.Where = event.TaskStart, w[1], number, "site.yml:1:1"
		case "host":
			e.Kind, e.Host, e.Status, e.Seconds = event.HostDone, w[1], event.Status(w[2]), 1
			e.Rescued = len(w) > 3
		case "confirm":
			e.Kind, e.Host, e.Status = event.ConfirmHost, w[1], event.Status(w[2])
		case "commit":
			e.Kind, e.Hosts = event.Commit, w[1:]
		case "undo":
			e.Kind, e.Hosts = event.UndoStart, w[1:]
		case "wave":
			e.Kind, e.Hosts = event.UndoStart, w[2:]
			if _, err := fmt.Sscanf(w[1], "%d/%d", &e.Batch, &e.Batches); err != nil {
				t.Fatal(err)
			}
		case "recap":
			e.Kind = event.Recap
		case "end":
			e.Kind = event.RunEnd
		case "warning":
			e.Kind, e.Message = event.Warning, strings.TrimSpace(strings.TrimPrefix(line, "warning "))
		case "undone":
			e.Kind, e.Host, e.Status = event.UndoHost, w[1], event.Status(w[2])
		default:
			t.Fatalf("what is %q?", line)
		}
		events = append(events, e)
	}
	return events
}

// TestWhereEachHostStands folds the events of runs that end in every way.
func TestWhereEachHostStands(t *testing.T) {
	plan := []Play{{Name: "p", Hosts: []string{"a", "b", "c", "d"}}, {Name: "q", Hosts: []string{"a", "b"}}}
	const begin = "run\nplay p\nhosts a b c d\nbatch 1/2 a b\ntask t1\nhost a ok\nhost b changed\n"
	for name, c := range map[string]struct {
		events string
		going  bool
		want   string
	}{
		"running":                       {begin, true, "a working t1, b working t1, c not reached, d not reached"},
		"killed":                        {begin, false, "a stopped t1, b stopped t1, c not reached, d not reached"},
		"passed":                        {begin + "commit a b\nbatch 2/2 c d\ntask t1\nhost c ok\nhost d ok\ncommit c d\nplay q\nhosts a b\nbatch 1/1 a b\ncommit a b\n", false, "a passed t1, b passed t1, c passed t1, d passed t1"},
		"a later play is not reached":   {begin + "commit a b\nbatch 2/2 c d\ntask t1\nhost c failed\nhost d ok\ncommit d\n", false, "a not reached t1, b not reached t1, c failed t1, d passed t1"},
		"failed, cleaned up":            {begin + "task t2\nhost a failed\nhost b ok\ntask always\nhost a ok\ncommit b\n", false, "a failed t2, b not reached t2, c not reached, d not reached"},
		"rescued":                       {begin + "task t2\nhost a failed rescued\ntask r\nhost a ok\ncommit a b\nplay q\n", false, "a passed r, b passed t1, c not reached, d not reached"},
		"any_errors_fatal":              {begin + "task t2\nhost a failed\nhost b ok\n", false, "a failed t2, b stopped t2, c not reached, d not reached"},
		"lost":                          {begin + "task t2\nhost a unreachable\nhost b ok\ncommit b\nplay q\nhosts b\n", false, "a lost t2, b not reached t2, c not reached, d not reached"},
		"not confirmed":                 {begin + "confirm a ok\nconfirm b unreachable\n", false, "a stopped t1, b lost confirm, c not reached, d not reached"},
		"undone":                        {begin + "task t2\nhost a failed\nhost b ok\nundo a b\nundone a changed\nundone b failed\n", false, "a undone t2, b not undone t2, c not reached, d not reached"},
		"done in the place of another":  {begin + "commit a b\nundo c\nundone c changed\nundone a changed\n", false, "a not reached t1, b not reached t1, c undone, d not reached"},
		"all batches committed at last": {begin + "batch 2/2 c d\n", true, "a passed t1, b passed t1, c working, d working"},
		"resumed": {begin + "run\nplay p\nhosts a b c d\nbatch 1/2 a b\ntask t2\nhost a ok\nhost b ok\ncommit a b\nbatch 2/2 c d\n", true,
			"a passed t2, b passed t2, c working, d working"},
		"two at the same time": {"run\n1|play p\n1|hosts a b\n2|play q\n2|hosts c d\n1|batch 1/2 a\n2|batch 1/1 c d\n1|task t1\n2|task t2\n2|host c ok\n1|host a changed\n2|host d failed\n" +
			"1|batch 2/2 b\n1|task t3\n1|host b failed\n1|undo b\n2|undo d\nundone b changed\nundone d changed\n", true,
			"a passed t1, b undone t3, c working t2, d undone t2"},
		"nothing has happened": {"run\n", false, "a not reached, b not reached, c not reached, d not reached"},
	} {
		t.Run(name, func(t *testing.T) {
			h := Fold(script(t, c.events), plan, !c.going)
			var got []string
			for _, host := range h.Hosts {
				text := host.Name + " " + string(host.State)
				if at := host.Failure; at != nil {
					text += " " + at.Name
				} else if host.Last != nil {
					text += " " + host.Last.Name
				}
				got = append(got, text)
			}
			if text := strings.Join(got, ", "); text != c.want {
				t.Errorf("got  %s\nwant %s", text, c.want)
			}
		})
	}
}

// TestWhoWasTakenBackByHand: a rollback by hand is told from the undo of the run itself, which sums itself up.
func TestWhoWasTakenBackByHand(t *testing.T) {
	const begin = "run\nplay p\nhosts a b\nbatch 1/2 a\ntask t1\nhost a changed\ncommit a\nbatch 2/2 b\ntask t2\nhost b failed\n"
	const byItself = begin + "undo b\nundone b changed\nrecap\nend\n"
	for name, c := range map[string]struct{ events, want string }{
		"by itself":                      {byItself, ""},
		"then by hand":                   {byItself + "wave 1/2 b\nundone b ok\nwave 2/2 a\nundone a changed\nend\n", "a"},
		"by hand, in waves":              {begin + "recap\nend\nwave 1/2 b\nundone b changed\nwave 2/2 a\nundone a changed\nend\n", "a b"},
		"one of them did not come back":  {begin + "recap\nend\nundo a b\nundone a changed\nundone b failed\nend\n", "a"},
		"and later does":                 {begin + "recap\nend\nundo a b\nundone a changed\nundone b failed\nend\nundo b\nundone b changed\nend\n", "a b"},
		"killed, then by hand":           {begin + "undo a b\nundone a changed\nundone b ok\nend\n", "a b"},
		"killed in its undo, by hand":    {begin + "undo b\nundone b changed\nundo a b\nundone a changed\nundone b ok\nend\n", "a"},
		"done again, and taken back":     {begin + "recap\nend\nundo a b\nundone a changed\nundone b ok\nend\nrun\nplay p\nhosts a b\nbatch 1/2 a\nundo a\nundone a changed\nrecap\nend\n", ""},
		"not yet over, and not to blame": {begin + "undo b\nundone b changed\n", ""},
	} {
		t.Run(name, func(t *testing.T) {
			var got []string
			for _, h := range Fold(script(t, c.events), nil, true).Hosts {
				if h.ByHand {
					got = append(got, h.Name)
				}
			}
			if text := strings.Join(got, " "); text != c.want {
				t.Errorf("got %q, want %q", text, c.want)
			}
		})
	}
}

// TestWhyARunStopped: by what it said when it did. A lost lease is known before its cause to a bastion that slept.
func TestWhyARunStopped(t *testing.T) {
	const lost = "warning the lock in etcd could not be renewed for 10s: stopping when the tasks in hand are done; nothing more is begun\n"
	for name, c := range map[string]struct{ events, want string }{
		"not at all":           {"run\nwarning web1 is not reachable; trying for 60 s to take it back\n", ""},
		"by the user":          {"run\nwarning stopped by the user: no further task begins\n", "stopped by the user"},
		"by its limit":         {"run\nwarning the time limit of the run, 1s, has passed: no further task begins\n", "the time limit of the run, 1s, has passed"},
		"by a lost lease":      {"run\n" + lost + "warning the lock in etcd could not be renewed for 10s: no further task begins\n", "the lock in etcd could not be renewed for 10s"},
		"asleep":               {"run\nwarning context canceled: no further task begins\n" + lost, "the lock in etcd could not be renewed for 10s"},
		"and was gone on with": {"run\nwarning stopped by the user: no further task begins\nrecap\nend\nrun\n", ""},
	} {
		t.Run(name, func(t *testing.T) {
			if got := Fold(script(t, c.events), nil, true).Stopped; got != c.want {
				t.Errorf("got %q, want %q", got, c.want)
			}
		})
	}
}

// TestHistoryCountsAndTimes: the recap of a run that never wrote one, and how long hosts and tasks took.
func TestHistoryCountsAndTimes(t *testing.T) {
	h := Fold(script(t, "run\nplay p\nhosts a b\nbatch 1/1 a b\ntask t1\nhost a ok\nhost b changed\ntask t2\nhost a skipped\nhost b failed rescued\nhost a ignored\n"), nil, true)
	want := event.Counts{OK: 2, Skipped: 1, Ignored: 1}
	if got := h.Counts()["a"]; got != want || h.Recap {
		t.Errorf("the recap of a is %+v, want %+v", got, want)
	}
	if got := h.Counts()["b"]; got != (event.Counts{OK: 1, Changed: 1, Rescued: 1}) {
		t.Errorf("the recap of b is %+v", got)
	}
	if a := h.Host("a"); a.Seconds != 3 || a.Batch != 1 || a.Batches != 1 {
		t.Errorf("a is %+v", a)
	}
	if t1 := h.Tasks[0]; t1.Seconds != 2 || t1.Slowest != "a" || t1.Outcomes["b"] != event.Changed {
		t.Errorf("t1 is %+v", t1)
	}
}

// TestWhoIsNotConfirmed: a host goes back by itself until it is confirmed, committed or taken back.
func TestWhoIsNotConfirmed(t *testing.T) {
	for end, waits := range map[string]bool{"": true, "confirm a ok": false, "confirm a failed": true, "commit a": false, "undo a\nundone a changed": false,
		"undo a\nundone a unreachable": true, "play q": false} {
		events := script(t, "run\nplay p\nhosts a\nbatch 1/1 a\ntask t1\nhost a changed\n"+end+"\n")
		events[3].Confirm = 60
		if got := Fold(events, nil, true).Host("a").Confirm > 0; got != waits {
			t.Errorf("after %q it waits: %v", end, got)
		}
	}
}
