package etcd

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	clientv3 "go.etcd.io/etcd/client/v3"
)

// bastion is one with a connection and a store of its own.
type bastion struct {
	folder
	*State
	name string
}

func (b *bed) bastion(name string) bastion {
	b.Helper()
	return bastion{folder{b, b.TempDir()}, b.open(), name}
}

// fetch brings the run, as every command does that names it.
func (b bastion) fetch() {
	b.Helper()
	b.fetched(b.Fetch(b.Context(), b.dir))
	_, err := b.FetchRun(b.Context(), b.dir, "run")
	b.must(err)
}

// begin goes on with the run, or begins it.
func (b bastion) begin(hosts ...string) (*Mirror, *Lease) {
	b.Helper()
	l, err := b.Lock(b.Context(), by(b.name, "run", hosts...), 0)
	b.must(err)
	m, err := b.Mirror(b.Context(), b.dir, "run", l)
	b.must(err)
	return m, l
}

func (b bastion) end(m *Mirror, l *Lease) {
	b.Helper()
	b.must(m.Close(b.Context()))
	b.must(l.Release(b.Context()))
}

// record has the run as three files say.
func (b bastion) record(meta, answers, events string) {
	b.Helper()
	b.write("run", "run.json", meta)
	b.write("run", "answers.jsonl", answers)
	b.write("run", "events.jsonl", events)
}

func (b bastion) has(meta, answers, events string) {
	b.Helper()
	b.want("run", "run.json", meta)
	b.want("run", "answers.jsonl", answers)
	b.want("run", "events.jsonl", events)
}

// loses ends the claim of a run as etcd does when it does not hear of its holder.
func (b *bed) loses(s *State, l *Lease) {
	b.Helper()
	locks, err := s.Locks(b.Context())
	b.must(err)
	b.must(s.Unlock(b.Context(), locks[0]))
	<-l.Lost()
}

// keys are those of the run in etcd, each with its value.
func (b bastion) keys() string {
	b.Helper()
	r, err := b.client.Get(b.Context(), b.key(""), clientv3.WithPrefix())
	b.must(err)
	var all strings.Builder
	for _, kv := range r.Kvs {
		fmt.Fprintf(&all, "%s %x\n", kv.Key, kv.Value)
	}
	return all.String()
}

// refused tells that what would go over the record of another bastion was not done: nothing in etcd is other than before.
func (b bastion) refused(before string, err error) {
	b.Helper()
	if err == nil || !strings.Contains(err.Error(), "another bastion has recorded it since") {
		b.Errorf("%s is told: %v", b.name, err)
	}
	if after := b.keys(); after != before {
		b.Errorf("etcd has\n%s\nand had\n%s", after, before)
	}
}

// shared is a run that east has recorded and that both have.
func (b *bed) shared() (east, west bastion) {
	b.Helper()
	east, west = b.bastion("east"), b.bastion("west")
	m, l := east.begin("h1")
	east.record(`{"hosts":1}`, "a1\n", "e1\n")
	east.end(m, l)
	west.fetch()
	return east, west
}

// TestWhoWentOnIsBelieved: east loses etcd in the middle of a run, and west goes on with it over a further host. What east has recorded after that gives
// way, in all files, and it does not ship any of it.
func TestWhoWentOnIsBelieved(t *testing.T) {
	b := newBed(t)
	east, west := b.bastion("east"), b.bastion("west")
	m, l := east.begin("h1")
	east.record(`{"hosts":1}`, "a1\n", "e1\n")
	b.must(m.Sync(t.Context()))
	b.loses(west.State, l)
	west.fetch()
	next, lease := west.begin("h1", "h2")

	west.record(`{"hosts":2}`, "a1\n", "e1\ne2\n")
	b.must(next.Sync(t.Context()))

	east.record(`{"hosts":1,"state":"canceled"}`, "a1\nlate answer\n", "e1\nlate event\nlater event\n")
	if err := m.Close(t.Context()); err == nil || !strings.Contains(err.Error(), "another bastion has gone on with it") {
		t.Errorf("east has shared what it noted after west had gone on: %v", err)
	}
	west.record(`{"hosts":2,"state":"passed"}`, "a1\na2\n", "e1\ne2\n")
	west.end(next, lease)

	b.fetched(east.Fetch(t.Context(), east.dir))
	east.has(`{"hosts":2,"state":"passed"}`, "a1\n", "e1\n")
	east.fetch()
	east.has(`{"hosts":2,"state":"passed"}`, "a1\na2\n", "e1\ne2\n")
	before := west.keys()
	b.must(east.Ship(t.Context(), east.dir, "run"))
	if after := west.keys(); after != before {
		t.Errorf("etcd has\n%s\nand had\n%s", after, before)
	}
}

