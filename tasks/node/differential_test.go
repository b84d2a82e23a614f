package node_test

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/json"
	"fmt"
	"io/fs"
	"maps"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/calroll/calroll/tasks"
	"github.com/calroll/calroll/tasks/journal"
	"github.com/calroll/calroll/tasks/node"
	"github.com/calroll/calroll/testenv/oracle"
)

// step is one task of a case. In its arguments @ is the case's folder.
type step struct {
	module string
	args   map[string]any
	check  bool
	sh     string // instead of a module: a script that runs in the folder
}

// sameAs is a case: the same steps by Ansible and by our modules must give the same answers and the same tree.
type sameAs struct {
	name  string
	setup string
	steps []step
}

type args = map[string]any

func do(module string, a args) step    { return step{module: module, args: a} }
func check(module string, a args) step { return step{module: module, args: a, check: true} }
func sh(script string) step            { return step{sh: script} }

// TestSameAsAnsible runs each case through ansible-playbook and through the modules.
func TestSameAsAnsible(t *testing.T) {
	cases := slices.Concat(fileCases, copyCases, lineCases, readCases, unarchiveCases, urlCases, findCases)
	serve(t)
	theirs := askAnsible(t, cases)
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			root := filepath.Join(t.TempDir(), "calroll")
			shell(t, c.setup, newDir(t, root))
			start, runs := tree(t, root), t.TempDir()
			ours := runModulesFor(t, c, root, runs)
			their := theirs[c.name]
			for i, s := range c.steps {
				// What a failed download says of changed, and what a check without a download says, has no meaning.
				if s.sh != "" || s.module == "get_url" && (s.check || ours[i]["failed"] == true && their.results[i]["failed"] == true) {
					continue
				}
				compare(t, fmt.Sprintf("step %d (%s)", i+1, s.module), ours[i], their.results[i], root, their.root)
			}
			if our := tree(t, root); our != their.tree {
				t.Errorf("the tree differs:\nours:\n%s\nAnsible's:\n%s", our, their.tree)
			}
			if !slices.ContainsFunc(c.steps, func(s step) bool { return s.sh != "" }) {
				undoAll(t, runs, root, start)
			}
		})
	}
}

func newDir(t *testing.T, path string) string {
	t.Helper()
	if err := os.MkdirAll(path, 0o755); err != nil {
		t.Fatal(err)
	}
	return path
}

func shell(t *testing.T, script, dir string) {
	t.Helper()
	cmd := exec.Command("sh", "-euc", "umask 022\n"+script)
	cmd.Dir = dir
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("setup: %v\n%s", err, out)
	}
}

var server *httptest.Server

func serve(t *testing.T) {
	t.Helper()
	mux := http.NewServeMux()
	text := func(path, body string) {
		mux.HandleFunc(path, func(w http.ResponseWriter, _ *http.Request) { fmt.Fprint(w, body) })
	}
	text("/file", "hello\n")
	mux.HandleFunc("/dated", func(w http.ResponseWriter, r *http.Request) {
		http.ServeContent(w, r, "dated", time.Unix(1_600_000_000, 0), strings.NewReader("dated\n"))
	})
	text("/other", "other\n")
	text("/sums", "0000  nothing\n5891b5b522d5df086d0ff0b110fbd9d21bb4fc7163af34d08286a2e846f6be03  file\n")
	mux.Handle("/moved", http.RedirectHandler("/file", http.StatusFound))
	mux.HandleFunc("/named", func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Disposition", `attachment; filename="its name.txt"`)
		fmt.Fprint(w, "named\n")
	})
	mux.HandleFunc("/private", func(w http.ResponseWriter, r *http.Request) {
		if user, password, _ := r.BasicAuth(); user != "ann" || password != "secret" {
			w.Header().Set("WWW-Authenticate", `Basic realm="private"`)
			http.Error(w, "no", http.StatusUnauthorized)
			return
		}
		fmt.Fprint(w, "private\n")
	})
	server = httptest.NewServer(mux)
	t.Cleanup(server.Close)
}

// ansibleRun is what Ansible made of a case.
type ansibleRun struct {
	root    string
	results []map[string]any
	tree    string
}

// answered is what Ansible said and did: its output, with paths below Base and URLs of a server, and the trees that it left.
type answered struct {
	Base, Server string
	Output       []byte
	Trees        []string // by case
}

