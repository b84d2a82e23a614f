package runner

import (
	"cmp"
	"fmt"
	"math"
	"slices"
	"strconv"
	"strings"

	"github.com/calroll/calroll/playbooks/source"
	"github.com/calroll/calroll/runner/event"
)

// Course is what the events of a run tell a rollback: its tasks, and in which turns hosts were altered. It is a sink for the events that the run
// store keeps; the zero value knows of no event.
//
// A turn is what goes back at once: a batch of a rolling play, or all plays without batches between two rolling ones.
type Course struct {
	Tasks []PastTask

	batch   string
	turns   []turn
	altered map[string][]int // by host, the turns in which it may have been altered, ascending
}

// PastTask is one start of a task. A task starts once a batch.
type PastTask struct {
	Number int64
	Name   string // "role : name" in a role
	Where  string // file:line:column
	Batch  string // "2/3", "" in a play without batches
}

type turn struct {
	since   int64 // the number of its first task
	rolling bool
}

// wave are hosts that go back at the same time.
type wave struct {
	hosts []string
	since int64 // what was done elsewhere, by the controller or on hosts outside of batches, from this task on goes back before them
}

// Emit implements event.Sink.
func (h *Course) Emit(e event.Event) {
	switch e.Kind {
	case event.BatchStart:
		h.startBatch(e)
	case event.TaskStart:
		if e.TaskNo > h.lastTask() { // a run that was continued tells its first tasks twice
			h.Tasks = append(h.Tasks, PastTask{e.TaskNo, e.Task, e.Where, h.batch})
		}
	case event.HostDone:
		if mayAlter(e.Status) {
			h.alters(cmp.Or(e.Delegated, e.Host))
		}
	}
}

func (h *Course) startBatch(e event.Event) {
	h.batch = ""
	rolling := e.Batches > 1
	if rolling {
		h.batch = fmt.Sprintf("%d/%d", e.Batch, e.Batches)
	}
	if n := len(h.turns); !rolling && n > 0 && !h.turns[n-1].rolling {
		return
	}
	var since int64
	if len(h.turns) > 0 {
		since = h.lastTask() + 1
	}
	h.turns = append(h.turns, turn{since, rolling})
}

// mayAlter tells whether a task that ended so may have altered its host: one that failed may have done so before.
func mayAlter(s event.Status) bool { return s != event.OK && s != event.Skipped }

func (h *Course) alters(host string) {
	if len(h.turns) == 0 {
		h.turns = []turn{{}}
	}
	if h.altered == nil {
		h.altered = map[string][]int{}
	}
	now := len(h.turns) - 1
	if all := h.altered[host]; len(all) == 0 || all[len(all)-1] != now {
		h.altered[host] = append(all, now)
	}
}

// waves are hosts in the order in which they go back: each host once, as a whole, in the turn of the last batch that altered it. Hosts that were
// together in every batch go together, so that at most one batch's hosts are disturbed at a time, in whatever play. Hosts that no batch altered are
// where the cluster's own affairs are seen to (a control plane, this machine): they go back in parts, each in its turn, and are whole in the turn in
// which they were first altered. Of hosts of which nothing is known there may be more than the events tell, as the run was killed: they go first.
// limit, unless it is 0, is the most hosts that go at a time.
func (h *Course) waves(hosts []string, limit int) []wave {
	if len(h.turns) == 0 {
		return cut([]wave{{hosts: hosts}}, limit)
	}
	keys := map[string][]int{}
	for _, host := range hosts {
		keys[host] = h.key(host)
	}
	sorted := slices.Clone(hosts)
	slices.SortStableFunc(sorted, func(a, b string) int { return slices.Compare(keys[b], keys[a]) })
	var all []wave
	for i, host := range sorted {
		if i == 0 || !slices.Equal(keys[host], keys[sorted[i-1]]) {
			all = append(all, wave{since: h.since(keys[host][0])})
		}
		last := &all[len(all)-1]
		last.hosts = append(last.hosts, host)
	}
	return cut(all, limit)
}

// key is the turns of a host that count, the newest first.
func (h *Course) key(host string) []int {
	var key []int
	for _, t := range slices.Backward(h.altered[host]) {
		if h.turns[t].rolling {
			key = append(key, t)
		}
	}
	switch all := h.altered[host]; {
	case len(key) > 0:
		return key
	case len(all) > 0:
		return all[:1]
	}
	return []int{len(h.turns)}
}

// batched tells whether a batch altered the host.
func (h *Course) batched(host string) bool {
	return slices.ContainsFunc(h.altered[host], func(t int) bool { return h.turns[t].rolling })
}

func (h *Course) since(turn int) int64 {
	if turn == len(h.turns) {
		return math.MaxInt64
	}
	return h.turns[turn].since
}

// alteredIn tells whether the host was altered in a turn that began with a task from since on and below before.
func (h *Course) alteredIn(host string, since, before int64) bool {
	return slices.ContainsFunc(h.altered[host], func(t int) bool { return h.turns[t].since >= since && h.turns[t].since < before })
}

func cut(all []wave, limit int) []wave {
	if limit <= 0 {
		return all
	}
	var parts []wave
	for _, g := range all {
		for hosts := range slices.Chunk(g.hosts, limit) {
			parts = append(parts, wave{hosts, g.since})
		}
	}
	return parts
}

// Task is the number of the task that a user means: by its number, its whole name, or the part of its name after the role; 0 for "". The error lists
// the tasks that a name may mean, or that there are.
func (h *Course) Task(word string) (int64, error) {
	if word == "" {
		return 0, nil
	}
	if n, err := strconv.ParseInt(word, 10, 64); err == nil && n > 0 {
		if last := h.lastTask(); last > 0 && n > last {
			return 0, fmt.Errorf("cannot take back what came after task %d: the last task of the run was %d", n, last)
		}
		return n, nil
	}
	found := h.named(word)
	switch len(found) {
	case 1:
		return found[0].Number, nil
	case 0:
		return 0, h.noTask(word)
	}
	var list strings.Builder
	for _, t := range found {
		list.WriteString("\n  " + t.String())
	}
	return 0, fmt.Errorf("cannot tell which task %q is; name it by its number:%s", word, &list)
}

func (h *Course) noTask(word string) error {
	var names []string
	for _, t := range h.Tasks {
		names = append(names, t.Name)
	}
	err := fmt.Errorf("cannot find a task %q in the run", word)
	if len(names) == 0 {
		return fmt.Errorf("%w: its tasks are not known here; name it by its number (--list shows them)", err)
	}
	if near := source.Nearest(word, names); near != "" {
		return fmt.Errorf("%w; did you mean %q?", err, near)
	}
	return err
}

// lastTask is the number of the last task, 0 when none is known.
func (h *Course) lastTask() int64 {
	if len(h.Tasks) == 0 {
		return 0
	}
	return h.Tasks[len(h.Tasks)-1].Number
}

// String is the task's number, name, batch and place.
func (t PastTask) String() string {
	batch := ""
	if t.Batch != "" {
		batch = ", batch " + t.Batch
	}
	return fmt.Sprintf("%d: %s%s (%s)", t.Number, t.Name, batch, t.Where)
}

// named are the tasks that a user may mean: by their whole name, or by the part of it after the role.
func (h *Course) named(name string) []PastTask {
	var found []PastTask
	for _, t := range h.Tasks {
		_, own, _ := strings.Cut(t.Name, " : ")
		if t.Name == name || own == name {
			found = append(found, t)
		}
	}
	return found
}
