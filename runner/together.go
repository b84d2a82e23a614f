package runner

import (
	"context"
	"errors"
	"fmt"
	"iter"
	"slices"
	"strings"
	"sync"

	"github.com/calroll/calroll/inventory"
	"github.com/calroll/calroll/playbooks"
	"github.com/calroll/calroll/playbooks/source"
	"github.com/calroll/calroll/runner/machine"
)

// Plays that are marked as concurrent go at the same time as the one before them. Each has its own machine, and its own view of the variables: until
// all of them are over it sees the hosts of the others as they were. That takes hosts of its own, which is made sure of before any of them begins. They
// share the forks. One that fails does not stop the others; the run ends when all of them are over.

// together are the plays of a playbook, those that go at the same time in one.
func together(plays []*playbooks.Play) iter.Seq2[int, []*playbooks.Play] {
	return func(yield func(int, []*playbooks.Play) bool) {
		for i := 0; i < len(plays); {
			n := i + 1
			for n < len(plays) && concurrent(plays[n]) {
				n++
			}
			if !yield(i, plays[i:n]) {
				return
			}
			i = n
		}
	}
}

func concurrent(p *playbooks.Play) bool {
	is, _ := p.Concurrent.Constant()
	return is
}

// checkTogether finds plays that cannot go at the same time as others, in every playbook at once.
func checkTogether(o Options, books []*playbooks.Playbook) error {
	var errs []error
	for _, b := range books {
		for i, plays := range together(b.Plays) {
			if i == 0 && concurrent(plays[0]) {
				errs = append(errs, source.Errorf(plays[0].Concurrent.Pos, "cannot use \"concurrent\": there is no play before this one that it could go at the same time as"))
			}
			if len(plays) > 1 {
				errs = append(errs, o.checkAtOnce(plays)...)
			}
		}
	}
	return errors.Join(errs...)
}

// checkAtOnce checks plays that are to go at the same time, as far as that can be told before the run.
func (o Options) checkAtOnce(plays []*playbooks.Play) []error {
	var errs []error
	seen := owners{}
	for _, p := range plays {
		for t := range p.Leaves() {
			if joins(t) {
				errs = append(errs, source.Errorf(t.Pos, "cannot use %s in a play that goes at the same time as others: they must not see hosts and groups come", t.Action).
					WithHint("use it in a play before them"))
			}
		}
		if hosts, known := o.HostsOf(p); known {
			errs = append(errs, seen.add(p, hosts))
		}
	}
	return errs
}

func namesOf(hosts []*inventory.Host) []string {
	var names []string
	for _, h := range hosts {
		names = append(names, h.Name)
	}
	return names
}

// owners are the plays that hosts belong to.
type owners map[string]*playbooks.Play

// add gives hosts to a play. The error says which of them another one has.
func (o owners) add(p *playbooks.Play, hosts []string) error {
	var taken []string
	var by *playbooks.Play
	for _, h := range hosts {
		if o[h] != nil {
			taken, by = append(taken, h), o[h]
		}
		o[h] = p
	}
	if by == nil {
		return nil
	}
	slices.Sort(taken)
	return source.Errorf(p.Pos, "cannot carry out this play at the same time as the one at %s: both are for %s", by.Pos, strings.Join(taken, ", ")).
		WithHint("give each its own hosts, or leave \"concurrent\" out")
}

// atOnce carries plays out at the same time.
func (r *run) atOnce(ctx context.Context, defs []*playbooks.Play) ([]machine.EndPlay, error) {
	var plays []*play
	ends, errs := make([]machine.EndPlay, len(defs)), make([]error, len(defs))
	seen := owners{}
	for i, def := range defs {
		p := r.newPlay(def, r.world.Fork(), r.plays+i)
		p.lane = i + 1
		if def.Dir != p.world.Dir() {
			p.world.StartPlaybook(def.Dir)
		}
		var ready bool
		if ends[i], ready, errs[i] = p.begin(); ready {
			plays = append(plays, p)
			errs[i] = seen.add(def, p.all)
		}
	}
	if err := errors.Join(errs...); err != nil {
		return ends, err
	}
	var wg sync.WaitGroup
	for _, p := range plays {
		wg.Go(func() { ends[p.lane-1], errs[p.lane-1] = p.carryOut(ctx) })
	}
	wg.Wait()
	for _, p := range plays {
		r.world.Join(p.world, p.all)
	}
	return ends, errors.Join(errs...)
}

// keepsApart errs when a task that is done by way of a host would alter what other plays that go at the same time see.
func (c *call) keepsApart(via string) error {
	switch {
	case c.lane == 0:
	case joins(c.task):
		return errors.New("cannot add hosts or groups: the play goes at the same time as others, which must not see them come")
	case via != "" && c.set.delegateFacts && c.hosts[via] == nil:
		return fmt.Errorf("cannot give facts to %s: it is no host of this play, which goes at the same time as others", via)
	}
	return nil
}
