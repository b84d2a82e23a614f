package main_test

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"

	"github.com/pmezard/go-difflib/difflib"
	"golang.org/x/tools/txtar"

	"github.com/calroll/calroll/testenv/oracle"
)

// The differential suite: each testdata/differential/*.txtar is a small playbook with the files it needs. It is run by
// ansible-playbook and by calroll, each in a folder of its own, and everything that can be told apart is compared: the order of
// tasks, every host's and every item's status and result, the recap, the exit code, and the tree of files under {{ work }}.
//
// The text above the files says what the case pins down. Lines in it that begin with "run:" are command lines, run one after the
// other in the same folder (one without flags when there is none). A line "differs: reason" says that only the tree is compared, and whether
// both tools fail. {{ url }} is a web server, {{ work }} an empty folder.

func TestPlaybooksDoWhatTheyDoUnderAnsible(t *testing.T) {
	if _, err := exec.LookPath("ansible-playbook"); err != nil {
		t.Fatal("cannot compare with Ansible: install ansible-core (apt-get install ansible-core)")
	}
	files, err := filepath.Glob("testdata/differential/*.txtar")
	if err != nil || len(files) < 60 {
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
	theirs := c.story(t, c.askAnsible(t, filepath.Join(root, "them")))
	ours := c.story(t, c.carryOut(t, filepath.Join(root, "ours"), calroll))
	if ours != theirs {
		text, err := difflib.GetUnifiedDiffString(difflib.UnifiedDiff{A: difflib.SplitLines(theirs), B: difflib.SplitLines(ours), FromFile: "ansible", ToFile: "calroll", Context: 3})
		if err != nil {
			t.Fatal(err)
		}
		t.Errorf("%s", text)
	}
}

// observed is what a tool did with a case. The case's folder and the web server have fixed names in it.
type observed struct {
	Runs []ran
	Tree string
}

type ran struct {
	Flags  []string
	Stdout string
	Stderr string
	Exit   int
}

// tool is the command that runs a playbook, with flags, in dir.
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

// askAnsible is what Ansible does with the case.
func (c differential) askAnsible(t *testing.T, dir string) observed {
	t.Helper()
	plugin, err := os.ReadFile("testdata/differential/callback_plugins/events.py")
	if err != nil {
		t.Fatal(err)
	}
	return oracle.Ask(t, func() observed { return c.carryOut(t, dir, ansible) }, plugin, []byte(standardInventory), txtar.Format(c.archive))
}

// carryOut runs the case with a tool in dir.
func (c differential) carryOut(t *testing.T, dir string, with tool) observed {
	t.Helper()
	unpack(t, c.archive, dir)
	_, port, _ := strings.Cut(strings.TrimPrefix(c.url, "http://"), ":")
	names := strings.NewReplacer(dir, "CASE", c.url, "URL", port, "77777") // a number still, for results that are read as JSON
	var o observed
	for _, flags := range c.runs {
		cmd := with(dir, slices.Concat([]string{"play.yml", "-i", c.inventory(), "-e", "work=" + dir + "/work", "-e", "url=" + c.url}, flags))
		cmd.Dir = dir
		var stdout, stderr bytes.Buffer
		cmd.Stdout, cmd.Stderr = &stdout, &stderr
		err := cmd.Run()
		var exit *exec.ExitError
		if err != nil && !errors.As(err, &exit) {
			t.Fatal(err)
		}
		o.Runs = append(o.Runs, ran{Flags: flags, Stdout: names.Replace(stdout.String()), Stderr: names.Replace(stderr.String()), Exit: cmd.ProcessState.ExitCode()})
	}
	o.Tree = names.Replace(tree(t, dir+"/work"))
	return o
}

// story is what can be compared, as text.
func (c differential) story(t *testing.T, o observed) string {
	t.Helper()
	var out strings.Builder
	for _, r := range o.Runs {
		fmt.Fprintf(&out, "run %s\n", strings.Join(r.Flags, " "))
		if testing.Verbose() {
			t.Logf("%s%s", r.Stdout, r.Stderr)
		}
		if c.differs != "" {
			fmt.Fprintf(&out, "fails: %v\n", r.Exit != 0)
			continue
		}
		out.WriteString(story(t, r.Stdout, slices.Contains(r.Flags, "--diff")))
		fmt.Fprintf(&out, "exit %d\n", r.Exit)
	}
	return out.String() + o.Tree
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
