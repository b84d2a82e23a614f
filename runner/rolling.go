package runner

import (
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/calroll/calroll/inventory"
	"github.com/calroll/calroll/playbooks"
	"github.com/calroll/calroll/playbooks/expr"
	"github.com/calroll/calroll/playbooks/source"
	"github.com/calroll/calroll/runner/event"
	"github.com/calroll/calroll/runner/machine"
)

// roll tells the machine how the play goes over its hosts, beyond serial.
func (p *play) roll(m *machine.Play) error {
	var errs []error
	var err error
	m.Absent = p.away
	m.Canaries, err = p.canaries(m.Hosts)
	errs = append(errs, err)
	m.Spread, err = p.groupsOf(m.Hosts)
	errs = append(errs, err)
	m.FailureBudget, err = p.def.FailureBudget.Get(p.playRender, "")
	errs = append(errs, err)
	p.confirmed, err = p.confirmTime()
	errs = append(errs, err)
	m.Confirm = p.confirmed > 0
	p.soak, err = p.soakTime()
	m.Before, m.After, m.Soak = p.nodes(p.def.Before, nil), p.nodes(p.def.After, nil), p.nodes(p.def.Soak, nil)
	return errors.Join(append(errs, err)...)
}

// canaries are the hosts that the play's canary means, of these. A play that is to begin with canaries does not begin without one, unless a limit
// has left them out.
func (p *play) canaries(hosts []string) ([]string, error) {
	if len(p.def.Canary) == 0 {
		return nil, nil
	}
	var patterns []string
	for _, c := range p.def.Canary {
		v, err := c.Get(p.playRender, "")
		if err != nil {
			return nil, err
		}
		patterns = append(patterns, v)
	}
	pos, pattern := p.def.Canary[0].Pos, strings.Join(patterns, ",")
	matched, err := p.o.Inventory.Match(pattern)
	if err != nil && (!p.grown || !errors.As(err, new(*inventory.UnknownNames))) {
		return nil, source.Errorf(pos, "cannot use the canary %q: %w", pattern, err)
	}
	var canaries []string
	for _, h := range matched {
		if slices.Contains(hosts, h.Name) && !p.gone[h.Name] {
			canaries = append(canaries, h.Name)
		}
	}
	switch {
	case len(canaries) > 0:
	case p.o.Limit == "":
		return nil, source.Errorf(pos, "cannot begin with the canary %q: no host of the play that is there matches it", pattern)
	default:
		p.emit(event.Event{Kind: event.Warning, Message: fmt.Sprintf("no canary: --limit has left out %s", pattern)})
	}
	return canaries, nil
}

// groupsOf is what spread renders to on each host. A host without a value could stand anywhere, so it is a mistake.
func (p *play) groupsOf(hosts []string) (map[string]string, error) {
	t, ok := p.def.Spread.Template()
	if !ok {
		return nil, nil
	}
	groups := map[string]string{}
	var nowhere []string
	for _, h := range hosts {
		v, err := p.world.Host(h).Scope().Render(t)
		var undefined *expr.Undefined
		switch {
		case errors.As(err, &undefined) || err == nil && (v == nil || expr.String(v) == ""):
			nowhere = append(nowhere, h)
		case err != nil:
			return nil, err
		default:
			groups[h] = expr.String(v)
		}
	}
	if len(nowhere) > 0 {
		return nil, source.Errorf(p.def.Spread.Pos, "cannot spread the hosts by %s: it has no value on %s", t.Text, strings.Join(nowhere, ", ")).
			WithHint("give them one in the inventory; \"default(inventory_hostname)\" lets a host stand alone")
	}
	return groups, nil
}

// checkCanaries finds patterns of canary that name hosts or groups which do not exist.
func checkCanaries(inv *inventory.Inventory, p *playbooks.Play) []error {
	var errs []error
	for _, c := range p.Canary {
		pattern, ok := c.Constant()
		if !ok {
			continue
		}
		if _, err := inv.Match(pattern); err != nil {
			errs = append(errs, source.Errorf(c.Pos, "cannot use the canary %q: %w", pattern, err))
		}
	}
	return errs
}

// absence is why a host is away; nil when it is there, or is to be taken in all the same.
func (r *run) absence(host string) *inventory.Absence {
	if r.resumed != nil && r.resumed.CatchUp {
		return nil
	}
	return r.o.Inventory.Absence(host)
}

// leaveOut takes the hosts that are absent out of the play, and says why.
func (p *play) leaveOut(hosts []*inventory.Host, matched []string) ([]*inventory.Host, []string) {
	for _, name := range matched {
		if a := p.absence(name); a != nil {
			p.away = append(p.away, name)
			p.emit(event.Event{Kind: event.Absent, Host: name, Message: a.String()})
			p.countAbsent(name)
		}
	}
	isAway := func(name string) bool { return slices.Contains(p.away, name) }
	return slices.DeleteFunc(hosts, func(h *inventory.Host) bool { return isAway(h.Name) }), slices.DeleteFunc(matched, isAway)
}

func (r *run) countAbsent(host string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.counts[host] == nil {
		r.counts[host] = &event.Counts{}
	}
	r.counts[host].Absent = 1
}

// haltText says in words why no further batch begins.
func haltText(h machine.Halt) string {
	switch h.Cause {
	case machine.GateFailed:
		return "no further batch: a gate of this one has failed"
	case machine.Unconfirmed:
		return "no further batch: a host of this one was not confirmed"
	case machine.CanaryFailed:
		return "no further batch: a canary has failed"
	}
	return fmt.Sprintf("no further batch: %d of %d hosts have failed, were lost or are absent, and failure_budget allows %s", h.Failed, h.Hosts, h.Budget)
}
