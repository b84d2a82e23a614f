package playbooks

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"testing/fstest"

	"github.com/calroll/calroll/playbooks/source"
	"github.com/calroll/calroll/playbooks/value"
)

func fsOf(files map[string]string) fstest.MapFS {
	out := fstest.MapFS{}
	for name, text := range files {
		out[name] = &fstest.MapFile{Data: []byte(text)}
	}
	return out
}

func TestCatalogue(t *testing.T) {
	catalog := fsOf(map[string]string{
		"calico-etcd/playbook.yml":    "- hosts: all\n  tasks: [{import_tasks: ../common/tasks.yml}]\n  roles: [shared]\n",
		"calico-etcd/verify.yml":      "- hosts: verify\n",
		"calico-etcd/templates/a.j2":  "x",
		"common/tasks.yml":            "- {name: common, debug: }\n",
		"roles/shared/tasks/main.yml": "- {name: shared, debug: }\n",
		"roles/shared/files/b":        "x",
		"other/playbook.yml":          "- hosts: all\n",
	})
	l := &Loader{Files: Files{Catalog: catalog}, Modules: testModules}
	for name, want := range map[string]string{"calico-etcd": "calroll:calico-etcd/playbook.yml", "calico-etcd/verify": "calroll:calico-etcd/verify.yml", "calroll:calico-etcd/verify.yml": "calroll:calico-etcd/verify.yml"} {
		pb, err := l.Load(name)
		if err != nil || pb.File != want {
			t.Errorf("%s: %v", name, err)
		}
	}
	if got := l.Catalog(); !slices.Equal(got, []string{"calico-etcd", "other"}) {
		t.Errorf("the catalogue holds %q", got)
	}
	pb, err := l.Load("calico-etcd")
	if err != nil {
		t.Fatal(err)
	}
	task := taskNamed(t, pb.Plays[0].Tasks, "common")
	if got, err := l.Files.Find(task.SearchDirs, "templates", "a.j2"); err != nil || got != "calroll:calico-etcd/templates/a.j2" {
		t.Errorf("a template was found as %q, %v", got, err)
	}
	shared := taskNamed(t, pb.Plays[0].Tasks, "shared")
	if got, err := l.Files.Find(shared.SearchDirs, "files", "b"); err != nil || got != "calroll:roles/shared/files/b" || shared.Role.Path != "calroll:roles/shared" {
		t.Errorf("a file of a role was found as %q, %v", got, err)
	}
	if _, err := l.Files.Find(shared.SearchDirs, "files", "nothing"); !errors.Is(err, fs.ErrNotExist) || !strings.Contains(err.Error(), "calroll:roles/shared/files/nothing, calroll:roles/shared/nothing, ") {
		t.Error(err)
	}
	if _, err := l.Load("calico-etc"); err == nil || !strings.Contains(err.Error(), `did you mean the embedded playbook "calico-etcd"?`) {
		t.Error(err)
	}
	if _, err := l.Load("../../etc/passwd"); err == nil {
		t.Error("a name outside the catalogue was found")
	}
}

func TestSearchDirsAreAnsibles(t *testing.T) {
	pb, _ := mustLoad(t, map[string]string{
		"main/playbook.yml":              "- hosts: all\n  roles: [top]\n  tasks: [{name: plain, debug: }, {import_tasks: sub/more.yml}]\n",
		"main/sub/more.yml":              "- {name: more, debug: }\n",
		"main/roles/top/meta/main.yml":   "dependencies: [dep]\n",
		"main/roles/dep/tasks/main.yml":  "- import_tasks: in/it.yml\n",
		"main/roles/dep/tasks/in/it.yml": "- {name: it, debug: }\n",
	})
	for name, want := range map[string]string{"plain": "main", "more": "main/sub main", "it": "main/roles/dep main/roles/top main/roles/dep/tasks/in main"} {
		got := strings.ReplaceAll(strings.Join(taskNamed(t, pb.Plays[0].Tasks, name).SearchDirs, " "), CatalogPrefix, "")
		if got != want {
			t.Errorf("%s looks in %s, want %s", name, got, want)
		}
	}
}