// TestTheFilesOfARunBelongTogether: where west has recorded answers alone, the run.json of east gives way as well.
func TestTheFilesOfARunBelongTogether(t *testing.T) {
	b := newBed(t)
	east, west := b.shared()
	west.write("run", "answers.jsonl", "a1\na2\n")
	b.must(west.Ship(t.Context(), west.dir, "run"))
	east.record(`{"hosts":1,"state":"canceled"}`, "a1\n", "e1\nlate event\n")
	east.fetch()
	east.has(`{"hosts":1}`, "a1\na2\n", "e1\n")
}

// TestWhatWasNotedHereAloneIsShared later, with all its files, and nothing takes its place until then.
func TestWhatWasNotedHereAloneIsShared(t *testing.T) {
	b := newBed(t)
	east, west := b.shared()
	east.record(`{"state":"rolled back"}`, "a1\nundone\n", "e1\ne2\ntorn")
	east.fetch()
	east.has(`{"state":"rolled back"}`, "a1\nundone\n", "e1\ne2\ntorn")
	b.must(east.Ship(t.Context(), east.dir, "run"))
	west.fetch()
	west.has(`{"state":"rolled back"}`, "a1\nundone\n", "e1\ne2\n")
	b.must(east.Ship(t.Context(), east.dir, "run")) // there is no more

	// It goes on from there on either side.
	m, l := west.begin("h1")
	west.record(`{"state":"passed"}`, "a1\nundone\na2\n", "e1\ne2\ne3\n")
	west.end(m, l)
	east.fetch()
	east.has(`{"state":"passed"}`, "a1\nundone\na2\n", "e1\ne2\ne3\n")
}

// TestShipDoesNotGoOverOthers: it is refused where etcd is not as it was seen last, be it run.json or another file.
func TestShipDoesNotGoOverOthers(t *testing.T) {
	b := newBed(t)
	east, west := b.shared()
	ctx := t.Context()
	east.write("run", "run.json", `{"state":"rolled back"}`)
	west.write("run", "run.json", `{"state":"passed"}`)
	b.must(west.Ship(ctx, west.dir, "run"))
	before := west.keys()
	east.refused(before, east.Ship(ctx, east.dir, "run"))
	east.fetch()
	east.want("run", "run.json", `{"state":"passed"}`)

	east.write("run", "run.json", `{"state":"rolled back"}`)
	east.write("run", "answers.jsonl", "a1\nundone\n")
	west.write("run", "answers.jsonl", "a1\na2\n")
	b.must(west.Ship(ctx, west.dir, "run"))
	before = west.keys()
	east.refused(before, east.Ship(ctx, east.dir, "run"))

	// Who has claimed the run records it.
	east.fetch()
	l, err := west.Lock(ctx, by("west", "run", "h9"), 0)
	b.must(err)
	east.write("run", "run.json", `{"state":"rolled back"}`)
	before = west.keys()
	b.must(east.Ship(ctx, east.dir, "run"))
	if after := west.keys(); after != before {
		t.Errorf("a run that west has claimed was shared by east:\n%s", after)
	}
	b.must(l.Release(ctx))
	b.must(east.Ship(ctx, east.dir, "run"))
	west.fetch()
	west.want("run", "run.json", `{"state":"rolled back"}`)
}

