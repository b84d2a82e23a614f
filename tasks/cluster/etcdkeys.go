package cluster

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"io"
	"os"
	"time"

	"go.etcd.io/etcd/api/v3/mvccpb"
	clientv3 "go.etcd.io/etcd/client/v3"

	"github.com/calroll/calroll/tasks"
)

// etcdKind is the kind of records about keys in etcd.
const etcdKind = "etcd"

// keyState is a key as it is at some time.
type keyState struct {
	key      string
	present  bool
	value    []byte
	revision int64 // of its last change; 0 when it is not there
	leased   bool  // it goes away by itself when somebody's lease ends
}

func stateOf(kv *mvccpb.KeyValue) keyState {
	return keyState{key: string(kv.Key), present: true, value: kv.Value, revision: kv.ModRevision, leased: kv.Lease != 0}
}

// hash says the state in the words of a record.
func (s keyState) hash() string {
	if !s.present {
		return "absent"
	}
	sum := sha256.Sum256(s.value)
	return "sha256:" + hex.EncodeToString(sum[:])
}

// image is the value to keep, nil when there is none.
func (s keyState) image() *tasks.Image {
	if !s.present {
		return nil
	}
	return &tasks.Image{Open: func() (io.ReadCloser, error) { return io.NopCloser(bytes.NewReader(s.value)), nil }}
}

func readKey(ctx context.Context, c *clientv3.Client, key string, timeout time.Duration) (keyState, error) {
	ctx, cancel := context.WithTimeout(ctx, timeout)
	defer cancel()
	got, err := c.Get(ctx, key)
	if err != nil {
		return keyState{}, failed("read "+key+" from etcd", err)
	}
	if len(got.Kvs) == 0 {
		return keyState{key: key}, nil
	}
	return stateOf(got.Kvs[0]), nil
}

// swap brings a key from one state to another, unless it has changed since from was read.
func swap(ctx context.Context, c *clientv3.Client, from, to keyState, timeout time.Duration) error {
	ctx, cancel := context.WithTimeout(ctx, timeout)
	defer cancel()
	op := clientv3.OpDelete(from.key)
	switch {
	case to.present && from.leased: // its lease stays, as everything does that was not asked about
		op = clientv3.OpPut(from.key, string(to.value), clientv3.WithIgnoreLease())
	case to.present:
		op = clientv3.OpPut(from.key, string(to.value))
	}
	got, err := c.Txn(ctx).If(clientv3.Compare(clientv3.ModRevision(from.key), "=", from.revision)).Then(op).Commit()
	if err != nil {
		return failed("write "+from.key+" to etcd", err)
	}
	if !got.Succeeded {
		return &tasks.Error{Kind: tasks.Refused, Op: "write " + from.key + " to etcd", Detail: "somebody else changed it at the same time"}
	}
	return nil
}

// etcdRestorer takes changes of keys back.
type etcdRestorer struct{ dial tasks.Dial }

// State implements tasks.Restorer.
func (r *etcdRestorer) State(ctx context.Context, b tasks.Before) (string, error) {
	c, a, err := r.open(b)
	if err != nil {
		return "", err
	}
	defer func() { _ = c.Close() }()
	now, err := readKey(ctx, c, b.Key, a.Timeout)
	return now.hash(), err
}

// Restore implements tasks.Restorer.
func (r *etcdRestorer) Restore(ctx context.Context, b tasks.Before, kept tasks.Kept, force bool) error {
	c, a, err := r.open(b)
	if err != nil {
		return err
	}
	defer func() { _ = c.Close() }()
	now, err := readKey(ctx, c, b.Key, a.Timeout)
	if err != nil {
		return err
	}
	if now.hash() != b.After && !force {
		return &tasks.Error{Kind: tasks.Refused, Op: "take back " + b.Key + " in etcd", Detail: "somebody else changed it since"}
	}
	to := keyState{key: b.Key}
	if kept.Path != "" {
		to.present = true
		if to.value, err = os.ReadFile(kept.Path); err != nil {
			return failed("take back "+b.Key+" in etcd", err)
		}
	}
	return swap(ctx, c, now, to, a.Timeout)
}

func (r *etcdRestorer) open(b tasks.Before) (*clientv3.Client, access, error) {
	var a access
	if err := json.Unmarshal(b.Meta, &a); err != nil {
		return nil, a, failed("read the record of "+b.Key, err)
	}
	s, err := a.keptSecrets()
	if err != nil {
		return nil, a, err
	}
	c, err := a.client(r.dial, s, a.Endpoints...)
	return c, a, err
}
