package etcd

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"time"

	"go.etcd.io/etcd/api/v3/v3rpc/rpctypes"
	clientv3 "go.etcd.io/etcd/client/v3"
	"golang.org/x/sys/unix"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
)

const (
	shipEvery = time.Second
	// keepRuns is how many runs etcd keeps.
	keepRuns = 100
)

// Mirror ships the folder of a run as it grows.
type Mirror struct {
	lease *Lease
	stop  context.CancelFunc
	ended chan struct{}

	mu     sync.Mutex // guards what follows; held while shipping
	parcel parcel
	ours   *os.File // the folder, locked: nobody fetches into it
}

// Mirror begins to ship the folder of a run below dir, whose claim the lease is. The folder may not be there yet. What etcd has of the run must have been
// fetched, and be there as it was then: what is shipped goes on from it.
func (s *State) Mirror(ctx context.Context, dir, run string, l *Lease) (*Mirror, error) {
	m := &Mirror{lease: l, ended: make(chan struct{}), parcel: parcel{state: s, folder: filepath.Join(dir, run), run: run}}
	m.parcel.holds = m.holds
	err := m.begin(ctx)
	if errors.Is(err, errMoved) {
		err = fmt.Errorf("%w; type the command again", err)
	}
	if err != nil {
		return nil, errors.Join(fmt.Errorf("cannot go on with run %s: %w", run, err), m.disown())
	}
	ctx, m.stop = context.WithCancel(context.WithoutCancel(ctx))
	go m.ship(ctx)
	return m, nil
}

// begin goes on from what etcd has of the run.
func (m *Mirror) begin(ctx context.Context) error {
	if err := m.own(); err != nil {
		return err
	}
	p := &m.parcel
	h, err := p.state.takeOver(ctx, p.run, m.lease)
	if err != nil {
		return err
	}
	here, err := readMeta(p.folder)
	if err != nil {
		return err
	}
	if p.mark, err = readMark(p.folder).goingOn(here, h); err != nil {
		return err
	}
	p.full = h.full
	return endTorn(p.folder, p.mark.Files)
}

// takeOver has whoever recorded the run before, and has lost its claim, record nothing more. What etcd has of the run then is all that it will have from there.
func (s *State) takeOver(ctx context.Context, run string, l *Lease) (held, error) {
	h, err := s.look(ctx, run)
	if err != nil || h.text == nil {
		return h, err
	}
	ctx, cancel := context.WithTimeout(ctx, callTimeout)
	defer cancel()
	_, err = s.put(ctx, s.key("runs", run), h.raw, l.there(), clientv3.Compare(clientv3.ModRevision(s.key("runs", run)), "=", h.at))
	if errors.Is(err, errGone) && l.Err() == nil {
		err = errMoved
	}
	if err != nil {
		return h, err
	}
	return s.look(ctx, run)
}

// endTorn ends the line that etcd's part of a file ends in, if that goes on nowhere: who shipped it was killed on the way. Otherwise whoever opens the file
// would cut it off, and put what follows where etcd has more already.
func endTorn(folder string, shared map[string]int64) error {
	for name, end := range shared {
		file := filepath.Join(folder, name)
		text, err := os.ReadFile(file)
		if err != nil {
			return err
		}
		if int64(len(text)) < end {
			return fmt.Errorf("%s has %d bytes, and was shared with %d", name, len(text), end)
		}
		if int64(bytes.LastIndexByte(text, '\n')+1) >= end {
			continue
		}
		if err := writeEnd(file, []byte("\n"), end); err != nil {
			return err
		}
	}
	return nil
}

// writeEnd has a file end with a text from an offset on.
func writeEnd(name string, text []byte, at int64) error {
	f, err := os.OpenFile(name, os.O_WRONLY|os.O_CREATE, 0o600)
	if err != nil {
		return err
	}
	_, err = f.WriteAt(text, at)
	return errors.Join(err, f.Truncate(at+int64(len(text))), f.Close())
}

