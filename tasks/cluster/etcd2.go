package cluster

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"io"
	"net/http"
	"net/url"
	"os"
	"path"
	"strings"

	"github.com/calroll/calroll/tasks"
)

// etcd2Kind is the kind of records about keys and folders of etcd's v2 API.
const etcd2Kind = "etcd2"

func (e *Etcd) runV2(ctx context.Context, sys *tasks.Sys, a access) (tasks.Result, error) {
	if e.Prefix || e.RangeEnd != "" {
		return tasks.Result{}, &tasks.Error{Kind: tasks.Failed, Op: "use etcd's v2 API", Detail: "prefix and range_end belong to api v3; v2 has recursive"}
	}
	c, err := a.client2(sys.Dial(), e.secrets())
	if err != nil {
		return tasks.Result{}, err
	}
	defer c.close()
	switch e.State {
	case "present", "put":
		return e.put2(ctx, sys, c)
	case "absent", "delete":
		return e.remove2(ctx, sys, c)
	case "snapshot":
		return e.snapshot2(ctx, sys, c)
	}
	return e.get2(ctx, c)
}

func (e *Etcd) get2(ctx context.Context, c *client2) (tasks.Result, error) {
	n, err := c.read(ctx, e.Key, e.Recursive || e.State == "list")
	if err != nil {
		return tasks.Result{}, err
	}
	var r tasks.Result
	kvs := []any{}
	if n != nil {
		n.each(func(n *node2) {
			if n.Dir {
				return
			}
			entry := map[string]any{"key": n.Key, "modified_index": n.Modified, "created_index": n.Created}
			if !e.KeysOnly {
				entry["value"] = n.Value
			}
			kvs = append(kvs, entry)
		})
		r.Set("dir", n.Dir)
		if !n.Dir && !e.KeysOnly {
			r.Set("value", n.Value)
		}
	}
	r.Set("found", n != nil)
	r.Set("kvs", kvs)
	r.Set("count", len(kvs))
	return r, nil
}

// each visits a folder before what is in it.
func (n *node2) each(visit func(*node2)) {
	visit(n)
	for _, in := range n.Nodes {
		in.each(visit)
	}
}

func (e *Etcd) put2(ctx context.Context, sys *tasks.Sys, c *client2) (tasks.Result, error) {
	now, err := c.read(ctx, e.Key, false)
	if err != nil {
		return tasks.Result{}, err
	}
	switch {
	case now != nil && now.Dir:
		return tasks.Result{}, &tasks.Error{Kind: tasks.Refused, Op: "write " + e.Key + " to etcd", Detail: "it is a folder"}
	case now != nil && now.Value == *e.Value:
		return tasks.Result{}, nil
	}
	if err := e.expect(now); err != nil {
		return tasks.Result{}, err
	}
	r := tasks.Result{Changed: true}
	r.Set("key", e.Key)
	if sys.WantDiff() {
		r.Diff = []tasks.Diff{{Before: now.text(), After: *e.Value, BeforeHeader: e.Key, AfterHeader: e.Key}}
	}
	if sys.Check() {
		return r, nil
	}
	if now == nil {
		if err := e.makeParents(ctx, sys, c); err != nil {
			return r, err
		}
	}
	return r, e.alter2(ctx, sys, c, e.Key, now, state2{present: true, value: *e.Value})
}

// expect compares with what the playbook says that the key holds.
func (e *Etcd) expect(now *node2) error {
	if e.PrevValue == nil || now != nil && !now.Dir && now.Value == *e.PrevValue {
		return nil
	}
	return &tasks.Error{Kind: tasks.Refused, Op: "write " + e.Key + " to etcd", Detail: "it does not hold prev_value"}
}

// makeParents makes the folders above the key that are not there, each with its record: etcd would make them by itself, and an undo would leave them.
func (e *Etcd) makeParents(ctx context.Context, sys *tasks.Sys, c *client2) error {
	var missing []string
	for dir := path.Dir(path.Join("/", e.Key)); dir != "/"; dir = path.Dir(dir) {
		n, err := c.read(ctx, dir, false)
		if err != nil {
			return err
		}
		if n != nil {
			break
		}
		missing = append([]string{dir}, missing...)
	}
	for _, dir := range missing {
		err := e.alter2(ctx, sys, c, dir, nil, state2{present: true, dir: true})
		if err != nil && !isCode2(err, code2Exists, code2NotFile) { // somebody else may have made it meanwhile
			return err
		}
	}
	return nil
}

