package event

import (
	"bytes"
	"encoding/json"
	"strings"
	"testing"
	"time"

	"pgregory.net/rapid"
)

// aRun is a small run with everything in it that a printer has to show.
func aRun() []Event {
	return []Event{
		{Kind: RunStart, Run: "r1"},
		{Kind: PlayStart, Play: "site"},
		{Kind: BatchStart, Batch: 1, Batches: 2, Hosts: []string{"h1", "h2"}},
		{Kind: TaskStart, Task: "copy a file", TaskNo: 1, Where: "site.yml:4:7"},
		{Kind: HostStart, Host: "h1"}, {Kind: HostStart, Host: "h2"},
		{Kind: HostDone, Host: "h1", Status: Changed, Diff: []Diff{{Before: "a\n", After: "a\nb", BeforeHeader: "/f", AfterHeader: "/f"}}},
		{Kind: HostDone, Host: "h2", Status: Failed, Result: map[string]any{"msg": "no", "changed": false}, Hint: "try again"},
		{Kind: TaskStart, Task: "loop", TaskNo: 2},
		{Kind: ItemDone, Host: "h1", Status: OK, Label: "x"},
		{Kind: ItemDone, Host: "h1", Status: Skipped, Label: map[string]any{"b": 1, "a": "<"}},
		{Kind: HostDone, Host: "h1", Status: OK, Loop: true},
		{Kind: TaskStart, Task: "say", Handler: true},
		{Kind: HostDone, Host: "h1", Delegated: "h9", Status: OK, Verbose: true, Result: map[string]any{"msg": "hello"}},
		{Kind: HostDone, Host: "h3", Status: Unreachable, Result: map[string]any{"msg": "gone", "unreachable": true}},
		{Kind: HostDone, Host: "h1", Status: OK, Result: map[string]any{"gates": 1}, Table: &Table{Head: []string{"GATE", "FOUND", "TO DO"},
			Rows: [][]string{{"G-1", "a text of so many words that it is broken between two of them", "go"}, {"G-22", "ü", ""}}}},
		{Kind: Warning, Message: "odd"},
		{Kind: ConfirmStart, Hosts: []string{"h1", "h2"}},
		{Kind: ConfirmHost, Host: "h1", Status: OK, Message: "confirmed"},
		{Kind: ConfirmHost, Host: "h2", Status: Unreachable, Message: "cannot confirm"},
		{Kind: UndoStart, Hosts: []string{"h1"}},
		{Kind: UndoWait, Host: "h1", Message: "up to 1m"},
		{Kind: UndoHost, Host: "h1", Status: Changed, Message: "2 restored"},
		{Kind: Recap, Counts: map[string]Counts{"h1": {OK: 3, Changed: 1, Undone: 2}, "h2": {Failed: 1}}},
		{Kind: RunEnd, Message: "the end"},
	}
}

const plainRun = `
PLAY [site] ********************************************************************

BATCH [1/2: h1, h2] ************************************************************

TASK [copy a file] *************************************************************
--- before: /f
+++ after: /f
@@ -1 +1,2 @@
 a
+b
\ No newline at end of file
changed: [h1]
fatal: [h2]: FAILED! => {"changed": false, "msg": "no"}
    at site.yml:4:7
    hint: try again

TASK [loop] ********************************************************************
ok: [h1] => (item=x)
skipping: [h1] => (item={"a": "<", "b": 1})

RUNNING HANDLER [say] **********************************************************
ok: [h1 -> h9] => {
    "msg": "hello"
}
fatal: [h3]: UNREACHABLE! => {"msg": "gone", "unreachable": true}
GATE  FOUND                                      TO DO
G-1   a text of so many words that it is broken  go
      between two of them
G-22  ü
ok: [h1]
[WARNING]: odd

CONFIRM [h1, h2] ***************************************************************
ok: [h1] confirmed
unreachable: [h2] cannot confirm

ROLLBACK [h1] ******************************************************************
waiting: [h1] up to 1m
changed: [h1] 2 restored

PLAY RECAP *********************************************************************
h1                         : ok=3    changed=1    unreachable=0    failed=0    skipped=0    rescued=0    ignored=0   undone=2
h2                         : ok=0    changed=0    unreachable=0    failed=1    skipped=0    rescued=0    ignored=0

the end
`

func TestPlain(t *testing.T) {
	var b bytes.Buffer
	p := NewPlain(&b)
	for _, e := range aRun() {
		p.Emit(e)
	}
	got := strings.ReplaceAll(b.String(), " \n", "\n")
	if got != plainRun {
		t.Errorf("got:\n%s\nwant:\n%s", got, plainRun)
	}
}

// TestStoredRunIsShownAlike: what JSON has stored is shown again as it was shown.
func TestStoredRunIsShownAlike(t *testing.T) {
	var stored, direct, again bytes.Buffer
	sink, first, second := NewJSON(&stored), NewPlain(&direct), NewPlain(&again)
	for _, e := range aRun() {
		e.Time = time.Now()
		Sinks{sink, first}.Emit(e)
	}
	if sink.Err() != nil {
		t.Fatal(sink.Err())
	}
	for _, line := range strings.Split(strings.TrimSpace(stored.String()), "\n") {
		var e Event
		if err := json.Unmarshal([]byte(line), &e); err != nil {
			t.Fatal(err)
		}
		second.Emit(e)
	}
	if direct.String() != again.String() {
		t.Errorf("first:\n%s\nagain:\n%s", &direct, &again)
	}
}

