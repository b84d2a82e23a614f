package etcd

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"sync"
	"testing"
	"time"

	clientv3 "go.etcd.io/etcd/client/v3"

	"github.com/calroll/calroll/tasks/journal"
	"github.com/calroll/calroll/testenv/artifacts"
)

func TestParseAddress(t *testing.T) {
	for address, want := range map[string]Access{
		"etcd://a":                              {Endpoints: []string{"a:2379"}, Prefix: "/calroll", Lease: DefaultLease},
		"etcd://a:1,b/team/one":                 {Endpoints: []string{"a:1", "b:2379"}, Prefix: "/team/one", Lease: DefaultLease},
		"etcds://[::1]:2379,[::2]/p/?lease=10s": {Endpoints: []string{"[::1]:2379", "[::2]:2379"}, Prefix: "/p", Lease: 10 * time.Second, TLS: true},
	} {
		if got, err := ParseAddress(address); err != nil || !reflect.DeepEqual(got, want) {
			t.Errorf("%s: %+v, %v", address, got, err)
		}
	}
	for address, why := range map[string]string{
		"http://a": "only etcd://", "a:2379": "only etcd://", "etcd://": "a host is missing", "etcd://a,,b": "a host is missing",
		"etcd://u:p@a": "--etcd-user", "etcd://a/p?ttl=1s": "\"ttl\" is not known", "etcd://a?lease=500ms": "whole seconds",
	} {
		if _, err := ParseAddress(address); err == nil || !strings.Contains(err.Error(), why) {
			t.Errorf("%s: %v", address, err)
		}
	}
}

// bed is a real etcd; each bastion has a connection of its own.
type bed struct {
	*testing.T
	etcd *artifacts.Etcd
}

func newBed(t *testing.T) *bed {
	t.Helper()
	set, err := artifacts.Build(t.Context(), artifacts.Request{Parts: []artifacts.Part{artifacts.EtcdPrograms}}, artifacts.Options{})
	if err != nil {
		t.Fatal(err)
	}
	e, err := artifacts.StartEtcd(t.Context(), artifacts.EtcdOptions{Programs: set, TLS: true})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := e.Stop(); err != nil {
			t.Error(err)
		}
	})
	return &bed{t, e}
}

func (b *bed) open() *State {
	b.Helper()
	return b.openWith("10s")
}

func (b *bed) openWith(lease string) *State {
	b.Helper()
	a, err := ParseAddress("etcds://" + strings.TrimPrefix(b.etcd.Endpoints()[0], "https://") + "/test?lease=" + lease)
	if err != nil {
		b.Fatal(err)
	}
	a.CA, a.Cert, a.Key = b.etcd.CA, b.etcd.ClientCert, b.etcd.ClientKey
	s, err := Open(b.Context(), a)
	if err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() { _ = s.Close() })
	return s
}

// fetched tells whether the run is claimed.
func (b *bed) fetched(claimed map[string]bool, err error) bool {
	b.Helper()
	b.must(err)
	is, known := claimed["run"]
	if !known {
		b.Error("the run was not fetched")
	}
	return is
}

func (b *bed) must(err error) {
	b.Helper()
	if err != nil {
		b.Fatal(err)
	}
}

// by is a claim of another bastion: whether its process lives cannot be known here.
func by(bastion, run string, hosts ...string) Claim {
	return Claim{Holder: journal.Holder{User: "ann", Bastion: bastion, PID: 42, Run: run}, Hosts: hosts}
}

func TestLocks(t *testing.T) {
	b := newBed(t)
	s := b.open()
	ctx := t.Context()
	first, err := s.Lock(ctx, by("b1", "one", "h1", "h2"), 0)
	b.must(err)

	// Who overlaps is told who is there; who does not goes on.
	var held *HeldError
	_, err = s.Lock(ctx, by("b2", "two", "h2", "h3"), 0)
	if !errors.As(err, &held) || held.Locks[0].Holder.Run != "one" || !strings.Contains(err.Error(), "run one of ann from b1 is at work on 2 hosts (h1, h2)") {
		t.Errorf("have %v", err)
	}
	apart := by("b2", "two", "h3")
	apart.Clusters = []string{"prod"}
	second, err := s.Lock(ctx, apart, 0)
	b.must(err)
	if first.For("h1").Revision >= second.For("h3").Revision || first.For("h3") != nil || first.For("h1").Issuer != second.For("h3").Issuer {
		t.Errorf("hosts are shown %+v and %+v", first.For("h1"), second.For("h3"))
	}
	same := by("b1", "three", "h4")
	same.Clusters = []string{"prod"}
	if _, err = s.Lock(ctx, same, 0); !errors.As(err, &held) || !strings.Contains(err.Error(), "cluster prod") {
		t.Errorf("have %v", err)
	}

	// Waiting ends when the holder is done.
	go func() { _ = first.Release(ctx) }()
	third, err := s.Lock(ctx, by("b2", "four", "h1"), time.Minute)
	b.must(err)

	// Whoever is unlocked learns it, and so does everybody who asks it.
	locks, err := s.Locks(ctx)
	if err != nil || len(locks) != 2 || locks[1].Holder.Run != "four" || locks[1].Left <= 0 {
		t.Fatalf("have %+v, %v", locks, err)
	}
	b.must(s.Unlock(ctx, locks[1]))
	<-third.Lost()
	if third.Err() == nil {
		t.Error("a lease that was ended is in force")
	}
	b.must(second.Release(ctx))
}