// askAnsible gives each case's run by Ansible, of now or of before. What it made need not be there any more.
func askAnsible(t *testing.T, cases []sameAs) map[string]*ansibleRun {
	t.Helper()
	var question []any
	for _, c := range cases {
		question = append(question, c.name, c.setup)
		for _, s := range c.steps {
			question = append(question, s.module, s.args, s.check, s.sh)
		}
	}
	asked, err := json.Marshal(question)
	if err != nil {
		t.Fatal(err)
	}
	a := oracle.Ask(t, func() answered { return runAnsible(t, cases) }, asked)
	a.Output = bytes.ReplaceAll(a.Output, []byte(a.Server), []byte(server.URL))
	return a.runs(t, cases)
}

// runs takes the answer apart.
func (a answered) runs(t *testing.T, cases []sameAs) map[string]*ansibleRun {
	t.Helper()
	results := readReport(t, a.Output)
	runs := map[string]*ansibleRun{}
	for i, c := range cases {
		runs[c.name] = &ansibleRun{root: rootOf(a.Base, c), tree: a.Trees[i], results: results[:len(c.steps)]}
		results = results[len(c.steps):]
	}
	return runs
}

func rootOf(base string, c sameAs) string {
	return filepath.Join(base, strings.ReplaceAll(c.name, " ", "_"), "calroll")
}

// runAnsible runs all cases in one playbook, because starting it is what takes long.
func runAnsible(t *testing.T, cases []sameAs) answered {
	t.Helper()
	a := answered{Base: t.TempDir()}
	if server != nil {
		a.Server = server.URL
	}
	var list []map[string]any
	for _, c := range cases {
		root := newDir(t, rootOf(a.Base, c))
		shell(t, c.setup, root)
		for _, s := range c.steps {
			task := map[string]any{"name": c.name, "ignore_errors": true, "check_mode": s.check}
			if s.sh != "" {
				task["shell"] = map[string]any{"cmd": s.sh, "chdir": root}
			} else {
				task[s.module] = rooted(s.args, root)
			}
			list = append(list, task)
		}
	}
	a.Output = playbook(t, a.Base, list)
	for _, c := range cases {
		a.Trees = append(a.Trees, tree(t, rootOf(a.Base, c)))
	}
	return a
}

// playbook is the report of a play of these tasks.
func playbook(t *testing.T, dir string, list []map[string]any) []byte {
	t.Helper()
	raw, err := json.Marshal([]any{map[string]any{"hosts": "localhost", "connection": "local", "gather_facts": false, "tasks": list}})
	if err != nil {
		t.Fatal(err)
	}
	file := filepath.Join(dir, "play.json")
	if err := os.WriteFile(file, raw, 0o600); err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command("ansible-playbook", "-i", "localhost,", file)
	cmd.Env = append(os.Environ(), "ANSIBLE_STDOUT_CALLBACK=json", "ANSIBLE_LOCALHOST_WARNING=False", "ANSIBLE_PYTHON_INTERPRETER=/usr/bin/python3")
	out, err := cmd.Output()
	if results := readReport(t, out); len(results) != len(list) {
		t.Fatalf("ansible-playbook ran %d of %d tasks: %v", len(results), len(list), err)
	}
	return out
}

// readReport gives the result of each task.
func readReport(t *testing.T, out []byte) []map[string]any {
	t.Helper()
	var report struct {
		Plays []struct {
			Tasks []struct {
				Hosts map[string]map[string]any
			}
		}
	}
	if err := decode(out, &report); err != nil || len(report.Plays) != 1 {
		t.Fatalf("ansible-playbook: %v\n%s", err, out)
	}
	var results []map[string]any
	for _, task := range report.Plays[0].Tasks {
		results = append(results, numbers(task.Hosts["localhost"]).(map[string]any))
	}
	return results
}

// rooted puts the folder into every @ of the arguments, and an @ for every §.
func rooted(v any, root string) any {
	switch v := v.(type) {
	case string:
		if server != nil {
			v = strings.ReplaceAll(v, "%/", server.URL+"/")
		}
		return strings.ReplaceAll(strings.ReplaceAll(v, "@", root), "§", "@")
	case map[string]any:
		out := map[string]any{}
		for k, e := range v {
			out[k] = rooted(e, root)
		}
		return out
	case []any:
		out := make([]any, len(v))
		for i := range v {
			out[i] = rooted(v[i], root)
		}
		return out
	}
	return v
}

