package cluster_test

import (
	"encoding/json"
	"io"
	"net/http"
	"net/url"
	"path/filepath"
	"strings"
	"testing"

	"github.com/calroll/calroll/tasks"
	"github.com/calroll/calroll/tasks/cluster"
	"github.com/calroll/calroll/tasks/journal"
)

// put2 writes as somebody else does, over the v2 API itself.
func (b *bed) put2(key, value string) {
	b.Helper()
	b.ask2(http.MethodPut, key, url.Values{"value": {value}})
}

func (b *bed) ask2(method, key string, form url.Values) []byte {
	b.Helper()
	client, err := b.etcd.HTTPClient()
	if err != nil {
		b.Fatal(err)
	}
	defer client.CloseIdleConnections()
	req, err := http.NewRequestWithContext(b.Context(), method, b.etcd.Endpoints()[0]+"/v2/keys"+key, strings.NewReader(form.Encode()))
	if err != nil {
		b.Fatal(err)
	}
	req.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	resp, err := client.Do(req)
	if err != nil {
		b.Fatal(err)
	}
	defer resp.Body.Close()
	raw, err := io.ReadAll(resp.Body)
	if err != nil || resp.StatusCode >= 300 {
		b.Fatalf("%s %s: %s %s %v", method, key, resp.Status, raw, err)
	}
	return raw
}

// tree2 is all that the v2 API shows: a folder ends with a slash.
func (b *bed) tree2() string {
	b.Helper()
	type node struct {
		Key, Value string
		Dir        bool
		Nodes      []node
	}
	var answer struct{ Node node }
	if err := json.Unmarshal(b.ask2(http.MethodGet, "/?recursive=true&sorted=true", nil), &answer); err != nil {
		b.Fatal(err)
	}
	var text []string
	var walk func(node)
	walk = func(n node) {
		if n.Dir {
			text = append(text, n.Key+"/")
		} else {
			text = append(text, n.Key+"="+n.Value)
		}
		for _, in := range n.Nodes {
			walk(in)
		}
	}
	walk(answer.Node)
	return strings.Join(text, " ")
}

// cases2 are a new key in new folders, a changed key, and a folder that goes with all in it.
var cases2 = []map[string]any{
	{"state": "present", "key": "/calico/bgp/v1/rr_v4/10.0.0.1", "value": `{"ip":"10.0.0.1","cluster_id":"244.0.0.1"}`},
	{"state": "present", "key": "/old", "value": "after", "prev_value": "before"},
	{"state": "absent", "key": "/gone", "recursive": true},
}

func (b *bed) fill2() {
	b.put2("/old", "before")
	b.put2("/gone/1", "a")
	b.put2("/gone/deep/2", "b")
	b.put2("/calico/x", "theirs")
}

func v2(args map[string]any) map[string]any {
	out := map[string]any{"api": "v2"}
	for k, v := range args {
		out[k] = v
	}
	return out
}

func TestEtcdV2KeysAndUndo(t *testing.T) {
	b := newBed(t, 1)
	b.fill2()
	before := b.tree2()
	for _, c := range cases2 {
		checked, first, second := b.run(true, v2(c)), b.run(false, v2(c)), b.run(false, v2(c))
		if first.Failed || !first.Changed || !checked.Changed || second.Failed || second.Changed {
			t.Errorf("%v: %+v (check mode: %+v, again: %+v)", c, first, checked, second)
		}
	}
	if got := b.tree2(); strings.Contains(got, "/gone") || !strings.Contains(got, "/old=after") || !strings.Contains(got, `/calico/bgp/v1/rr_v4/10.0.0.1={"ip"`) {
		t.Errorf("etcd holds %s", got)
	}
	if r := b.run(false, v2(map[string]any{"state": "list", "key": "/calico"})); r.Values["count"] != 2 {
		t.Errorf("list: %+v", r)
	}
	if r := b.run(false, v2(map[string]any{"state": "info", "key": "/old"})); r.Values["value"] != "after" || r.Values["found"] != true {
		t.Errorf("info: %+v", r)
	}
	if b.dialed.Load() == 0 {
		t.Error("the module did not take the host's way")
	}
	b.put2("/old", "somebody else's")
	b.undo(false)
	if got := b.tree2(); !strings.Contains(got, "/old=somebody else's") {
		t.Errorf("a key that somebody else changed was taken back: %s", got)
	}
	b.undo(true)
	if got := b.tree2(); got != before {
		t.Errorf("after the undo etcd holds\n%s\nbefore it held\n%s", got, before)
	}
}

