package etcd

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"go.etcd.io/etcd/api/v3/mvccpb"
	clientv3 "go.etcd.io/etcd/client/v3"
	"golang.org/x/sys/unix"
)

// Fetch brings run.json of every run in etcd into the store below dir, and tells of each whether it is claimed. Where it was changed here alone, because
// that could not be shipped, it stays. Where another bastion has recorded the run since, what was recorded here gives way: all of it, as a run.json does not
// go with the answers of another.
func (s *State) Fetch(ctx context.Context, dir string) (claimed map[string]bool, err error) {
	ctx, cancel := context.WithTimeout(ctx, callTimeout)
	defer cancel()
	prefix, full := s.key("runs", ""), s.key("full", "")
	// All at one revision: a run says how it ended before its claim does.
	r, err := s.client.Txn(ctx).Then(clientv3.OpGet(prefix, clientv3.WithPrefix()), clientv3.OpGet(s.key("locks", ""), clientv3.WithPrefix()),
		clientv3.OpGet(full, clientv3.WithPrefix(), clientv3.WithKeysOnly())).Commit()
	if err != nil {
		return nil, fmt.Errorf("cannot read the runs in etcd: %w", err)
	}
	spared := fullFiles(full, r.Responses[2].GetResponseRange().Kvs)
	claimed = map[string]bool{}
	for _, kv := range r.Responses[0].GetResponseRange().Kvs {
		run := strings.TrimPrefix(string(kv.Key), prefix)
		h := held{full: spared[run], early: true}
		err := h.meta(kv)
		if err == nil {
			err = fetchMeta(filepath.Join(dir, run), h)
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

// fullFiles are the files of each run that are too large for etcd.
func fullFiles(prefix string, kvs []*mvccpb.KeyValue) map[string]map[string]bool {
	runs := map[string]map[string]bool{}
	for _, kv := range kvs {
		run, file, _ := strings.Cut(strings.TrimPrefix(string(kv.Key), prefix), "/")
		if runs[run] == nil {
			runs[run] = map[string]bool{}
		}
		runs[run][file] = true
	}
	return runs
}

// fetchMeta brings run.json into a folder.
func fetchMeta(folder string, h held) error {
	if !filepath.IsLocal(filepath.Base(folder)) {
		return errors.New("that is no name of a run")
	}
	busy, err := fetchInto(folder)
	if busy == nil || err != nil {
		return err
	}
	defer busy.Close()
	known, here, err := standing(folder, h)
	if err != nil {
		return err
	}
	if known.behind(here, h) {
		_, err = giveWay(folder, known, h)
		return err
	}
	return settle(folder, known, h)
}

// fetchInto makes a folder and locks it, until the file is closed; nil says that the run is being recorded here.
func fetchInto(folder string) (*os.File, error) {
	if err := os.MkdirAll(folder, 0o700); err != nil {
		return nil, err
	}
	busy, err := lockFolder(folder, unix.LOCK_EX|unix.LOCK_NB)
	if errors.Is(err, unix.EWOULDBLOCK) {
		return nil, nil
	}
	return busy, err
}

// standing is what is known of a folder that something is fetched into.
func standing(folder string, h held) (known mark, here []byte, err error) {
	here, err = readMeta(folder)
	return readMark(folder).of(h), here, err
}

// settle notes how run.json stands to that in etcd, where it does not give way.
func settle(folder string, known mark, h held) error {
	if next := known.settled(h); !next.equal(readMark(folder)) {
		return next.write(folder)
	}
	return nil
}

// giveWay has a folder hold nothing but what etcd has: run.json as it is there, and of the other files what is known to be alike. Files that are too large for
// etcd stay. Whatever this is interrupted after, the folder is as much behind as before.
func giveWay(folder string, known mark, h held) (mark, error) {
	names, err := grown(folder)
	for _, name := range names {
		if err == nil && !h.full[name] {
			err = cutTo(filepath.Join(folder, name), known.Files[name])
		}
	}
	if err != nil || h.text == nil {
		return known, err
	}
	if err := replace(filepath.Join(folder, metaName), h.text); err != nil {
		return known, err
	}
	known = known.settled(h)
	known.Sent = nil
	return known, known.write(folder)
}

// cutTo ends a file that is longer.
func cutTo(name string, size int64) error {
	is, err := os.Stat(name)
	if err != nil || is.Size() <= size {
		return err
	}
	return os.Truncate(name, size)
}

// FetchRun brings what etcd has of a run into the store below dir. Where another bastion has gone on with it, what was recorded here and not shipped gives way.
// Files that were too large for etcd lack their ends: whole is false.
func (s *State) FetchRun(ctx context.Context, dir, run string) (whole bool, err error) {
	folder := filepath.Join(dir, run)
	busy, err := fetchInto(folder)
	if busy == nil && err == nil {
		return true, nil
	}
	var h held
	if err == nil {
		defer busy.Close()
		h, err = s.look(ctx, run)
	}
	if err == nil {
		err = s.fetchRun(ctx, folder, h)
	}
	if err != nil {
		return false, fmt.Errorf("cannot fetch run %s from etcd: %w", run, err)
	}
	return len(h.full) == 0, nil
}

func (s *State) fetchRun(ctx context.Context, folder string, h held) error {
	if h.none() {
		return nil
	}
	known, here, err := standing(folder, h)
	if err != nil {
		return err
	}
	if known.Files, err = sound(folder, known.Files, h.ends()); err != nil {
		return err
	}
	lacks, err := s.lacks(ctx, folder, known.Files, h.pieces)
	if err != nil {
		return err
	}
	if lacks || h.text != nil && known.behind(here, h) {
		known, err = giveWay(folder, known, h)
	} else {
		err = settle(folder, known, h)
	}
	for i := 0; i < len(h.pieces) && err == nil; i++ {
		err = s.fetchPiece(ctx, folder, known, h.pieces[i])
	}
	return err
}

// sound is how much of each file can be alike: no more than is here, which a power cut may have made less, and nothing where etcd once had more.
func sound(folder string, known, ends map[string]int64) (map[string]int64, error) {
	files := map[string]int64{}
	for name, end := range ends {
		is, err := os.Stat(filepath.Join(folder, name))
		switch {
		case errors.Is(err, fs.ErrNotExist):
		case err != nil:
			return nil, err
		case known[name] <= end:
			files[name] = min(known[name], is.Size())
		}
	}
	return files, nil
}

// lacks tells that a folder does not have what etcd has. What it has too, although nobody could say so, is known from then on.
func (s *State) lacks(ctx context.Context, folder string, known map[string]int64, pieces []piece) (bool, error) {
	for _, p := range pieces {
		if p.end() <= known[p.file] {
			continue
		}
		alike, err := s.alike(ctx, folder, p)
		if err != nil || !alike {
			return true, err
		}
		known[p.file] = p.end()
	}
	return false, nil
}

// alike tells whether a file has a piece where etcd has it.
func (s *State) alike(ctx context.Context, folder string, p piece) (bool, error) {
	f, err := os.Open(filepath.Join(folder, p.file))
	if errors.Is(err, fs.ErrNotExist) {
		return false, nil
	}
	if err != nil {
		return false, err
	}
	defer f.Close()
	here, err := io.ReadAll(io.NewSectionReader(f, p.at, p.length))
	if err != nil || int64(len(here)) < p.length {
		return false, err
	}
	there, err := s.text(ctx, p)
	return bytes.Equal(here, there), err
}

// fetchPiece brings the next piece of a file. Of one whose writing was not seen to succeed there may be another that begins where it does, and is longer.
func (s *State) fetchPiece(ctx context.Context, folder string, known mark, p piece) error {
	if p.end() <= known.Files[p.file] {
		return nil
	}
	if p.at > known.Files[p.file] {
		return fmt.Errorf("%s lacks what comes after %d bytes", p.file, known.Files[p.file])
	}
	text, err := s.text(ctx, p)
	if err == nil {
		err = writeEnd(filepath.Join(folder, p.file), text, p.at)
	}
	if err != nil {
		return err
	}
	known.Files[p.file] = p.end()
	return known.write(folder)
}