// undoAll takes a case back, so that every case is a proof of undo too.
func undoAll(t *testing.T, runs, root, start string) {
	t.Helper()
	report, err := journal.Undo(t.Context(), runs, "r", journal.UndoOptions{}, tasks.NodeKinds(tasks.KindOptions{Modules: node.Modules()}))
	if err != nil || !report.OK() {
		t.Errorf("undo: %v %+v", err, report.Problems())
	}
	if end := tree(t, root); end != start {
		t.Errorf("undone, the tree is not what it was:\nstart:\n%s\nend:\n%s", start, end)
	}
}

func runModules(t *testing.T, c sameAs, root string) []map[string]any {
	t.Helper()
	return runModulesFor(t, c, root, t.TempDir())
}

// runModulesFor runs the steps as the helper would, with the controller's half of copy and unarchive done here; runs is the
// folder of the journal.
func runModulesFor(t *testing.T, c sameAs, root, runs string) []map[string]any {
	t.Helper()
	j, err := journal.Open(runs, "r", journal.Holder{})
	if err != nil {
		t.Fatal(err)
	}
	defer j.Close()
	var results []map[string]any
	for _, s := range c.steps {
		if s.sh != "" {
			shell(t, s.sh, root)
			results = append(results, nil)
			continue
		}
		before := tree(t, root)
		r := runModule(t, j, s, root)
		if s.check && tree(t, root) != before {
			t.Errorf("%s altered the tree in check mode", s.module)
		}
		results = append(results, r)
	}
	return results
}

func runModule(t *testing.T, j *journal.Journal, s step, root string) map[string]any {
	t.Helper()
	sys := tasks.NewSys(tasks.Options{Recorder: j, Check: s.check, Scratch: t.TempDir()})
	defer sys.Close()
	make, ok := node.Modules().Lookup(s.module)
	if !ok {
		t.Fatalf("no module %q", s.module)
	}
	a := controllerHalf(t, s.module, rooted(s.args, root).(map[string]any))
	m, errs := tasks.SpecOf(make()).Decode(a)
	if err := tasks.JoinArgErrors(s.module, errs); err != nil {
		return map[string]any{"failed": true, "changed": false, "msg": err.Error()}
	}
	raw, err := json.Marshal(tasks.Run(context.Background(), m, sys).Vars())
	if err != nil {
		t.Fatal(err)
	}
	var out map[string]any
	if err := decode(raw, &out); err != nil {
		t.Fatal(err)
	}
	return numbers(out).(map[string]any)
}

// decode reads JSON whose numbers may be those of a key.
func decode(raw []byte, v any) error {
	d := json.NewDecoder(bytes.NewReader(raw))
	d.UseNumber()
	return d.Decode(v)
}

// numbers makes numbers of what decode read, as json.Unmarshal does; those that are too large are texts.
func numbers(v any) any {
	switch v := v.(type) {
	case json.Number:
		if f, err := v.Float64(); err == nil && len(v) < 16 {
			return f
		}
		return v.String()
	case map[string]any:
		for k := range v {
			v[k] = numbers(v[k])
		}
	case []any:
		for i := range v {
			v[i] = numbers(v[i])
		}
	}
	return v
}

