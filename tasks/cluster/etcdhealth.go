package cluster

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"strings"
	"sync"
	"time"

	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
	clientv3 "go.etcd.io/etcd/client/v3"

	"github.com/calroll/calroll/tasks"
)

// health asks all endpoints at once, each by itself, then a healthy one for the cluster as a whole.
func (e *Etcd) health(ctx context.Context, sys *tasks.Sys, a access) (tasks.Result, error) {
	if strings.HasPrefix(e.Endpoints[0], "https://") { // a mistake in the files is not an endpoint's
		if _, err := a.tls(e.secrets()); err != nil {
			return tasks.Result{}, err
		}
	}
	asked := make([]*endpoint, len(e.Endpoints))
	var all sync.WaitGroup
	for i, address := range e.Endpoints {
		asked[i] = &endpoint{address: address, access: a, secrets: e.secrets(), dial: sys.Dial(), v2: e.API == "v2", report: map[string]any{"endpoint": address}}
		all.Go(func() { asked[i].ask(ctx) })
	}
	all.Wait()
	if err := ctx.Err(); err != nil {
		return tasks.Result{}, &tasks.Error{Kind: tasks.Canceled, Op: "ask etcd for its health", Err: context.Cause(ctx)}
	}
	return e.judge(ctx, asked), nil
}

func (e *Etcd) judge(ctx context.Context, asked []*endpoint) tasks.Result {
	var r tasks.Result
	healthy := 0
	reports := make([]any, len(asked))
	var one *endpoint
	for i, p := range asked {
		reports[i] = p.report
		if p.healthy {
			healthy++
			one = p
		}
	}
	r.Set("endpoints", reports)
	r.Set("healthy", healthy)
	r.Set("quorum", healthy > 0) // a healthy endpoint has read through the quorum
	r.Set("members", []any{})
	r.Set("alarms", []any{})
	if one != nil && !one.v2 {
		one.cluster(ctx, &r)
	}
	need := map[string]int{"all": len(asked), "quorum": len(asked)/2 + 1, "any": 1}[e.Require]
	if healthy < need {
		r.Failed = true
		r.Msg = fmt.Sprintf("%d of %d endpoints of etcd are healthy, at least %d must be", healthy, len(asked), need)
		for _, p := range asked {
			if !p.healthy {
				r.Msg += fmt.Sprintf("; %s: %v", p.address, p.report["error"])
			}
		}
	}
	return r
}

// endpoint is one endpoint while it is asked.
type endpoint struct {
	address string
	access  access
	secrets secrets
	dial    tasks.Dial
	v2      bool // its v2 API is what matters
	healthy bool
	report  map[string]any // what the result says of it
}

// ask finds out, step by step, how far the host gets: to the port, to an answer, to a member with a leader and no alarm, to the quorum.
func (p *endpoint) ask(ctx context.Context) {
	ctx, cancel := context.WithTimeout(ctx, p.access.Timeout)
	defer cancel()
	err := p.reach(ctx)
	if err == nil {
		said := p.overHTTP(ctx)
		if p.v2 {
			err = p.overV2(ctx)
		} else if err = p.overGRPC(ctx); errors.Is(err, context.DeadlineExceeded) && said != nil {
			err = said // gRPC tries again until the time is over; what was wrong is what HTTP ran into
		}
	}
	p.healthy = err == nil
	p.report["healthy"] = p.healthy
	if err != nil {
		p.report["error"] = err.Error()
	}
}

// reach tries the port.
func (p *endpoint) reach(ctx context.Context) error {
	p.report["reachable"] = false
	u, err := url.Parse(p.address)
	if err != nil || u.Host == "" {
		return fmt.Errorf("this is no URL of an endpoint: %s", p.address)
	}
	host := u.Host
	if u.Port() == "" {
		host = net.JoinHostPort(u.Hostname(), "2379")
	}
	c, err := p.dial(ctx, "tcp", host)
	if err != nil {
		return fmt.Errorf("it cannot be reached: %w", err)
	}
	p.report["reachable"] = true
	return c.Close()
}

