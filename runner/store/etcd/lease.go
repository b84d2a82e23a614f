package etcd

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"time"

	"go.etcd.io/etcd/api/v3/mvccpb"
	"go.etcd.io/etcd/api/v3/v3rpc/rpctypes"
	clientv3 "go.etcd.io/etcd/client/v3"

	"github.com/calroll/calroll/tasks/journal"
)

// Claim is the right to work on hosts.
type Claim struct {
	Holder   journal.Holder `json:"holder"`
	Clusters []string       `json:"clusters,omitempty"` // by name, whole
	Hosts    []string       `json:"hosts"`              // by inventory name
}

// Overlaps tells whether two claims cannot be there at the same time: they have a host or a cluster in common, or are for one run, which only one can record.
func (c Claim) Overlaps(o Claim) bool {
	if c.Holder.Run != "" && c.Holder.Run == o.Holder.Run {
		return true
	}
	in := func(list []string) func(string) bool { return func(s string) bool { return slices.Contains(list, s) } }
	return slices.ContainsFunc(c.Clusters, in(o.Clusters)) || slices.ContainsFunc(c.Hosts, in(o.Hosts))
}

// Of says what the claim is about: "cluster prod", or "3 hosts (a, b, c)".
func (c Claim) Of() string {
	if len(c.Clusters) > 0 {
		return "cluster " + strings.Join(c.Clusters, ", ")
	}
	const some = 5
	names := strings.Join(c.Hosts[:min(some, len(c.Hosts))], ", ")
	if len(c.Hosts) > some {
		names += ", ..."
	}
	return fmt.Sprintf("%d hosts (%s)", len(c.Hosts), names)
}

// Lock is a claim that is there.
type Lock struct {
	Claim
	Revision int64         `json:"revision"` // the fencing token that hosts are shown
	Left     time.Duration `json:"left"`     // until it ends, unless its holder renews it; in nanoseconds
	lease    clientv3.LeaseID
}

// HeldError says who has what was claimed.
type HeldError struct{ Locks []Lock }

// Error names every holder.
func (e *HeldError) Error() string {
	var lines []string
	for _, l := range e.Locks {
		lines = append(lines, fmt.Sprintf("%s of %s is at work on %s; its lock ends in %s unless it goes on (see calroll locks)",
			l.Holder.Run, l.Holder.Who(), l.Of(), l.Left.Round(time.Second)))
	}
	return "cannot take the hosts: run " + strings.Join(lines, "\nrun ")
}

// Locks are the claims that are there, the oldest first.
func (s *State) Locks(ctx context.Context) ([]Lock, error) {
	locks, _, err := s.locks(ctx)
	for i, l := range locks {
		if ttl, err := s.client.TimeToLive(ctx, l.lease); err == nil && ttl.TTL > 0 {
			locks[i].Left = time.Duration(ttl.TTL) * time.Second
		}
	}
	return locks, err
}

func (s *State) locks(ctx context.Context) (locks []Lock, at int64, err error) {
	ctx, cancel := context.WithTimeout(ctx, callTimeout)
	defer cancel()
	r, err := s.client.Get(ctx, s.key("locks", ""), clientv3.WithPrefix(), clientv3.WithSort(clientv3.SortByCreateRevision, clientv3.SortAscend))
	if err != nil {
		return nil, 0, fmt.Errorf("cannot read the locks in etcd: %w", err)
	}
	locks, err = readLocks(r.Kvs)
	return locks, r.Header.Revision, err
}

func readLocks(kvs []*mvccpb.KeyValue) (locks []Lock, err error) {
	for _, kv := range kvs {
		l := Lock{Revision: kv.CreateRevision, lease: clientv3.LeaseID(kv.Lease)}
		if err := json.Unmarshal(kv.Value, &l.Claim); err != nil {
			return nil, fmt.Errorf("cannot read the lock %s in etcd: %w", kv.Key, err)
		}
		locks = append(locks, l)
	}
	return locks, nil
}

// Unlock ends a lock. Its holder stops at the end of the task in hand, when it next asks; hosts refuse it once a newer holder has come.
func (s *State) Unlock(ctx context.Context, l Lock) error {
	ctx, cancel := context.WithTimeout(ctx, callTimeout)
	defer cancel()
	if _, err := s.client.Revoke(ctx, l.lease); err != nil && !errors.Is(err, rpctypes.ErrLeaseNotFound) {
		return fmt.Errorf("cannot end the lock of run %s: %w", l.Holder.Run, err)
	}
	return nil
}

// Lease is a claim of this process.
type Lease struct {
	state    *State
	claim    Claim
	id       clientv3.LeaseID
	key      string
	revision int64
	ttl      time.Duration
	stop     context.CancelFunc
	ended    chan struct{} // closed when nothing renews it any more
	lost     chan struct{} // closed when it is over before Release

	mu       sync.Mutex    // guards what follows
	deadline time.Duration // on the clock since boot
	why      error         // it is over
}

// Lock makes a claim and keeps it alive until Release. Claims that are there already are a *HeldError, after having waited for their ends for so
// long; but those of processes of this bastion that are gone are ended at once.
func (s *State) Lock(ctx context.Context, c Claim, wait time.Duration) (*Lease, error) {
	late := time.Now().Add(wait)
	for {
		l, err := s.claim(ctx, c)
		var held *HeldError
		if !errors.As(err, &held) || !time.Now().Before(late) {
			return l, err
		}
		if err := s.change(ctx, late); err != nil {
			return nil, err
		}
	}
}