// TestAHolderWithoutEtcdStops not later than others may begin, and one of this bastion that is gone is not waited for.
func TestAHolderWithoutEtcdStops(t *testing.T) {
	b := newBed(t)
	s := b.openWith("2s")
	l, err := s.Lock(t.Context(), by("b1", "one", "h1"), 0)
	b.must(err)
	b.must(b.etcd.StopMember(0))
	<-l.Lost()
	if err := l.Err(); err == nil || !strings.Contains(err.Error(), "could not be renewed") {
		t.Errorf("have %v", err)
	}
	b.must(b.etcd.StartMember(t.Context(), 0))
	_ = l.Release(t.Context())

	gone := by("b1", "two", "h1")
	gone.Holder.PID, gone.Holder.Started = 1<<22-1, journal.Self().Started
	_, err = s.Lock(t.Context(), gone, time.Minute)
	b.must(err)
	again, err := s.Lock(t.Context(), by("b1", "three", "h1"), 0)
	b.must(err)
	b.must(again.Release(t.Context()))
}

// TestNoTwoHoldersAtATime has bastions claim random hosts, end or die, and then looks at what etcd has seen: no two claims on one host
// were ever there together, and tokens grow.
func TestNoTwoHoldersAtATime(t *testing.T) {
	b := newBed(t)
	var all sync.WaitGroup
	for i := range 6 {
		s, random := b.open(), rand.New(rand.NewPCG(1, uint64(i)))
		all.Go(func() {
			for round := range 12 {
				var hosts []string
				for _, h := range random.Perm(5)[:1+random.IntN(3)] {
					hosts = append(hosts, fmt.Sprint("h", h))
				}
				l, err := s.Lock(t.Context(), by(fmt.Sprint("b", i), fmt.Sprint("run", i, "-", round), hosts...), time.Minute)
				if err != nil {
					t.Error(err)
					return
				}
				if round == 6 && i < 2 {
					l.stop() // killed
				} else if err := l.Release(t.Context()); err != nil {
					t.Error(err)
				}
			}
		})
	}
	all.Wait()
	b.overlaps(6 * 12)
}

// overlaps reads the history of the locks.
func (b *bed) overlaps(claims int) {
	b.Helper()
	s := b.open()
	ctx, cancel := context.WithCancel(b.Context())
	defer cancel()
	now, err := s.client.Get(ctx, s.key("locks", ""), clientv3.WithPrefix())
	b.must(err)
	there := map[string]Claim{}
	made := 0
	for r := range s.client.Watch(ctx, s.key("locks", ""), clientv3.WithPrefix(), clientv3.WithRev(1), clientv3.WithProgressNotify()) {
		b.must(r.Err())
		for _, e := range r.Events {
			key := string(e.Kv.Key)
			if e.Type == clientv3.EventTypeDelete {
				delete(there, key)
				continue
			}
			made++
			var c Claim
			b.must(json.Unmarshal(e.Kv.Value, &c))
			for _, o := range there {
				if c.Overlaps(o) {
					b.Errorf("at %d %s of %s begins while %s of %s is there", e.Kv.ModRevision, c.Of(), c.Holder.Run, o.Of(), o.Holder.Run)
				}
			}
			there[key] = c
		}
		if r.Header.Revision >= now.Header.Revision {
			break
		}
	}
	if made != claims {
		b.Errorf("%d claims were made, want %d", made, claims)
	}
}

// folder is the store of one bastion.
type folder struct {
	*bed
	dir string
}

func (f folder) write(run, name, text string) {
	f.Helper()
	f.must(os.MkdirAll(filepath.Join(f.dir, run), 0o700))
	f.must(os.WriteFile(filepath.Join(f.dir, run, name), []byte(text), 0o600))
}

func (f folder) want(run, name, text string) {
	f.Helper()
	got, err := os.ReadFile(filepath.Join(f.dir, run, name))
	if err != nil || string(got) != text {
		f.Errorf("%s of %s is %q (%v), want %q", name, run, got, err, text)
	}
}

