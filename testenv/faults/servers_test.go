package faults

import (
	"bytes"
	"encoding/json"
	"os"
	"path/filepath"
	"strings"

	"github.com/calroll/calroll/testenv"
	"github.com/calroll/calroll/testenv/artifacts"
	"github.com/calroll/calroll/testenv/kube"
)

// controller is what tasks that write to the cluster are delegated to.
const controller = "localhost"

// Faults of what a run needs besides its hosts: an etcd of three that bastions share, and a Kubernetes API.
var (
	leaderKilled = fault{name: "kill -9 etcd's leader", spares: true,
		strike: func(w *run, _ *testenv.Host) {
			leader, err := w.etcd.Leader(w.Context())
			w.check(err)
			w.leader = leader
			w.check(w.etcd.KillMember(leader))
		},
		heal: func(w *run, _ *testenv.Host) { w.check(w.etcd.StartMember(w.Context(), w.leader)) }}

	apiRestarted = fault{name: "kill -9 kube-apiserver", shared: true,
		strike: func(w *run, _ *testenv.Host) {
			w.check(w.api.Kill())
			w.after(0, func() { w.check(w.api.Start(w.Context())) })
		}}

	apiGone = fault{name: "kube-apiserver gone", shared: true,
		strike: func(w *run, _ *testenv.Host) { w.check(w.api.Kill()) },
		heal:   func(w *run, _ *testenv.Host) { w.check(w.api.Start(w.Context())) }}
)

// withEtcd has the program share its state in an etcd of three.
func (r *rig) withEtcd() {
	r.Helper()
	set, err := artifacts.Build(r.Context(), artifacts.Request{Parts: []artifacts.Part{artifacts.EtcdPrograms}}, artifacts.Options{})
	r.must(err)
	r.etcd, err = artifacts.StartEtcd(r.Context(), artifacts.EtcdOptions{Programs: set, Members: 3})
	r.must(err)
	r.Cleanup(func() { r.check(r.etcd.Stop()) })
	at := strings.ReplaceAll(strings.Join(r.etcd.Endpoints(), ","), "http://", "")
	r.env = append(r.env, "CALROLL_STATE=etcd://"+at+"/faults?lease=10s")
}

// withAPI gives the play a cluster, with an object of each host in it.
func (r *rig) withAPI() {
	r.Helper()
	r.api = kube.APIForTest(r, kube.APIOptions{})
	config, err := os.ReadFile(r.api.Kubeconfig)
	r.must(err)
	r.must(os.WriteFile(filepath.Join(filepath.Dir(r.book), "admin.conf"), config, 0o600))
	for _, h := range r.lab.Hosts {
		out, err := r.api.Kubectl(r.Context(), "create", "configmap", "old-"+h.Name, "--from-literal=is=old").CombinedOutput()
		if err != nil {
			r.Fatalf("%v\n%s", err, out)
		}
	}
}

// addObjects adds to each host's picture the objects that are its own.
func (r *rig) addObjects(pictures map[string]testenv.Snapshot) {
	r.Helper()
	if r.api == nil {
		return
	}
	cmd := r.api.Kubectl(r.Context(), "get", "configmaps", "--output", "json")
	var why bytes.Buffer
	cmd.Stderr = &why
	out, err := cmd.Output()
	if err != nil {
		r.Fatalf("%v\n%s", err, &why)
	}
	var list struct {
		Items []struct {
			Metadata struct{ Name string }
			Data     map[string]string
		}
	}
	r.must(json.Unmarshal(out, &list))
	for _, o := range list.Items {
		if s := pictures[o.Metadata.Name[strings.Index(o.Metadata.Name, "-")+1:]]; s != nil {
			data, err := json.Marshal(o.Data)
			r.must(err)
			s["object "+o.Metadata.Name] = string(data)
		}
	}
}