// change waits for an end of a lock, a second, or until late.
func (s *State) change(ctx context.Context, late time.Time) error {
	ctx, cancel := context.WithDeadline(ctx, late)
	defer cancel()
	watching, stop := context.WithTimeout(ctx, time.Second) // one that ended before the watch began is found by looking again
	defer stop()
	for r := range s.client.Watch(clientv3.WithRequireLeader(watching), s.key("locks", ""), clientv3.WithPrefix(), clientv3.WithFilterPut()) {
		if len(r.Events) > 0 {
			return nil
		}
	}
	if err := ctx.Err(); err != nil && !errors.Is(err, context.DeadlineExceeded) {
		return context.Cause(ctx)
	}
	return nil
}

// claim tries once.
func (s *State) claim(ctx context.Context, c Claim) (*Lease, error) {
	ctx, cancel := context.WithTimeout(ctx, callTimeout)
	defer cancel()
	l := &Lease{state: s, claim: c, ttl: s.access.Lease, ended: make(chan struct{}), lost: make(chan struct{})}
	l.deadline = journal.Boottime() + l.ttl
	granted, err := s.client.Grant(ctx, int64(l.ttl/time.Second))
	if err != nil {
		return nil, fmt.Errorf("cannot get a lease from etcd: %w", err)
	}
	l.id, l.key = granted.ID, s.key("locks", fmt.Sprintf("%016x", granted.ID))
	if err := l.write(ctx); err != nil {
		_, _ = s.client.Revoke(context.WithoutCancel(ctx), l.id) // or it expires
		return nil, err
	}
	keep, stop := context.WithCancel(context.Background())
	l.stop = stop
	go l.keep(keep)
	return l, nil
}

// write puts the claim down if no other stands against it and none comes between.
func (l *Lease) write(ctx context.Context) error {
	text, err := json.Marshal(l.claim)
	if err != nil {
		return err
	}
	for {
		at, err := l.state.clear(ctx, l.claim)
		if err != nil {
			return err
		}
		r, err := l.state.client.Txn(ctx).If(l.state.none("locks", at)).Then(clientv3.OpPut(l.key, string(text), clientv3.WithLease(l.id))).Commit()
		if err != nil {
			return fmt.Errorf("cannot lock the hosts in etcd: %w", err)
		}
		if r.Succeeded {
			l.revision = r.Header.Revision
			return nil
		}
	}
}

// clear looks whether anything stands against the claim, at a revision.
func (s *State) clear(ctx context.Context, c Claim) (at int64, err error) {
	locks, at, err := s.locks(ctx)
	if err != nil {
		return 0, err
	}
	held := &HeldError{}
	for _, l := range locks {
		switch {
		case !l.Overlaps(c):
		case l.Holder.Bastion == c.Holder.Bastion && l.Holder.Gone():
			if err := s.Unlock(ctx, l); err != nil {
				return 0, err
			}
		default:
			if ttl, err := s.client.TimeToLive(ctx, l.lease); err == nil && ttl.TTL > 0 {
				l.Left = time.Duration(ttl.TTL) * time.Second
			}
			held.Locks = append(held.Locks, l)
		}
	}
	if len(held.Locks) > 0 {
		return 0, held
	}
	return at, nil
}

// keep renews the lease three times in its time, and more often when that fails.
func (l *Lease) keep(ctx context.Context) {
	defer close(l.ended)
	const again = 500 * time.Millisecond
	wait := l.ttl / 3
	for {
		select {
		case <-ctx.Done():
			return
		case <-time.After(wait):
		}
		err := l.renew(ctx)
		switch {
		case ctx.Err() != nil:
			return
		case l.Err() != nil:
			close(l.lost)
			return
		case err != nil:
			wait = min(again, l.ttl/3)
		default:
			wait = l.ttl / 3
		}
	}
}

func (l *Lease) renew(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, l.ttl/3)
	defer cancel()
	before := journal.Boottime()
	r, err := l.state.client.KeepAliveOnce(ctx, l.id)
	l.mu.Lock()
	defer l.mu.Unlock()
	switch {
	case errors.Is(err, rpctypes.ErrLeaseNotFound):
		l.why = errors.New("the lock in etcd was ended by somebody else, or has expired")
	case err == nil:
		l.deadline = before + min(l.ttl, time.Duration(r.TTL)*time.Second)
	}
	return err
}

// Err is nil as long as the claim is certainly there. It asks nobody.
func (l *Lease) Err() error {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.why == nil && journal.Boottime() > l.deadline {
		l.why = fmt.Errorf("the lock in etcd could not be renewed for %s", l.ttl)
	}
	return l.why
}

// Lost is closed when the claim is over before Release.
func (l *Lease) Lost() <-chan struct{} { return l.lost }

// there is the condition that etcd has the claim.
func (l *Lease) there() clientv3.Cmp {
	return clientv3.Compare(clientv3.CreateRevision(l.key), "=", l.revision)
}

// For is what a host is shown; nil for hosts that the claim does not cover.
func (l *Lease) For(host string) *journal.Lease {
	if !slices.Contains(l.claim.Hosts, host) {
		return nil
	}
	return &journal.Lease{Issuer: l.state.issuer, Revision: l.revision}
}

// Release ends the claim. Without an error of etcd it is gone at once, otherwise it expires.
func (l *Lease) Release(ctx context.Context) error {
	l.stop()
	<-l.ended
	ctx, cancel := context.WithTimeout(ctx, callTimeout)
	defer cancel()
	_, err := l.state.client.Revoke(ctx, l.id)
	if errors.Is(err, rpctypes.ErrLeaseNotFound) {
		return nil
	}
	return err
}