func TestEtcdV2Refuses(t *testing.T) {
	b := newBed(t, 1)
	b.fill2()
	before := b.tree2()
	for want, args := range map[string]map[string]any{
		"it is a folder":               {"state": "present", "key": "/gone", "value": "x"},
		"it is a folder with keys":     {"state": "absent", "key": "/gone"},
		"it does not hold prev_value":  {"state": "present", "key": "/old", "value": "x", "prev_value": "other"},
		"prefix and range_end belong":  {"state": "absent", "key": "/gone", "prefix": true},
		"recursive and prev_value bel": {"api": "v3", "state": "absent", "key": "/gone", "recursive": true},
	} {
		if r := b.run(false, v2(args)); !r.Failed || !strings.Contains(r.Msg, want) {
			t.Errorf("%v: %+v, want %q", args, r, want)
		}
	}
	meddled := 0
	for _, args := range []map[string]any{{"state": "present", "key": "/old", "value": "ours"}, {"state": "absent", "key": "/old"}} {
		m, errs := tasks.SpecOf(&cluster.Etcd{}).Decode(b.with(v2(args)))
		if len(errs) > 0 {
			t.Fatal(errs)
		}
		sys := tasks.NewSys(tasks.Options{Recorder: meddler{b.journal, func() { meddled++; b.put2("/old", "before") }}, Dial: b.dial})
		if r := tasks.Run(t.Context(), m, sys); !r.Failed || r.Kind != tasks.Refused || !strings.Contains(r.Msg, "somebody else changed it") {
			t.Errorf("%v: %+v", args, r)
		}
		sys.Close()
	}
	if got := b.tree2(); got != before || meddled != 2 {
		t.Errorf("etcd holds %s (meddled %d times)", got, meddled)
	}
}

// TestEtcdV2Cuts cuts the module at every point and takes back what it did until then.
func TestEtcdV2Cuts(t *testing.T) {
	b := newBed(t, 1)
	b.fill2()
	before := b.tree2()
	for _, c := range cases2 {
		cut := true
		for at := 1; cut; at++ {
			b.journal.Close()
			b.dir = filepath.Join(t.TempDir(), "runs")
			var err error
			if b.journal, err = journal.Open(b.dir, "run", journal.Holder{}); err != nil {
				t.Fatal(err)
			}
			if cut = b.cutAt(v2(c), at); !cut && at < 3 {
				t.Fatalf("%v has no points to cut at", c)
			}
			b.undo(true)
			if got := b.tree2(); got != before {
				t.Fatalf("%v, cut at point %d: etcd holds\n%s\nbefore it held\n%s", c, at, got, before)
			}
		}
	}
}

// cutAt runs the module up to its nth point and tells whether it has so many.
func (b *bed) cutAt(args map[string]any, n int) (cut bool) {
	b.Helper()
	defer func() {
		if p := recover(); p != nil {
			if _, cut = p.(tasks.Cut); !cut {
				panic(p)
			}
		}
	}()
	m, errs := tasks.SpecOf(&cluster.Etcd{}).Decode(b.with(args))
	if len(errs) > 0 {
		b.Fatal(errs)
	}
	steps := 0
	sys := tasks.NewSys(tasks.Options{Recorder: b.journal, Dial: b.dial, Step: func(point string) {
		if steps++; steps == n {
			panic(tasks.Cut{Point: point})
		}
	}})
	defer sys.Close()
	if r := tasks.Run(b.Context(), m, sys); r.Failed {
		b.Fatalf("%+v", r)
	}
	return false
}

func TestEtcdV2Health(t *testing.T) {
	b := newBed(t, 3)
	if r := b.run(false, v2(map[string]any{"state": "health", "require": "all"})); r.Failed || r.Values["healthy"] != 3 {
		t.Fatalf("three members: %+v", r)
	}
	for i := range 2 {
		if err := b.etcd.StopMember(i); err != nil {
			t.Fatal(err)
		}
	}
	if r := b.run(false, v2(map[string]any{"state": "health", "timeout": 2})); !r.Failed || r.Values["healthy"] != 0 {
		t.Errorf("no quorum: %+v", r)
	}
}
