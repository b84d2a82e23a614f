package playbooks

import (
	"bytes"
	"encoding/json"
	"os"
	"os/exec"
	"path/filepath"
	"reflect"
	"strings"
	"testing"

	"pgregory.net/rapid"
)

// needAnsible is the program that these tests compare with.
func needAnsible(t *testing.T) {
	t.Helper()
	if _, err := exec.LookPath("ansible-playbook"); err != nil {
		t.Fatal("these tests compare with ansible-playbook: install Debian's package ansible-core (or ansible)")
	}
}

// ansibleList is what ansible-playbook lists of playbooks in testdata/listing.
func ansibleList(t *testing.T, args ...string) string {
	t.Helper()
	cmd := exec.Command("ansible-playbook", args...)
	cmd.Dir = "testdata/listing"
	cmd.Env = append(os.Environ(), "ANSIBLE_NOCOLOR=1", "ANSIBLE_LOCALHOST_WARNING=False", "HOME="+t.TempDir())
	var out, errs bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &errs
	if err := cmd.Run(); err != nil {
		t.Fatalf("ansible-playbook %s: %v\n%s", strings.Join(args, " "), err, errs.String())
	}
	return out.String()
}

// calrollList is what calroll lists of the same, one playbook after the other.
func calrollList(t *testing.T, what Listing, files ...string) string {
	t.Helper()
	t.Chdir("testdata/listing")
	var out bytes.Buffer
	for _, f := range files {
		l := &Loader{Modules: testModules}
		pb, err := l.Load(f)
		if err != nil {
			t.Fatal(err)
		}
		if err := pb.List(&out, what); err != nil {
			t.Fatal(err)
		}
	}
	return out.String()
}

func TestListingIsAnsibles(t *testing.T) {
	needAnsible(t)
	paths, err := filepath.Glob("testdata/listing/[0-9]*.yml")
	if err != nil || len(paths) < 20 {
		t.Fatalf("%d playbooks to compare, %v", len(paths), err)
	}
	files := make([]string, len(paths))
	for i, p := range paths {
		files[i] = filepath.Base(p)
	}
	for name, c := range map[string]struct {
		flags []string
		what  Listing
	}{
		"all":      {[]string{"--list-tasks", "--list-tags"}, Listing{Tasks: true, Tags: true}},
		"tasks":    {[]string{"--list-tasks"}, Listing{Tasks: true}},
		"tags":     {[]string{"--list-tags"}, Listing{Tags: true}},
		"syntax":   {[]string{"--syntax-check"}, Listing{}},
		"tagged":   {[]string{"--list-tasks", "--tags", "tagged"}, Listing{Tasks: true, Only: []string{"tagged"}}},
		"untagged": {[]string{"--list-tasks", "--tags", "untagged"}, Listing{Tasks: true, Only: []string{"untagged"}}},
		"deploy":   {[]string{"--list-tasks", "--tags", "deploy,web,t1", "--skip-tags", "always"}, Listing{Tasks: true, Only: []string{"deploy", "web", "t1"}, Skip: []string{"always"}}},
		"never":    {[]string{"--list-tasks", "--tags", "all,never"}, Listing{Tasks: true, Only: []string{"all", "never"}}},
		"skip":     {[]string{"--list-tasks", "--skip-tags", "tagged"}, Listing{Tasks: true, Skip: []string{"tagged"}}},
		"skip all": {[]string{"--list-tasks", "--skip-tags", "all"}, Listing{Tasks: true, Skip: []string{"all"}}},
	} {
		t.Run(name, func(t *testing.T) {
			want := ansibleList(t, append(c.flags, files...)...)
			if got := calrollList(t, c.what, files...); got != want {
				t.Errorf("different from ansible-playbook %s:\n%s", strings.Join(c.flags, " "), firstDifference(got, want))
			}
		})
	}
}

func firstDifference(got, want string) string {
	g, w := strings.Split(got, "\n"), strings.Split(want, "\n")
	for i := range max(len(g), len(w)) {
		if i >= len(g) || i >= len(w) || g[i] != w[i] {
			return "got:\n" + strings.Join(g[max(0, i-8):min(i+2, len(g))], "\n") + "\nwant:\n" + strings.Join(w[max(0, i-8):min(i+2, len(w))], "\n")
		}
	}
	return ""
}

