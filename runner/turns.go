package runner

import (
	"cmp"
	"fmt"
	"maps"
	"math"
	"slices"
	"strconv"
	"strings"

	"github.com/calroll/calroll/playbooks/source"
	"github.com/calroll/calroll/runner/event"
)

// Course is what the events of a run tell a rollback: its tasks, and which of them altered a host. It is a sink for the events that the run
// store keeps; the zero value knows of no event.
//
// A turn is what goes back at once: a batch of a rolling play, or all plays without batches between two rolling ones.
type Course struct {
	Tasks []PastTask

	lanes   event.PerLane[lane]
	turns   []turn
	turnOf  map[int64]int      // by task
	altered map[string][]int64 // by host, the numbers of the tasks that may have altered it, ascending
	last    int64              // the number of the last task
}

// lane is how far a play is; those that go at the same time have one each.
type lane struct {
	batch string
	turn  int
	task  int64
}

// PastTask is one start of a task. A task starts once a batch.
type PastTask struct {
	Number int64
	Name   string // "role : name" in a role
	Where  string // file:line:column
	Batch  string // "2/3", "" in a play without batches
}

type turn struct {
	since, last int64 // the numbers of its first and last tasks; those of plays that go at the same time are among them
	lane        int
	rolling     bool
}

// wave are hosts that go back at the same time.
type wave struct {
	hosts []string
	since int64 // what was done elsewhere, by the controller or on hosts whose turn is older, from this task on goes back before them
}

// step is a part of what goes back before a wave: what the controller did from a task on, or what was done on hosts.
type step struct {
	since      int64
	controller bool
}

// Emit implements event.Sink.
func (h *Course) Emit(e event.Event) {
	l := h.lanes.Of(e.Lane)
	switch e.Kind {
	case event.PlayStart:
		if e.Lane == 0 {
			h.lanes = event.PerLane[lane]{}
		}
	case event.BatchStart:
		h.startBatch(l, e)
	case event.TaskStart:
		l.task = e.TaskNo
		if _, known := h.turnOf[e.TaskNo]; !known { // a run that was continued tells its first tasks twice
			h.startTask(l, e)
		}
	case event.HostDone:
		if mayAlter(e.Status) {
			h.alters(cmp.Or(e.Delegated, e.Host), cmp.Or(e.TaskNo, l.task))
		}
	}
}

// begin makes sure that there is a turn, also where no batch was told of.
func (h *Course) begin() {
	if len(h.turns) == 0 {
		h.turns = []turn{{}}
	}
	if h.turnOf == nil {
		h.turnOf = map[int64]int{}
	}
}

func (h *Course) startTask(l *lane, e event.Event) {
	h.begin()
	h.Tasks = append(h.Tasks, PastTask{e.TaskNo, e.Task, e.Where, l.batch})
	h.turnOf[e.TaskNo] = l.turn
	h.turns[l.turn].last = e.TaskNo
	h.last = max(h.last, e.TaskNo)
}

func (h *Course) startBatch(l *lane, e event.Event) {
	l.batch = ""
	rolling := e.Batches > 1
	if rolling {
		l.batch = fmt.Sprintf("%d/%d", e.Batch, e.Batches)
	}
	n := len(h.turns)
	if n > 0 && !rolling && e.Lane == 0 && !h.turns[n-1].rolling && h.turns[n-1].lane == 0 {
		l.turn = n - 1
		return
	}
	var since int64
	if n > 0 {
		since = h.last + 1
	}
	h.turns = append(h.turns, turn{since: since, lane: e.Lane, rolling: rolling})
	l.turn = n
}

// mayAlter tells whether a task that ended so may have altered its host: one that failed may have done so before.
func mayAlter(s event.Status) bool { return s != event.OK && s != event.Skipped }

func (h *Course) alters(host string, task int64) {
	h.begin()
	if h.altered == nil {
		h.altered = map[string][]int64{}
	}
	if at, known := slices.BinarySearch(h.altered[host], task); !known {
		h.altered[host] = slices.Insert(h.altered[host], at, task)
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
	for _, t := range h.turnsOf(host) {
		if h.turns[t].rolling {
			key = append(key, t)
		}
	}
	switch all := h.turnsOf(host); {
	case len(key) > 0:
		return key
	case len(all) > 0:
		return all[len(all)-1:]
	}
	return []int{len(h.turns)}
}

// turnsOf are the turns in which a host may have been altered, the newest first.
func (h *Course) turnsOf(host string) []int {
	var all []int
	for _, task := range h.altered[host] {
		all = append(all, h.turnOf[task])
	}
	slices.Sort(all)
	all = slices.Compact(all)
	slices.Reverse(all)
	return all
}

// free is the first task after the host's last batch: what was done on it from there on goes back in parts, what was done before as a whole.
func (h *Course) free(host string) int64 {
	for _, t := range h.turnsOf(host) {
		if h.turns[t].rolling {
			return h.turns[t].last + 1
		}
	}
	return 0
}

func (h *Course) since(turn int) int64 {
	if turn == len(h.turns) {
		return math.MaxInt64
	}
	return h.turns[turn].since
}

// alteredIn tells whether one of the tasks from since on and below before may have altered the host.
func (h *Course) alteredIn(host string, since, before int64) bool {
	return slices.ContainsFunc(h.altered[host], func(t int64) bool { return t >= since && t < before })
}

// backwards are the tasks that altered something, the newest first, each a step of its own. controller are those that the controller carried out.
func (h *Course) backwards(controller []int64) []step {
	kinds := map[int64]bool{}
	for _, tasks := range h.altered {
		for _, t := range tasks {
			kinds[t] = false
		}
	}
	for _, t := range controller {
		kinds[t] = true
	}
	var all []step
	for _, t := range slices.Backward(slices.Sorted(maps.Keys(kinds))) {
		all = append(all, step{t, kinds[t]})
	}
	return all
}

// downTo joins those of the steps, the newest first, that lie between two of the other kind. The last two, the controller's and the hosts', go down to
// since, whatever is known to be there.
func downTo(since int64, steps []step) []step {
	var all []step
	for _, s := range steps {
		switch n := len(all); {
		case s.since < since:
		case n > 0 && all[n-1].controller == s.controller:
			all[n-1].since = s.since
		default:
			all = append(all, s)
		}
	}
	if n := len(all); n > 0 && !all[n-1].controller {
		all = all[:n-1]
	}
	if n := len(all); n > 0 {
		all[n-1].since = since
	} else {
		all = []step{{since, true}}
	}
	return append(all, step{since, false})
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
		if h.last > 0 && n > h.last {
			return 0, fmt.Errorf("cannot take back what came after task %d: the last task of the run was %d", n, h.last)
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
