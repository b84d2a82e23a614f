package main

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"maps"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"

	"github.com/pmezard/go-difflib/difflib"
	"golang.org/x/tools/txtar"
)

// The differential suite: each testdata/differential/*.txtar is a small playbook with the files it needs. It is run by
// ansible-playbook and by calroll, each in a folder of its own, and everything that can be told apart is compared: the order of
// tasks, every host's and every item's status and result, the recap, the exit code, and the tree of files under {{ work }}.
//
// The text above the files says what the case pins down. Lines in it that begin with "run:" are command lines, run one after the
// other in the same folder (one without flags when there is none). A line "differs: reason" says that only the tree is compared, and whether
// both tools fail. {{ url }} is a web server, {{ work }} an empty folder.

// differences are what is meant to differ, with the reason.
var differences = map[string]string{
	"invocation": "the arguments as the module saw them, for -vvv", "exception": "a Python traceback",
	"warnings": "told as events of their own", "deprecations": "Ansible's own business",
	"start": "a time", "end": "a time", "delta": "a duration", "elapsed": "a duration", "atime": "a time", "mtime": "a time", "ctime": "a time", "date": "a time",
	"inode": "of the file, which is another one", "dev": "of the file system", "blocks": "of the file system", "version": "changes with every inode",
	"extract_results": "what tar said: calroll runs no tar",
}

// aboutFiles are keys that Ansible's modules add to a failure about the file as it stands.
var aboutFiles = keys("path dest src gid uid group owner mode size state checksum details exit_status secontext")

// testedAlone are modules whose words for failures are compared by the differential suite of the modules.
var testedAlone = keys("copy template file lineinfile unarchive get_url slurp stat include_vars")

// sends are modules whose src is a temporary file under Ansible.
var sends = keys("copy get_url unarchive")

// statuses are keys of a result that its status has told already.
var statuses = []string{"failed", "skipped", "results"}

func TestPlaybooksDoWhatTheyDoUnderAnsible(t *testing.T) {
	if _, err := exec.LookPath("ansible-playbook"); err != nil {
		t.Fatal("cannot compare with Ansible: install ansible-core (apt-get install ansible-core)")
	}
	files, err := filepath.Glob("testdata/differential/*.txtar")
	if err != nil || len(files) < 1 {
		t.Fatalf("%d cases, want 60 or more (%v)", len(files), err)
	}
	server := httptest.NewServer(pages())
	t.Cleanup(server.Close)
	for _, file := range files {
		c := readCase(t, file, server.URL)
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			c.compare(t)
		})
	}
}

// pages is what {{ url }} serves.
func pages() http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("/hello", func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "text/plain")
		fmt.Fprint(w, "hello\n")
	})
	mux.HandleFunc("/json", func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "application/json")
		fmt.Fprint(w, `{"name": "calico", "list": [1, 2]}`)
	})
	mux.HandleFunc("/echo", func(w http.ResponseWriter, r *http.Request) {
		body, _ := io.ReadAll(r.Body)
		w.Header().Set("Content-Type", "application/json")
		_ = json.NewEncoder(w).Encode(map[string]string{"method": r.Method, "body": string(body), "type": r.Header.Get("Content-Type"), "x": r.Header.Get("X-Extra")})
	})
	mux.HandleFunc("/status/{code}", func(w http.ResponseWriter, r *http.Request) {
		code, err := strconv.Atoi(r.PathValue("code"))
		if err != nil {
			code = http.StatusBadRequest
		}
		w.Header().Set("Content-Type", "text/plain")
		w.WriteHeader(code)
		fmt.Fprintln(w, http.StatusText(code))
	})
	return mux
}

// differential is one case.
type differential struct {
	name    string
	archive *txtar.Archive
	runs    [][]string
	url     string
	differs string // why only the tree, and whether both fail, is compared
}

func readCase(t *testing.T, file, url string) differential {
	t.Helper()
	a, err := txtar.ParseFile(file)
	if err != nil {
		t.Fatal(err)
	}
	c := differential{name: strings.TrimSuffix(filepath.Base(file), ".txtar"), archive: a, url: url}
	for line := range strings.Lines(string(a.Comment)) {
		if flags, ok := strings.CutPrefix(line, "run:"); ok {
			c.runs = append(c.runs, strings.Fields(flags))
		}
		if why, ok := strings.CutPrefix(line, "differs:"); ok {
			c.differs = strings.TrimSpace(why)
		}
	}
	if c.runs == nil {
		c.runs = [][]string{nil}
	}
	return c
}

