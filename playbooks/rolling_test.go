package playbooks

import (
	"strings"
	"testing"

	"github.com/calroll/calroll/playbooks/source"
	"github.com/calroll/calroll/playbooks/value"
)

// names are the tasks of a section; those of a block stand in brackets.
func names(nodes []Node) string {
	var out []string
	for _, n := range nodes {
		switch n := n.(type) {
		case *Task:
			if !n.Implicit {
				out = append(out, n.Name.Text())
			}
		case *Block:
			out = append(out, "["+names(n.Main)+"]")
		}
	}
	return strings.Join(out, " ")
}

func TestGatesHavePlacesOfTheirOwn(t *testing.T) {
	pb, _ := mustLoad(t, map[string]string{"main/playbook.yml": `
- hosts: all
  canary: [web1, web2]
  spread: rack
  failure_budget: 5%
  soak: 1m
  pre_tasks:
    - {name: p, debug: }
    - {name: look, debug: , gate: before}
  tasks:
    - {name: t1, debug: }
    - when: wanted
      block:
        - {name: in the block, debug: }
        - {name: held, debug: , gate: soak}
    - block:
        - {name: alone, debug: , gate: after}
    - gate: after
      block:
        - {name: a1, debug: }
        - {name: a2, debug: }
    - import_role: {name: verify}
      gate: before
    - import_tasks: more.yml
      gate: after
  post_tasks:
    - {name: last, debug: }
`, "main/more.yml": "- {name: m, debug: }\n", "main/roles/verify/tasks/main.yml": "- {name: v, debug: }\n- block: [{name: w, debug: }]\n"})
	p := pb.Plays[0]
	for section, nodes := range map[string][]Node{"look v [w]": p.Before, "p": p.PreTasks, "t1 [in the block]": p.Tasks, "last": p.PostTasks,
		"alone [a1 a2] m": p.After, "held": p.Soak} {
		if got := names(nodes); got != section {
			t.Errorf("got %s, want %s", got, section)
		}
	}
	if when := p.Soak[0].Common().When; len(when) != 1 || when[0].Text != "wanted" {
		t.Errorf("a gate has lost the condition of its block: %v", when)
	}
	if canary := p.Canary[0].Text() + " " + p.Canary[1].Text(); canary != "web1 web2" || p.FailureBudget.Text() != "5%" || p.SoakTime.Text() != "1m" {
		t.Errorf("canary %s, budget %s, soak %s", canary, p.FailureBudget.Text(), p.SoakTime.Text())
	}
	if tmpl, ok := p.Spread.Template(); !ok || tmpl.Text != "{{ rack }}" {
		t.Errorf("spread is %q", p.Spread.Text())
	}
}

func TestGatesAreListed(t *testing.T) {
	pb, _ := mustLoad(t, map[string]string{"main/playbook.yml": `
- hosts: all
  tasks:
    - {name: t, debug: }
    - {name: g, debug: , gate: before, tags: [x]}
    - {name: h, debug: , gate: after}
`})
	var b strings.Builder
	if err := pb.List(&b, Listing{Tasks: true}); err != nil {
		t.Fatal(err)
	}
	want := "    tasks:\n      g\tGATE: before\tTAGS: [always, x]\n      t\tTAGS: []\n      h\tGATE: after\tTAGS: [always]\n"
	if !strings.HasSuffix(b.String(), want) {
		t.Errorf("got %s", b.String())
	}
}

// TestLateGates: what an include brings comes when the batch is on its way, unless the include stands in a gate itself.
func TestLateGates(t *testing.T) {
	pb, l := mustLoad(t, map[string]string{"main/playbook.yml": `
- hosts: all
  tasks:
    - {name: late, include_tasks: gates.yml}
    - gate: before
      block:
        - {name: in time, include_tasks: gates.yml}
`, "main/gates.yml": "- {name: g, debug: , gate: before}\n"})
	late := taskNamed(t, pb.Plays[0].Tasks, "late")
	if _, err := l.LoadTasks("gates.yml", late.Inherited()); err == nil || !strings.Contains(err.Error(), "gates.yml:1:28: cannot use a gate in what include_tasks brings") {
		t.Error(err)
	}
	inTime := taskNamed(t, pb.Plays[0].Before, "in time")
	if got, err := l.LoadTasks("gates.yml", inTime.Inherited()); err != nil || len(got.Nodes) != 1 {
		t.Error(err)
	}
}

func TestSoakTimes(t *testing.T) {
	for text, want := range map[string]string{"60s": "1m0s", "90": "1m30s", "1h30m": "1h30m0s", "0.5": "500ms"} {
		if got, err := ParseDuration(text); err != nil || got.String() != want {
			t.Errorf("%q is %s, %v; want %s", text, got, err, want)
		}
	}
	for _, text := range []string{"", "soon", "-5s", "0"} {
		if _, err := ParseDuration(text); err == nil {
			t.Errorf("%q was taken", text)
		}
	}
}

func TestSpreadTemplateIsKept(t *testing.T) {
	pb, _ := mustLoad(t, map[string]string{"main/playbook.yml": "- hosts: all\n  spread: \"{{ zone }}-{{ rack }}\"\n"})
	got, err := pb.Plays[0].Spread.Get(func(tmpl value.Template) (any, error) {
		if tmpl.Pos != (source.Pos{File: tmpl.Pos.File, Line: 2, Col: 12}) {
			t.Errorf("it stands at %s", tmpl.Pos)
		}
		return "z-1", nil
	}, "")
	if err != nil || got != "z-1" {
		t.Errorf("got %q, %v", got, err)
	}
}
