package main_test

import (
	"encoding/json"
	"fmt"
	"maps"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
)

// What is meant to differ is listed here, in differences and the sets below it, and in the "differs:" lines of cases. The cases steer clear of
// the following, where Ansible 2.14 does something that nobody can want:
//
//   - a handler with run_once runs again at the next flush for the other hosts that notified it
//   - when only some hosts include tasks, or flush handlers, the others run ahead, under the wrong headings
//   - includes of several hosts run in the order in which the hosts happened to answer
//   - an include that is missing, or a handler that fails, counts as failed although a rescue section takes it
//   - an undefined variable in one item's arguments fails the loop as a whole, without results
//   - vars['x'] is the text of a template; tags with a comma in a template are cut in two
//   - an unknown notification ends the run without a recap; unknown arguments and types that are wrong as written fail when their task's turn comes
//   - hostvars counts the implicit localhost once something has looked at it

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
func story(t *testing.T, stdout string, diff bool) string {
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
	for raw := range strings.Lines(stdout) {
		var l line
		if !strings.HasPrefix(raw, "{") {
			continue
		}
		if err := json.Unmarshal([]byte(raw), &l); err != nil {
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
var mistake = regexp.MustCompile(`^[^ ]*play\.yml:\d+:\d+: |^[^ ]*\.(yml|j2):\d+:\d+: |The error (was|appears to be)|' is undefined|^argument '\S+' is of type |^Validation of arguments failed|^Could not find or access |^Unexpected templating|^An unhandled exception occurred|^Invalid data passed to 'loop'`)

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