// TestAStaleFolderIsNotGoneOnWith: what west has recorded stays, and its pieces are not mixed with those of east.
func TestAStaleFolderIsNotGoneOnWith(t *testing.T) {
	b := newBed(t)
	east, west := b.shared()
	ctx := t.Context()
	m, l := west.begin("h1", "h2")
	west.record(`{"hosts":2}`, "a1\na2\n", "e1\ne2\n")
	west.end(m, l)

	l, err := east.Lock(ctx, by("east", "run", "h1"), 0)
	b.must(err)
	before := west.keys()
	m, err = east.Mirror(ctx, east.dir, "run", l)
	if east.refused(before, err); m != nil {
		east.end(m, l)
		t.FailNow()
	}
	east.fetch()
	m, err = east.Mirror(ctx, east.dir, "run", l)
	b.must(err)
	east.has(`{"hosts":2}`, "a1\na2\n", "e1\ne2\n")
	east.record(`{"hosts":3}`, "a1\na2\na3\n", "e1\ne2\n")
	east.end(m, l)
	west.fetch()
	west.has(`{"hosts":3}`, "a1\na2\na3\n", "e1\ne2\n")
}

// TestOneRunIsRecordedByOne: claims to one run do not go together, whatever their hosts, and who has lost its claim writes nothing from when another begins.
func TestOneRunIsRecordedByOne(t *testing.T) {
	b := newBed(t)
	east, west := b.bastion("east"), b.bastion("west")
	m, l := east.begin("h1")
	east.record(`{"hosts":1}`, "a1\n", "e1\n")
	b.must(m.Sync(t.Context()))
	var held *HeldError
	if other, err := west.Lock(t.Context(), by("west", "run", "h2"), 0); !errors.As(err, &held) {
		t.Errorf("west has claimed the run that east records: %v", err)
		b.must(other.Release(t.Context()))
	}
	b.loses(west.State, l)
	west.fetch()
	next, lease := west.begin("h2")
	before := west.keys()
	east.record(`{"hosts":1}`, "a1\nlate answer\n", "e1\n")
	if err := m.Close(t.Context()); err == nil || west.keys() != before {
		t.Errorf("east goes on although west has begun: %v", err)
	}
	west.end(next, lease)
}

// TestWhatCameUnseen: east is killed, or loses etcd, before it has heard that something came there. It knows its own again, and goes on.
func TestWhatCameUnseen(t *testing.T) {
	b := newBed(t)
	east, west := b.shared()
	ctx := t.Context()
	sent := readMark(filepath.Join(east.dir, "run"))
	sent.Sent = []string{hash([]byte(`{"hosts":2}`)), hash([]byte(`{"hosts":3}`))}
	b.must(sent.write(filepath.Join(east.dir, "run")))
	for key, text := range map[string]string{"runs/run": `{"hosts":2}`, "files/run/answers.jsonl/000000000003-3": "a2\n",
		"files/run/answers.jsonl/000000000003-6": "a2\na3\n", "files/run/answers.jsonl/000000000003-12": "a2\na3\na4\na5\n"} {
		value, err := pack([]byte(text))
		b.must(err)
		_, err = east.put(ctx, east.key(key), value)
		b.must(err)
	}
	const all = "a1\na2\na3\na4\na5\na6\n"
	east.record(`{"hosts":3,"state":"canceled"}`, all, "e1\ne2\n")
	east.fetch()
	east.has(`{"hosts":3,"state":"canceled"}`, all, "e1\ne2\n")
	west.fetch()
	west.has(`{"hosts":2}`, "a1\na2\na3\na4\na5\n", "e1\n")

	m, l := east.begin("h1")
	east.end(m, l)
	west.fetch()
	west.has(`{"hosts":3,"state":"canceled"}`, all, "e1\ne2\n")
}