func (e *Etcd) remove2(ctx context.Context, sys *tasks.Sys, c *client2) (tasks.Result, error) {
	now, err := c.read(ctx, e.Key, true)
	if err != nil {
		return tasks.Result{}, err
	}
	r := tasks.Result{Changed: now != nil}
	if now == nil {
		r.Set("deleted", 0)
		return r, nil
	}
	if now.Dir && len(now.Nodes) > 0 && !e.Recursive {
		return tasks.Result{}, &tasks.Error{Kind: tasks.Refused, Op: "delete " + e.Key + " from etcd", Detail: "it is a folder with keys; recursive deletes it with them"}
	}
	if err := e.expect(now); err != nil {
		return tasks.Result{}, err
	}
	var all []*node2
	now.each(func(n *node2) { all = append(all, n) })
	r.Set("deleted", len(all))
	if sys.Check() {
		return r, nil
	}
	for i := len(all) - 1; i >= 0; i-- { // what is in a folder goes before it
		if err := e.alter2(ctx, sys, c, all[i].Key, all[i], state2{}); err != nil {
			return r, err
		}
	}
	return r, nil
}

func (e *Etcd) alter2(ctx context.Context, sys *tasks.Sys, c *client2, key string, from *node2, to state2) error {
	record := tasks.Before{Kind: etcd2Kind, Key: key, Was: from.state().word(), After: to.word()}
	var image *tasks.Image
	if from != nil && !from.Dir {
		image = &tasks.Image{Open: func() (io.ReadCloser, error) { return io.NopCloser(strings.NewReader(from.Value)), nil }}
	}
	if err := sys.Record(ctx, record, e.access(), image); err != nil {
		return err
	}
	return c.swap(ctx, key, from, to)
}

func (n *node2) text() string {
	if n == nil {
		return ""
	}
	return n.Value
}

func (n *node2) state() state2 {
	if n == nil {
		return state2{}
	}
	return state2{present: true, dir: n.Dir, value: n.Value}
}

// word says the state in the words of a record.
func (s state2) word() string {
	switch {
	case !s.present:
		return "absent"
	case s.dir:
		return "folder"
	}
	sum := sha256.Sum256([]byte(s.value))
	return "sha256:" + hex.EncodeToString(sum[:])
}

// etcd2Restorer takes changes by the v2 API back.
type etcd2Restorer struct{ dial tasks.Dial }

// State implements tasks.Restorer.
func (r *etcd2Restorer) State(ctx context.Context, b tasks.Before) (string, error) {
	c, err := r.open(b)
	if err != nil {
		return "", err
	}
	defer c.close()
	now, err := c.read(ctx, b.Key, false)
	return now.state().word(), err
}

// Restore implements tasks.Restorer. A folder that others keep keys in by now stays.
func (r *etcd2Restorer) Restore(ctx context.Context, b tasks.Before, kept tasks.Kept, force bool) error {
	c, err := r.open(b)
	if err != nil {
		return err
	}
	defer c.close()
	now, err := c.read(ctx, b.Key, false)
	if err != nil {
		return err
	}
	if now.state().word() != b.After && !force {
		return &tasks.Error{Kind: tasks.Refused, Op: "take back " + b.Key + " in etcd", Detail: "somebody else changed it since"}
	}
	to := state2{present: b.Was != "absent", dir: b.Was == "folder"}
	if kept.Path != "" {
		raw, err := os.ReadFile(kept.Path)
		if err != nil {
			return failed("take back "+b.Key+" in etcd", err)
		}
		to.value = string(raw)
	}
	if err := c.swap(ctx, b.Key, now, to); !isCode2(err, code2NotEmpty) {
		return err
	}
	return nil
}

func (r *etcd2Restorer) open(b tasks.Before) (*client2, error) {
	var a access
	if err := json.Unmarshal(b.Meta, &a); err != nil {
		return nil, failed("read the record of "+b.Key, err)
	}
	s, err := a.keptSecrets()
	if err != nil {
		return nil, err
	}
	return a.client2(r.dial, s)
}

// overV2 asks an endpoint for something that only the quorum can answer.
func (p *endpoint) overV2(ctx context.Context) error {
	a := p.access
	a.Endpoints = []string{p.address}
	c, err := a.client2(p.dial, p.secrets)
	if err != nil {
		return err
	}
	defer c.close()
	_, err = c.do(ctx, http.MethodGet, "/", url.Values{"quorum": {"true"}})
	var e *error2
	if errors.As(err, &e) && e.Code/100 == 1 { // it has the quorum, and says no to this user
		return nil
	}
	return err
}
