package playbooks

import (
	"fmt"
	"reflect"
	"strings"
	"testing"

	"github.com/calroll/calroll/playbooks/value"
)

// argsText shows a task's module and arguments with their places, templates in angle brackets.
func argsText(task *Task) string {
	parts := []string{task.Module}
	if task.ArgsTemplate != nil {
		parts = append(parts, "*=<"+task.ArgsTemplate.Text+">")
	}
	for _, name := range task.Args.Names() {
		v, _ := task.Args.Var(name)
		text := fmt.Sprint(v)
		if t, ok := v.(value.Template); ok {
			text = "<" + t.Text + ">"
		}
		pos := task.Args.Pos(name)
		parts = append(parts, fmt.Sprintf("%s=%s@%d:%d", name, text, pos.Line, pos.Col))
	}
	return strings.Join(parts, " ")
}

func TestActionsAndArguments(t *testing.T) {
	for _, c := range []struct{ text, want string }{
		{"debug:", "debug"},
		{`debug: {msg: "{{ a }}"}`, "debug msg=<{{ a }}>@1:9"},
		{"ansible.builtin.debug: msg=hi", "debug msg=hi@1:24"},
		{`debug: msg="{{ a }} b" var=c`, "debug msg=<{{ a }} b>@1:8 var=c@1:24"},
		{`debug: "{{ all_args }}"`, "debug *=<{{ all_args }}>"},
		{`debug: !unsafe "msg={{ a }}"`, "debug msg={{ a }}@1:17"},
		{"command: echo {{ a }} b=c chdir=/tmp", "command _raw_params=<echo {{ a }} b=c>@1:10 chdir=/tmp@1:27"},
		{"command: {cmd: x, chdir: /y}", "command cmd=x@1:11 chdir=/y@1:19"},
		{"command: x\nargs: {chdir: /y, creates: /z}", "command chdir=/y@2:8 creates=/z@2:19 _raw_params=x@1:10"},
		{"shell: |\n  first\n    second\nargs:\n  chdir: /y", "shell chdir=/y@5:3 _raw_params=first\n  second\n@2:3"},
		{"debug: {msg: own}\nargs: {msg: args, var: v}", "debug msg=own@1:9 var=v@2:19"},
		{"debug:\nargs: '{{ more }}'", "debug *=<{{ more }}>"},
		{"action: copy src=a dest=b", "copy src=a@1:14 dest=b@1:20"},
		{"action: {module: copy, src: a, dest: b}", "copy src=a@1:24 dest=b@1:32"},
		{"local_action: command x", "command _raw_params=x@1:15"},
		{"set_fact: a=1 b={{ c }}", "set_fact a=1@1:11 b=<{{ c }}>@1:15"},
		{"meta: end_play", "meta _raw_params=end_play@1:7"},
	} {
		play := onePlay(t, "  tasks:\n  -\n    "+strings.ReplaceAll(c.text, "\n", "\n    ")+"\n")
		if got := argsText(play.Tasks[0].(*Task)); got != shifted(c.want, 3, 4) {
			t.Errorf("%s\n got %s\nwant %s", c.text, got, shifted(c.want, 3, 4))
		}
	}
}

// shifted is want with every place moved by that many lines and columns.
func shifted(want string, lines, cols int) string {
	words := strings.Split(want, "@")
	for i, w := range words[1:] {
		var line, col int
		var rest string
		if n, _ := fmt.Sscanf(strings.Replace(w, " ", " \x01", 1), "%d:%d", &line, &col); n != 2 {
			panic(w)
		}
		if _, after, ok := strings.Cut(w, " "); ok {
			rest = " " + after
		}
		words[i+1] = fmt.Sprintf("%d:%d%s", line+lines, col+cols, rest)
	}
	return strings.Join(words, "@")
}