func TestEncryptedFilesAreDecryptedAndNotShown(t *testing.T) {
	dir := t.TempDir()
	file := filepath.Join(dir, "site.yml")
	if err := os.WriteFile(file, []byte("$ANSIBLE_VAULT;1.1;AES256\n6162\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := (&Loader{Modules: testModules}).Load(file); err == nil || !strings.Contains(err.Error(), "encrypted") {
		t.Errorf("without a password it says %v", err)
	}
	l := &Loader{Modules: testModules, Decrypt: func(name string, text []byte) ([]byte, error) {
		if name != file || !strings.HasPrefix(string(text), "$ANSIBLE_VAULT") {
			t.Errorf("asked to decrypt %q of %s", text, name)
		}
		return []byte("- hosts: all\n  secret_keyword: hunter2\n"), nil
	}}
	_, err := l.Load(file)
	if ps := problemsOf(t, err); len(ps) != 1 || strings.Contains(err.Error(), "hunter2") {
		t.Error(err)
	}
}

func TestWhatIsOddIsWarnedOfOnce(t *testing.T) {
	var warnings []string
	l := &Loader{Files: Files{Catalog: fsOf(map[string]string{"main/playbook.yml": "- hosts: all\n  tasks: [{import_tasks: a.yml}, {import_tasks: a.yml}]\n",
		"main/a.yml": "- debug: {msg: x}\n  when: first\n  when: last\n- import_tasks: b.yml\n  register: x\n", "main/b.yml": ""})}, Modules: testModules, Warn: func(p *source.Problem) { warnings = append(warnings, p.Pos.String()) }}
	pb, err := l.Load("main")
	if err != nil {
		t.Fatal(err)
	}
	if want := []string{"calroll:main/a.yml:3:3", "calroll:main/a.yml:5:3"}; !slices.Equal(warnings, want) {
		t.Errorf("warnings at %q, want %q", warnings, want)
	}
	if got := conditionsText(pb.Plays[0].Tasks[0].Common().When); got != "last" {
		t.Errorf("the condition is %s", got)
	}
}

func TestLoadVars(t *testing.T) {
	l := &Loader{Files: Files{Catalog: fsOf(map[string]string{"v/a.yml": "x: '{{ y }}'\n", "v/bad.yml": "- x\n", "v/empty.yml": ""})}}
	vars, err := l.LoadVars("calroll:v/a.yml")
	if v, _ := vars.Var("x"); err != nil || v != (value.Template{Text: "{{ y }}", Pos: source.Pos{File: "calroll:v/a.yml", Line: 1, Col: 5}}) {
		t.Errorf("%v, %v", v, err)
	}
	if _, err := l.LoadVars("calroll:v/bad.yml"); err == nil {
		t.Error("a list was taken for variables")
	}
	if vars, err := l.LoadVars("calroll:v/empty.yml"); err != nil || vars.Len() != 0 {
		t.Error(err)
	}
	if _, err := l.LoadVars("calroll:v/none.yml"); !errors.Is(err, fs.ErrNotExist) {
		t.Error(err)
	}
}

func TestLoaderServesManyAtOnce(t *testing.T) {
	pb, l := mustLoad(t, map[string]string{"main/playbook.yml": "- hosts: all\n  tasks: [{name: inc, include_tasks: more.yml}]\n", "main/more.yml": "- debug:\n- import_role: {name: r}\n", "main/roles/r/tasks/main.yml": "- debug:\n"})
	inc := taskNamed(t, pb.Plays[0].Tasks, "inc")
	numbers := make(chan int64, 100)
	for range 20 {
		go func() {
			got, err := l.LoadTasks("more.yml", inc.Inherited())
			if err != nil {
				t.Error(err)
				numbers <- 0
				return
			}
			numbers <- got.Nodes[0].Common().Number
		}()
	}
	seen := map[int64]bool{}
	for range 20 {
		n := <-numbers
		if seen[n] {
			t.Errorf("the number %d was given twice", n)
		}
		seen[n] = true
	}
}
