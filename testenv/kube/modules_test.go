package kube_test

import (
	"fmt"
	"strings"
	"testing"

	"github.com/calroll/calroll/tasks"
	"github.com/calroll/calroll/tasks/cluster"
	"github.com/calroll/calroll/tasks/journal"
	"github.com/calroll/calroll/testenv/artifacts"
	"github.com/calroll/calroll/testenv/kube"
)

const guarded = `
apiVersion: policy/v1
kind: PodDisruptionBudget
metadata: {name: guarded, namespace: default}
spec: {minAvailable: 1, selector: {matchLabels: {app: guarded}}}
---
apiVersion: apps/v1
kind: Deployment
metadata: {name: guarded, namespace: default}
spec:
  replicas: 1
  selector: {matchLabels: {app: guarded}}
  template:
    metadata: {labels: {app: guarded}}
    spec:
      terminationGracePeriodSeconds: 1
      nodeSelector: {kubernetes.io/hostname: %s}
      containers: [{name: pod, image: "%s", imagePullPolicy: Never, readinessProbe: {httpGet: {port: 8080}, periodSeconds: 1}}]
`

// modules shows what the Kubernetes modules do with pods that run: wait for a rollout, look inside, mind a disruption budget, drain, and take it all back.
func modules(t *testing.T, c *kube.Cluster) {
	dir := t.TempDir()
	j, err := journal.Open(dir, "run", journal.Holder{})
	if err != nil {
		t.Fatal(err)
	}
	run := func(module string, args map[string]any) tasks.Result {
		t.Helper()
		args["kubeconfig"] = c.Lab.KubeconfigFile()
		m, errs := tasks.SpecOf(cluster.Modules()[module]()).Decode(args)
		if len(errs) > 0 {
			t.Fatal(errs)
		}
		sys := tasks.NewSys(tasks.Options{Recorder: j})
		defer sys.Close()
		return tasks.Run(t.Context(), m, sys)
	}
	node := c.Nodes()[0].Name
	text := fmt.Sprintf(guarded, node, artifacts.ImageTag(artifacts.PodImage, ""))
	if r := run("k8s", map[string]any{"definition": text, "apply": true, "server_side_apply": map[string]any{}, "wait": true, "wait_sleep": 1}); r.Failed || !r.Changed {
		t.Fatalf("rollout: %+v", r)
	}
	found := run("k8s_info", map[string]any{"kind": "Pod", "namespace": "default", "label_selectors": []any{"app=guarded"}, "wait": true, "wait_sleep": 1})
	if found.Failed || len(found.Values["resources"].([]any)) != 1 {
		t.Fatalf("pods: %+v", found)
	}
	pod := found.Values["resources"].([]any)[0].(map[string]any)["metadata"].(map[string]any)["name"]
	looked := run("k8s_exec", map[string]any{"namespace": "default", "pod": pod, "command": "/pod get http://localhost:8080/"})
	if looked.Failed || looked.Values["rc"] != 0 || !strings.HasPrefix(fmt.Sprint(looked.Values["stdout"]), fmt.Sprint(pod)) {
		t.Errorf("exec: %+v", looked)
	}
	wrong := run("k8s_exec", map[string]any{"namespace": "default", "pod": pod, "command": "/pod dance"})
	if wrong.Failed || wrong.Values["rc"] != 1 || !strings.Contains(fmt.Sprint(wrong.Values["stderr"]), "cannot dance") {
		t.Errorf("exec of what fails: %+v", wrong)
	}
	drain := map[string]any{"name": node, "pod_selectors": []any{"app=guarded"}, "delete_options": map[string]any{"wait_timeout": 2, "wait_sleep": 1}}
	if r := run("k8s_drain", drain); !r.Failed || !strings.Contains(r.Msg, "disruption budget") {
		t.Errorf("a budget: %+v", r)
	}
	run("k8s", map[string]any{"state": "absent", "api_version": "policy/v1", "kind": "PodDisruptionBudget", "name": "guarded", "namespace": "default"})
	drain["delete_options"] = map[string]any{"wait_timeout": 60, "wait_sleep": 1}
	if r := run("k8s_drain", drain); r.Failed || !r.Changed || len(r.Warnings) > 0 {
		t.Errorf("drain: %+v", r)
	}
	j.Close()
	report, err := journal.Undo(t.Context(), dir, "run", journal.UndoOptions{}, cluster.Kinds(tasks.Reach{}))
	if err != nil || !report.OK() {
		t.Errorf("undo: %+v, %v", report, err)
	}
	if n, err := c.Kubectl(t.Context(), "get", "node", node, "-o", "jsonpath={.spec.unschedulable}"); err != nil || n != "" {
		t.Errorf("the node after the undo: %q, %v", n, err)
	}
	if n, err := c.Kubectl(t.Context(), "get", "deployment,pdb", "-o", "name"); err != nil || n != "" {
		t.Errorf("objects after the undo: %q, %v", n, err)
	}
}
