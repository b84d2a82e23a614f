package machine

import (
	"flag"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"testing"

	"pgregory.net/rapid"
)

// schedules is how many random plays are tried.
const schedules = 10000

// TestRandomSchedules drives random plays on random hosts with random outcomes, and compares what the machine asks for with a small model of what
// must hold whatever happens. The model is in world.obey and world.check.
func TestRandomSchedules(t *testing.T) {
	checks := flag.Lookup("rapid.checks")
	was := checks.Value.String()
	if err := checks.Value.Set(strconv.Itoa(schedules)); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = checks.Value.Set(was) })
	tried := 0
	rapid.Check(t, func(t *rapid.T) {
		w := newWorld(t)
		w.drive(t)
		w.check(t)
		tried++
	})
	if tried < schedules {
		t.Errorf("%d schedules were tried, want %d", tried, schedules)
	}
}

// world is a play, what became of it, and what the model knows.
type world struct {
	play      Play
	m         *Machine
	ran       map[string]map[*Node]int
	notified  map[string]map[int]bool // handlers that a host has to run in its batch
	undos     [][]string
	committed []string
	confirmed map[string]bool
	batches   [][]string
	bad       map[string]bool // hosts that failed, were lost, are gone or absent
	began     bool            // a task that changes something has run in this batch
	broken    bool            // a gate has failed
	halts     []Halt
	rounds    int
	end       *EndPlay
}

func newWorld(t *rapid.T) *world {
	n := rapid.IntRange(1, 12).Draw(t, "hosts")
	w := &world{ran: map[string]map[*Node]int{}, bad: map[string]bool{}, confirmed: map[string]bool{}}
	for i := range n {
		w.play.Hosts = append(w.play.Hosts, fmt.Sprintf("h%d", i))
	}
	w.drawBatches(t, n)
	w.drawLimits(t, n)
	w.play.Rollback = rapid.SampledFrom([]Scope{None, Host, Batch, All}).Draw(t, "rollback")
	w.play.AnyErrorsFatal = rapid.IntRange(0, 3).Draw(t, "any_errors_fatal") == 0
	w.play.ForceHandlers = rapid.IntRange(0, 3).Draw(t, "force_handlers") == 0
	w.play.Confirm = rapid.Bool().Draw(t, "confirm")
	w.play.Sections = [][]*Node{randomNodes(t, 2), randomNodes(t, 1)}
	w.play.Handlers = []*Node{{Name: "H0"}, {Name: "H1"}}
	w.play.Facts = []*Node{{Name: "facts"}}
	for _, gates := range []*[]*Node{&w.play.Before, &w.play.After, &w.play.Soak} {
		if rapid.IntRange(0, 2).Draw(t, "gates") == 0 {
			*gates = randomNodes(t, 1)
		}
	}
	m, err := New(w.play)
	if err != nil {
		t.Fatal(err)
	}
	w.m = m
	return w
}

func (w *world) drawBatches(t *rapid.T, n int) {
	for range rapid.IntRange(0, 3).Draw(t, "sizes") {
		w.play.Serial = append(w.play.Serial, strconv.Itoa(rapid.IntRange(0, n).Draw(t, "size")))
	}
	w.play.Spread = map[string]string{}
	racks := rapid.IntRange(0, 4).Draw(t, "racks")
	for _, h := range w.play.Hosts {
		if rack := rapid.IntRange(0, racks).Draw(t, "rack"); rack > 0 {
			w.play.Spread[h] = strconv.Itoa(rack)
		}
		if rapid.IntRange(0, 5).Draw(t, "canary") == 0 {
			w.play.Canaries = append(w.play.Canaries, h)
		}
		if rapid.IntRange(0, 9).Draw(t, "gone") == 0 {
			w.play.Gone = append(w.play.Gone, h)
			w.bad[h] = true
		}
	}
}

