package etcd

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strconv"
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
	metaName  = "run.json"
	grownName = ".jsonl"  // the end of the names of files that are only appended to
	markName  = ".shared" // what of a folder is in etcd

	pieceLimit = 256 << 10 // of a piece, before gzip
	metaLimit  = 1 << 20   // of run.json, as gzip: etcd takes 1.5 MiB
	shipEvery  = time.Second
	// fileLimit bounds, in bytes, what etcd keeps of a file of a run.
	fileLimit = 64 << 20
	// keepRuns is how many runs etcd keeps.
	keepRuns = 100
)

// mark says what of a run's folder is in etcd, as far as this bastion has shipped or fetched it.
type mark struct {
	Meta  string           `json:"meta"` // hash of run.json
	Files map[string]int64 `json:"files,omitempty"`
}

func readMark(folder string) (m mark) {
	text, err := os.ReadFile(filepath.Join(folder, markName))
	if err == nil {
		_ = json.Unmarshal(text, &m) // damaged is none: nothing of the folder is taken to be in etcd
	}
	return m
}

func (m mark) write(folder string) error {
	text, err := json.Marshal(m)
	if err != nil {
		return err
	}
	return replace(filepath.Join(folder, markName), text)
}

// replace writes a file whole or not at all.
func replace(name string, text []byte) error {
	tmp, err := os.CreateTemp(filepath.Dir(name), ".new-*")
	if err != nil {
		return err
	}
	defer func() { _ = os.Remove(tmp.Name()) }() // gone already when all went well
	_, err = tmp.Write(text)
	if err = errors.Join(err, tmp.Sync(), tmp.Close()); err != nil {
		return err
	}
	return os.Rename(tmp.Name(), name)
}

func hash(text []byte) string {
	sum := sha256.Sum256(text)
	return hex.EncodeToString(sum[:])
}

// Mirror ships the folder of a run as it grows.
type Mirror struct {
	state  *State
	lease  *Lease
	folder string
	run    string
	stop   context.CancelFunc
	ended  chan struct{}

	mu   sync.Mutex // guards what follows; held while shipping
	mark mark
	at   int64           // the revision of run.json in etcd, as written here
	full map[string]bool // files of which no more is kept
	ours *os.File        // the folder, locked: nobody fetches into it
}

// Mirror begins to ship the folder of a run below dir, whose claim the lease is. The folder may not be there yet.
func (s *State) Mirror(ctx context.Context, dir, run string, l *Lease) (*Mirror, error) {
	pieces, err := s.pieces(ctx, run)
	if err != nil {
		return nil, err
	}
	m := &Mirror{state: s, lease: l, folder: filepath.Join(dir, run), run: run, ended: make(chan struct{}),
		mark: mark{Files: map[string]int64{}}, full: map[string]bool{}}
	for _, p := range pieces {
		m.mark.Files[p.file] = max(m.mark.Files[p.file], p.end())
	}
	if err := m.own(); err != nil {
		return nil, err
	}
	ctx, m.stop = context.WithCancel(context.WithoutCancel(ctx))
	go m.ship(ctx)
	return m, nil
}

// own keeps others on this bastion from fetching into the folder, once it is there.
func (m *Mirror) own() (err error) {
	if m.ours == nil {
		m.ours, err = lockFolder(m.folder, unix.LOCK_EX)
	}
	return err
}

