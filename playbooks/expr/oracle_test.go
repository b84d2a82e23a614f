package expr

import (
	"bytes"
	"encoding/json"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"reflect"
	"strings"
	"testing"

	"github.com/calroll/calroll/playbooks/source"
	"github.com/calroll/calroll/playbooks/value"
	"github.com/calroll/calroll/testenv/oracle"
)

// fileVars are the variables of a YAML file, rendered when they are looked up.
type fileVars struct {
	env  *Env
	vars *value.Vars
}

func (v *fileVars) Lookup(name string) (any, bool, error) {
	raw, ok := v.vars.Var(name)
	if !ok {
		return nil, false, nil
	}
	out, err := v.env.Resolve(raw, v)
	return out, true, err
}

func (v *fileVars) Origin(name string) Origin {
	raw, _ := v.vars.Var(name)
	if _, ok := raw.(value.Template); ok {
		return Template
	}
	return Literal
}

func (v *fileVars) Names() []string { return v.vars.Names() }

func loadVars(t testing.TB) *fileVars {
	t.Helper()
	file := "testdata/vars.yml"
	text, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	vars, _, err := value.ReadVars(file, text)
	if err != nil {
		t.Fatal(err)
	}
	vars.Put("inventory_hostname", "localhost", source.Pos{})
	dir, err := filepath.Abs("testdata/files")
	if err != nil {
		t.Fatal(err)
	}
	return &fileVars{New(Options{BaseDir: dir}), vars}
}

// lines are the cases of a file: one a line, ␤ for a newline.
func lines(t testing.TB, file string) []string {
	t.Helper()
	text, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	var out []string
	for _, line := range strings.Split(string(text), "\n") {
		if line != "" && !strings.HasPrefix(line, "# ") {
			out = append(out, strings.ReplaceAll(line, "␤", "\n"))
		}
	}
	return out
}

// outcome is what one case came to.
type outcome struct {
	failed bool
	val    any // as JSON gives it
	err    error
	msg    string // Ansible's
}

// knownDifferences are cases in which expr differs from ansible-core 2.14 on purpose, with the reason.
var knownDifferences = map[string]string{
	"{{ '{{' }} {{ '}}' }}": "Ansible fails, because it takes the text that comes out for a set that holds a mapping; here it stays text",
}

// TestAgreesWithAnsible evaluates every case of testdata with this package and with ansible-playbook.
func TestAgreesWithAnsible(t *testing.T) {
	if _, err := exec.LookPath("ansible-playbook"); err != nil {
		t.Fatal("ansible-playbook is missing: install the packages ansible-core, ansible and python3-netaddr (Debian)")
	}
	t.Setenv("ORACLE_ENV", "set")
	vars := loadVars(t)
	var cases []string
	var ours []outcome
	var tasks []any
	add := func(name string, o outcome, task map[string]any) {
		task["ignore_errors"] = true
		cases, ours, tasks = append(cases, name), append(ours, o), append(tasks, task)
	}
	for _, text := range lines(t, "testdata/templates.txt") {
		v, err := vars.env.Template(text, source.Pos{}, vars)
		add(text, outcome{err != nil, viaJSON(t, v), err, ""}, debugTask(text))
	}
	for _, text := range lines(t, "testdata/conditions.txt") {
		holds, err := vars.env.Condition(text, source.Pos{}, vars)
		task := debugTask("held")
		task["when"] = text
		add("when: "+text, outcome{err != nil, map[bool]any{true: "held", false: "skipped"}[holds], err, ""}, task)
	}
	files, err := filepath.Glob("testdata/files/*.j2")
	if err != nil {
		t.Fatal(err)
	}
	for _, file := range files {
		text, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		abs, err := filepath.Abs(file)
		if err != nil {
			t.Fatal(err)
		}
		out, err := vars.env.RenderFile(string(text), source.Pos{File: file}, vars, TemplateModule())
		add(file, outcome{err != nil, "=" + out, err, ""}, debugTask("={{ lookup('template', '"+abs+"', convert_data=False) }}"))
	}
	theirs := askAnsible(t, tasks)
	if len(theirs) != len(ours) {
		t.Fatalf("ansible-playbook gave %d results for %d cases", len(theirs), len(ours))
	}
	for i, name := range cases {
		compareOutcome(t, name, ours[i], theirs[i])
	}
	t.Logf("%d cases compared", len(cases))
}