func (w *world) drawLimits(t *rapid.T, n int) {
	if rapid.Bool().Draw(t, "limited") {
		w.play.MaxFailPercentage = new(float64(rapid.IntRange(0, 100).Draw(t, "max_fail_percentage")))
	}
	if rapid.Bool().Draw(t, "budgeted") {
		w.play.FailureBudget = strconv.Itoa(rapid.IntRange(0, n).Draw(t, "failure_budget"))
	}
	for i := range rapid.IntRange(0, 2).Draw(t, "absent") {
		name := fmt.Sprintf("away%d", i)
		w.play.Absent = append(w.play.Absent, name)
		w.bad[name] = true
	}
}

func randomNodes(t *rapid.T, depth int) []*Node {
	var nodes []*Node
	for range rapid.IntRange(0, 4).Draw(t, "nodes") {
		if depth > 0 && rapid.IntRange(0, 3).Draw(t, "block") == 0 {
			nodes = append(nodes, &Node{Kind: Block, Main: randomNodes(t, depth-1), Rescue: randomNodes(t, depth-1), Always: randomNodes(t, depth-1)})
		} else {
			nodes = append(nodes, &Node{Name: "t", RunOnce: rapid.IntRange(0, 5).Draw(t, "once") == 0})
		}
	}
	return nodes
}

func (w *world) drive(t *rapid.T) {
	todo := w.m.Step(Begin{})
	for steps := 0; len(todo) > 0; steps++ {
		if steps > 10000 {
			t.Fatal("the play does not end")
		}
		out := todo[0]
		todo = append(todo[1:], w.obey(t, out)...)
	}
}

func (w *world) obey(t *rapid.T, out Output) (next []Output) {
	if w.end != nil {
		t.Fatalf("%T after the end", out)
	}
	switch o := out.(type) {
	case StartBatch:
		w.startBatch(t, o)
	case Run:
		return w.run(t, o)
	case Soak:
		return w.soak(t, o)
	case Confirm:
		return w.confirm(t, o)
	case Halt:
		w.halts = append(w.halts, o)
	case Undo:
		w.undos = append(w.undos, o.Hosts)
		for _, h := range o.Hosts {
			next = append(next, w.m.Step(Undone{h})...)
		}
	case Commit:
		w.committed = append(w.committed, o.Hosts...)
	case EndPlay:
		w.end = &o
	}
	return next
}

// startBatch checks that the batch may begin: nothing has happened that ends the play, and none of its limits is broken.
func (w *world) startBatch(t *rapid.T, o StartBatch) {
	switch {
	case w.broken:
		t.Fatal("a batch after a gate that failed")
	case w.over():
		t.Fatalf("a batch after %d failures with a budget of %s", len(w.bad), w.play.FailureBudget)
	case len(w.batches) > 0 && w.canaryFailed():
		t.Fatal("a batch after a canary that failed")
	}
	racks := map[string]string{}
	for _, h := range o.Hosts {
		rack := w.play.Spread[h]
		if other, taken := racks[rack]; taken && rack != "" {
			t.Fatalf("%s and %s are both in rack %s", h, other, rack)
		}
		racks[rack] = h
		if o.Canary != slices.Contains(w.play.Canaries, h) {
			t.Fatalf("canaries and others together: %v", o.Hosts)
		}
	}
	if last := len(w.batches) - 1; o.Canary && last >= 0 && !slices.Contains(w.play.Canaries, w.batches[last][0]) {
		t.Fatalf("canaries after others: %v", o.Hosts)
	}
	w.checkSize(t, len(o.Hosts))
	w.batches = append(w.batches, o.Hosts)
	w.began, w.rounds, w.notified = false, 0, map[string]map[int]bool{}
}

// checkSize compares a batch with the largest size that serial has: with hosts that are gone its place in the list is not known here.
func (w *world) checkSize(t *rapid.T, n int) {
	largest := 0
	for _, s := range w.play.Serial {
		size, _ := strconv.Atoi(s)
		if size == 0 {
			return
		}
		largest = max(largest, size)
	}
	if largest > 0 && n > largest {
		t.Fatalf("a batch of %d hosts with serial %v", n, w.play.Serial)
	}
}