// TestARunGoesOnElsewhere: the folder of a run that is killed is made on another bastion, which goes on with it, and comes back. What the
// killed one had not shipped gives way, and it cannot ship any more.
func TestARunGoesOnElsewhere(t *testing.T) {
	b := newBed(t)
	s, ctx := b.open(), t.Context()
	here, there := folder{b, t.TempDir()}, folder{b, t.TempDir()}
	long := strings.Repeat("{\"line\": true}\n", 40000)

	l, err := s.Lock(ctx, by("b1", "run", "h1"), 0)
	b.must(err)
	m, err := s.Mirror(ctx, here.dir, "run", l)
	b.must(err)
	here.write("run", "run.json", `{"state":"running"}`)
	here.write("run", "events.jsonl", long+`{"torn":`)
	b.must(m.Sync(ctx))
	b.must(m.Sync(ctx))

	if !b.fetched(s.Fetch(ctx, there.dir)) {
		t.Error("the run is not claimed while it runs")
	}
	there.want("run", "run.json", `{"state":"running"}`)
	whole, err := s.FetchRun(ctx, there.dir, "run")
	if err != nil || !whole {
		t.Errorf("fetched: %v, %v", whole, err)
	}
	there.want("run", "events.jsonl", long)

	// The lock is lost: as long as nobody has gone on, how it ended is told still.
	locks, err := s.Locks(ctx)
	b.must(err)
	b.must(s.Unlock(ctx, locks[0]))
	<-l.Lost()
	here.write("run", "run.json", `{"state":"canceled"}`)
	b.must(m.Sync(ctx))
	if b.fetched(s.Fetch(ctx, there.dir)) {
		t.Error("the run is claimed without a lock")
	}
	there.want("run", "run.json", `{"state":"canceled"}`)

	other, err := s.Lock(ctx, by("b2", "run", "h1"), 0)
	b.must(err)
	next, err := s.Mirror(ctx, there.dir, "run", other)
	b.must(err)
	there.write("run", "events.jsonl", long+"{\"more\": 1}\n")
	there.write("run", "run.json", `{"state":"passed"}`)
	b.must(next.Sync(ctx))
	here.write("run", "events.jsonl", long+"{\"late\": 1}\n")
	if err := m.Close(ctx); err == nil || !strings.Contains(err.Error(), "another bastion has gone on with it") {
		t.Errorf("a run without its lock was shared: %v", err)
	}
	b.must(l.Release(ctx))
	b.must(next.Close(ctx))
	b.must(other.Release(ctx))

	b.fetched(s.Fetch(ctx, here.dir))
	_, err = s.FetchRun(ctx, here.dir, "run")
	b.must(err)
	here.want("run", "run.json", `{"state":"passed"}`)
	here.want("run", "events.jsonl", long+"{\"more\": 1}\n")

	// What could not be shipped is not overwritten, and is shipped later.
	here.write("run", "run.json", `{"state":"rolled back"}`)
	b.fetched(s.Fetch(ctx, here.dir))
	here.want("run", "run.json", `{"state":"rolled back"}`)
	b.must(s.Ship(ctx, here.dir, "run"))
	b.fetched(s.Fetch(ctx, there.dir))
	there.want("run", "run.json", `{"state":"rolled back"}`)
}

// TestEtcdKeepsSoManyRuns and drops the oldest, with their files.
func TestEtcdKeepsSoManyRuns(t *testing.T) {
	b := newBed(t)
	s, ctx := b.open(), t.Context()
	for i := range keepRuns + 3 {
		run := fmt.Sprintf("run%03d", i)
		for _, key := range []string{s.key("runs", run), s.key("files", run, "events.jsonl", "000000000000-1")} {
			_, err := s.put(ctx, key, "x")
			b.must(err)
		}
	}
	l, err := s.Lock(ctx, by("b1", "run001", "h1"), 0)
	b.must(err)
	defer func() { _ = l.Release(ctx) }()
	b.must(s.prune(ctx))
	for i, want := range []int64{0, 2, 0, 2} { // run001 is under way
		run := fmt.Sprintf("run%03d", i)
		n, err := s.client.Get(ctx, s.key("runs", run))
		b.must(err)
		pieces, err := s.client.Get(ctx, s.key("files", run, ""), clientv3.WithPrefix(), clientv3.WithCountOnly())
		b.must(err)
		if got := n.Count + pieces.Count; got != want {
			t.Errorf("etcd has %d keys of %s, want %d", got, run, want)
		}
	}
}

// TestTheKeyIsThatOfTheFirst bastion, whoever asks and however many at a time.
func TestTheKeyIsThatOfTheFirst(t *testing.T) {
	b := newBed(t)
	keys := make(chan string)
	for i := range byte(8) {
		s := b.open()
		go func() {
			key, err := s.Key(t.Context(), []byte{i})
			if err != nil {
				t.Error(err)
			}
			keys <- string(key)
		}()
	}
	first := <-keys
	for range 7 {
		if key := <-keys; key != first {
			t.Errorf("keys %x and %x", first, key)
		}
	}
	if _, err := b.open().Key(t.Context(), []byte("another length")); err == nil || !strings.Contains(err.Error(), "it has 1 bytes, not 14") {
		t.Errorf("a key of another length: %v", err)
	}
}
