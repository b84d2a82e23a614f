package machine

import (
	"errors"
	"slices"
)

// Machine is the state of one play. Make it with New, then feed it with Step, from one goroutine.
type Machine struct {
	play     Play
	batches  [][]string
	sizes    []int              // of the batches, with hosts that were gone before the play
	total    int                // hosts of the play, with those that are gone or absent
	batch    int                // index of the running batch; -1 before the first
	phase    phase              // of the running batch
	within   []*cursor          // hosts that began the phase
	round    int                // of the soak gates
	soaking  bool               // Soaked is awaited
	order    []*Node            // every task of the batch, flat, in the order they are taken
	at       int                // place in order after the last task taken
	cursors  map[string]*cursor // of the running batch
	running  *Run               // the task being carried out
	answers  map[string]Done
	included []insertion
	asking   map[string]bool // hosts whose Confirmed is awaited
	asked    bool            // Confirm was sent for the running batch, or need not be
	undoing  map[string]bool // hosts whose Undone is awaited
	undos    [][]string      // undos still to be sent, each after the one before has ended

	failed, unreachable []string // of the play so far
	stop                bool     // no further batch
	breakRun            bool     // no further play
	fatalEnd            bool     // any_errors_fatal or max_fail_percentage ended it
	endBatch            bool
	unheard             bool // a host was not confirmed
	unanswered          bool // the host that was to answer a gate for all was lost
	halted              bool // Halt was sent
	canceled            bool
	ended               bool
}

type insertion struct {
	hosts []string
	nodes []*Node
}

// New prepares a machine. It errs on sizes of serial and on a budget that are none.
func New(play Play) (*Machine, error) {
	batches, err := play.schedule()
	if err := errors.Join(err, play.checkBudget()); err != nil {
		return nil, err
	}
	if play.Rollback == "" {
		play.Rollback = None
	}
	m := &Machine{play: play, batch: -1, total: len(play.Hosts) + len(play.Absent)}
	for _, b := range batches {
		if left := m.present(b); len(left) > 0 {
			m.batches, m.sizes = append(m.batches, left), append(m.sizes, len(b))
		}
	}
	m.play.Hosts = m.present(play.Hosts)
	return m, nil
}

// present are those of hosts that were not gone before the play.
func (m *Machine) present(hosts []string) []string {
	var left []string
	for _, h := range hosts {
		if !slices.Contains(m.play.Gone, h) {
			left = append(left, h)
		}
	}
	return left
}

// Step takes in what happened and says what is to be done now. After EndPlay it answers nothing.
func (m *Machine) Step(in Input) []Output {
	switch in := in.(type) {
	case Begin:
		return m.begin()
	case Done:
		return m.done(in)
	case Included:
		m.included = append(m.included, insertion{in.Hosts, in.Nodes})
	case AddHandlers:
		m.play.Handlers = append(m.play.Handlers, in.Handlers...)
	case EndBatch:
		m.endBatch = true
	case EndPlayEarly:
		m.endBatch, m.stop = true, true
	case ClearErrors:
		m.clearErrors()
	case Soaked:
		return m.soaked(in)
	case Confirmed:
		return m.confirmed(in)
	case Undone:
		return m.undone(in.Host)
	case Cancel:
		m.canceled, m.stop, m.breakRun = true, true, true
	}
	return nil
}

// Removed tells that a host of the running batch takes no part in the play at the moment: it has failed and nothing rescues it, it was
// lost, or it ended the play early.
func (m *Machine) Removed(host string) bool {
	c := m.cursors[host]
	return c != nil && (c.gone() || c.leavingFailed() && !c.rescuable())
}

// Rescuable tells that a block round the host's place has a rescue section that could take a failure.
func (m *Machine) Rescuable(host string) bool {
	c := m.cursors[host]
	return c != nil && c.rescuable()
}

// Rescues are the blocks with a rescue section that the host is in, outermost first, and the outermost one whose rescue section is at work, 0 for none. They
// are named by how many blocks the host had entered by then in its batch.
func (m *Machine) Rescues(host string) (around []int, atWork int) {
	if c := m.cursors[host]; c != nil {
		return c.rescues()
	}
	return nil, 0
}

// begin starts the first batch, unless more hosts are away than may fail.
func (m *Machine) begin() []Output {
	if m.overBudget() {
		return append(m.halt(BudgetSpent), m.endPlay()...)
	}
	return m.nextBatch()
}