// overHTTP notes what the endpoint says without gRPC: its version, its own opinion of its health, and whether it has the v2 API,
// which it may have instead of v3. The error is why it could not be asked at all.
func (p *endpoint) overHTTP(ctx context.Context) error {
	t := &http.Transport{DialContext: p.dial, DisableKeepAlives: true}
	if strings.HasPrefix(p.address, "https://") {
		var err error
		if t.TLSClientConfig, err = p.access.tls(p.secrets); err != nil {
			return err
		}
	}
	client := &http.Client{Transport: t}
	var version struct {
		Server string `json:"etcdserver"`
	}
	status, err := p.get(ctx, client, "/version", &version)
	if err != nil {
		return err
	}
	if status == http.StatusOK {
		p.report["version"] = version.Server
	}
	var health struct {
		Health any `json:"health"` // a text, and a boolean before 3.3
	}
	if _, err := p.get(ctx, client, "/health", &health); err == nil {
		p.report["says"] = fmt.Sprint(health.Health)
	}
	status, err = p.get(ctx, client, "/v2/keys/", nil)
	p.report["v2"] = status == http.StatusOK
	return err
}

// get asks for a path and gives the answer's status.
func (p *endpoint) get(ctx context.Context, client *http.Client, path string, into any) (int, error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, strings.TrimSuffix(p.address, "/")+path, nil)
	if err != nil {
		return 0, err
	}
	resp, err := client.Do(req)
	if err != nil {
		var u *url.Error
		if errors.As(err, &u) {
			err = u.Err
		}
		return 0, err
	}
	defer resp.Body.Close()
	if into != nil {
		_ = json.NewDecoder(io.LimitReader(resp.Body, 64<<10)).Decode(into) // what is no JSON says nothing
	}
	return resp.StatusCode, nil
}

func (p *endpoint) overGRPC(ctx context.Context) error {
	c, err := p.access.client(p.dial, p.secrets, p.address)
	if err != nil {
		return err
	}
	defer func() { _ = c.Close() }() // what was asked is answered
	s, err := c.Status(ctx, p.address)
	if err != nil {
		return fmt.Errorf("it does not tell its status: %w", err)
	}
	p.report["version"], p.report["db_size"], p.report["errors"] = s.Version, s.DbSize, s.Errors
	p.report["member_id"], p.report["leader"], p.report["is_leader"] = hexID(s.Header.MemberId), hexID(s.Leader), s.Leader == s.Header.MemberId
	p.report["revision"], p.report["raft_term"], p.report["raft_index"], p.report["is_learner"] = s.Header.Revision, s.RaftTerm, s.RaftIndex, s.IsLearner
	switch {
	case s.Leader == 0:
		return fmt.Errorf("it has no leader")
	case len(s.Errors) > 0:
		return fmt.Errorf("it has alarms: %s", strings.Join(s.Errors, ", "))
	}
	if _, err := c.Get(ctx, "health"); err != nil && !isDenied(err) {
		return fmt.Errorf("it does not reach the quorum: %w", err)
	}
	return nil
}

// isDenied tells that the quorum answered, if only that this user may not read the key.
func isDenied(err error) bool { return strings.Contains(err.Error(), "permission denied") }

func hexID(id uint64) string {
	if id == 0 {
		return ""
	}
	return fmt.Sprintf("%x", id)
}

// cluster notes the members, the leader and the alarms. Users who may not ask for them get none.
func (p *endpoint) cluster(ctx context.Context, r *tasks.Result) {
	ctx, cancel := context.WithTimeout(ctx, max(p.access.Timeout, time.Second))
	defer cancel()
	c, err := p.access.client(p.dial, p.secrets, p.address)
	if err != nil {
		return
	}
	defer func() { _ = c.Close() }() // what was asked is answered
	leader, _ := p.report["leader"].(string)
	r.Set("leader", leader)
	if list, err := c.MemberList(ctx); err == nil {
		r.Set("members", membersOf(list, leader))
	}
	if list, err := c.AlarmList(ctx); err == nil {
		alarms := make([]any, len(list.Alarms))
		for i, a := range list.Alarms {
			alarms[i] = map[string]any{"member_id": hexID(a.MemberID), "alarm": pb.AlarmType_name[int32(a.Alarm)]}
		}
		r.Set("alarms", alarms)
	}
}

func membersOf(list *clientv3.MemberListResponse, leader string) []any {
	members := make([]any, len(list.Members))
	for i, m := range list.Members {
		id := hexID(m.ID)
		members[i] = map[string]any{"id": id, "name": m.Name, "client_urls": m.ClientURLs, "peer_urls": m.PeerURLs, "is_learner": m.IsLearner, "is_leader": id == leader}
	}
	return members
}