func (w *world) over() bool {
	budget, err := strconv.Atoi(w.play.FailureBudget)
	return err == nil && len(w.bad) > budget
}

func (w *world) canaryFailed() bool {
	return slices.ContainsFunc(w.batches[len(w.batches)-1], func(h string) bool { return w.bad[h] && slices.Contains(w.play.Canaries, h) })
}

func (w *world) run(t *rapid.T, o Run) (next []Output) {
	if o.Gate == "" && o.Node.Name != "facts" {
		w.began = true
	}
	if o.Gate == Before && w.began {
		t.Fatal("a gate before the batch comes after a task of it")
	}
	for _, h := range o.Hosts {
		if w.ran[h] == nil {
			w.ran[h] = map[*Node]int{}
		}
		w.ran[h][o.Node]++
		d := Done{Host: h, Outcome: Outcome(rapid.SampledFrom([]int{0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1, 2, 3}).Draw(t, "outcome"))}
		w.handle(t, o, &d)
		next = append(next, w.m.Step(d)...)
	}
	w.learn()
	w.broken = w.broken || o.Gate != "" && slices.ContainsFunc(o.For, func(h string) bool {
		lost := slices.Contains(w.m.unreachable, h) || w.m.cursors[h] != nil && w.m.cursors[h].unreachable
		return w.bad[h] && (!lost || o.Gate != Before)
	})
	return next
}

// handle checks that a handler runs once for each time it was notified, and notifies some.
func (w *world) handle(t *rapid.T, o Run, d *Done) {
	if o.Handler >= 0 {
		if !w.notified[d.Host][o.Handler] {
			t.Fatalf("handler %d runs on %s, which has not notified it", o.Handler, d.Host)
		}
		delete(w.notified[d.Host], o.Handler)
	}
	if d.Outcome == OK && o.Handler < 0 && o.Gate == "" && rapid.Bool().Draw(t, "notify") {
		d.Notify = []int{rapid.IntRange(0, 1).Draw(t, "handler")}
		if w.notified[d.Host] == nil {
			w.notified[d.Host] = map[int]bool{}
		}
		w.notified[d.Host][d.Notify[0]] = true
	}
}

// learn looks up what the machine has made of the outcomes: blocks decide whether a failed task fails its host.
func (w *world) learn() {
	for h, c := range w.m.cursors {
		if c.settled() {
			w.bad[h] = true
		}
	}
	for _, h := range slices.Concat(w.m.failed, w.m.unreachable) {
		w.bad[h] = true
	}
}

func (w *world) soak(t *rapid.T, o Soak) []Output {
	if w.rounds++; w.rounds != o.Round {
		t.Fatalf("round %d comes as number %d", o.Round, w.rounds)
	}
	return w.m.Step(Soaked{Over: o.Round > rapid.IntRange(1, 3).Draw(t, "rounds")})
}

// confirm checks that no host is asked for that has failed, or twice, and has some fail.
func (w *world) confirm(t *rapid.T, o Confirm) (next []Output) {
	if !w.play.Confirm || len(o.Hosts) == 0 {
		t.Fatalf("confirm %v of a play that says confirm=%v", o.Hosts, w.play.Confirm)
	}
	for _, h := range o.Hosts {
		if w.bad[h] || w.confirmed[h] {
			t.Fatalf("%s is to be confirmed; failed %v, confirmed already %v", h, w.bad[h], w.confirmed[h])
		}
		in := Confirmed{Host: h, Outcome: Outcome(rapid.SampledFrom([]int{0, 0, 0, 0, 0, 0, 1, 2}).Draw(t, "confirmed"))}
		w.confirmed[h] = in.Outcome == OK
		if in.Outcome != OK {
			w.bad[h], w.broken = true, true
		}
		next = append(next, w.m.Step(in)...)
	}
	w.learn()
	return next
}