// nextBatch starts the next batch, or ends the play.
func (m *Machine) nextBatch() []Output {
	if m.ended {
		return nil
	}
	m.batch++
	if m.stop || m.batch == len(m.batches) {
		return m.endPlay()
	}
	hosts := m.batches[m.batch]
	m.cursors, m.asked = map[string]*cursor{}, false
	for _, h := range hosts {
		m.cursors[h] = &cursor{host: h, notified: map[int]bool{}}
	}
	m.enter(facts)
	return append([]Output{StartBatch{m.batch + 1, len(m.batches), hosts, m.canary()}}, m.next()...)
}

// canary tells whether the running batch is one of canaries.
func (m *Machine) canary() bool { return slices.Contains(m.play.Canaries, m.batches[m.batch][0]) }

// root is the play as one list: its sections, each followed by a flush. With force_handlers the flush is the always section
// of a block round the section, so that failed hosts run it too.
func (m *Machine) root() []*Node {
	var root []*Node
	for _, section := range m.play.Sections {
		flush := &Node{Kind: Flush, Name: "flush_handlers"}
		if m.play.ForceHandlers {
			root = append(root, &Node{Kind: Block, Main: section, Always: []*Node{flush}})
		} else {
			root = append(append(root, section...), flush)
		}
	}
	return root
}

func flatten(nodes, into []*Node) []*Node {
	for _, n := range nodes {
		if n.Kind != Block {
			into = append(into, n)
			continue
		}
		into = flatten(n.Always, flatten(n.Rescue, flatten(n.Main, into)))
	}
	return into
}

// next finds what comes next for the batch, phase by phase, or ends the batch.
func (m *Machine) next() []Output {
	for !m.canceled {
		if out := m.nextTask(); out != nil {
			return out
		}
		if out, done := m.nextPhase(); done {
			return append(out, m.finishBatch()...)
		} else if out != nil {
			return out
		}
	}
	return m.finishBatch()
}

// nextTask is the task that comes next in the phase, nil when all are done. What ends the batch early ends the phase: the gates after it have
// to hold all the same.
func (m *Machine) nextTask() []Output {
	for !m.endBatch {
		if out, flushing := m.nextOfFlush(); out != nil {
			return out
		} else if flushing {
			continue
		}
		node, at := m.nextInOrder()
		if node == nil {
			break
		}
		if node.Kind == Flush {
			m.startFlush(at)
			continue
		}
		return m.run(node, at, -1)
	}
	return nil
}

// nextInOrder is the earliest task, from the last one on, that some host stands before, and those hosts.
func (m *Machine) nextInOrder() (*Node, []*cursor) {
	standing := map[*Node][]*cursor{}
	inFlush := slices.ContainsFunc(m.hosts(), (*cursor).inFlush)
	for _, c := range m.hosts() {
		if inFlush && !c.inFlush() {
			continue // it waits for the hosts whose handlers have included tasks
		}
		if n := c.peek(); n != nil {
			standing[n] = append(standing[n], c)
		}
	}
	if len(standing) == 0 {
		return nil, nil
	}
	for range m.order {
		if m.at >= len(m.order) {
			m.at = 0 // hosts whose errors were cleared stand before tasks already passed
		}
		n := m.order[m.at]
		m.at++
		if at := standing[n]; at != nil {
			return n, at
		}
	}
	return nil, nil
}

// hosts are the cursors of the batch in the order of its hosts.
func (m *Machine) hosts() []*cursor {
	cs := make([]*cursor, 0, len(m.cursors))
	for _, h := range m.batches[m.batch] {
		cs = append(cs, m.cursors[h])
	}
	return cs
}

// run sends a task to the hosts that stand before it and moves them past it.
func (m *Machine) run(n *Node, at []*cursor, handler int) []Output {
	var hosts []string
	for _, c := range at {
		hosts = append(hosts, c.host)
		if handler < 0 {
			c.advance()
		}
	}
	r := Run{Node: n, Hosts: hosts, For: hosts, Handler: handler, Gate: m.phase.gate()}
	if m.phase == soak {
		r.Round = m.round
	}
	if n.RunOnce {
		r.Hosts = hosts[:1]
	}
	for _, h := range r.Hosts {
		m.cursors[h].asked = true
	}
	m.running, m.answers = &r, map[string]Done{}
	return []Output{r}
}

// startFlush lets hosts run the handlers they have notified.
func (m *Machine) startFlush(at []*cursor) {
	for _, c := range at {
		c.advance()
		c.flushing, c.handler = true, 0
	}
}

