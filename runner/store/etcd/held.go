package etcd

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"

	"go.etcd.io/etcd/api/v3/mvccpb"
	clientv3 "go.etcd.io/etcd/client/v3"
)

// held is what etcd has of a run, at one revision.
type held struct {
	now      int64  // that revision
	text     []byte // run.json; nil for none
	raw      string // the same as it is there
	born, at int64  // the revisions of run.json: of its creation, and its last
	pieces   []piece
	full     map[string]bool // files of which there is no more
	locks    []Lock
	early    bool // it was read before the folder was locked, so the folder may be newer
}

// piece is a part of a file in etcd.
type piece struct {
	file       string
	at, length int64
	key        string
}

func (p piece) end() int64 { return p.at + p.length }

// ends is how much etcd has of each file.
func (h held) ends() map[string]int64 {
	ends := map[string]int64{}
	for _, p := range h.pieces {
		ends[p.file] = max(ends[p.file], p.end())
	}
	return ends
}

// none tells that etcd does not have the run.
func (h held) none() bool { return h.text == nil && len(h.pieces) == 0 }

// look reads what etcd has of a run, but for the texts of its pieces.
func (s *State) look(ctx context.Context, run string) (held, error) {
	ctx, cancel := context.WithTimeout(ctx, callTimeout)
	defer cancel()
	files, full := s.key("files", run, ""), s.key("full", run, "")
	r, err := s.client.Txn(ctx).Then(clientv3.OpGet(s.key("runs", run)), clientv3.OpGet(files, clientv3.WithPrefix(), clientv3.WithKeysOnly()),
		clientv3.OpGet(full, clientv3.WithPrefix(), clientv3.WithKeysOnly()), clientv3.OpGet(s.key("locks", ""), clientv3.WithPrefix())).Commit()
	if err != nil {
		return held{}, err
	}
	kvs := func(i int) []*mvccpb.KeyValue { return r.Responses[i].GetResponseRange().Kvs }
	h := held{now: r.Header.Revision, full: map[string]bool{}}
	for _, kv := range kvs(2) {
		h.full[strings.TrimPrefix(string(kv.Key), full)] = true
	}
	var errs [3]error
	errs[0] = h.meta(kvs(0)...)
	h.pieces, errs[1] = readPieces(files, kvs(1))
	h.locks, errs[2] = readLocks(kvs(3))
	return h, errors.Join(errs[:]...)
}

// meta takes run.json in, if it is there.
func (h *held) meta(kvs ...*mvccpb.KeyValue) (err error) {
	for _, kv := range kvs {
		h.raw, h.born, h.at = string(kv.Value), kv.CreateRevision, kv.ModRevision
		h.text, err = unpack(kv.Value)
	}
	return err
}

// readPieces are those of a run's files, in the order of their names, and of a file in their order but for those that overlap.
func readPieces(prefix string, kvs []*mvccpb.KeyValue) (all []piece, err error) {
	for _, kv := range kvs {
		file, span, _ := strings.Cut(strings.TrimPrefix(string(kv.Key), prefix), "/")
		from, length, _ := strings.Cut(span, "-")
		p := piece{file: file, key: string(kv.Key)}
		var err1, err2 error
		p.at, err1 = strconv.ParseInt(from, 10, 64)
		p.length, err2 = strconv.ParseInt(length, 10, 64)
		if err1 != nil || err2 != nil || p.length <= 0 || !strings.HasSuffix(file, grownName) || strings.ContainsAny(file, "/\\") {
			return nil, fmt.Errorf("there is an unknown key %s", kv.Key)
		}
		all = append(all, p)
	}
	return all, nil
}

// text is what a piece holds.
func (s *State) text(ctx context.Context, p piece) ([]byte, error) {
	ctx, cancel := context.WithTimeout(ctx, callTimeout)
	defer cancel()
	r, err := s.client.Get(ctx, p.key)
	if err != nil {
		return nil, err
	}
	if len(r.Kvs) == 0 {
		return nil, fmt.Errorf("%s is gone", p.key)
	}
	text, err := unpack(r.Kvs[0].Value)
	if err != nil || int64(len(text)) != p.length {
		return nil, errors.Join(fmt.Errorf("%s is damaged (%d bytes)", p.key, len(text)), err)
	}
	return text, nil
}

// claimed tells whether somebody has a claim to a run.
func (h held) claimed(run string) bool {
	return slices.ContainsFunc(h.locks, func(l Lock) bool { return l.Holder.Run == run })
}