// lockFolder locks a folder until the file is closed; nil for one that is not there.
func lockFolder(folder string, how int) (*os.File, error) {
	f, err := os.Open(folder)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	if err := unix.Flock(int(f.Fd()), how); err != nil {
		return nil, errors.Join(err, f.Close())
	}
	return f, nil
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
	text, err := os.ReadFile(filepath.Join(m.folder, metaName))
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err = errors.Join(err, m.own()); err == nil {
		err = m.files(ctx)
	}
	if sum := hash(text); err == nil && sum != m.mark.Meta {
		var at int64
		if at, err = m.state.putMeta(ctx, m.run, text, m.holds()); err == nil {
			m.mark.Meta, m.at = sum, at
		}
	}
	if err == nil {
		err = m.mark.write(m.folder)
	}
	if err != nil {
		return fmt.Errorf("cannot share run %s with other bastions: %w", m.run, err)
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
func (m *Mirror) holds() clientv3.Cmp {
	if m.at > 0 && m.lease.Err() != nil {
		return clientv3.Compare(clientv3.ModRevision(m.state.key("runs", m.run)), "=", m.at)
	}
	return clientv3.Compare(clientv3.CreateRevision(m.lease.key), "=", m.lease.revision)
}

func (m *Mirror) files(ctx context.Context) error {
	names, err := filepath.Glob(filepath.Join(m.folder, "*"+grownName))
	if err != nil {
		return err
	}
	for _, name := range names {
		if err := m.file(ctx, name); err != nil {
			return err
		}
	}
	return nil
}

// file ships the whole lines that a file has more than etcd.
func (m *Mirror) file(ctx context.Context, name string) error {
	f, err := os.Open(name)
	if err != nil {
		return err
	}
	defer f.Close()
	base := filepath.Base(name)
	for !m.full[base] {
		at := m.mark.Files[base]
		piece, err := io.ReadAll(io.NewSectionReader(f, at, pieceLimit))
		if err != nil {
			return err
		}
		if len(piece) < pieceLimit {
			piece = piece[:bytes.LastIndexByte(piece, '\n')+1] // a torn line is not shared
		}
		if len(piece) == 0 {
			return nil
		}
		if m.full[base] = at+int64(len(piece)) > fileLimit; m.full[base] {
			_, err := m.state.put(ctx, m.state.key("full", m.run, base), "", m.holds())
			return err
		}
		value, err := pack(piece)
		if err != nil {
			return err
		}
		if _, err := m.state.put(ctx, m.state.key("files", m.run, base, fmt.Sprintf("%012d-%d", at, len(piece))), value, m.holds()); err != nil {
			return err
		}
		m.mark.Files[base] = at + int64(len(piece))
	}
	return nil
}

// Close ships the rest. Runs that are too many are taken out of etcd, the oldest first.
func (m *Mirror) Close(ctx context.Context) error {
	m.stop()
	<-m.ended
	err := errors.Join(m.Share(ctx), m.state.prune(ctx))
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.ours == nil {
		return err
	}
	return errors.Join(err, m.ours.Close())
}

// Ship shares run.json of a run that has ended, if it was altered.
func (s *State) Ship(ctx context.Context, dir, run string) error {
	ctx, cancel := context.WithTimeout(ctx, callTimeout)
	defer cancel()
	folder := filepath.Join(dir, run)
	text, err := os.ReadFile(filepath.Join(folder, metaName))
	if err != nil {
		return err
	}
	k := readMark(folder)
	if k.Meta == hash(text) {
		return nil
	}
	if _, err := s.putMeta(ctx, run, text); err != nil {
		return fmt.Errorf("cannot share run %s with other bastions: %w", run, err)
	}
	k.Meta = hash(text)
	return k.write(folder)
}

func (s *State) putMeta(ctx context.Context, run string, text []byte, conditions ...clientv3.Cmp) (at int64, err error) {
	value, err := pack(text)
	if err != nil {
		return 0, err
	}
	if len(value) > metaLimit {
		return 0, fmt.Errorf("%s has %d bytes, and etcd takes %d", metaName, len(value), metaLimit)
	}
	return s.put(ctx, s.key("runs", run), value, conditions...)
}

// put writes a key on conditions, and returns its revision.
func (s *State) put(ctx context.Context, key, value string, conditions ...clientv3.Cmp) (at int64, err error) {
	r, err := s.client.Txn(ctx).If(conditions...).Then(clientv3.OpPut(key, value)).Commit()
	if err != nil {
		return 0, err
	}
	if !r.Succeeded {
		return 0, errors.New("the lock of this run is not there any more, and another bastion has gone on with it")
	}
	return r.Header.Revision, nil
}

// piece is a part of a file in etcd.
type piece struct {
	file       string
	at, length int64
	key        string
}

func (p piece) end() int64 { return p.at + p.length }

// pieces are those of a run's files, in their order.
func (s *State) pieces(ctx context.Context, run string) ([]piece, error) {
	ctx, cancel := context.WithTimeout(ctx, callTimeout)
	defer cancel()
	prefix := s.key("files", run, "")
	r, err := s.client.Get(ctx, prefix, clientv3.WithPrefix(), clientv3.WithKeysOnly())
	if err != nil {
		return nil, fmt.Errorf("cannot read run %s from etcd: %w", run, err)
	}
	var all []piece
	for _, kv := range r.Kvs {
		file, span, _ := strings.Cut(strings.TrimPrefix(string(kv.Key), prefix), "/")
		from, length, _ := strings.Cut(span, "-")
		p := piece{file: file, key: string(kv.Key)}
		var err1, err2 error
		p.at, err1 = strconv.ParseInt(from, 10, 64)
		p.length, err2 = strconv.ParseInt(length, 10, 64)
		if err1 != nil || err2 != nil || !strings.HasSuffix(file, grownName) || strings.ContainsAny(file, "/\\") {
			return nil, fmt.Errorf("cannot read run %s from etcd: there is an unknown key %s", run, kv.Key)
		}
		all = append(all, p)
	}
	return all, nil
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
	locks, _, err := s.locks(ctx)
	if err != nil {
		return err
	}
	for _, kv := range r.Kvs[:len(r.Kvs)-keepRuns] {
		run := strings.TrimPrefix(string(kv.Key), prefix)
		if slices.ContainsFunc(locks, func(l Lock) bool { return l.Holder.Run == run }) {
			continue
		}
		_, err := s.client.Txn(ctx).Then(clientv3.OpDelete(string(kv.Key)), clientv3.OpDelete(s.key("files", run, ""), clientv3.WithPrefix()),
			clientv3.OpDelete(s.key("full", run, ""), clientv3.WithPrefix())).Commit()
		if err != nil {
			return fmt.Errorf("cannot prune run %s in etcd: %w", run, err)
		}
	}
	return nil
}

// Fetch brings run.json of every run in etcd into the store below dir, and tells of each whether it is claimed. A run whose run.json is newer here, because
// it could not be shipped, stays.
func (s *State) Fetch(ctx context.Context, dir string) (claimed map[string]bool, err error) {
	ctx, cancel := context.WithTimeout(ctx, callTimeout)
	defer cancel()
	prefix := s.key("runs", "")
	// Both at one revision: a run says how it ended before its claim does.
	r, err := s.client.Txn(ctx).Then(clientv3.OpGet(prefix, clientv3.WithPrefix()), clientv3.OpGet(s.key("locks", ""), clientv3.WithPrefix())).Commit()
	if err != nil {
		return nil, fmt.Errorf("cannot read the runs in etcd: %w", err)
	}
	claimed = map[string]bool{}
	for _, kv := range r.Responses[0].GetResponseRange().Kvs {
		run := strings.TrimPrefix(string(kv.Key), prefix)
		text, err := unpack(kv.Value)
		if err == nil {
			err = fetchMeta(filepath.Join(dir, run), text)
		}
		if err != nil {
			return nil, fmt.Errorf("cannot fetch run %s from etcd: %w", run, err)
		}
		claimed[run] = false
	}
	locks, err := readLocks(r.Responses[1].GetResponseRange().Kvs)
	for _, l := range locks {
		claimed[l.Holder.Run] = true
	}
	return claimed, err
}

func fetchMeta(folder string, text []byte) error {
	if !filepath.IsLocal(filepath.Base(folder)) {
		return errors.New("that is no name of a run")
	}
	known := readMark(folder)
	busy, err := lockFolder(folder, unix.LOCK_EX|unix.LOCK_NB)
	if errors.Is(err, unix.EWOULDBLOCK) {
		return nil // the run is being recorded here
	}
	if err != nil {
		return err
	}
	defer busy.Close()
	if here, err := os.ReadFile(filepath.Join(folder, metaName)); err == nil && (hash(here) != known.Meta || hash(text) == known.Meta) {
		return nil
	}
	if err := os.MkdirAll(folder, 0o700); err != nil {
		return err
	}
	if err := replace(filepath.Join(folder, metaName), text); err != nil {
		return err
	}
	known.Meta = hash(text)
	return known.write(folder)
}

// FetchRun brings the files of a run into the store below dir. Where another bastion has gone on with it, what this one had not shipped gives way.
// Files that were too large for etcd lack their ends: whole is false.
func (s *State) FetchRun(ctx context.Context, dir, run string) (whole bool, err error) {
	folder := filepath.Join(dir, run)
	busy, err := lockFolder(folder, unix.LOCK_EX|unix.LOCK_NB)
	if errors.Is(err, unix.EWOULDBLOCK) {
		return true, nil // the run is being recorded here
	}
	if err == nil {
		defer busy.Close()
		err = s.fetchFiles(ctx, folder, run)
	}
	if err != nil {
		return false, fmt.Errorf("cannot fetch run %s from etcd: %w", run, err)
	}
	ctx, cancel := context.WithTimeout(ctx, callTimeout)
	defer cancel()
	full, err := s.client.Get(ctx, s.key("full", run, ""), clientv3.WithPrefix(), clientv3.WithCountOnly())
	return err == nil && full.Count == 0, err
}

func (s *State) fetchFiles(ctx context.Context, folder, run string) error {
	pieces, err := s.pieces(ctx, run)
	if err != nil {
		return err
	}
	known := readMark(folder)
	if known.Files == nil {
		known.Files = map[string]int64{}
	}
	for _, p := range pieces {
		if p.at < known.Files[p.file] {
			continue
		}
		if p.at > known.Files[p.file] {
			return fmt.Errorf("%s lacks what comes after %d bytes", p.file, known.Files[p.file])
		}
		if err := s.fetchPiece(ctx, folder, p); err != nil {
			return err
		}
		known.Files[p.file] = p.end()
		if err := known.write(folder); err != nil {
			return err
		}
	}
	return nil
}

func (s *State) fetchPiece(ctx context.Context, folder string, p piece) error {
	ctx, cancel := context.WithTimeout(ctx, callTimeout)
	defer cancel()
	r, err := s.client.Get(ctx, p.key)
	if err != nil {
		return err
	}
	if len(r.Kvs) == 0 {
		return fmt.Errorf("%s is gone", p.key)
	}
	text, err := unpack(r.Kvs[0].Value)
	if err != nil || int64(len(text)) != p.length {
		return fmt.Errorf("%s is damaged (%d bytes): %w", p.key, len(text), err)
	}
	f, err := os.OpenFile(filepath.Join(folder, p.file), os.O_WRONLY|os.O_CREATE, 0o600)
	if err != nil {
		return err
	}
	_, err = f.WriteAt(text, p.at)
	return errors.Join(err, f.Truncate(p.end()), f.Close())
}
