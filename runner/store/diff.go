package store

import (
	"cmp"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/calroll/calroll/runner/event"
)

// Difference is what two runs do not have in common.
type Difference struct {
	Runs  [2]string     `json:"runs"`
	State [2]State      `json:"state"`
	Took  [2]float64    `json:"seconds"` // 0: it is not known
	Made  []Change      `json:"made"`    // what they were made from and with
	Hosts []HostChange  `json:"hosts"`   // hosts that do not stand alike
	Tasks []TaskChange  `json:"tasks"`   // tasks that did not end alike on a host
	Times []TimedChange `json:"times"`   // tasks that took longer or shorter, the greatest difference first
}

// Change is one thing that differs.
type Change struct {
	What string    `json:"what"` // "playbook file", "variables of host", "extra variable", "forks", ...
	Name string    `json:"name,omitempty"`
	Is   [2]string `json:"is"` // in each run: a value, or "there", "other content" and "not there"
}

// HostChange is a host that does not stand in both runs alike.
type HostChange struct {
	Host string    `json:"host"`
	Is   [2]string `json:"is"`
}

// TaskChange is a task that did not come to the same in both runs on some hosts.
type TaskChange struct {
	Play  string    `json:"play"`
	Task  string    `json:"task"`
	Hosts []string  `json:"hosts"`
	Is    [2]string `json:"is"` // a status, or "not run"
}

// TimedChange is how long a task took in both runs, in seconds.
type TimedChange struct {
	Play  string     `json:"play"`
	Task  string     `json:"task"`
	Is    [2]float64 `json:"seconds"`
	Delta float64    `json:"delta"`
}

// timesShown is how many tasks a Difference lists for their times, and timeMatters the seconds below which nobody asks.
const (
	timesShown  = 10
	timeMatters = 0.1
)

// Diff compares two runs.
func Diff(a, b Meta, ha, hb *History) Difference {
	d := Difference{Runs: [2]string{a.ID, b.ID}, State: [2]State{a.State, b.State}}
	for i, m := range []Meta{a, b} {
		took, _ := m.Took()
		d.Took[i] = took.Round(time.Millisecond).Seconds()
	}
	d.Made = append(settings(a, b), Changes(a.Inputs, b.Inputs)...)
	d.Hosts = standings(ha, hb)
	ta, tb := occurrences(ha), occurrences(hb)
	d.Tasks, d.Times = outcomes(ta, tb), times(ta, tb)
	return d
}

// settings are the differences of what the user typed and of the program.
func settings(a, b Meta) []Change {
	var out []Change
	differ := func(what string, x, y any) {
		if tx, ty := fmt.Sprint(x), fmt.Sprint(y); tx != ty {
			out = append(out, Change{What: what, Is: [2]string{tx, ty}})
		}
	}
	differ("playbooks", strings.Join(a.Playbooks, " "), strings.Join(b.Playbooks, " "))
	differ("inventory", strings.Join(a.Inventory, " "), strings.Join(b.Inventory, " "))
	differ("limit", a.Limit, b.Limit)
	differ("tags", strings.Join(a.Tags, ","), strings.Join(b.Tags, ","))
	differ("skip-tags", strings.Join(a.SkipTags, ","), strings.Join(b.SkipTags, ","))
	differ("forks", a.Forks, b.Forks)
	differ("check", a.Check, b.Check)
	differ("user", a.User, b.User)
	differ("bastion", a.Bastion, b.Bastion)
	differ("calroll", a.Version, b.Version)
	if !maps.Equal(a.Helpers, b.Helpers) {
		out = append(out, Change{What: "helper", Is: [2]string{"there", otherContent}})
	}
	return out
}

// What of a Change of a file that was read, and of what the inventory says of a host.
const (
	ChangedFile = "playbook file"
	ChangedHost = "variables of host"
)

const (
	there        = "there"
	notThere     = "not there"
	otherContent = "other content"
)

// Changes are the differences of what two runs were made from.
func Changes(a, b Inputs) []Change {
	var apart []Change
	if a.Key != b.Key && a.Key != "" && b.Key != "" {
		apart = []Change{{What: "key of the hashes of variables", Is: [2]string{a.Key, b.Key}}} // which can say nothing then
		a, b = a.unsealed(), b.unsealed()
	}
	return slices.Concat(changed(ChangedFile, a.Files, b.Files), apart, changed(ChangedHost, a.Hosts, b.Hosts), changed("extra variable", a.ExtraVars, b.ExtraVars))
}

