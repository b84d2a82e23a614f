package etcd

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"

	clientv3 "go.etcd.io/etcd/client/v3"
)

const (
	pieceLimit = 256 << 10 // of a piece, before gzip
	metaLimit  = 1 << 20   // of run.json, as gzip: etcd takes 1.5 MiB
	// fileLimit bounds, in bytes, what etcd keeps of a file of a run.
	fileLimit = 64 << 20
)

// parcel is the folder of a run on its way to etcd.
type parcel struct {
	state  *State
	folder string
	run    string
	mark   mark
	full   map[string]bool // files of which no more is kept
	at     int64           // the revision of the last look, or of what was written since
	// holds are the conditions of all that is written: nobody else has recorded the run.
	holds func() []clientv3.Cmp
}

// ship brings to etcd what the folder has more, run.json last: what it says of the run is not ahead of the files.
func (p *parcel) ship(ctx context.Context, text []byte) error {
	names, err := grown(p.folder)
	for i := 0; i < len(names) && err == nil; i++ {
		err = p.file(ctx, names[i])
	}
	if sum := hash(text); err == nil && sum != p.mark.Meta {
		err = p.meta(ctx, text, sum)
	}
	return errors.Join(err, p.mark.write(p.folder))
}

func (p *parcel) meta(ctx context.Context, text []byte, sum string) error {
	value, err := pack(text)
	if err != nil {
		return err
	}
	if len(value) > metaLimit {
		return fmt.Errorf("%s has %d bytes, and etcd takes %d", metaName, len(value), metaLimit)
	}
	if !slices.Contains(p.mark.Sent, sum) {
		p.mark.Sent = append(p.mark.Sent, sum)
	}
	if err := p.mark.write(p.folder); err != nil { // before: whether it has come may never be known
		return err
	}
	if err := p.put(ctx, p.state.key("runs", p.run), value); err != nil {
		return err
	}
	p.mark.Meta, p.mark.Sent, p.mark.At = sum, nil, p.at
	if p.mark.Born == 0 {
		p.mark.Born = p.at
	}
	return nil
}

// file ships the whole lines that a file has more than etcd.
func (p *parcel) file(ctx context.Context, name string) error {
	f, err := os.Open(filepath.Join(p.folder, name))
	if err != nil {
		return err
	}
	defer f.Close()
	for !p.full[name] {
		lines, err := wholeLines(f, p.mark.Files[name])
		if err != nil || len(lines) == 0 {
			return err
		}
		if err := p.lines(ctx, name, lines); err != nil {
			return err
		}
	}
	return nil
}

func (p *parcel) lines(ctx context.Context, name string, lines []byte) error {
	if p.mark.Files[name]+int64(len(lines)) > fileLimit {
		err := p.put(ctx, p.state.key("full", p.run, name), "")
		p.full[name] = err == nil
		return err
	}
	for text := range slices.Chunk(lines, pieceLimit) {
		value, err := pack(text)
		if err != nil {
			return err
		}
		at := p.mark.Files[name]
		if err := p.put(ctx, p.state.key("files", p.run, name, fmt.Sprintf("%012d-%d", at, len(text))), value); err != nil {
			return err
		}
		p.mark.Files[name] = at + int64(len(text))
	}
	return nil
}

// wholeLines are lines that a file has from an offset on: a piece of them, or one that is longer. A torn line is none: it may be cut off.
func wholeLines(f *os.File, at int64) ([]byte, error) {
	is, err := f.Stat()
	if err != nil {
		return nil, err
	}
	if is.Size() < at {
		return nil, fmt.Errorf("%s has %d bytes, and was shared with %d", filepath.Base(f.Name()), is.Size(), at)
	}
	text, err := io.ReadAll(io.NewSectionReader(f, at, pieceLimit))
	if end := bytes.LastIndexByte(text, '\n') + 1; err != nil || end > 0 || len(text) < pieceLimit {
		return text[:end], err
	}
	text, err = bufio.NewReader(io.NewSectionReader(f, at, fileLimit+1)).ReadBytes('\n')
	if !errors.Is(err, io.EOF) {
		return text, err
	}
	if len(text) <= fileLimit {
		return nil, nil
	}
	return text, nil // more than etcd keeps, wherever it ends
}

func (p *parcel) put(ctx context.Context, key, value string) error {
	at, err := p.state.put(ctx, key, value, p.holds()...)
	if err == nil {
		p.at = at
	}
	return err
}

// errGone is that a condition of a write does not hold any more.
var errGone = errors.New("the lock of this run is not there any more, and another bastion has gone on with it")

// put writes a key on conditions, and returns its revision.
func (s *State) put(ctx context.Context, key, value string, conditions ...clientv3.Cmp) (at int64, err error) {
	r, err := s.client.Txn(ctx).If(conditions...).Then(clientv3.OpPut(key, value)).Commit()
	if err != nil {
		return 0, err
	}
	if !r.Succeeded {
		return 0, errGone
	}
	return r.Header.Revision, nil
}
