package machine

// Cause is why a play is halted.
type Cause string

// The causes of a Halt.
const (
	GateFailed   Cause = "gate"           // a gate did not hold
	Unconfirmed  Cause = "confirm"        // a host could not be told that it stays as it is, or has gone back by itself
	CanaryFailed Cause = "canary"         // a host of a canary batch failed or was lost
	BudgetSpent  Cause = "failure_budget" // more hosts have failed than the play allows
)

// checkBudget errs on a FailureBudget that is none.
func (p *Play) checkBudget() error {
	if p.FailureBudget == "" {
		return nil
	}
	_, _, err := share(p.FailureBudget)
	return err
}

// spent are the hosts that count against the budget: failed, lost or gone, in this play or before it, or absent.
func (m *Machine) spent() int {
	bad := map[string]bool{}
	for _, hosts := range [][]string{m.play.Absent, m.play.Gone, m.failed, m.unreachable} {
		for _, h := range hosts {
			bad[h] = true
		}
	}
	for _, c := range m.cursors {
		if c.settled() {
			bad[c.host] = true
		}
	}
	return len(bad)
}

// overBudget tells whether more hosts have failed than FailureBudget allows. A percentage is of all hosts, the absent ones too.
func (m *Machine) overBudget() bool {
	if m.play.FailureBudget == "" {
		return false
	}
	allowed, percent, _ := share(m.play.FailureBudget) // New has read it
	if percent {
		return float64(m.spent())/float64(m.total) > allowed/100
	}
	return float64(m.spent()) > allowed
}

// halt stops the play for good and says why, once.
func (m *Machine) halt(c Cause) []Output {
	m.stop, m.breakRun, m.fatalEnd = true, true, true
	if m.halted {
		return nil
	}
	m.halted = true
	return []Output{Halt{Cause: c, Failed: m.spent(), Hosts: m.total, Budget: m.play.FailureBudget}}
}

// limit is the percentage of the batch that may fail before it ends at once; nil is any. A play that wants its batches taken back allows no
// failure, unless it says how many: then those hosts alone are taken back. No canary may fail.
func (m *Machine) limit() *float64 {
	takesBack := m.play.Rollback == Batch || m.play.Rollback == All
	switch {
	case takesBack && (m.canary() || m.play.MaxFailPercentage == nil && m.play.FailureBudget == ""):
		return new(float64)
	default:
		return m.play.MaxFailPercentage
	}
}
