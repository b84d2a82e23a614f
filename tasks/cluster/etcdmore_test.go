package cluster_test

import (
	"context"
	"maps"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/calroll/calroll/tasks"
	"github.com/calroll/calroll/tasks/cluster"
	"github.com/calroll/calroll/tasks/journal"
	"github.com/calroll/calroll/testenv/artifacts"
)

// leaders are the endpoints that say that they lead.
func leaders(r tasks.Result) (n int) {
	endpoints, _ := r.Values["endpoints"].([]any)
	for _, e := range endpoints {
		if e.(map[string]any)["is_leader"] == true {
			n++
		}
	}
	return n
}

func TestEtcdMemberStopped(t *testing.T) {
	b := newBed(t, 3)
	r := b.settled(map[string]any{"state": "health", "require": "all"}, func(r tasks.Result) bool { return healthy(3)(r) && leaders(r) == 1 })
	if r.Failed || len(r.Values["members"].([]any)) != 3 || r.Values["leader"] == "" || r.Values["quorum"] != true || len(r.Values["alarms"].([]any)) != 0 {
		t.Fatalf("three members: %+v", r)
	}
	for _, e := range r.Values["endpoints"].([]any) {
		report := e.(map[string]any)
		if report["reachable"] != true || !strings.HasPrefix(report["version"].(string), "3.") || report["says"] != "true" || report["v2"] != true || report["revision"].(int64) < 1 {
			t.Errorf("a healthy endpoint: %v", report)
		}
	}
	if n := leaders(r); n != 1 {
		t.Errorf("%d leaders", n)
	}
	if err := b.etcd.StopMember(2); err != nil {
		t.Fatal(err)
	}
	r = b.settled(map[string]any{"state": "health", "timeout": 3}, healthy(2))
	down := r.Values["endpoints"].([]any)[2].(map[string]any)
	if r.Failed || down["reachable"] != false || down["healthy"] != false || !strings.Contains(down["error"].(string), "cannot be reached") {
		t.Errorf("one stopped: %+v", r)
	}
	if r := b.run(false, map[string]any{"state": "put", "key": "/k", "value": "v", "timeout": 5}); r.Failed || !r.Changed {
		t.Errorf("put with one stopped: %+v", r)
	}
	if r := b.run(false, map[string]any{"key": "/k", "timeout": 5}); r.Failed || r.Values["value"] != "v" {
		t.Errorf("get with one stopped: %+v", r)
	}
}

func TestEtcdRanges(t *testing.T) {
	b := newBed(t, 1)
	for _, k := range []string{"/a/1", "/a/2", "/a/3", "/b"} {
		b.etcdctl("put", k, "v"+k)
	}
	for _, c := range []struct {
		args map[string]any
		want int
	}{
		{map[string]any{"state": "list", "key": "/a/"}, 3}, {map[string]any{"state": "get", "key": "/a/"}, 0}, {map[string]any{"state": "get", "key": "/a/1", "range_end": "/a/3"}, 2}, {map[string]any{"state": "list", "key": "/", "keys_only": true}, 4},
	} {
		if r := b.run(false, c.args); r.Failed || len(r.Values["kvs"].([]any)) != c.want {
			t.Errorf("%v: %+v", c.args, r)
		}
	}
	if r := b.run(false, map[string]any{"state": "delete", "key": "/a/1", "range_end": "/a/3"}); !r.Changed || r.Values["deleted"] != 2 {
		t.Errorf("delete of a range: %+v", r)
	}
	if got := b.etcdctl("get", "--prefix", "/", "--keys-only"); strings.Join(strings.Fields(got), " ") != "/a/3 /b" {
		t.Errorf("left are %q", got)
	}
	b.undo(true)
	if got := b.etcdctl("get", "--prefix", "/", "--print-value-only"); strings.Join(strings.Fields(got), " ") != "v/a/1 v/a/2 v/a/3 v/b" {
		t.Errorf("after the undo there are %q", got)
	}
}

// meddler changes the key between the record and the alteration.
type meddler struct {
	tasks.Recorder
	meddle func()
}

// Record records, and then somebody else is faster.
func (m meddler) Record(ctx context.Context, b tasks.Before, image *tasks.Image) (int64, error) {
	seq, err := m.Recorder.Record(ctx, b, image)
	m.meddle()
	return seq, err
}

func TestEtcdConflict(t *testing.T) {
	b := newBed(t, 1)
	b.etcdctl("put", "/k", "old")
	for _, c := range []struct {
		args   map[string]any
		meddle []string
	}{
		{map[string]any{"state": "present", "key": "/k", "value": "ours"}, []string{"put", "/k", "theirs"}},
		{map[string]any{"state": "absent", "key": "/k"}, []string{"put", "/k", "theirs again"}},
		{map[string]any{"state": "present", "key": "/fresh", "value": "ours"}, []string{"put", "/fresh", "theirs"}},
		{map[string]any{"state": "present", "key": "/k", "value": "ours"}, []string{"del", "/k"}},
	} {
		m, errs := tasks.SpecOf(&cluster.Etcd{}).Decode(b.with(c.args))
		if len(errs) > 0 {
			t.Fatal(errs)
		}
		sys := tasks.NewSys(tasks.Options{Recorder: meddler{b.journal, func() { b.etcdctl(c.meddle...) }}, Dial: b.dial})
		r := tasks.Run(t.Context(), m, sys)
		if err := sys.Close(); err != nil {
			t.Error(err)
		}
		if !r.Failed || r.Kind != tasks.Refused || !strings.Contains(r.Msg, "somebody else changed it") {
			t.Errorf("%v while %v: %+v", c.args, c.meddle, r)
		}
	}
	if got := b.etcdctl("get", "--prefix", "/"); got != "/fresh\ntheirs" {
		t.Errorf("somebody else's work is gone: %q", got)
	}
}

