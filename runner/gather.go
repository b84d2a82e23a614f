package runner

import (
	"github.com/calroll/calroll/playbooks"
	"github.com/calroll/calroll/playbooks/value"
)

// gatherTask is the task that gather_facts stands for. It always runs, as far as tags go, unless the play has some.
func gatherTask(def *playbooks.Play) *playbooks.Task {
	t := &playbooks.Task{Action: "gather_facts", Module: "setup", Args: gatherArgs(def)}
	t.Head = playbooks.Head{Keywords: def.Keywords, Pos: def.Pos, Name: playbooks.Const("Gathering Facts", def.Pos), Play: def}
	t.When = def.GatherWhen
	if len(def.Tags) == 0 { // as in Ansible, a play's own tags take the place of always
		t.Tags = []playbooks.Setting[string]{playbooks.Const("always", def.Pos)}
	}
	return t
}

func gatherArgs(def *playbooks.Play) *value.Vars {
	args := &value.Vars{}
	var subset []any
	for _, s := range def.GatherSubset {
		subset = append(subset, settingValue(s))
	}
	if subset != nil {
		args.Put("gather_subset", subset, def.Pos)
	}
	if def.GatherTimeout.IsSet() {
		args.Put("gather_timeout", settingValue(def.GatherTimeout), def.Pos)
	}
	if def.FactPath.IsSet() {
		args.Put("fact_path", settingValue(def.FactPath), def.Pos)
	}
	return args
}

// settingValue is a keyword's value as an argument: the constant, or the template for each host to render.
func settingValue[T bool | int | float64 | string](s playbooks.Setting[T]) any {
	if t, ok := s.Template(); ok {
		return t
	}
	v, _ := s.Constant()
	return v
}