// unsealed are inputs that know of variables only that they are there.
func (in Inputs) unsealed() Inputs {
	known := func(sums map[string]string) map[string]string {
		names := map[string]string{}
		for name := range sums {
			names[name] = there
		}
		return names
	}
	in.Hosts, in.ExtraVars = known(in.Hosts), known(in.ExtraVars)
	return in
}

func changed(what string, a, b map[string]string) []Change {
	var out []Change
	for _, name := range union(a, b) {
		switch x, y := a[name], b[name]; {
		case x == y:
		case x == "":
			out = append(out, Change{what, name, [2]string{notThere, there}})
		case y == "":
			out = append(out, Change{what, name, [2]string{there, notThere}})
		default:
			out = append(out, Change{what, name, [2]string{there, otherContent}})
		}
	}
	return out
}

// union are the keys of both, sorted.
func union[V any](a, b map[string]V) []string {
	all := map[string]bool{}
	for k := range a {
		all[k] = true
	}
	for k := range b {
		all[k] = true
	}
	return slices.Sorted(maps.Keys(all))
}

func standings(a, b *History) []HostChange {
	var out []HostChange
	for _, name := range union(a.byName, b.byName) {
		is := [2]string{a.byName[name].standing(), b.byName[name].standing()}
		if is[0] != is[1] {
			out = append(out, HostChange{name, is})
		}
	}
	return out
}

// standing is where a host stands in a few words.
func (h *Host) standing() string {
	switch {
	case h == nil:
		return "not in it"
	case h.Failure != nil:
		return fmt.Sprintf("%s at %s", h.State, h.Failure.Name)
	}
	return string(h.State)
}

// occurrence names a task in every run of a playbook: lines move when somebody edits it, so it is known by its name and by how many of that
// name there were in the play before.
type occurrence struct {
	play, task string
	number     int
}

// occurrences puts the timings of batches together, in the order of the first.
func occurrences(h *History) *ordered {
	o := &ordered{of: map[occurrence]*Timing{}}
	seen := map[string]int{} // by host, play and task
	for _, t := range h.Tasks {
		for _, host := range slices.Sorted(maps.Keys(t.Outcomes)) {
			at := strings.Join([]string{host, t.Play, t.Name}, "\x00")
			o.add(occurrence{t.Play, t.Name, seen[at]}, t, host)
			seen[at]++
		}
	}
	return o
}

type ordered struct {
	keys []occurrence
	of   map[occurrence]*Timing
}

// add puts a host's outcome into the one Timing of all batches; the seconds of a task are counted with its first host.
func (o *ordered) add(at occurrence, t *Timing, host string) {
	sum := o.of[at]
	if sum == nil {
		sum = &Timing{Task: t.Task, Outcomes: map[string]event.Status{}}
		o.of[at] = sum
		o.keys = append(o.keys, at)
	}
	if sum.No != t.No || len(sum.Outcomes) == 0 {
		sum.Seconds += t.Seconds
		sum.No = t.No
	}
	sum.Outcomes[host] = t.Outcomes[host]
}

// both are the occurrences of two runs, in the order of the first, then those of the second alone.
func both(a, b *ordered) []occurrence {
	keys := slices.Clone(a.keys)
	for _, k := range b.keys {
		if a.of[k] == nil {
			keys = append(keys, k)
		}
	}
	return keys
}

func outcomes(a, b *ordered) []TaskChange {
	var out []TaskChange
	for _, k := range both(a, b) {
		groups := map[[2]string][]string{}
		ra, rb := results(a.of[k]), results(b.of[k])
		for _, host := range union(ra, rb) {
			is := [2]string{cmp.Or(string(ra[host]), notRun), cmp.Or(string(rb[host]), notRun)}
			if is[0] != is[1] {
				groups[is] = append(groups[is], host)
			}
		}
		for _, is := range slices.SortedFunc(maps.Keys(groups), func(x, y [2]string) int { return slices.Compare(x[:], y[:]) }) {
			out = append(out, TaskChange{k.play, k.task, groups[is], is})
		}
	}
	return out
}

const notRun = "not run"

func results(t *Timing) map[string]event.Status {
	if t == nil {
		return nil
	}
	return t.Outcomes
}

func times(a, b *ordered) []TimedChange {
	var out []TimedChange
	for _, k := range a.keys {
		x, y := a.of[k], b.of[k]
		if y == nil {
			continue
		}
		if delta := y.Seconds - x.Seconds; max(delta, -delta) >= timeMatters {
			out = append(out, TimedChange{k.play, k.task, [2]float64{x.Seconds, y.Seconds}, delta})
		}
	}
	slices.SortStableFunc(out, func(x, y TimedChange) int { return cmp.Compare(max(y.Delta, -y.Delta), max(x.Delta, -x.Delta)) })
	return out[:min(len(out), timesShown)]
}
