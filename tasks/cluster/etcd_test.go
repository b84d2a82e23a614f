package cluster_test

import (
	"context"
	"net"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/calroll/calroll/tasks"
	"github.com/calroll/calroll/tasks/cluster"
	"github.com/calroll/calroll/tasks/journal"
	"github.com/calroll/calroll/testenv/artifacts"
)

// bed is a real etcd, a journal, and the module between them.
type bed struct {
	*testing.T
	etcd    *artifacts.Etcd
	dir     string
	journal *journal.Journal
	dialed  atomic.Int64
}

// dial is the way to etcd that a host would give.
func (b *bed) dial(ctx context.Context, network, addr string) (net.Conn, error) {
	b.dialed.Add(1)
	return (&net.Dialer{}).DialContext(ctx, network, addr)
}

func newBed(t *testing.T, members int) *bed {
	t.Helper()
	set, err := artifacts.Build(t.Context(), artifacts.Request{Parts: []artifacts.Part{artifacts.EtcdPrograms}}, artifacts.Options{})
	if err != nil {
		t.Fatal(err)
	}
	b := &bed{T: t, dir: filepath.Join(t.TempDir(), "runs")}
	if b.etcd, err = artifacts.StartEtcd(t.Context(), artifacts.EtcdOptions{Programs: set, Members: members, TLS: true, V2: true}); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := b.etcd.Stop(); err != nil {
			t.Error(err)
		}
	})
	if b.journal, err = journal.Open(b.dir, "run", journal.Holder{}); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { b.journal.Close() })
	return b
}

func (b *bed) run(check bool, args map[string]any) tasks.Result {
	b.Helper()
	args["endpoints"] = b.etcd.Endpoints()
	args["ca_file"], args["cert_file"], args["key_file"] = b.etcd.CA, b.etcd.ClientCert, b.etcd.ClientKey
	m, errs := tasks.SpecOf(cluster.Modules()["etcd"]()).Decode(args)
	if len(errs) > 0 {
		b.Fatal(errs)
	}
	sys := tasks.NewSys(tasks.Options{Recorder: b.journal, Check: check, Dial: b.dial})
	defer sys.Close()
	return tasks.Run(b.Context(), m, sys)
}

// settled asks until the answer is good, for a minute: a leader that stalls for a second is voted out, and until there is another nobody is well.
func (b *bed) settled(args map[string]any, good func(tasks.Result) bool) tasks.Result {
	b.Helper()
	for end := time.Now().Add(time.Minute); ; {
		r := b.run(false, args)
		if good(r) || time.Now().After(end) {
			return r
		}
	}
}

// healthy tells whether so many members are.
func healthy(n int) func(tasks.Result) bool {
	return func(r tasks.Result) bool { return !r.Failed && r.Values["healthy"] == n }
}

func (b *bed) etcdctl(args ...string) string {
	b.Helper()
	out, err := b.etcd.Command(b.Context(), args...).Output()
	if err != nil {
		b.Fatalf("etcdctl %v: %v", args, err)
	}
	return strings.TrimSpace(string(out))
}

func TestEtcdKeysAndUndo(t *testing.T) {
	b := newBed(t, 1)
	b.etcdctl("put", "/old", "before")
	b.etcdctl("put", "/gone/1", "a")
	b.etcdctl("put", "/gone/2", "b")

	for _, step := range []struct {
		args    map[string]any
		changed bool
	}{
		{map[string]any{"state": "present", "key": "/new", "value": "x"}, true},
		{map[string]any{"state": "present", "key": "/new", "value": "x"}, false},
		{map[string]any{"state": "present", "key": "/old", "value": "after"}, true},
		{map[string]any{"state": "absent", "key": "/gone/", "prefix": true}, true},
		{map[string]any{"state": "absent", "key": "/gone/", "prefix": true}, false},
	} {
		checked := b.run(true, step.args)
		r := b.run(false, step.args)
		if r.Failed || r.Changed != step.changed || checked.Changed != r.Changed {
			t.Errorf("%v: %+v (check mode: %+v)", step.args, r, checked)
		}
	}
	if got := b.run(false, map[string]any{"key": "/old"}); got.Values["value"] != "after" {
		t.Errorf("get: %+v", got)
	}
	if b.dialed.Load() == 0 {
		t.Error("the module did not take the host's way")
	}
	b.etcdctl("put", "/new", "somebody else's")
	b.undo(false)
	if got := b.etcdctl("get", "--prefix", "/", "--write-out=fields"); !strings.Contains(got, "somebody else's") {
		t.Errorf("a key that somebody else changed was taken back:\n%s", got)
	}
	b.undo(true)
	if got := b.etcdctl("get", "--prefix", "/"); got != "/gone/1\na\n/gone/2\nb\n/old\nbefore" {
		t.Errorf("after the undo etcd holds:\n%s", got)
	}
}

// undo takes the run back; without force one key must be refused.
func (b *bed) undo(force bool) {
	b.Helper()
	b.journal.Close()
	report, err := journal.Undo(b.Context(), b.dir, "run", journal.UndoOptions{Force: force}, cluster.Kinds(tasks.Reach{Dial: b.dial}))
	if err != nil || report.OK() != force {
		b.Errorf("undo (force %v): %+v, %v", force, report, err)
	}
}

func TestEtcdHealth(t *testing.T) {
	b := newBed(t, 3)
	if r := b.settled(map[string]any{"state": "health", "require": "all"}, healthy(3)); !healthy(3)(r) {
		t.Fatalf("three members: %+v", r)
	}
	if err := b.etcd.StopMember(0); err != nil {
		t.Fatal(err)
	}
	if r := b.settled(map[string]any{"state": "health", "timeout": 2}, healthy(2)); !healthy(2)(r) {
		t.Errorf("one stopped: %+v", r)
	}
	if r := b.run(false, map[string]any{"state": "health", "require": "all", "timeout": 2}); !r.Failed || !strings.Contains(r.Msg, "2 of 3") {
		t.Errorf("one stopped, all required: %+v", r)
	}
	if err := b.etcd.StopMember(1); err != nil {
		t.Fatal(err)
	}
	if r := b.run(false, map[string]any{"state": "health", "timeout": 2}); !r.Failed || r.Values["healthy"] != 0 {
		t.Errorf("no quorum: %+v", r)
	}
}