func TestTaskKeywords(t *testing.T) {
	play := onePlay(t, `
  rollback: {scope: all}
  serial: [2, 30%, "{{ n }}"]
  max_fail_percentage: 25%
  vars_files: [a.yml, [b.yml, "{{ c }}.yml"]]
  tasks:
    - name: loop
      debug: {msg: x}
      loop: "{{ list }}"
      loop_control: {loop_var: it, index_var: i, label: "{{ it.name }}", pause: 1.5, extended: true, extended_allitems: false}
      until: out.rc == 0
      retries: "{{ tries }}"
      delay: 2
      register: out
      changed_when: [a, true]
      failed_when: false
    - name: with
      debug: {msg: x}
      with_dict: {a: 1}
    - name: undone
      command: make it
      undo:
        - command: unmake it
        - {name: remove, file: {path: /it, state: absent}, timeout: 7}
      timeout: 5
    - {name: local, local_action: command x}
  handlers:
    - {name: h, debug: , listen: [a, b]}
`)
	l := taskNamed(t, play.Tasks, "loop")
	if _, isTemplate := l.Loop.Terms.(value.Template); !isTemplate || l.Loop.Lookup != "" || l.Loop.Var.Text() != "it" || l.Loop.IndexVar.Text() != "i" ||
		l.Loop.Pause.Text() != "1.5" || l.Loop.Extended.Text() != "true" || l.Loop.ExtendedAllItems.Text() != "false" || show(l.Loop.Label) != `"{{ it.name }}"` {
		t.Errorf("loop %+v", l.Loop)
	}
	if conditionsText(l.Until) != "out.rc == 0" || l.Retries.Text() != "{{ tries }}" || l.Delay.Text() != "2" || l.Register != "out" ||
		conditionsText(l.ChangedWhen) != "a,True" || conditionsText(l.FailedWhen) != "False" {
		t.Errorf("task %+v", l)
	}
	with := taskNamed(t, play.Tasks, "with").Loop
	if d, ok := with.Terms.(*value.Dict); !ok || with.Lookup != "dict" || dictText(d) != "a:1" {
		t.Errorf("loop %+v", with)
	}
	undone := taskNamed(t, play.Tasks, "undone")
	if len(undone.Undo) != 2 || undone.Undo[0].Module != "command" || undone.Undo[1].Module != "file" {
		t.Errorf("undo %+v", undone.Undo)
	}
	if undone.Undo[0].Timeout.IsSet() || undone.Undo[1].Timeout.Text() != "7" {
		t.Errorf("time-outs of the undo: %q, %q", undone.Undo[0].Timeout.Text(), undone.Undo[1].Timeout.Text())
	}
	if got := taskNamed(t, play.Tasks, "local").DelegateTo.Text(); got != "localhost" {
		t.Errorf("local_action runs on %q", got)
	}
	if play.Rollback != "all" || settingsText(play.Serial) != "2,30%,{{ n }}" || play.MaxFailPercentage.Text() != "25" || settingsText(play.Handlers[0].Listen) != "a,b" {
		t.Errorf("play %+v", play)
	}
	var files []string
	for _, alternatives := range play.VarsFiles {
		files = append(files, settingsText(alternatives))
	}
	if want := []string{"a.yml", "b.yml,{{ c }}.yml"}; !reflect.DeepEqual(files, want) {
		t.Errorf("vars_files %q, want %q", files, want)
	}
}

func TestFullName(t *testing.T) {
	pb, _ := mustLoad(t, map[string]string{
		"main/playbook.yml":           "- hosts: all\n  roles: [r]\n  tasks: [{debug: }, {name: n, debug: }, {name: 'n {{ x }}', debug: }, {include_role: {name: '{{ r }}'}}, {ansible.builtin.include_tasks: x.yml}]\n",
		"main/roles/r/tasks/main.yml": "[{debug: }, {name: n, debug: }, {name: 'n {{ x }}', debug: }, {include_role: {name: s}}]\n",
	})
	var got []string
	for task := range pb.Plays[0].Leaves() {
		name := task.FullName()
		if _, isTemplate := name.Template(); isTemplate != strings.Contains(name.Text(), "{{") {
			t.Errorf("%s: is it a template? %v", name.Text(), isTemplate)
		}
		got = append(got, name.Text())
	}
	want := []string{"r : debug", "r : n", "r : n {{ x }}", "include_role : s", "debug", "n", "n {{ x }}", "include_role : {{ r }}", "ansible.builtin.include_tasks"}
	if !reflect.DeepEqual(got, want) {
		t.Errorf("names %q, want %q", got, want)
	}
}
