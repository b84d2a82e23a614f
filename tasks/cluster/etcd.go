package cluster

import (
	"context"
	"fmt"
	"time"

	clientv3 "go.etcd.io/etcd/client/v3"

	"github.com/calroll/calroll/tasks"
)

// Etcd is the module etcd: keys of an etcd cluster (v3 API), and its health as a host sees it.
type Etcd struct {
	State     string   `arg:"state,choices=health|get|present|absent,default=get" doc:"health: ask every endpoint; get: read; present: put; absent: delete"`
	Endpoints []string `arg:"endpoints,required" doc:"URLs of the cluster, all http or all https"`
	Key       string   `arg:"key" doc:"the key"`
	Value     *string  `arg:"value" doc:"what the key shall hold"`
	Prefix    bool     `arg:"prefix,default=false" doc:"get: every key that begins with key; absent: delete them"`
	KeysOnly  bool     `arg:"keys_only,default=false" doc:"get: leave the values out"`
	Require   string   `arg:"require,choices=all|quorum|any,default=quorum" doc:"health: how many endpoints must be healthy"`
	CAFile    string   `arg:"ca_file,alias=ca_cert" doc:"certificate authority, a file on the controller"`
	CertFile  string   `arg:"cert_file,alias=client_cert" doc:"client certificate, a file on the controller"`
	KeyFile   string   `arg:"key_file,alias=client_key" doc:"its key, a file on the controller"`
	Username  string   `arg:"username" doc:"user, where etcd has authentication on"`
	Password  string   `arg:"password,secret" doc:"its password; never recorded: a rollback reads CALROLL_ETCD_PASSWORD"`
	Timeout   float64  `arg:"timeout,default=10" doc:"seconds for each question"`
}

// Rules are constraints between the arguments.
func (*Etcd) Rules() tasks.Rules {
	return tasks.Rules{
		RequiredTogether: [][]string{{"cert_file", "key_file"}, {"username", "password"}},
		RequiredIf: []tasks.RequiredIf{{Arg: "state", Value: "present", Need: []string{"key", "value"}}, {Arg: "state", Value: "absent", Need: []string{"key"}},
			{Arg: "state", Value: "get", Need: []string{"key"}}},
	}
}

// Run implements tasks.Module.
func (e *Etcd) Run(ctx context.Context, sys *tasks.Sys) (tasks.Result, error) {
	access := e.access()
	if e.State == "health" {
		return e.health(ctx, sys, access)
	}
	c, err := access.client(sys.Dial(), e.Password, e.Endpoints...)
	if err != nil {
		return tasks.Result{}, err
	}
	defer c.Close()
	switch e.State {
	case "present":
		return e.put(ctx, sys, c)
	case "absent":
		return e.remove(ctx, sys, c)
	}
	return e.get(ctx, c)
}

func (e *Etcd) access() access {
	return access{Endpoints: e.Endpoints, CAFile: e.CAFile, CertFile: e.CertFile, KeyFile: e.KeyFile, Username: e.Username, Timeout: e.timeout()}
}

func (e *Etcd) timeout() time.Duration { return time.Duration(e.Timeout * float64(time.Second)) }

func (e *Etcd) options() []clientv3.OpOption {
	var o []clientv3.OpOption
	if e.Prefix {
		o = append(o, clientv3.WithPrefix())
	}
	if e.KeysOnly {
		o = append(o, clientv3.WithKeysOnly())
	}
	return o
}

func (e *Etcd) get(ctx context.Context, c *clientv3.Client) (tasks.Result, error) {
	ctx, cancel := context.WithTimeout(ctx, e.timeout())
	defer cancel()
	got, err := c.Get(ctx, e.Key, e.options()...)
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
	if len(got.Kvs) > 0 && !e.Prefix && !e.KeysOnly {
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

// matching are the keys that are there: the one key, or all with the prefix.
func (e *Etcd) matching(ctx context.Context, c *clientv3.Client) ([]keyState, error) {
	ctx, cancel := context.WithTimeout(ctx, e.timeout())
	defer cancel()
	var o []clientv3.OpOption
	if e.Prefix {
		o = append(o, clientv3.WithPrefix())
	}
	got, err := c.Get(ctx, e.Key, o...)
	if err != nil {
		return nil, failed("read "+e.Key+" from etcd", err)
	}
	states := make([]keyState, len(got.Kvs))
	for i, kv := range got.Kvs {
		states[i] = keyState{key: string(kv.Key), present: true, value: kv.Value, revision: kv.ModRevision}
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

// health asks each endpoint by itself, then the cluster as a whole.
func (e *Etcd) health(ctx context.Context, sys *tasks.Sys, a access) (tasks.Result, error) {
	reports := make([]any, len(e.Endpoints))
	healthy := 0
	for i, endpoint := range e.Endpoints {
		report, ok := e.ask(ctx, sys, a, endpoint)
		reports[i] = report
		if ok {
			healthy++
		}
	}
	var r tasks.Result
	r.Set("endpoints", reports)
	r.Set("healthy", healthy)
	need := map[string]int{"all": len(e.Endpoints), "quorum": len(e.Endpoints)/2 + 1, "any": 1}[e.Require]
	if healthy < need {
		r.Failed = true
		r.Msg = fmt.Sprintf("%d of %d endpoints of etcd are healthy, at least %d must be", healthy, len(e.Endpoints), need)
	}
	return r, nil
}

// ask is one endpoint's health: it answers, has a leader and no alarm, and reads through the quorum.
func (e *Etcd) ask(ctx context.Context, sys *tasks.Sys, a access, endpoint string) (map[string]any, bool) {
	report := map[string]any{"endpoint": endpoint, "healthy": false}
	c, err := a.client(sys.Dial(), e.Password, endpoint)
	if err != nil {
		report["error"] = err.Error()
		return report, false
	}
	defer c.Close()
	ctx, cancel := context.WithTimeout(ctx, e.timeout())
	defer cancel()
	status, err := c.Status(ctx, endpoint)
	if err != nil {
		report["error"] = err.Error()
		return report, false
	}
	report["version"], report["is_leader"], report["db_size"], report["errors"] = status.Version, status.Leader == status.Header.MemberId, status.DbSize, status.Errors
	if status.Leader == 0 || len(status.Errors) > 0 {
		report["error"] = fmt.Sprintf("it has no leader, or alarms: %v", status.Errors)
		return report, false
	}
	if _, err := c.Get(ctx, "health"); err != nil {
		report["error"] = "it does not reach the quorum: " + err.Error()
		return report, false
	}
	report["healthy"] = true
	return report, true
}