// nextOfFlush is the next handler of the hosts that are flushing, in the order of the handlers; flushing tells that it
// changed something and has to be asked again.
func (m *Machine) nextOfFlush() (out []Output, flushing bool) {
	lowest := -1
	var at []*cursor
	for _, c := range m.hosts() {
		if c.gone() || !c.flushing {
			continue
		}
		if c.inFlush() {
			return nil, false
		}
		i := c.nextHandler(len(m.play.Handlers))
		switch {
		case i < 0:
			c.flushing, flushing = false, true
		case lowest < 0 || i < lowest:
			lowest, at = i, []*cursor{c}
		case i == lowest:
			at = append(at, c)
		}
	}
	if lowest < 0 {
		return nil, flushing
	}
	for _, c := range at {
		c.handler = lowest + 1
		delete(c.notified, lowest)
	}
	return m.run(m.play.Handlers[lowest], at, lowest), true
}

// done takes a host's answer; with the last one it judges the task and goes on.
func (m *Machine) done(in Done) []Output {
	c := m.cursors[in.Host]
	if m.running == nil || c == nil || !c.asked {
		return nil
	}
	m.answers[in.Host], c.asked = in, false
	if len(m.answers) < len(m.running.Hosts) {
		return nil
	}
	r := m.running
	m.running = nil
	m.settle(r)
	m.insert(r)
	if m.gateBroken() {
		return append(m.halt(GateFailed), m.finishBatch()...)
	}
	end, out := m.judge(r)
	if end {
		return append(out, m.finishBatch()...)
	}
	return append(out, m.next()...)
}

// settle gives each host the outcome of its task.
func (m *Machine) settle(r *Run) {
	for _, h := range r.Hosts {
		a := m.answers[h]
		for _, i := range a.Notify {
			m.cursors[h].notified[i] = true
		}
		to := []string{h}
		if r.Node.RunOnce && a.Outcome == Failed {
			to = r.For
		}
		m.unanswered = m.unanswered || r.Gate != "" && r.Node.RunOnce && a.Outcome == Unreachable
		for _, h := range to {
			m.cursors[h].take(a.Outcome)
		}
	}
}

func (c *cursor) take(o Outcome) {
	switch o {
	case Failed:
		c.fail()
	case Unreachable:
		c.unreachable = true
	case EndHost:
		c.ended = true
	}
}

// insert puts included tasks before each host and, once, into the order.
func (m *Machine) insert(r *Run) {
	var flat []*Node
	frames := map[string][]*Node{}
	for _, in := range m.included {
		flat = flatten(in.nodes, flat)
		for _, h := range in.hosts {
			frames[h] = append(frames[h], in.nodes...)
		}
	}
	m.included = nil
	for h, nodes := range frames {
		if c := m.cursors[h]; !c.gone() {
			c.push(&frame{nodes: nodes, flush: r.Handler >= 0})
		}
	}
	m.order = slices.Insert(m.order, min(m.at, len(m.order)), flat...)
}

// judge says whether the batch has to end here.
func (m *Machine) judge(r *Run) (end bool, out []Output) {
	failedNow := slices.ContainsFunc(r.For, func(h string) bool { return m.cursors[h].settled() })
	if !failedNow {
		return false, nil
	}
	if (m.play.AnyErrorsFatal || r.Node.AnyErrorsFatal || r.Node.RunOnce && !r.Node.IgnoreErrors) && m.fatal() {
		return true, nil
	}
	takesBack := m.play.Rollback == Batch || m.play.Rollback == All
	switch limit := m.limit(); {
	case m.overBudget():
		out = m.halt(BudgetSpent)
	case limit == nil:
		return false, nil
	case takesBack:
		return m.over(*limit, (*cursor).settled), nil
	case !m.over(*limit, func(c *cursor) bool { return c.failed }):
		return false, nil
	}
	if !takesBack {
		m.failAll()
	}
	return takesBack, out
}

// fatal fails every host that no rescue or always section is at work for.
func (m *Machine) fatal() bool {
	m.stop, m.breakRun, m.fatalEnd = true, true, true
	all := true
	for _, c := range m.hosts() {
		if c.busyRescuing() && !c.gone() {
			all = false
		} else if !c.gone() {
			c.failed = true
		}
	}
	return all
}

// failAll fails every host; what rescues and cleans up still runs.
func (m *Machine) failAll() {
	for _, c := range m.hosts() {
		if !c.gone() {
			c.fail()
		}
	}
	m.stop, m.breakRun, m.fatalEnd = true, true, true
}

func (m *Machine) over(percent float64, counts func(*cursor) bool) bool {
	n := 0
	for _, c := range m.hosts() {
		if counts(c) {
			n++
		}
	}
	return float64(n)/float64(m.sizes[m.batch]) > percent/100
}

func (m *Machine) clearErrors() {
	for _, c := range m.cursors {
		c.failed, c.unreachable = false, false
	}
	m.failed, m.unreachable = nil, nil
}