// controllerHalf reads what the controller reads.
func controllerHalf(t *testing.T, module string, a map[string]any) map[string]any {
	t.Helper()
	src, ok := a["src"].(string)
	if !ok || module != "copy" && module != "unarchive" || a["remote_src"] == true {
		return a
	}
	out := maps.Clone(a)
	st, err := os.Stat(src)
	if err != nil {
		t.Fatal(err)
	}
	if !st.IsDir() {
		raw, err := os.ReadFile(src)
		if err != nil {
			t.Fatal(err)
		}
		out["_source"] = string(raw)
		out["_original_basename"] = filepath.Base(src)
		out["_source_mode"] = fmt.Sprintf("%04o", st.Mode().Perm())
		return out
	}
	files, dirs := []any{}, []any{}
	prefix := ""
	if !strings.HasSuffix(src, "/") {
		prefix = filepath.Base(src)
	}
	err = filepath.WalkDir(src, func(path string, e fs.DirEntry, err error) error {
		rel, _ := filepath.Rel(src, path)
		info, _ := os.Stat(path)
		mode := fmt.Sprintf("%04o", info.Mode().Perm())
		switch {
		case path == filepath.Clean(src) && prefix == "":
		case e.IsDir():
			dirs = append(dirs, map[string]any{"path": filepath.Join(prefix, rel), "mode": mode})
		default:
			raw, _ := os.ReadFile(path)
			files = append(files, map[string]any{"path": filepath.Join(prefix, rel), "mode": mode, "source": string(raw)})
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	out["_files"], out["_dirs"] = files, dirs
	return out
}

// volatile values differ from run to run, or tell of files that only Ansible makes.
var volatile = map[string]bool{
	"src": true, "invocation": true, "_ansible_no_log": true, "backup_file": true, "backup": true, "diff": true, "warnings": true,
	"elapsed": true, "extract_results": true, "exception": true, "action": true, "ansible_facts": true, "deprecations": true,
	"path_content": true, "results_file": true, "module_stderr": true, "module_stdout": true, "details": true, "status": true,
}

func compare(t *testing.T, what string, ours, theirs map[string]any, ourRoot, theirRoot string) {
	t.Helper()
	failed := theirs["failed"] == true
	keys := map[string]bool{"changed": true, "failed": true}
	if our := ours["failed"] == true; our != failed {
		t.Errorf("%s: failed is %v, Ansible's %v (messages: %v | %v)", what, our, failed, ours["msg"], theirs["msg"])
		return
	}
	if !failed {
		for k := range theirs {
			keys[k] = true
		}
		for k := range ours {
			keys[k] = true
		}
	}
	for _, k := range slices.Sorted(maps.Keys(keys)) {
		our, their := plainValue(ours[k], ourRoot), plainValue(theirs[k], theirRoot)
		if k == "failed" && their == nil {
			their = false
		}
		if k == "size" && ours["state"] == "link" { // the length of a path, and the folders' names differ
			continue
		}
		if volatile[k] || strings.HasPrefix(k, "_ansible") || reflect.DeepEqual(our, their) {
			continue
		}
		t.Errorf("%s: %s is %v, Ansible's %v (messages: %v | %v)", what, k, our, their, ours["msg"], theirs["msg"])
	}
}

func plainValue(v any, root string) any {
	switch v := v.(type) {
	case string:
		return strings.ReplaceAll(v, root, "@")
	case map[string]any:
		out := map[string]any{}
		for k, e := range v {
			switch k {
			case "atime", "mtime", "ctime", "inode", "version", "dev":
				continue
			}
			out[strings.ReplaceAll(k, root, "@")] = plainValue(e, root)
		}
		return out
	case []any:
		out := make([]any, len(v))
		for i := range v {
			out[i] = plainValue(v[i], root)
		}
		return out
	}
	return v
}

// isArchive tells that a file is a case's input, which holds the time it was made.
func isArchive(name string) bool {
	return slices.Contains([]string{".tar", ".tgz", ".tbz", ".txz", ".tzst", ".zip"}, filepath.Ext(name))
}

// tree describes what modules promise about a folder: names, types, modes, owners, contents.
func tree(t *testing.T, root string) string {
	t.Helper()
	var lines []string
	err := filepath.WalkDir(root, func(path string, _ fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		var st unix.Stat_t
		if err := unix.Lstat(path, &st); err != nil {
			return err
		}
		name := strings.TrimPrefix(path, root)
		if i := strings.Index(name, "~"); i > 0 && strings.Count(name, ":") == 2 { // a backup has the time in its name
			name = strings.SplitN(name, ".", 2)[0] + " backup"
		}
		line := fmt.Sprintf("%s %o %d:%d", name, st.Mode, st.Uid, st.Gid)
		switch st.Mode & unix.S_IFMT {
		case unix.S_IFREG:
			raw, err := os.ReadFile(path)
			if err != nil {
				return err
			}
			if !isArchive(name) {
				line += fmt.Sprintf(" %x", sha256.Sum256(raw))
			}
		case unix.S_IFLNK:
			target, err := os.Readlink(path)
			if err != nil {
				return err
			}
			line += " " + strings.ReplaceAll(target, root, "@")
		}
		lines = append(lines, line)
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return strings.Join(lines, "\n")
}
