package store

import (
	"encoding/json"
	"fmt"
	"testing"
	"time"
)

// TestDiff compares two runs of one playbook: batches of another size, a file and a variable that changed, a task that failed, one that is new.
func TestDiff(t *testing.T) {
	end := func(seconds int) *time.Time {
		at := time.Date(2026, 11, 21, 9, 0, seconds, 0, time.UTC)
		return &at
	}
	a := Meta{ID: "r1", State: Passed, Started: *end(0), Ended: end(9), Forks: 50,
		Inputs: Inputs{Files: map[string]string{"/site.yml": "1", "/gone.yml": "1"}, ExtraVars: map[string]string{"v": "1"}, Hosts: map[string]string{"a": "1"}}}
	b := Meta{ID: "r2", State: Failed, Started: *end(0), Ended: end(5), Forks: 5,
		Inputs: Inputs{Files: map[string]string{"/site.yml": "2"}, ExtraVars: map[string]string{"v": "1"}, Hosts: map[string]string{"a": "2"}}}
	ha := Fold(script(t, "run\nplay p\nhosts a b\nbatch 1/2 a\ntask copy\nhost a ok\ntask copy\nhost a ok\ncommit a\nbatch 2/2 b\ntask copy\nhost b changed\ntask copy\nhost b ok\ncommit b\n"), nil, true)
	hb := Fold(script(t, "run\nplay p\nhosts a b\nbatch 1/1 a b\ntask copy\nhost a ok\nhost b changed\ntask copy\nhost b failed\nhost a ok\ntask new\nhost a ok\ncommit a\n"), nil, true)
	got, err := json.Marshal(Diff(a, b, ha, hb))
	if err != nil {
		t.Fatal(err)
	}
	const want = `{"runs":["r1","r2"],"state":["passed","failed"],"seconds":[9,5],"made":[` +
		`{"what":"forks","is":["50","5"]},` +
		`{"what":"playbook file","name":"/gone.yml","is":["there","not there"]},` +
		`{"what":"playbook file","name":"/site.yml","is":["there","other content"]},` +
		`{"what":"variables of host","name":"a","is":["there","other content"]}],` +
		`"hosts":[{"host":"b","is":["passed","failed at copy"]}],` +
		`"tasks":[{"play":"p","task":"copy","hosts":["b"],"is":["ok","failed"]},{"play":"p","task":"new","hosts":["a"],"is":["not run","ok"]}],` +
		`"times":null}`
	if string(got) != want {
		t.Errorf("got  %s\nwant %s", got, want)
	}
}

// TestChangesOfOtherKeys: hashes that were made with another key say nothing; what is there and what is not can be seen still.
func TestChangesOfOtherKeys(t *testing.T) {
	sums := func(names ...string) map[string]string {
		all := map[string]string{}
		for _, n := range names {
			all[n] = n + " of a key"
		}
		return all
	}
	a := Inputs{Key: "1", Files: sums("site.yml"), Hosts: sums("a", "b"), ExtraVars: sums("v")}
	b := Inputs{Key: "2", Files: sums("site.yml"), Hosts: map[string]string{"a": "other"}, ExtraVars: map[string]string{"v": "other"}}
	const want = "[{key of the hashes of variables  [1 2]} {variables of host b [there not there]}]"
	if got := fmt.Sprint(Changes(a, b)); got != want {
		t.Errorf("got  %s\nwant %s", got, want)
	}
	b.Key = ""
	if got := len(Changes(a, b)); got != 3 {
		t.Errorf("with a key that is not known there are %d changes", got)
	}
}
