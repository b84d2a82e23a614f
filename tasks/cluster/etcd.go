package cluster

import (
	"context"
	"time"

	clientv3 "go.etcd.io/etcd/client/v3"

	"github.com/calroll/calroll/tasks"
)

// Etcd is the module etcd: keys of an etcd cluster, and its health as a host sees it. The v2 API is what Calico before 3.0 keeps its data in; both
// can be in one cluster, and neither sees the keys of the other.
type Etcd struct {
	API       string   `arg:"api,choices=v2|v3,default=v3" doc:"generation of etcd's API"`
	State     string   `arg:"state,choices=health|get|info|list|present|put|absent|delete|snapshot,default=get" doc:"health: ask every endpoint; get or info: read; list: read all keys that begin with key; present or put: write; absent or delete: delete; snapshot: keep a copy in dest"`
	Endpoints []string `arg:"endpoints,required" doc:"URLs of the cluster, all http or all https"`
	Key       string   `arg:"key" doc:"the key"`
	Value     *string  `arg:"value" doc:"what the key shall hold"`
	Prefix    bool     `arg:"prefix,default=false" doc:"get: every key that begins with key; absent: delete them"`
	KeysOnly  bool     `arg:"keys_only,default=false" doc:"get: leave the values out"`
	Require   string   `arg:"require,choices=all|quorum|any,default=quorum" doc:"health: how many endpoints must be healthy"`
	Recursive bool     `arg:"recursive,default=false" doc:"v2: read or delete a folder with all that is in it"`
	PrevValue *string  `arg:"prev_value" doc:"v2, present or absent: what the key must hold now, else the task fails"`
	RangeEnd  string   `arg:"range_end" doc:"get, absent: every key from key up to, but not, this one"`
	CAFile    string   `arg:"ca_file,alias=ca_cert" doc:"certificate authority, a file on the controller"`
	CertFile  string   `arg:"cert_file,alias=client_cert" doc:"client certificate, a file on the controller"`
	KeyFile   string   `arg:"key_file,alias=client_key" doc:"its key, a file on the controller"`
	CA        string   `arg:"ca_content" doc:"the authority itself, in PEM, instead of ca_file"`
	Cert      string   `arg:"cert_content" doc:"the client certificate itself, in PEM, instead of cert_file"`
	PrivKey   string   `arg:"key_content,secret" doc:"its key itself, in PEM; never recorded: a rollback reads the file that CALROLL_ETCD_KEY_FILE names"`
	Username  string   `arg:"username" doc:"user, where etcd has authentication on"`
	Password  string   `arg:"password,secret" doc:"its password; never recorded: a rollback reads CALROLL_ETCD_PASSWORD"`
	Dest      string   `arg:"dest" doc:"snapshot: a file on the controller, readable by its owner alone. v3: etcd's own snapshot; v2: what is below key (/ if there is none), as JSON"`
	Timeout   float64  `arg:"timeout,default=10" doc:"seconds for each question"`
}

// Rules are constraints between the arguments.
func (*Etcd) Rules() tasks.Rules {
	return tasks.Rules{
		RequiredTogether:  [][]string{{"cert_file", "key_file"}, {"cert_content", "key_content"}, {"username", "password"}},
		MutuallyExclusive: [][]string{{"ca_file", "ca_content"}, {"cert_file", "cert_content"}, {"prefix", "range_end"}},
		RequiredIf: []tasks.RequiredIf{{Arg: "state", Value: "present", Need: []string{"key", "value"}}, {Arg: "state", Value: "put", Need: []string{"key", "value"}},
			{Arg: "state", Value: "absent", Need: []string{"key"}}, {Arg: "state", Value: "delete", Need: []string{"key"}}, {Arg: "state", Value: "get", Need: []string{"key"}}, {Arg: "state", Value: "info", Need: []string{"key"}}, {Arg: "state", Value: "list", Need: []string{"key"}}, {Arg: "state", Value: "snapshot", Need: []string{"dest"}}},
	}
}

// Run implements tasks.Module.
func (e *Etcd) Run(ctx context.Context, sys *tasks.Sys) (tasks.Result, error) {
	access := e.access()
	if e.State == "health" {
		return e.health(ctx, sys, access)
	}
	if e.API == "v2" {
		return e.runV2(ctx, sys, access)
	}
	if e.Recursive || e.PrevValue != nil {
		return tasks.Result{}, &tasks.Error{Kind: tasks.Failed, Op: "use etcd's v3 API", Detail: "recursive and prev_value belong to api v2; v3 has prefix, and range_end"}
	}
	c, err := access.client(sys.Dial(), e.secrets(), e.Endpoints...)
	if err != nil {
		return tasks.Result{}, err
	}
	defer func() { _ = c.Close() }() // what was asked is answered
	r, err := e.work(ctx, sys, c)
	return r, access.explain(ctx, sys.Dial(), e.secrets(), err)
}