// own keeps others on this bastion from fetching into the folder, once it is there.
func (m *Mirror) own() (err error) {
	if m.ours == nil {
		m.ours, err = lockFolder(m.parcel.folder, unix.LOCK_EX)
	}
	return err
}

func (m *Mirror) disown() error {
	if m.ours == nil {
		return nil
	}
	return m.ours.Close()
}

func (m *Mirror) ship(ctx context.Context) {
	defer close(m.ended)
	tick := time.NewTicker(shipEvery)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
			_ = m.Sync(ctx) // the next one tries again, and Close says what could not be done
		}
	}
}

// Sync returns when what the folder holds is in etcd.
func (m *Mirror) Sync(ctx context.Context) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	ctx, cancel := context.WithTimeout(ctx, callTimeout)
	defer cancel()
	text, err := readMeta(m.parcel.folder)
	if text == nil && err == nil {
		return nil
	}
	if err = errors.Join(err, m.own()); err == nil {
		err = m.parcel.ship(ctx, text)
	}
	if err != nil {
		return fmt.Errorf("cannot share run %s with other bastions: %w", m.parcel.run, err)
	}
	return nil
}

// syncAgain is how long Share waits after a failure that passes.
const syncAgain = 200 * time.Millisecond

// Share is Sync that does not give up while etcd elects a leader or cannot be reached, as long as the claim of the run holds.
func (m *Mirror) Share(ctx context.Context) error {
	for {
		err := m.Sync(ctx)
		if err == nil || !passing(err) {
			return err
		}
		select {
		case <-m.lease.Lost():
			return err
		case <-ctx.Done():
			return err
		case <-time.After(syncAgain):
		}
	}
}

// passing tells errors of etcd that say nothing about the question.
func passing(err error) bool {
	var e rpctypes.EtcdError
	if errors.As(err, &e) {
		return e.Code() == codes.Unavailable || e.Code() == codes.DeadlineExceeded
	}
	return errors.Is(err, context.DeadlineExceeded) || status.Code(err) == codes.Unavailable
}

// holds is the condition that the claim of the run is there; or, when it is lost, that nobody has gone on with the run: how it ended is told still.
func (m *Mirror) holds() []clientv3.Cmp {
	if at := m.parcel.mark.At; at > 0 && m.lease.Err() != nil {
		return []clientv3.Cmp{clientv3.Compare(clientv3.ModRevision(m.parcel.state.key("runs", m.parcel.run)), "=", at)}
	}
	return []clientv3.Cmp{m.lease.there()}
}

// Close ships the rest. Runs that are too many are taken out of etcd, the oldest first.
func (m *Mirror) Close(ctx context.Context) error {
	m.stop()
	<-m.ended
	err := errors.Join(m.Share(ctx), m.parcel.state.prune(ctx))
	m.mu.Lock()
	defer m.mu.Unlock()
	return errors.Join(err, m.disown())
}

// prune takes the oldest runs out of etcd, but none that is under way.
func (s *State) prune(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, callTimeout)
	defer cancel()
	prefix := s.key("runs", "")
	r, err := s.client.Get(ctx, prefix, clientv3.WithPrefix(), clientv3.WithKeysOnly())
	if err != nil || len(r.Kvs) <= keepRuns {
		return err
	}
	locks, at, err := s.locks(ctx)
	if err != nil {
		return err
	}
	for _, kv := range r.Kvs[:len(r.Kvs)-keepRuns] {
		run := strings.TrimPrefix(string(kv.Key), prefix)
		if slices.ContainsFunc(locks, func(l Lock) bool { return l.Holder.Run == run }) {
			continue
		}
		// Whoever has come since may have taken this run; then the next to prune looks again.
		_, err := s.client.Txn(ctx).If(s.none("locks", at)).Then(clientv3.OpDelete(string(kv.Key)), clientv3.OpDelete(s.key("files", run, ""), clientv3.WithPrefix()),
			clientv3.OpDelete(s.key("full", run, ""), clientv3.WithPrefix())).Commit()
		if err != nil {
			return fmt.Errorf("cannot prune run %s in etcd: %w", run, err)
		}
	}
	return nil
}
