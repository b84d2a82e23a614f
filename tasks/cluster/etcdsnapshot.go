package cluster

import (
	"context"
	"crypto/sha256"
	"encoding/json"
	"errors"
	"io"
	"os"
	"path/filepath"

	clientv3 "go.etcd.io/etcd/client/v3"

	"github.com/calroll/calroll/tasks"
)

// snapshot keeps a copy of the cluster's data on the controller: etcd's own snapshot, which `etcdutl snapshot restore` takes. Nothing is altered by
// it, so it is not recorded, and no undo takes the copy away.
func (e *Etcd) snapshot(ctx context.Context, sys *tasks.Sys, c *clientv3.Client) (tasks.Result, error) {
	within, cancel := context.WithTimeout(ctx, e.timeout())
	defer cancel()
	got, err := c.Get(within, "\x00", clientv3.WithLimit(1)) // a stream would wait for ever where nobody answers
	if err != nil {
		return tasks.Result{}, failed("read from etcd", err)
	}
	var r tasks.Result
	r.Set("revision", got.Header.Revision)
	if sys.Check() {
		return r, nil
	}
	return r, e.keep(&r, func(w io.Writer) error {
		from, err := c.Snapshot(ctx)
		if err != nil {
			return err
		}
		defer func() { _ = from.Close() }() // what was read is checked by its sum
		return copySnapshot(w, from)
	})
}

// sectorSize is what the size of etcd's database is a multiple of; behind it a snapshot has its SHA-256.
const sectorSize = 512

// copySnapshot copies a snapshot and checks the sum at its end.
func copySnapshot(to io.Writer, from io.Reader) error {
	sum, tail, size := sha256.New(), []byte{}, int64(0)
	buffer := make([]byte, 1<<20)
	for {
		n, err := from.Read(buffer)
		size += int64(n)
		if _, failure := to.Write(buffer[:n]); failure != nil {
			return failure
		}
		tail = append(tail, buffer[:n]...)
		if over := len(tail) - sha256.Size; over > 0 { // what is no longer at the end belongs to the sum
			sum.Write(tail[:over])
			tail = append(tail[:0], tail[over:]...)
		}
		if err == io.EOF {
			break
		}
		if err != nil {
			return err
		}
	}
	if size%sectorSize != sha256.Size || string(tail) != string(sum.Sum(nil)) {
		return errors.New("the snapshot is not whole: its checksum differs")
	}
	return nil
}

// snapshot2 keeps what is below a key of the v2 API as JSON: there is no snapshot of that data over the network.
func (e *Etcd) snapshot2(ctx context.Context, sys *tasks.Sys, c *client2) (tasks.Result, error) {
	key := e.Key
	if key == "" {
		key = "/"
	}
	n, err := c.read(ctx, key, true)
	if err != nil {
		return tasks.Result{}, err
	}
	values := map[string]string{}
	if n != nil {
		n.each(func(n *node2) {
			if !n.Dir {
				values[n.Key] = n.Value
			}
		})
	}
	var r tasks.Result
	r.Set("count", len(values))
	if sys.Check() {
		return r, nil
	}
	return r, e.keep(&r, func(w io.Writer) error { return json.NewEncoder(w).Encode(values) })
}

// keep has write fill the file dest, which appears whole or not at all, for its owner alone.
func (e *Etcd) keep(r *tasks.Result, write func(io.Writer) error) (err error) {
	defer func() { err = failedOr("keep a copy of etcd in "+e.Dest, err) }()
	dir := filepath.Dir(e.Dest)
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return err
	}
	f, err := os.CreateTemp(dir, ".calroll-*") // 0600
	if err != nil {
		return err
	}
	defer func() { _ = os.Remove(f.Name()) }() // not there any more when all went well
	size, err := fill(f, write)
	if err != nil {
		return err
	}
	r.Set("dest", e.Dest)
	r.Set("size", size)
	return os.Rename(f.Name(), e.Dest)
}

// fill writes a file to the disk and closes it.
func fill(f *os.File, write func(io.Writer) error) (int64, error) {
	err := write(f)
	if err == nil {
		err = f.Sync()
	}
	info, statErr := f.Stat()
	if err = errors.Join(err, statErr, f.Close()); err != nil {
		return 0, err
	}
	if info.Size() == 0 {
		return 0, errors.New("the copy is empty")
	}
	return info.Size(), nil
}