func (w *world) check(t *rapid.T) {
	if w.end == nil {
		t.Fatal("no EndPlay")
	}
	seen := slices.Concat(w.batches...)
	slices.Sort(seen)
	if len(slices.Compact(slices.Clone(seen))) != len(seen) {
		t.Fatalf("a host is in two batches: %v", w.batches)
	}
	w.checkHosts(t, seen)
	w.checkTasks(t)
	w.checkScope(t, seen)
	w.checkUndoOrder(t)
	w.checkHalt(t)
}

// checkHosts: nobody is left out of a play that was not ended, and nobody who is away takes part.
func (w *world) checkHosts(t *rapid.T, seen []string) {
	for _, h := range w.play.Hosts {
		gone := slices.Contains(w.play.Gone, h)
		if slices.Contains(seen, h) == gone && (gone || !w.end.Break) {
			t.Fatalf("%s, gone %v, in %v of a play that ended with break=%v", h, gone, w.batches, w.end.Break)
		}
	}
}

func (w *world) checkTasks(t *rapid.T) {
	for h, tasks := range w.ran {
		for n, times := range tasks {
			if times > 1 && n.Name[0] != 'H' && !contains(w.play.Soak, n) {
				t.Fatalf("%s ran a task %d times", h, times)
			}
		}
	}
}

func contains(nodes []*Node, n *Node) bool { return slices.Contains(flatten(nodes, nil), n) }

// checkScope: every host that failed was undone if the play wanted that, and every other one was undone or committed, not both.
func (w *world) checkScope(t *rapid.T, seen []string) {
	undone := slices.Concat(w.undos...)
	bad := slices.Concat(w.end.Failed, w.end.Unreachable)
	if w.play.Rollback == None && len(undone) > 0 {
		t.Fatal("undone without being asked to")
	}
	for _, h := range seen {
		failed, back, stays := slices.Contains(bad, h), slices.Contains(undone, h), slices.Contains(w.committed, h)
		switch {
		case stays && w.play.Confirm && !w.confirmed[h]:
			t.Fatalf("%s was committed and not confirmed", h)
		case back && stays:
			t.Fatalf("%s was committed and undone", h)
		case failed && !back && w.play.Rollback != None:
			t.Fatalf("%s failed and was not undone", h)
		case !failed && !back && !stays:
			t.Fatalf("%s was forgotten: neither committed nor undone", h)
		}
	}
}

// checkUndoOrder: the last undo of scope batch may be a whole batch, that of scope all goes back over all batches, the newest first; all that
// comes before is of single hosts that failed.
func (w *world) checkUndoOrder(t *rapid.T) {
	single, whole := w.undos, [][]string(nil)
	if n := len(w.batches); w.play.Rollback == All && w.end.Break && len(w.undos) >= n && n > 0 && slices.Equal(w.undos[len(w.undos)-1], w.batches[0]) {
		single, whole = w.undos[:len(w.undos)-n], w.undos[len(w.undos)-n:]
	} else if w.play.Rollback == Batch && w.end.Break && len(w.undos) > 0 {
		single, whole = w.undos[:len(w.undos)-1], w.undos[len(w.undos)-1:]
	}
	for _, h := range slices.Concat(single...) {
		if !w.bad[h] {
			t.Fatalf("%s was undone and has not failed; batches %v, undos %v", h, w.batches, w.undos)
		}
	}
	for i, hosts := range whole {
		if batch := w.batches[len(w.batches)-1-i]; !slices.Equal(hosts, batch) {
			t.Fatalf("%v is undone when it is the turn of %v", hosts, batch)
		}
	}
}

// checkHalt: what ends the play is said, once.
func (w *world) checkHalt(t *rapid.T) {
	if len(w.halts) > 1 {
		t.Fatalf("halted %d times", len(w.halts))
	}
	if w.over() && !w.end.Fatal {
		t.Fatalf("%d of the hosts failed with a budget of %s, and the play ended as if nothing were: %v", len(w.bad), w.play.FailureBudget, slices.Sorted(maps.Keys(w.bad)))
	}
	if len(w.halts) == 1 && !w.end.Break {
		t.Fatal("halted, and further plays go on")
	}
}

