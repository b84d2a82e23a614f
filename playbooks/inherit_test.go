package playbooks

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/calroll/calroll/playbooks/value"
)

// summary is what a task has inherited, in one line.
func summary(t *Task) string {
	var parts []string
	add := func(name, text string) {
		if text != "" {
			parts = append(parts, name+"="+text)
		}
	}
	add("become", t.Become.Text())
	add("user", t.BecomeUser.Text())
	add("check", t.CheckMode.Text())
	add("delegate", t.DelegateTo.Text())
	add("tags", settingsText(t.Tags))
	add("notify", settingsText(t.Notify))
	add("when", conditionsText(t.When))
	add("env", valuesText(t.Environment))
	add("vars", dictText(t.Vars.Dict()))
	return strings.Join(parts, " ")
}

func settingsText(list []Setting[string]) string {
	texts := make([]string, len(list))
	for i, s := range list {
		texts[i] = s.Text()
	}
	return strings.Join(texts, ",")
}

func conditionsText(list []Condition) string {
	texts := make([]string, len(list))
	for i, c := range list {
		texts[i] = c.Text
	}
	return strings.Join(texts, ",")
}

func valuesText(list []any) string {
	texts := make([]string, len(list))
	for i, v := range list {
		if d, ok := v.(*value.Dict); ok {
			texts[i] = dictText(d)
		} else {
			texts[i] = show(v)
		}
	}
	return strings.Join(texts, ";")
}

func dictText(d *value.Dict) string {
	var texts []string
	for k, v := range d.All() {
		texts = append(texts, fmt.Sprintf("%v:%v", k, v))
	}
	return strings.Join(texts, ",")
}

var inheritFiles = map[string]string{
	"main/imported.yml": `
- {name: of the import, debug: , when: own, tags: own}
- block: [{name: in a block of the import, debug: , vars: {deep: 1, block: 9}}]
  become: false
  when: blk
  vars: {block: 1, task: 1}
`,
	"main/roles/low/tasks/main.yml": "- {name: of low, debug: , tags: low_task}\n",
	"main/roles/high/meta/main.yml": "dependencies: [{role: low, tags: dep, when: dep_when, become_user: dep_user}]\n",
	"main/roles/high/tasks/main.yml": `
- {name: of high, debug: , become_user: task_user}
- import_tasks: more.yml
  when: more_when
`,
	"main/roles/high/tasks/more.yml":    "- {name: of more, debug: }\n",
	"main/roles/high/handlers/main.yml": "- {name: handler of high, debug: }\n",
	"main/roles/plain/tasks/main.yml":   "- {name: of plain, debug: }\n",
}

func TestInheritance(t *testing.T) {
	files := map[string]string{"main/playbook.yml": `
- hosts: all
  become: true
  become_user: play_user
  environment: {P: 1}
  tags: play
  vars: {of_play: 1}
  roles:
    - {role: high, tags: use, when: use_when, vars: {of_use: 1}, delegate_to: there}
  tasks:
    - {name: plain, debug: }
    - {name: own, debug: , become: false, become_user: me, environment: {T: 1}, tags: [play, t], when: [a, b], vars: {v: 1}, notify: h}
    - when: outer
      tags: outer
      environment: "{{ env }}"
      vars: {v: outer, w: outer}
      check_mode: true
      notify: [ob, h]
      block:
        - when: inner
          tags: [inner]
          vars: {v: inner}
          check_mode: false
          block: [{name: nested, debug: , when: own, vars: {x: 1}, notify: h}]
          rescue: [{name: in rescue, debug: }]
          always: [{name: in always, debug: }]
    - import_tasks: imported.yml
      when: imp
      tags: imp
      become_user: imp_user
      notify: imp_h
      vars: {task: imp, imp: 1}
    - import_role: {name: plain}
      when: role_imp
      vars: {given: 1}
  handlers:
    - {name: a handler, debug: , when: hw}
`}
	for name, text := range inheritFiles {
		files[name] = text
	}
	pb, _ := mustLoad(t, files)
	play := pb.Plays[0]
	for name, want := range map[string]string{
		"plain":                    "become=true user=play_user tags=play env=P:1",
		"own":                      "become=false user=me tags=play,t notify=h when=a,b env=P:1;T:1 vars=v:1",
		"nested":                   `become=true user=play_user check=false tags=inner,outer,play notify=h,ob when=outer,inner,own env=P:1;"{{ env }}" vars=v:inner,w:outer,x:1`,
		"in rescue":                `become=true user=play_user check=false tags=inner,outer,play notify=ob,h when=outer,inner env=P:1;"{{ env }}" vars=v:inner,w:outer`,
		"in always":                `become=true user=play_user check=false tags=inner,outer,play notify=ob,h when=outer,inner env=P:1;"{{ env }}" vars=v:inner,w:outer`,
		"of the import":            "become=true user=imp_user tags=own,imp,play notify=imp_h when=imp,own env=P:1 vars=task:imp,imp:1",
		"in a block of the import": "become=false user=imp_user tags=imp,play notify=imp_h when=imp,blk env=P:1 vars=task:1,imp:1,block:9,deep:1",
		"of low":                   "become=true user=dep_user delegate=there tags=low_task,dep,use,play when=use_when,dep_when env=P:1",
		"of high":                  "become=true user=task_user delegate=there tags=use,play when=use_when env=P:1",
		"of more":                  "become=true user=play_user delegate=there tags=use,play when=use_when,more_when env=P:1",
		"of plain":                 "become=true user=play_user tags=play when=role_imp env=P:1 vars=given:1",
	} {
		if got := summary(taskNamed(t, play.Tasks, name)); got != want {
			t.Errorf("%s\n got %s\nwant %s", name, got, want)
		}
	}
	for _, h := range play.Handlers {
		want := map[string]string{"a handler": "become=true user=play_user tags=play when=hw env=P:1",
			"handler of high": "become=true user=play_user delegate=there tags=use,play when=use_when env=P:1"}[h.Name.Text()]
		if got := summary(h); got != want || !h.Handler {
			t.Errorf("%s\n got %s\nwant %s", h.Name.Text(), got, want)
		}
	}
}