func (b *bed) with(args map[string]any) map[string]any {
	args = maps.Clone(args)
	args["endpoints"] = b.etcd.Endpoints()
	args["ca_file"], args["cert_file"], args["key_file"] = b.etcd.CA, b.etcd.ClientCert, b.etcd.ClientKey
	return args
}

func (b *bed) read(file string) string {
	b.Helper()
	raw, err := os.ReadFile(file)
	if err != nil {
		b.Fatal(err)
	}
	return string(raw)
}

// TestEtcdCertificatesAsText shows that a client key given as text works, is not recorded, and that a rollback says how to give it.
func TestEtcdCertificatesAsText(t *testing.T) {
	b := newBed(t, 1)
	key := b.read(b.etcd.ClientKey)
	m, errs := tasks.SpecOf(&cluster.Etcd{}).Decode(map[string]any{"state": "present", "key": "/k", "value": "v", "endpoints": b.etcd.Endpoints(),
		"ca_content": b.read(b.etcd.CA), "cert_content": b.read(b.etcd.ClientCert), "key_content": key})
	if len(errs) > 0 {
		t.Fatal(errs)
	}
	sys := tasks.NewSys(tasks.Options{Recorder: b.journal, Dial: b.dial})
	defer sys.Close()
	if r := tasks.Run(t.Context(), m, sys); r.Failed || !r.Changed {
		t.Fatalf("%+v", r)
	}
	secret := strings.Split(key, "\n")[1]
	err := filepath.WalkDir(b.dir, func(path string, e os.DirEntry, err error) error {
		if err == nil && e.Type().IsRegular() && strings.Contains(b.read(path), secret) {
			t.Errorf("%s holds the client's key", path)
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	b.journal.Close()
	report, err := journal.Undo(t.Context(), b.dir, "run", journal.UndoOptions{}, cluster.Kinds(tasks.Reach{Dial: b.dial}))
	if err != nil || report.OK() || !strings.Contains(report.Items[0].Error, "CALROLL_ETCD_KEY_FILE") {
		t.Errorf("undo without the key: %+v, %v", report, err)
	}
	t.Setenv("CALROLL_ETCD_KEY_FILE", b.etcd.ClientKey)
	b.undo(true)
	if got := b.etcdctl("get", "/k"); got != "" {
		t.Errorf("after the undo there is %q", got)
	}
}

func TestEtcdLease(t *testing.T) {
	b := newBed(t, 1)
	fields := strings.Fields(b.etcdctl("lease", "grant", "3600"))
	b.etcdctl("put", "--lease="+fields[1], "/k", "old")
	if r := b.run(false, map[string]any{"state": "present", "key": "/k", "value": "new"}); r.Failed || !r.Changed {
		t.Fatalf("%+v", r)
	}
	b.undo(true)
	got := b.etcdctl("get", "/k", "--write-out=fields")
	if !strings.Contains(got, `"Value" : "old"`) || strings.Contains(got, `"Lease" : 0`) {
		t.Errorf("after the undo:\n%s", got)
	}
}

func TestEtcdWrongFiles(t *testing.T) {
	b := newBed(t, 1)
	other, err := artifacts.WriteCerts(t.TempDir(), "127.0.0.1")
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		name  string
		wrong map[string]any
		want  string
	}{
		{"authority of others", map[string]any{"ca_file": other.CA}, "certificate"},
		{"client of others", map[string]any{"cert_file": other.ClientCert, "key_file": other.ClientKey}, ""},
		{"no file", map[string]any{"ca_file": "/nonexistent.pem"}, "/nonexistent.pem"},
		{"key of others", map[string]any{"key_file": other.ClientKey}, "does not match"},
		{"no certificate", map[string]any{"ca_file": b.etcd.ClientKey}, "no PEM certificate"},
	} {
		for _, state := range []string{"health", "get"} {
			args := b.with(map[string]any{"state": state, "key": "/k", "timeout": 2})
			maps.Copy(args, c.wrong)
			m, errs := tasks.SpecOf(&cluster.Etcd{}).Decode(args)
			if len(errs) > 0 {
				t.Fatal(errs)
			}
			sys := tasks.NewSys(tasks.Options{})
			if r := tasks.Run(t.Context(), m, sys); !r.Failed || !strings.Contains(r.Msg, c.want) {
				t.Errorf("%s, %s: %+v", c.name, state, r)
			}
			if err := sys.Close(); err != nil {
				t.Error(err)
			}
		}
	}
}