// kvCase is a text that is split into arguments.
type kvCase struct {
	Text string `json:"text"`
	Raw  bool   `json:"raw"` // of a command
}

const parseKV = `
import json, sys
from ansible.parsing.splitter import parse_kv
out = []
for c in json.load(sys.stdin):
    try:
        out.append(parse_kv(c["text"], check_raw=c["raw"]))
    except Exception:
        out.append(None)
json.dump(out, sys.stdout)
`

// TestArgumentsInTextAreAnsibles splits texts of every sort as Ansible does, the fixed ones and a good many random ones.
func TestArgumentsInTextAreAnsibles(t *testing.T) {
	needAnsible(t)
	var cases []kvCase
	for _, text := range []string{"", "a=1", "a=1  b=2 ", "a=b  c  d=\"x y\"\n  e \\\n f", "echo  \"a   b\" x=1 creates=/x y", "a=\"b", "a={{ x | default(\"a b\") }} b={{y}}z",
		`msg="a\"b" k=\x41\n`, `echo \`, "a b\n\nc", `a\=b =c`, "it's ok", "it's", "{{ a", "a }}", "a='x' b='y z'w", "echo $((1+2)) chdir=/tmp | grep '{' && x=y", "src={{ a }}/{{ b }} dest='{{ c }}'",
		"a=\"{{ b }}\" c", "k={% if a %} x {% endif %}", "x = y", "a==b", "msg='it''s'", "printf '%s\\n' x"} {
		cases = append(cases, kvCase{text, false}, kvCase{text, true})
	}
	words := rapid.SliceOfN(rapid.SampledFrom([]string{"a", "b=1", "chdir=/x", "creates=y", " ", "  ", "\n", "'q r'", `"s t"`, "k='v w'", "{{ x }}", "z={{ y }}", `\=`, "=", "{", "}", "é"}), 1, 8)
	for seed := range 400 { // Ansible crashes on spaces at the front, where there is no word to keep them with
		glued, spaced := strings.Join(words.Example(seed), ""), strings.Join(words.Example(seed), " ")
		cases = append(cases, kvCase{strings.TrimLeft(glued, " \n"), seed%2 == 0}, kvCase{strings.TrimLeft(spaced, " \n"), seed%2 == 1})
	}
	want := ansibleSplits(t, cases)
	for i, c := range cases {
		if got := calrollSplit(c); !reflect.DeepEqual(got, want[i]) {
			t.Errorf("splitArgs(%q, command: %v)\n got %q\nwant %q", c.Text, c.Raw, got, want[i])
		}
	}
}

func ansibleSplits(t *testing.T, cases []kvCase) (out []map[string]string) {
	t.Helper()
	input, err := json.Marshal(cases)
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command("/usr/bin/python3", "-c", parseKV) // the one that Debian's ansible-core belongs to
	cmd.Stdin = bytes.NewReader(input)
	answer, err := cmd.Output()
	if err != nil {
		t.Fatalf("cannot ask Ansible: %v", err)
	}
	if err := json.Unmarshal(answer, &out); err != nil || len(out) != len(cases) {
		t.Fatalf("%d answers to %d questions: %v", len(out), len(cases), err)
	}
	return out
}

func calrollSplit(c kvCase) map[string]string {
	options := map[string]bool(nil)
	if c.Raw {
		options = commandOptions
	}
	pairs, raw, err := splitArgs(c.Text, options)
	if err != nil {
		return nil
	}
	out := map[string]string{}
	for _, p := range pairs {
		out[p.key] = p.val
	}
	if raw != "" {
		out[rawParams] = raw
	}
	return out
}

func TestHostListingIsAnsibles(t *testing.T) {
	needAnsible(t)
	files := []string{"01_minimal.yml", "10_keywords.yml", "14_never.yml"}
	want := ansibleList(t, append([]string{"-i", "h1,", "--list-hosts", "--list-tasks"}, files...)...)
	hosts := func(*Play) []string { return []string{"h1"} }
	if got := calrollList(t, Listing{Tasks: true, Hosts: hosts}, files...); got != want {
		t.Error(firstDifference(got, want))
	}
}