func TestImportedPlaybooksInherit(t *testing.T) {
	pb, _ := mustLoad(t, map[string]string{
		"main/playbook.yml": `
- import_playbook: middle.yml
  tags: outer
  when: w1
  vars: {a: outer}
- hosts: last
`,
		"main/middle.yml": "- import_playbook: sub/inner.yml\n  when: [w2]\n  vars: {a: middle, b: middle}\n",
		"main/sub/inner.yml": `
- hosts: inner
  tags: own
  vars: {a: own, b: own, c: own}
  roles: [beside]
  tasks: [{name: t, debug: , when: w3}]
  handlers: [{name: h, debug: }]
`,
		"main/sub/roles/beside/tasks/main.yml": "- {name: in the role, debug: }\n",
	})
	if len(pb.Plays) != 2 || pb.Plays[1].Number != 2 {
		t.Fatalf("%d plays", len(pb.Plays))
	}
	p := pb.Plays[0]
	if got, want := dictText(p.Vars.Dict()), "a:outer,b:middle,c:own"; got != want {
		t.Errorf("vars %s, want %s", got, want)
	}
	if got, want := conditionsText(p.GatherWhen), "w1,w2"; got != want {
		t.Errorf("facts are gathered when %s, want %s", got, want)
	}
	if got, want := summary(taskNamed(t, p.Tasks, "t")), "tags=own,outer when=w1,w2,w3"; got != want {
		t.Errorf("task: %s, want %s", got, want)
	}
	if got, want := summary(taskNamed(t, p.Tasks, "in the role")), "tags=own,outer when=w1,w2"; got != want {
		t.Errorf("role: %s, want %s", got, want)
	}
	if got, want := summary(p.Handlers[0]), "tags=own,outer"; got != want {
		t.Errorf("handler: %s, want %s: the import's conditions are not for handlers", got, want)
	}
	if p.Dir != CatalogPrefix+"main/sub" || pb.Dir != CatalogPrefix+"main" {
		t.Errorf("directories %s and %s", p.Dir, pb.Dir)
	}
}

func TestModuleDefaultsInnermostAlone(t *testing.T) {
	play := onePlay(t, `
  module_defaults:
    copy: {src: play, dest: /play}
    debug: "{{ defaults }}"
  tasks:
    - {name: outer, copy: {}}
    - block: [{name: inner, ansible.builtin.copy: {dest: /x}}]
      module_defaults: {ansible.builtin.copy: {src: block}}
    - {name: template, debug: }
    - {name: other, file: {path: /x}}
`)
	for name, want := range map[string]string{"outer": "src:play,dest:/play", "inner": "src:block"} {
		got, _ := taskNamed(t, play.Tasks, name).Defaults.(*value.Dict)
		if dictText(got) != want {
			t.Errorf("%s has the defaults %s, want %s", name, dictText(got), want)
		}
	}
	if _, ok := taskNamed(t, play.Tasks, "template").Defaults.(value.Template); !ok {
		t.Error("a template as defaults is lost")
	}
	if got := taskNamed(t, play.Tasks, "other").Defaults; got != nil {
		t.Errorf("file has the defaults %v", got)
	}
}

func TestNumbersGrowInOrder(t *testing.T) {
	pb, l := mustLoad(t, map[string]string{"main/playbook.yml": `
- hosts: all
  handlers: [{name: h, debug: }]
  post_tasks: [{name: post, debug: }]
  tasks: [{block: [{name: in, debug: }], rescue: [{name: resc, debug: }]}, {name: inc, include_tasks: more.yml}]
  pre_tasks: [{name: pre, debug: }]
- hosts: all
  tasks: [{name: second play, debug: }]
`, "main/more.yml": "- {name: more, debug: }\n"})
	play := pb.Plays[0]
	inc, err := l.LoadTasks("more.yml", taskNamed(t, play.Tasks, "inc").Inherited())
	if err != nil {
		t.Fatal(err)
	}
	all := slices.Concat(play.PreTasks, play.Tasks, play.PostTasks, []Node{play.Handlers[0]}, pb.Plays[1].Tasks, inc.Nodes)
	last := int64(0)
	for _, n := range all {
		if n.Common().Number <= last {
			t.Errorf("%q has number %d after %d", n.Common().Name.Text(), n.Common().Number, last)
		}
		last = n.Common().Number
	}
}