// TestLimitsAtEverySize compares max_fail_percentage and failure_budget with whole numbers: at every size of a batch and for every percentage the
// last number of failures that goes on, and the first that does not.
func TestLimitsAtEverySize(t *testing.T) {
	for size := 1; size <= 200; size++ {
		m, err := New(Play{Hosts: hostNames[:size], Sections: [][]*Node{{{Name: "t"}}}})
		if err != nil {
			t.Fatal(err)
		}
		m.Step(Begin{})
		failures := 0
		for percent := 0; percent <= 100; percent++ {
			m.play.FailureBudget = fmt.Sprintf("%d%%", percent)
			most := percent * size / 100
			for ; failures < most; failures++ {
				m.cursors[hostNames[failures]].failed = true
			}
			if m.over(float64(percent), (*cursor).settled) || m.overBudget() {
				t.Fatalf("%d of %d hosts are more than %d%%", most, size, percent)
			}
			if most == size {
				continue
			}
			next := m.cursors[hostNames[most]]
			next.failed = true
			if !m.over(float64(percent), (*cursor).settled) || !m.overBudget() {
				t.Fatalf("%d of %d hosts are not more than %d%%", most+1, size, percent)
			}
			next.failed = false
		}
	}
}

// TestLimitsEndPlays plays what TestLimitsAtEverySize computes, for some of the sizes.
func TestLimitsEndPlays(t *testing.T) {
	for size := 2; size <= 200; size += 9 {
		for percent := 0; percent <= 100; percent += 11 {
			most := percent * size / 100
			for _, failures := range []int{most, most + 1} {
				if failures == 0 || failures >= size {
					continue // none, and all of them: other rules
				}
				stops := failures > most
				if got := ends(t, Play{MaxFailPercentage: new(float64(percent))}, size, failures); got != stops {
					t.Fatalf("max_fail_percentage %d, %d of %d hosts failed: ended %v", percent, failures, size, got)
				}
				if got := ends(t, Play{FailureBudget: fmt.Sprintf("%d%%", percent)}, size, failures); got != stops {
					t.Fatalf("failure_budget %d%%, %d of %d hosts failed: ended %v", percent, failures, size, got)
				}
			}
		}
	}
}

// ends runs a play of one task on size hosts, of which some fail, and tells whether it ended for that.
func ends(t *testing.T, p Play, size, failures int) bool {
	p.Hosts = hostNames[:size]
	p.Sections = [][]*Node{{{Name: "t"}}}
	m, err := New(p)
	if err != nil {
		t.Fatal(err)
	}
	m.Step(Begin{})
	var outs []Output
	for i, h := range p.Hosts {
		d := Done{Host: h}
		if i < failures {
			d.Outcome = Failed
		}
		outs = append(outs, m.Step(d)...)
	}
	return outs[len(outs)-1].(EndPlay).Fatal
}

var hostNames = func() []string {
	names := make([]string, 200)
	for i := range names {
		names[i] = fmt.Sprintf("h%d", i)
	}
	return names
}()

// TestSharesAtEverySize compares the sizes of batches with whole numbers: each percentage of each number of hosts, as ansible-core computes it,
// and every host in exactly one batch.
func TestSharesAtEverySize(t *testing.T) {
	for size := 1; size <= 200; size++ {
		for percent := 1; percent <= 100; percent++ {
			n, err := Share(fmt.Sprintf("%d%%", percent), size)
			if least := max(percent*size/100, 1); err != nil || n != least && n != max(least-1, 1) {
				t.Fatalf("%d%% of %d is %d, %v", percent, size, n, err)
			}
			batches, err := Batches(hostNames[:size], []string{fmt.Sprintf("%d%%", percent)})
			if err != nil || !slices.Equal(slices.Concat(batches...), hostNames[:size]) || len(batches) != (size+n-1)/n {
				t.Fatalf("%d%% of %d hosts: %d batches, %v", percent, size, len(batches), err)
			}
		}
	}
}