// places are how many cases run at the same time: Ansible is heavy.
var places = make(chan struct{}, 3)

func (c differential) compare(t *testing.T) {
	places <- struct{}{}
	defer func() { <-places }()
	root := t.TempDir()
	theirs := c.carryOut(t, filepath.Join(root, "them"), ansible)
	ours := c.carryOut(t, filepath.Join(root, "ours"), calroll)
	if ours != theirs {
		text, err := difflib.GetUnifiedDiffString(difflib.UnifiedDiff{A: difflib.SplitLines(theirs), B: difflib.SplitLines(ours), FromFile: "ansible", ToFile: "calroll", Context: 3})
		if err != nil {
			t.Fatal(err)
		}
		t.Errorf("%s", text)
	}
}

// tool runs a playbook with flags and says what it printed.
type tool func(dir string, flags []string) *exec.Cmd

func ansible(dir string, flags []string) *exec.Cmd {
	plugins, err := filepath.Abs("testdata/differential/callback_plugins")
	if err != nil {
		panic(err)
	}
	cmd := exec.Command("ansible-playbook", flags...)
	cmd.Env = append(environment(dir), "ANSIBLE_HOME="+dir+".ansible", "ANSIBLE_LOCAL_TEMP="+dir+".ansible/tmp", "ANSIBLE_REMOTE_TEMP="+dir+".ansible/remote",
		"ANSIBLE_CALLBACK_PLUGINS="+plugins, "ANSIBLE_STDOUT_CALLBACK=events", "ANSIBLE_PYTHON_INTERPRETER=/usr/bin/python3", "ANSIBLE_PIPELINING=1", "PYTHONDONTWRITEBYTECODE=1")
	return cmd
}

// calroll is the test binary itself under that name (TestMain).
func calroll(dir string, flags []string) *exec.Cmd {
	cmd := exec.Command("calroll", append([]string{"run", "--output", "json"}, flags...)...)
	cmd.Env = append(environment(dir), "XDG_STATE_HOME="+dir+".state")
	return cmd
}

func environment(dir string) []string {
	return []string{"PATH=" + os.Getenv("PATH"), "HOME=" + dir + "/work", "LC_ALL=C.UTF-8", "TZ=UTC", "CASE=differential"}
}

// carryOut runs the case with a tool in dir, and is all that can be observed, as text.
func (c differential) carryOut(t *testing.T, dir string, with tool) string {
	t.Helper()
	unpack(t, c.archive, dir)
	var out strings.Builder
	for _, flags := range c.runs {
		flags = slices.Concat([]string{"play.yml", "-i", c.inventory(), "-e", "work=" + dir + "/work", "-e", "url=" + c.url}, flags)
		cmd := with(dir, flags)
		cmd.Dir = dir
		var stdout, stderr bytes.Buffer
		cmd.Stdout, cmd.Stderr = &stdout, &stderr
		err := cmd.Run()
		var exit *exec.ExitError
		if err != nil && !errors.As(err, &exit) {
			t.Fatal(err)
		}
		fmt.Fprintf(&out, "run %s\n", strings.Join(flags[7:], " "))
		if os.Getenv("DIFFERENTIAL_VERBOSE") != "" {
			t.Logf("%s %s\n%s%s", filepath.Base(cmd.Path), strings.Join(flags, " "), stdout.String(), stderr.String())
		}
		if c.differs != "" {
			fmt.Fprintf(&out, "fails: %v\n", cmd.ProcessState.ExitCode() != 0)
			continue
		}
		out.WriteString(story(t, stdout.Bytes(), slices.Contains(flags, "--diff")))
		fmt.Fprintf(&out, "exit %d\n", cmd.ProcessState.ExitCode())
	}
	out.WriteString(tree(t, dir+"/work"))
	return strings.NewReplacer(dir, "CASE", c.url, "URL").Replace(out.String())
}

func (c differential) inventory() string {
	for _, f := range c.archive.Files {
		if dir, rest, ok := strings.Cut(f.Name, "/"); ok && dir == "inventory" && rest != "" || f.Name == "inventory" {
			return "inventory"
		}
	}
	return "hosts"
}

// standardInventory is for the cases that bring none.
const standardInventory = `[web]
h1 number=1
h2 number=2
[db]
h3 number=3
[all:vars]
ansible_connection=local
`