// TestLiveEndsAsPlain: the foot comes and goes, and what stays on the screen is what Plain writes.
func TestLiveEndsAsPlain(t *testing.T) {
	var b bytes.Buffer
	l := NewLive(&b, 40, 0)
	for _, e := range aRun() {
		e.Time = time.Now()
		l.Emit(e)
	}
	l.Close()
	screen := b.String()
	if !strings.Contains(screen, "copy a file: 2 busy") {
		t.Errorf("the foot never named the busy hosts:\n%q", screen)
	}
	for _, line := range strings.Split(screen, "\n") {
		if i := strings.LastIndex(line, "\r\x1b[K"); i >= 0 && strings.Contains(line[i:], "busy") {
			t.Errorf("the foot was left behind: %q", line)
		}
	}
}

func TestMask(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		secret := rapid.StringMatching(`[a-zA-Z0-9]{4,12}`).Draw(t, "secret")
		text := rapid.StringMatching(`[ -~]{0,8}`).Draw(t, "before") + secret + rapid.StringMatching(`[ -~]{0,8}`).Draw(t, "after")
		var m Mask
		m.Add(secret, secret+"longer", "")
		var out bytes.Buffer
		m.Sink(NewJSON(&out)).Emit(Event{Kind: HostDone, Task: text, Message: text, Hint: text, Label: []any{text},
			Result: map[string]any{"a": []any{map[string]any{"b": text}}, "c": []string{text}}, Diff: []Diff{{Before: text, After: text, Prepared: text}},
			Table: &Table{Head: []string{"FOUND"}, Rows: [][]string{{text}}}, Vars: []Var{{Name: "v", Value: text}}, Login: text})
		if strings.Contains(out.String(), secret) {
			t.Fatalf("the secret %q got out: %s", secret, out.String())
		}
	})
}

// TestPlaysAtTheSameTime: a task of one of several plays is shown when it is done on all hosts, under its play's headings.
func TestPlaysAtTheSameTime(t *testing.T) {
	var b bytes.Buffer
	p := NewPlain(&b)
	ok := func(lane int, host string) Event { return Event{Kind: HostDone, Lane: lane, Host: host, Status: OK} }
	for _, e := range []Event{
		{Kind: PlayStart, Lane: 1, Play: "left"}, {Kind: PlayHosts, Lane: 1}, {Kind: PlayStart, Lane: 2, Play: "right"}, {Kind: PlayHosts, Lane: 2},
		{Kind: BatchStart, Lane: 1, Batch: 1, Batches: 2, Hosts: []string{"l1"}}, {Kind: BatchStart, Lane: 2, Batch: 1, Batches: 1, Hosts: []string{"r1", "r2"}},
		{Kind: TaskStart, Lane: 1, Task: "one"}, {Kind: TaskStart, Lane: 2, Task: "two"}, ok(2, "r1"), ok(1, "l1"),
		{Kind: Warning, Message: "odd"}, {Kind: TaskEnd, Lane: 1}, {Kind: BatchStart, Lane: 1, Batch: 2, Batches: 2, Hosts: []string{"l2"}},
		{Kind: TaskStart, Lane: 1, Task: "one"}, ok(2, "r2"), {Kind: TaskEnd, Lane: 2}, {Kind: Included, Lane: 2, Message: "more.yml", Hosts: []string{"r1"}},
		ok(1, "l2"), {Kind: Halt, Lane: 1, Message: "no further batch"}, {Kind: UndoStart, Lane: 1, Hosts: []string{"l2"}}, {Kind: TaskStart, Lane: 2, Task: "three"},
		ok(2, "r1"), {Kind: TaskEnd, Lane: 2}, {Kind: UndoHost, Lane: 1, Host: "l2", Status: Changed, Message: "1 restored"}, {Kind: TaskStart, Lane: 2, Task: "cut"}, ok(2, "r1"),
		{Kind: PlayStart, Play: "after"}, {Kind: TaskStart, Task: "three"}, ok(0, "l1"),
	} {
		p.Emit(e)
	}
	var got []string
	for line := range strings.Lines(b.String()) {
		if line = strings.TrimRight(line, " *\n"); line != "" {
			got = append(got, line)
		}
	}
	want := "[WARNING]: odd|PLAY [left]|BATCH [1/2: l1]|TASK [one]|ok: [l1]|BATCH [2/2: l2]|PLAY [right]|TASK [two]|ok: [r1]|ok: [r2]|included: more.yml for r1|" +
		"PLAY [left]|BATCH [2/2: l2]|TASK [one]|ok: [l2]|no further batch|ROLLBACK [l2]|PLAY [right]|TASK [three]|ok: [r1]|PLAY [left]|BATCH [2/2: l2]|ROLLBACK [l2]|changed: [l2] 1 restored|PLAY [right]|TASK [cut]|ok: [r1]|PLAY [after]|TASK [three]|ok: [l1]"
	if text := strings.Join(got, "|"); text != want {
		t.Errorf("got  %s\nwant %s", text, want)
	}
}