func (e *Etcd) work(ctx context.Context, sys *tasks.Sys, c *clientv3.Client) (tasks.Result, error) {
	switch e.State {
	case "present", "put":
		return e.put(ctx, sys, c)
	case "absent", "delete":
		return e.remove(ctx, sys, c)
	case "snapshot":
		return e.snapshot(ctx, sys, c)
	case "list":
		e.Prefix = e.RangeEnd == ""
	}
	return e.get(ctx, c)
}

func (e *Etcd) access() access {
	return access{Endpoints: e.Endpoints, CAFile: e.CAFile, CertFile: e.CertFile, KeyFile: e.KeyFile, CA: e.CA, Cert: e.Cert, Username: e.Username, Timeout: e.timeout()}
}

func (e *Etcd) secrets() secrets { return secrets{password: e.Password, key: e.PrivKey} }

func (e *Etcd) timeout() time.Duration { return time.Duration(e.Timeout * float64(time.Second)) }

// span are the keys that are meant: the one key, all that begin with it, or all up to another.
func (e *Etcd) span() []clientv3.OpOption {
	switch {
	case e.RangeEnd != "":
		return []clientv3.OpOption{clientv3.WithRange(e.RangeEnd)}
	case e.Prefix:
		return []clientv3.OpOption{clientv3.WithPrefix()}
	}
	return nil
}

func (e *Etcd) get(ctx context.Context, c *clientv3.Client) (tasks.Result, error) {
	ctx, cancel := context.WithTimeout(ctx, e.timeout())
	defer cancel()
	o := e.span()
	if e.KeysOnly {
		o = append(o, clientv3.WithKeysOnly())
	}
	got, err := c.Get(ctx, e.Key, o...)
	if err != nil {
		return tasks.Result{}, failed("read "+e.Key+" from etcd", err)
	}
	var r tasks.Result
	kvs := make([]any, len(got.Kvs))
	for i, kv := range got.Kvs {
		entry := map[string]any{"key": string(kv.Key), "mod_revision": kv.ModRevision, "create_revision": kv.CreateRevision, "version": kv.Version}
		if !e.KeysOnly {
			entry["value"] = string(kv.Value)
		}
		kvs[i] = entry
	}
	r.Set("kvs", kvs)
	r.Set("count", got.Count)
	r.Set("revision", got.Header.Revision)
	r.Set("found", got.Count > 0)
	if len(got.Kvs) > 0 && e.span() == nil && !e.KeysOnly {
		r.Set("value", string(got.Kvs[0].Value))
	}
	return r, nil
}

func (e *Etcd) put(ctx context.Context, sys *tasks.Sys, c *clientv3.Client) (tasks.Result, error) {
	now, err := readKey(ctx, c, e.Key, e.timeout())
	if err != nil || now.present && string(now.value) == *e.Value {
		return tasks.Result{}, err
	}
	r := tasks.Result{Changed: true}
	r.Set("key", e.Key)
	if sys.WantDiff() {
		r.Diff = []tasks.Diff{{Before: string(now.value), After: *e.Value, BeforeHeader: e.Key, AfterHeader: e.Key}}
	}
	if sys.Check() {
		return r, nil
	}
	return r, e.alter(ctx, sys, c, now, keyState{key: e.Key, present: true, value: []byte(*e.Value)})
}

func (e *Etcd) remove(ctx context.Context, sys *tasks.Sys, c *clientv3.Client) (tasks.Result, error) {
	there, err := e.matching(ctx, c)
	if err != nil {
		return tasks.Result{}, err
	}
	r := tasks.Result{Changed: len(there) > 0}
	r.Set("deleted", len(there))
	if sys.Check() {
		return r, nil
	}
	for _, now := range there {
		if err := e.alter(ctx, sys, c, now, keyState{key: now.key}); err != nil {
			return r, err
		}
	}
	return r, nil
}

// matching are the keys that are there of those that are meant.
func (e *Etcd) matching(ctx context.Context, c *clientv3.Client) ([]keyState, error) {
	ctx, cancel := context.WithTimeout(ctx, e.timeout())
	defer cancel()
	got, err := c.Get(ctx, e.Key, e.span()...)
	if err != nil {
		return nil, failed("read "+e.Key+" from etcd", err)
	}
	states := make([]keyState, len(got.Kvs))
	for i, kv := range got.Kvs {
		states[i] = stateOf(kv)
	}
	return states, nil
}

// alter records a key's state and brings it to another by one transaction, which a change by somebody else in between defeats.
func (e *Etcd) alter(ctx context.Context, sys *tasks.Sys, c *clientv3.Client, from, to keyState) error {
	record := tasks.Before{Kind: etcdKind, Key: from.key, Was: from.hash(), After: to.hash()}
	if err := sys.Record(ctx, record, e.access(), from.image()); err != nil {
		return err
	}
	return swap(ctx, c, from, to, e.timeout())
}

func failed(op string, err error) error {
	return &tasks.Error{Kind: tasks.Failed, Op: op, Err: err}
}