func unpack(t *testing.T, a *txtar.Archive, dir string) {
	t.Helper()
	files := append([]txtar.File{{Name: "hosts", Data: []byte(standardInventory)}}, a.Files...)
	for _, f := range files {
		name := filepath.Join(dir, f.Name)
		if err := os.MkdirAll(filepath.Dir(name), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(name, f.Data, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.MkdirAll(filepath.Join(dir, "work"), 0o755); err != nil {
		t.Fatal(err)
	}
}

// line is an event of either tool.
type line struct {
	Event   string                    `json:"event"`
	Play    string                    `json:"play"`
	Batch   int                       `json:"batch"`
	Task    string                    `json:"task"`
	Action  string                    `json:"action"`
	Handler bool                      `json:"handler"`
	Host    string                    `json:"host"`
	Hosts   []string                  `json:"hosts"`
	Status  string                    `json:"status"`
	Item    any                       `json:"item"`
	Result  map[string]any            `json:"result"`
	Diff    []map[string]any          `json:"diff"`
	Message string                    `json:"message"`
	Recap   map[string]map[string]int `json:"recap"`
}

// story is a run as text: hosts are sorted within a task, because which one answers first is chance.
func story(t *testing.T, stdout []byte, diff bool) string {
	t.Helper()
	var out strings.Builder
	var hosts []line
	play, action := "", ""
	flush := func() {
		slices.SortStableFunc(hosts, func(a, b line) int { return strings.Compare(a.Host, b.Host) })
		for _, l := range hosts {
			fmt.Fprintf(&out, "  %s\n", l.told())
		}
		hosts = nil
	}
	for raw := range bytes.Lines(stdout) {
		var l line
		if !bytes.HasPrefix(raw, []byte("{")) {
			continue
		}
		if err := json.Unmarshal(raw, &l); err != nil {
			t.Fatalf("cannot read an event: %v\n%s", err, raw)
		}
		if !diff {
			l.Diff = nil // Ansible's modules give it when nobody asked
		}
		switch {
		case l.Event == "play_start":
			play = l.Play
		case l.Event == "batch_start" && l.Batch > 1:
			l.Event, l.Play = "play_start", play // Ansible starts the play again
		case l.Action == "meta":
			continue // Ansible tells it of some
		case l.Event == "task_start":
			action = l.Action
		case action == "gather_facts" || action == "setup":
			l.Result = nil // facts have a differential test of their own
		}
		if l.Action == "" {
			l.Action = action
		}
		if l.Host != "" && l.Event != "connect" && l.Event != "warning" {
			hosts = append(hosts, l)
			continue
		}
		if text := l.told(); text != "" {
			flush()
			out.WriteString(text + "\n")
		}
	}
	flush()
	return out.String()
}

// told is an event as text; empty for those that only one of the tools has.
func (l line) told() string {
	switch l.Event {
	case "play_start":
		return "play " + l.Play
	case "no_hosts":
		return "no hosts"
	case "task_start":
		if l.Handler {
			return "handler " + l.Task
		}
		return "task " + l.Task
	case "included":
		if filepath.Ext(l.Message) == "" {
			return "" // a role: Ansible does not tell which
		}
		slices.Sort(l.Hosts)
		return fmt.Sprintf("  included %s for %v", filepath.Base(l.Message), l.Hosts)
	case "retry":
		return l.Host + " retry"
	case "item_done":
		if l.Item == "(censored due to no_log)" {
			l.Item = nil // Ansible has no words for it
		}
		return fmt.Sprintf("%s item %s %s", l.Host, inJSON(l.Item), l.outcome())
	case "host_done":
		return l.Host + " " + l.outcome()
	case "recap":
		return l.recap()
	}
	return ""
}

func (l line) recap() string {
	var b strings.Builder
	for _, host := range slices.Sorted(maps.Keys(l.Recap)) {
		counts := l.Recap[host]
		delete(counts, "undone")
		fmt.Fprintf(&b, "recap %s %v\n", host, counts)
	}
	return strings.TrimSuffix(b.String(), "\n")
}

// outcome is a status with the result that came with it.
func (l line) outcome() string {
	status := l.Status
	if l.Event == "item_done" && status == "ignored" {
		status = "failed" // Ansible ignores the loop, not its items
	}
	if l.Result["unreachable"] == true {
		status, l.Result = "unreachable", nil // each tool has its words for it
	}
	for _, k := range statuses {
		delete(l.Result, k)
	}
	if sends[l.Action] {
		delete(l.Result, "src")
	}
	if status == "failed" || status == "ignored" {
		for k := range l.Result {
			if aboutFiles[k] || testedAlone[l.Action] && k != "attempts" && k != "failed_when_result" {
				delete(l.Result, k)
			}
		}
	}
	if l.Result["changed"] == false {
		delete(l.Result, "changed")
	}
	return strings.TrimSpace(status + " " + inJSON(clean(l.Result)) + diffText(l.Diff))
}

func keys(names string) map[string]bool {
	set := map[string]bool{}
	for _, name := range strings.Fields(names) {
		set[name] = true
	}
	return set
}

// clean is a value without what is meant to differ.
func clean(v any) any {
	switch v := v.(type) {
	case map[string]any:
		out := map[string]any{}
		for _, k := range []string{"changed_when_result", "failed_when_result"} {
			if _, ok := v[k].(string); ok {
				delete(v, "msg") // Ansible tells the mistake only here
			}
		}
		for k, e := range v {
			if _, ok := differences[k]; ok || e == nil || strings.HasPrefix(k, "_ansible_") || k == "src" && temporary(e) {
				continue // what is null is as good as not there
			}
			out[k] = clean(e)
		}
		return out
	case []any:
		out := make([]any, len(v))
		for i, e := range v {
			out[i] = clean(e)
		}
		return out
	case string:
		if mistake.MatchString(v) {
			return "MISTAKE"
		}
		return stamp.ReplaceAllString(v, "STAMP")
	}
	return v
}

// temporary tells that a value is where Ansible puts what it sends to a host.
func temporary(v any) bool {
	text, _ := v.(string)
	return strings.Contains(text, "ansible-tmp-") || strings.Contains(text, "/ansible-local-")
}

// mistake is how each tool begins to tell of a mistake in the playbook.
var mistake = regexp.MustCompile(`^[^ ]*play\.yml:\d+:\d+: |^[^ ]*\.(yml|j2):\d+:\d+: |The error (was|appears to be)|' is undefined|^argument '\S+' is of type |^Could not find or access |^An unhandled exception occurred|^Invalid data passed to 'loop'`)

// stamp is the tail of a backup's name.
var stamp = regexp.MustCompile(`\.\d+\.\d{4}-\d\d-\d\d@\d\d:\d\d:\d\d~`)

func diffText(diffs []map[string]any) string {
	var b strings.Builder
	for _, d := range diffs { // headers are left out: Ansible's name temporary files
		before, after := sideText(d["before"]), sideText(d["after"])
		if before != after {
			fmt.Fprintf(&b, "\n      before: %q\n      after: %q", before, after)
		}
	}
	return b.String()
}

func sideText(v any) string {
	switch v := v.(type) {
	case nil:
		return ""
	case string:
		var m any
		if json.Unmarshal([]byte(v), &m) == nil {
			return inJSON(clean(m))
		}
		return v
	}
	return inJSON(clean(v))
}

func inJSON(v any) string {
	var b strings.Builder
	enc := json.NewEncoder(&b)
	enc.SetEscapeHTML(false)
	if err := enc.Encode(v); err != nil {
		return fmt.Sprint(v)
	}
	return strings.TrimSpace(b.String())
}

// tree is every file below dir, as text: kind, mode, owner, and content or target.
func tree(t *testing.T, dir string) string {
	t.Helper()
	var b strings.Builder
	err := filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		info, err := d.Info()
		if err != nil {
			return err
		}
		name, err := filepath.Rel(dir, path)
		if err != nil {
			return err
		}
		if name == ".ansible" {
			return fs.SkipDir
		}
		st := info.Sys().(*syscall.Stat_t)
		fmt.Fprintf(&b, "tree %s %v %d:%d", stamp.ReplaceAllString(name, "STAMP"), info.Mode(), st.Uid, st.Gid)
		switch {
		case info.Mode()&fs.ModeSymlink != 0:
			target, err := os.Readlink(path)
			fmt.Fprintf(&b, " -> %s\n", target)
			return err
		case info.Mode().IsRegular():
			text, err := os.ReadFile(path)
			fmt.Fprintf(&b, " links %d\n", st.Nlink)
			for line := range strings.Lines(string(text)) {
				fmt.Fprintf(&b, "     %q\n", line)
			}
			return err
		}
		b.WriteString("\n")
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return b.String()
}