func debugTask(msg string) map[string]any {
	return map[string]any{"ansible.builtin.debug": map[string]any{"msg": msg}}
}

func viaJSON(t *testing.T, v any) any {
	t.Helper()
	raw := dumps(v, -1, false, true)
	var out any
	if err := json.Unmarshal([]byte(raw), &out); err != nil {
		t.Fatalf("%s: %v", raw, err)
	}
	return out
}

func compareOutcome(t *testing.T, name string, got, want outcome) {
	t.Helper()
	if _, ok := knownDifferences[name]; ok {
		return
	}
	var u *Undefined
	switch {
	case got.failed != want.failed:
		t.Errorf("%q\n  expr:    %v, %#v\n  ansible: %v %s", name, got.err, got.val, want.val, want.msg)
	case !got.failed && !reflect.DeepEqual(got.val, want.val):
		t.Errorf("%q\n  expr:    %#v\n  ansible: %#v", name, got.val, want.val)
	case got.failed && errors.As(got.err, &u) && !strings.Contains(strings.ReplaceAll(want.msg, "ansible.parsing.yaml.objects.AnsibleUnicode", "str"), u.Message):
		t.Errorf("%q: message\n  expr:    %s\n  ansible: %s", name, u.Message, want.msg)
	}
}

// askAnsible runs one playbook with the tasks and gives the result of each.
func askAnsible(t *testing.T, tasks []any) []outcome {
	t.Helper()
	question, err := json.Marshal(tasks)
	if err != nil {
		t.Fatal(err)
	}
	vars, err := os.ReadFile("testdata/vars.yml")
	if err != nil {
		t.Fatal(err)
	}
	return readOutcomes(t, oracle.Ask(t, func() string { return runAnsible(t, tasks) }, question, vars))
}

// runAnsible gives what the playbook prints.
func runAnsible(t *testing.T, tasks []any) string {
	t.Helper()
	dir := t.TempDir()
	varsFile, err := filepath.Abs("testdata/vars.yml")
	if err != nil {
		t.Fatal(err)
	}
	play := []any{map[string]any{"hosts": "localhost", "connection": "local", "gather_facts": false, "vars_files": []any{varsFile}, "tasks": tasks}}
	raw, err := json.Marshal(play)
	if err != nil {
		t.Fatal(err)
	}
	file := filepath.Join(dir, "play.yml")
	if err := os.WriteFile(file, raw, 0o644); err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command("ansible-playbook", "-i", "localhost,", file)
	cmd.Dir = dir
	cmd.Env = append(os.Environ(), "ANSIBLE_STDOUT_CALLBACK=minimal", "ANSIBLE_NOCOLOR=1", "ANSIBLE_LOCALHOST_WARNING=0", "TZ=UTC")
	var out, stderr bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &stderr
	if err := cmd.Run(); err != nil {
		t.Fatalf("ansible-playbook: %v\n%s%s", err, stderr.String(), out.String())
	}
	return out.String()
}

// readOutcomes reads what the minimal callback prints: "localhost | SUCCESS => {json}".
func readOutcomes(t *testing.T, out string) []outcome {
	t.Helper()
	var all []outcome
	for _, part := range strings.Split("\n"+out, "\nlocalhost | ")[1:] {
		status, rest, _ := strings.Cut(part, "=> ")
		if strings.HasPrefix(status, "SKIPPED") {
			all = append(all, outcome{val: "skipped"})
			continue
		}
		var result struct{ Msg any }
		if err := json.NewDecoder(strings.NewReader(rest)).Decode(&result); err != nil {
			t.Fatalf("cannot read %q: %v", part, err)
		}
		o := outcome{failed: strings.HasPrefix(status, "FAILED"), val: result.Msg}
		if o.failed {
			o.msg, _ = result.Msg.(string)
		}
		all = append(all, o)
	}
	return all
}