// TestLongLines are shared when they are whole, and one of which only a part came does not shift what another bastion writes behind it.
func TestLongLines(t *testing.T) {
	b := newBed(t)
	east, west := b.bastion("east"), b.bastion("west")
	ctx := t.Context()
	long := strings.Repeat("long", pieceLimit/2)
	m, l := east.begin("h1")
	east.record(`{}`, "a1\n", "e1\n"+long)
	b.must(m.Sync(ctx))
	west.fetch()
	west.has(`{}`, "a1\n", "e1\n")
	east.record(`{}`, "a1\n", "e1\n"+long+"\ne2\n")
	east.end(m, l)
	west.fetch()
	west.has(`{}`, "a1\n", "e1\n"+long+"\ne2\n")

	value, err := pack([]byte("tor"))
	b.must(err)
	_, err = east.put(ctx, east.key("files", "run", "answers.jsonl", "000000000003-3"), value)
	b.must(err)
	west.fetch()
	m, l = west.begin("h1")
	west.want("run", "answers.jsonl", "a1\ntor\n")
	west.write("run", "answers.jsonl", "a1\ntor\na2\n")
	west.end(m, l)
	east.fetch()
	east.want("run", "answers.jsonl", "a1\ntor\na2\n")
}

// TestAFileThatLostItsEnd, as a power cut has it, is made whole from etcd before more is written.
func TestAFileThatLostItsEnd(t *testing.T) {
	b := newBed(t)
	east, west := b.shared()
	b.must(os.Truncate(filepath.Join(east.dir, "run", "answers.jsonl"), 1))
	if err := east.Ship(t.Context(), east.dir, "run"); err == nil || !strings.Contains(err.Error(), "answers.jsonl has 1 bytes, and was shared with 3") {
		t.Errorf("it is shared as it is: %v", err)
	}
	east.fetch()
	east.has(`{"hosts":1}`, "a1\n", "e1\n")
	west.fetch()
}

// TestARunThatCameAgain: etcd had dropped it, and then a bastion went on with it that did not have all.
func TestARunThatCameAgain(t *testing.T) {
	b := newBed(t)
	east, west := b.shared()
	m, l := east.begin("h1")
	east.record(`{"hosts":1}`, "a1\na2\n", "e1\n")
	east.end(m, l)
	for _, key := range []string{"runs", "files"} {
		_, err := east.client.Delete(t.Context(), east.key(key, ""), clientv3.WithPrefix())
		b.must(err)
	}
	m, l = west.begin("h1")
	west.record(`{"hosts":2}`, "a1\nb2\nb3\n", "e1\n")
	west.end(m, l)
	east.fetch()
	east.has(`{"hosts":2}`, "a1\nb2\nb3\n", "e1\n")
}

// TestFilesThatAreTooLarge for etcd are whole on the bastion that has recorded them, and stay so.
func TestFilesThatAreTooLarge(t *testing.T) {
	b := newBed(t)
	east, west := b.shared()
	_, err := east.put(t.Context(), east.key("full", "run", "events.jsonl"), "")
	b.must(err)
	east.record(`{"state":"canceled"}`, "a1\nlate answer\n", "e1\ne2\n")
	west.write("run", "run.json", `{"state":"passed"}`)
	b.must(west.Ship(t.Context(), west.dir, "run"))
	east.fetch()
	east.has(`{"state":"passed"}`, "a1\n", "e1\ne2\n")
	b.must(east.Ship(t.Context(), east.dir, "run"))
	west.fetch()
	west.has(`{"state":"passed"}`, "a1\n", "e1\n")
	if whole, err := west.FetchRun(t.Context(), west.dir, "run"); err != nil || whole {
		t.Errorf("all of it is there: %v, %v", whole, err)
	}
}

// TestWhatWasReadBefore this bastion has shared more takes no newer run.json away.
func TestWhatWasReadBefore(t *testing.T) {
	b := newBed(t)
	east, _ := b.shared()
	h, err := east.look(t.Context(), "run")
	b.must(err)
	m, l := east.begin("h1")
	east.record(`{"state":"passed"}`, "a1\na2\n", "e1\n")
	east.end(m, l)
	h.early = true
	b.must(fetchMeta(filepath.Join(east.dir, "run"), h))
	east.fetch()
	east.has(`{"state":"passed"}`, "a1\na2\n", "e1\n")
}
