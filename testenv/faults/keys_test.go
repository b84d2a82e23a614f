//go:build faults

package faults

import (
	"encoding/json"
	"strings"
	"testing"

	"github.com/calroll/calroll/testenv"
	"github.com/calroll/calroll/testenv/artifacts"
)

// TestFaultsOfEtcd stops members of an etcd whose keys a play alters: the leader, which another one follows, and two of three, after which nothing can
// be read or written. What a host has in etcd belongs to the picture of the host.
func TestFaultsOfEtcd(t *testing.T) {
	r := newRig(t, "keys.yml")
	e := r.etcd()
	const keySteps = 8
	r.learn(keySteps)
	result := &table{}
	for _, f := range []fault{leaderLost(e), quorumLost(e)} {
		for n := 1; n <= keySteps; n++ {
			w := r.try(trial{fault: f, point: boundary(n), batch: 1 + n%3, which: n % 2})
			result.add(w)
			t.Log(w)
		}
	}
	t.Logf("\n%v", result)
}

// etcd starts three members that every host reaches, and gives each host keys to alter.
func (r *rig) etcd() *artifacts.Etcd {
	r.Helper()
	set, err := artifacts.Build(r.Context(), artifacts.Request{Parts: []artifacts.Part{artifacts.EtcdPrograms}}, artifacts.Options{})
	r.must(err)
	e, err := artifacts.StartEtcd(r.Context(), artifacts.EtcdOptions{Programs: set, Listen: r.lab.Gateway.String(), Members: 3, TLS: true})
	r.must(err)
	r.Cleanup(func() { r.check(e.Stop()) })
	for _, h := range r.lab.Hosts {
		for _, key := range []string{"old", "goes"} {
			r.must(e.Command(r.Context(), "put", "/faults/"+h.Name+"/"+key, "zero").Run())
		}
	}
	vars, err := json.Marshal(map[string]any{"etcd_endpoints": e.Endpoints(), "etcd_ca": e.CA, "etcd_cert": e.ClientCert, "etcd_key": e.ClientKey})
	r.must(err)
	r.vars = []string{"-e", string(vars)}
	r.extra = func(s testenv.Snapshot, name string) { r.addKeys(e, s, name) }
	return e
}

// addKeys adds a host's keys to its picture.
func (r *rig) addKeys(e *artifacts.Etcd, s testenv.Snapshot, name string) {
	r.Helper()
	out, err := e.Command(r.Context(), "get", "--prefix", "/faults/"+name+"/", "-w", "fields").Output()
	if err != nil { // two members are away: they come back before anything else is looked at
		s["etcd"] = "not to be read"
		return
	}
	key := ""
	for line := range strings.Lines(string(out)) {
		what, value, _ := strings.Cut(strings.TrimSpace(line), " : ")
		switch what {
		case `"Key"`:
			key = value
		case `"Value"`:
			s["etcd "+key] = value
		}
	}
}

// leader is the number of the member that leads.
func leader(r *rig, e *artifacts.Etcd) int {
	r.Helper()
	out, err := e.Command(r.Context(), "endpoint", "status", "-w", "json").Output()
	r.check(err)
	var members []struct {
		Endpoint string
		Status   struct {
			Header struct {
				Member uint64 `json:"member_id"`
			}
			Leader uint64
		}
	}
	r.check(json.Unmarshal(out, &members))
	for i, url := range e.Endpoints() {
		for _, m := range members {
			if m.Endpoint == url && m.Status.Leader == m.Status.Header.Member {
				return i
			}
		}
	}
	r.Error("no member leads")
	return 0
}

func leaderLost(e *artifacts.Etcd) fault {
	var lost int
	return fault{name: "etcd leader lost", all: true,
		strike: func(w *run, _ *testenv.Host) {
			lost = leader(w.rig, e)
			w.check(e.StopMember(lost))
		},
		heal: func(w *run, _ *testenv.Host) { w.check(e.StartMember(w.Context(), lost)) }}
}

func quorumLost(e *artifacts.Etcd) fault {
	return fault{name: "etcd quorum lost", all: true,
		strike: func(w *run, _ *testenv.Host) {
			for i := range 2 {
				w.check(e.StopMember(i))
			}
		},
		heal: func(w *run, _ *testenv.Host) {
			for i := range 2 {
				w.check(e.StartMember(w.Context(), i))
			}
		}}
}
