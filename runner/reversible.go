package runner

import (
	"errors"

	"github.com/calroll/calroll/playbooks"
	"github.com/calroll/calroll/runner/machine"
)

// promised is the scope of rollback that a play promises, by itself or as the command line has it. One whose hosts go back by themselves promises it in any case.
func promised(o Options, p *playbooks.Play) machine.Scope {
	switch {
	case p.Rollback != "":
		return machine.Scope(p.Rollback)
	case p.Confirm.IsSet() && (o.Rollback == "" || o.Rollback == machine.None):
		return machine.Batch
	}
	return o.Rollback
}

// checkReversible finds the tasks that plays which promise rollback could not take back, in every play at once.
func checkReversible(o Options, books []*playbooks.Playbook) error {
	var errs []error
	for _, b := range books {
		for _, p := range b.Plays {
			errs = append(errs, reversible(o, p, p.Sections()))
		}
	}
	return errors.Join(errs...)
}

// reversible is checkReversible for some nodes of a play.
func reversible(o Options, p *playbooks.Play, nodes []playbooks.Node) error {
	if s := promised(o, p); s == "" || s == machine.None {
		return nil
	}
	return o.Loader.CheckReversible(nodes)
}
