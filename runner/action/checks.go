package action

import (
	"context"
	"encoding/json"
	"fmt"
	"slices"
	"strings"

	"github.com/calroll/calroll/playbooks/expr"
	"github.com/calroll/calroll/runner/event"
	"github.com/calroll/calroll/tasks"
)

// checksArgs are used in one of two ways. With topics, every host evaluates its own checks and registers those that do not hold; with report, one
// host shows what all of them registered. Checks are written as gates are, and judge what is there instead of what may be done.
type checksArgs struct {
	onController
	Topics []string `arg:"topics" doc:"what to evaluate: each topic T is a list of checks in the variable checks_T"`
	Report []string `arg:"report" doc:"the names that the hosts of the play registered their checks under; gates among them count as degraded when they are closed"`
	Output string   `arg:"output,choices=table|json,default=table" doc:"how the report is shown"`
}

// Rules are constraints between the arguments.
func (*checksArgs) Rules() tasks.Rules {
	return tasks.Rules{MutuallyExclusive: [][]string{{"topics", "report"}}, RequiredOneOf: [][]string{{"topics", "report"}}}
}

// Levels of a check that does not hold. What is failed fails the task; what is degraded gives the run an exit code of its own.
const (
	checkFailed   = "failed"
	checkDegraded = "degraded"
	checkInfo     = "info"
)

var checkRules = rules{"check", "checks", []string{checkFailed, checkDegraded, checkInfo}}

func checks(_ context.Context, c *Call) (Answer, error) {
	args, err := decode(c, &checksArgs{})
	if err != nil {
		return Answer{}, err
	}
	if args.Topics != nil {
		return c.evaluate(checkRules, args.Topics)
	}
	found, evaluated, err := c.report(args.Report)
	if err != nil {
		return Answer{}, err
	}
	state := stateOf(found)
	var r tasks.Result
	list := make([]any, len(found))
	for i, f := range found {
		list[i] = map[string]any{"id": f.id, "level": f.level, "hosts": f.hosts, "found": f.found, "remedy": f.remedy}
	}
	r.Set("checks", list)
	r.Set("state", state)
	r.Set("evaluated", evaluated)
	r.Failed = state == checkFailed
	r.Msg = fmt.Sprintf("%s: %d of %d checks do not hold", state, len(found), evaluated)
	if len(found) == 0 {
		r.Msg = fmt.Sprintf("ok: all %d checks hold", evaluated)
	}
	a := Answer{Result: r, Verbose: true, Degraded: state == checkDegraded, Table: findingTable("CHECK", found)}
	if args.Output == "json" {
		a.Table, err = jsonTable(state, evaluated, list)
	}
	return a, err
}

// report is what all hosts found, and how many checks and gates they evaluated.
func (c *Call) report(names []string) ([]*finding, int, error) {
	var all []*finding
	evaluated := 0
	for _, name := range names {
		for _, kind := range []rules{checkRules, gateRules} {
			found, err := c.findings(name, kind)
			if err != nil {
				return nil, 0, err
			}
			for _, f := range found {
				f.level = asCheck(f.level)
				all = addFinding(all, f)
			}
		}
		n, err := c.Scope.Evaluate("ansible_play_hosts_all | map('extract', hostvars) | selectattr('"+name+"', 'defined') | map(attribute='"+name+
			".evaluated', default=0) | sum", c.Task.Args.Pos("report"))
		if err != nil {
			return nil, 0, err
		}
		count := 0
		if _, err := fmt.Sscan(expr.String(n), &count); err != nil {
			return nil, 0, fmt.Errorf("cannot count the checks of %s: %w", name, err)
		}
		evaluated += count
	}
	slices.SortStableFunc(all, func(a, b *finding) int {
		return slices.Index(checkRules.levels, a.level) - slices.Index(checkRules.levels, b.level)
	})
	return all, evaluated, nil
}

// asCheck is the level of a check, for that of a gate: what forbids to install is no failure of what is installed.
func asCheck(level string) string {
	switch level {
	case gateStop, gateAsk, "warn":
		return checkDegraded
	}
	return level
}

// stateOf is the level of the worst finding; ok if none is worse than info.
func stateOf(found []*finding) string {
	for _, level := range []string{checkFailed, checkDegraded} {
		if slices.ContainsFunc(found, func(f *finding) bool { return f.level == level }) {
			return level
		}
	}
	return "ok"
}

// jsonTable shows the report as JSON: a table of one column without breaks.
func jsonTable(state string, evaluated int, list []any) (*event.Table, error) {
	text, err := json.MarshalIndent(map[string]any{"state": state, "evaluated": evaluated, "checks": list}, "", "  ")
	if err != nil {
		return nil, fmt.Errorf("cannot write the report: %w", err)
	}
	return &event.Table{Text: strings.TrimSuffix(string(text), "\n") + "\n"}, nil
}
