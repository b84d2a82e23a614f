package machine

// finishBatch ends the batch: what passed is confirmed, what failed is undone as the play chose, and what passed is committed.
func (m *Machine) finishBatch() []Output {
	if hosts := m.unconfirmed(); len(hosts) > 0 {
		m.asking = map[string]bool{}
		for _, h := range hosts {
			m.asking[h] = true
		}
		return []Output{Confirm{hosts}}
	}
	passed, failed := m.sort()
	if m.canceled {
		return m.endPlay()
	}
	out := m.verdict(failed)
	m.planUndo(failed)
	if len(m.undos) == 0 || len(m.undos[0]) < len(m.cursors) {
		out = append(out, m.commit(passed)...)
	}
	return append(out, m.nextUndo()...)
}

// verdict stops the play when the failures of the batch are too many to go on. A batch that has failed as a whole ends the run, as under
// Ansible, unless the play says how many hosts may fail.
func (m *Machine) verdict(failed []string) []Output {
	switch {
	case len(failed) == 0:
		return nil
	case m.canary():
		return m.halt(CanaryFailed)
	case m.overBudget():
		return m.halt(BudgetSpent)
	case len(failed) == m.sizes[m.batch] && m.play.FailureBudget == "":
		m.stop, m.breakRun = true, true
	}
	return nil
}

// sort tells the hosts that passed the batch from those that failed, and remembers the latter.
func (m *Machine) sort() (passed, failed []string) {
	for _, c := range m.hosts() {
		switch {
		case c.unreachable:
			m.unreachable = append(m.unreachable, c.host)
			failed = append(failed, c.host)
		case c.failed:
			m.failed = append(m.failed, c.host)
			failed = append(failed, c.host)
		default:
			passed = append(passed, c.host)
		}
	}
	return passed, failed
}

// planUndo lists what has to be undone, in order.
func (m *Machine) planUndo(failed []string) {
	if len(failed) == 0 || m.play.Rollback == None {
		return
	}
	if !m.wholeBack(len(failed)) {
		m.undos = [][]string{failed}
		return
	}
	m.stop, m.breakRun = true, true
	m.undos = [][]string{m.batches[m.batch]}
	for i := m.batch - 1; i >= 0 && m.play.Rollback == All; i-- {
		m.undos = append(m.undos, m.batches[i])
	}
}

// wholeBack tells whether the batch goes back as a whole after so many failures, and with it the play that wants it so.
func (m *Machine) wholeBack(failed int) bool {
	if failed == 0 || m.play.Rollback != Batch && m.play.Rollback != All {
		return false
	}
	limit := m.limit()
	return m.stop || m.overBudget() || limit != nil && float64(failed)/float64(m.sizes[m.batch]) > *limit/100
}

// unconfirmed are the hosts that have to be told that what they did stays, once a batch: none when they are taken back anyway, because others have failed.
func (m *Machine) unconfirmed() []string {
	if !m.play.Confirm || m.canceled || m.asked {
		return nil
	}
	m.asked = true
	var hosts []string
	for _, c := range m.hosts() {
		if !c.unreachable && !c.failed {
			hosts = append(hosts, c.host)
		}
	}
	if failed := len(m.cursors) - len(hosts); m.wholeBack(failed) {
		return nil
	}
	return hosts
}

// confirmed takes a host's answer. With the last one the batch ends; a host that could not be told has failed, and ends the play as a gate does.
func (m *Machine) confirmed(in Confirmed) []Output {
	c := m.cursors[in.Host]
	if c == nil || !m.asking[in.Host] {
		return nil
	}
	delete(m.asking, in.Host)
	c.failed, c.unreachable = in.Outcome == Failed, in.Outcome == Unreachable
	m.unheard = m.unheard || in.Outcome != OK
	if len(m.asking) > 0 {
		return nil
	}
	var out []Output
	if m.unheard {
		out = m.halt(Unconfirmed)
	}
	return append(out, m.finishBatch()...)
}

// commit ends the undo of hosts that passed; with scope all that waits for the end of the play.
func (m *Machine) commit(hosts []string) []Output {
	if len(hosts) == 0 || m.play.Rollback == All {
		return nil
	}
	return []Output{Commit{hosts}}
}

// nextUndo sends the next undo; after the last the next batch starts.
func (m *Machine) nextUndo() []Output {
	if len(m.undos) == 0 {
		return m.nextBatch()
	}
	hosts := m.undos[0]
	m.undos = m.undos[1:]
	m.undoing = map[string]bool{}
	for _, h := range hosts {
		m.undoing[h] = true
	}
	return []Output{Undo{hosts}}
}

func (m *Machine) undone(host string) []Output {
	if !m.undoing[host] {
		return nil
	}
	delete(m.undoing, host)
	if len(m.undoing) > 0 {
		return nil
	}
	return m.nextUndo()
}

// endPlay ends the play. What scope all kept open is committed unless the play broke off: then it was undone, or, when the
// user canceled, stays open for a rollback by hand.
func (m *Machine) endPlay() []Output {
	m.ended = true
	var out []Output
	if passed := m.passedAll(); m.play.Rollback == All && !m.breakRun && len(passed) > 0 {
		out = append(out, Commit{passed})
	}
	return append(out, EndPlay{Failed: m.failed, Unreachable: m.unreachable, Break: m.breakRun, Fatal: m.fatalEnd, Canceled: m.canceled})
}

// passedAll are the hosts of the play that neither failed nor were lost.
func (m *Machine) passedAll() []string {
	bad := map[string]bool{}
	for _, h := range append(append([]string(nil), m.failed...), m.unreachable...) {
		bad[h] = true
	}
	var hosts []string
	for _, h := range m.play.Hosts {
		if !bad[h] {
			hosts = append(hosts, h)
		}
	}
	return hosts
}
