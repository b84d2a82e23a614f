package machine

import "slices"

// Gate is when a gate must hold.
type Gate string

// The gates of a batch. Before it, nothing of the batch has been changed yet; After it, its tasks and handlers are done; Soak gates are asked
// again and again after that.
const (
	Before Gate = "before"
	After  Gate = "after"
	Soaks  Gate = "soak"
)

// phase is the part of a batch that is being worked on; they come in this order.
type phase int

const (
	facts phase = iota
	before
	body
	after
	soak
	phases // how many there are
)

// gate is what the tasks of the phase are.
func (p phase) gate() Gate { return map[phase]Gate{before: Before, after: After, soak: Soaks}[p] }

// nodes are what the phase has to do.
func (m *Machine) nodes(p phase) []*Node {
	switch p {
	case facts:
		return m.play.Facts
	case before:
		return m.play.Before
	case after:
		if m.batch == len(m.batches)-1 {
			return between(m.play.After)
		}
		return m.play.After
	case soak:
		return m.play.Soak
	}
	return m.root()
}

// between leaves out what only stands between batches.
func between(nodes []*Node) []*Node {
	var out []*Node
	for _, n := range nodes {
		if n.NotLast {
			continue
		}
		if n.Kind == Block {
			copied := *n
			copied.Main = between(n.Main)
			n = &copied
		}
		out = append(out, n)
	}
	return out
}

// enter puts the hosts that are still in the batch before the tasks of a phase.
func (m *Machine) enter(p phase) {
	root := m.nodes(p)
	m.phase, m.order, m.at, m.endBatch = p, flatten(root, nil), 0, false
	m.within = m.within[:0]
	for _, c := range m.hosts() {
		if !c.gone() {
			c.stack, c.flushing = []*frame{{nodes: root}}, false
			m.within = append(m.within, c)
		}
	}
}

// nextPhase goes on to the next part of the batch; done tells that there is none.
func (m *Machine) nextPhase() (out []Output, done bool) {
	switch {
	case m.gateBroken():
		return m.halt(GateFailed), true
	case m.phase == soak:
		return m.nextRound(), false
	}
	m.enter(m.phase + 1)
	switch {
	case len(m.within) == 0:
		return nil, true
	case m.phase < soak:
		return nil, false
	case len(m.play.Soak) == 0:
		return nil, true
	}
	m.round = 0
	return m.nextRound(), false
}

// nextRound asks for the time of the next round of the soak gates.
func (m *Machine) nextRound() []Output {
	m.round++
	m.soaking = true
	hosts := make([]string, len(m.within))
	for i, c := range m.within {
		hosts[i] = c.host
	}
	return []Output{Soak{m.round, hosts}}
}

func (m *Machine) soaked(in Soaked) []Output {
	if !m.soaking {
		return nil
	}
	m.soaking = false
	if in.Over || m.canceled {
		return m.finishBatch()
	}
	m.enter(soak)
	return m.next()
}

// gateBroken tells whether a gate of the phase has failed. A host that is lost ahead of the batch is a lost host and no more: nothing has been
// changed. Unless it was to answer for all.
func (m *Machine) gateBroken() bool {
	if m.phase.gate() == "" {
		return false
	}
	return m.unanswered || slices.ContainsFunc(m.within, func(c *cursor) bool { return c.failed || c.unreachable && m.phase != before })
}
