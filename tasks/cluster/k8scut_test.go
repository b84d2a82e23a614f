package cluster_test

import (
	"fmt"
	"os"
	"strings"

	"gopkg.in/yaml.v3"

	"github.com/calroll/calroll/tasks"
	"github.com/calroll/calroll/tasks/cluster"
	"github.com/calroll/calroll/tasks/journal"
)

// cutAnywhere cuts a run at each point where a record or an alteration would leave a state of its own, and takes it back: everything is as it was.
func cutAnywhere(b *kubeBed) {
	b.kubectl("create", "deployment", "cut", "--image=old", "--replicas=0")
	b.kubectl("create", "configmap", "cut-old", "--from-literal=a=old")
	b.kubectl("create", "configmap", "cut-gone", "--from-literal=a=old")
	look := func(b *kubeBed) string {
		return b.kubectl("get", "deployment,configmap,secret", "-o", `jsonpath={range .items[*]}{.kind} {.metadata.name} {.spec} {.data}{"\n"}{end}`)
	}
	start := look(b)
	work := func(b *kubeBed) {
		b.run("k8s", b.apply(fmt.Sprintf(secret, "new")))
		force := b.apply(strings.Replace(configMap, "name: one", "name: cut-old", 1) + "---\n" + fmt.Sprintf(deployment, "cut", 0, "other"))
		force["server_side_apply"] = map[string]any{"field_manager": "calroll", "force_conflicts": true}
		b.run("k8s", force)
		b.run("k8s", map[string]any{"kind": "ConfigMap", "name": "cut-gone", "namespace": "default", "state": "absent"})
	}
	for n := 1; ; n++ {
		run := b.fresh(b.T)
		left := n
		run.step = func(point string) {
			if left--; left == 0 {
				panic(tasks.Cut{Point: point})
			}
		}
		cut := wasCut(func() { work(run) })
		run.undone()
		if got := look(b); got != start {
			b.Fatalf("cut %d:\n%s\nnot\n%s", n, got, start)
		}
		if !cut {
			if n < 10 {
				b.Errorf("only %d points to cut at", n)
			}
			break
		}
	}
	b.kubectl("delete", "deployment/cut", "configmap/cut-old", "configmap/cut-gone")
}

// undoCutAnywhere cuts the undo at each of its points, and undoes again: everything is as it was.
func undoCutAnywhere(b *kubeBed) {
	b.kubectl("create", "configmap", "again-old", "--from-literal=a=old")
	b.kubectl("create", "configmap", "again-gone", "--from-literal=a=old")
	look := func() string {
		return b.kubectl("get", "configmap", "-o", `jsonpath={range .items[*]}{.metadata.name} {.metadata.labels} {.data}{"\n"}{end}`)
	}
	start := look()
	for n := 1; ; n++ {
		run := b.fresh(b.T)
		force := run.apply(strings.Replace(configMap, "name: one", "name: again-old", 1) + "---\n" + strings.Replace(configMap, "name: one", "name: again-new", 1))
		force["server_side_apply"] = map[string]any{"field_manager": "calroll", "force_conflicts": true}
		run.run("k8s", force)
		run.run("k8s", map[string]any{"kind": "ConfigMap", "name": "again-gone", "namespace": "default", "state": "absent"})
		run.journal.Close()
		left := n
		cut := wasCut(func() {
			_, err := journal.Undo(b.Context(), run.dir, "run", journal.UndoOptions{Step: func(point string) {
				if left--; left == 0 {
					panic(tasks.Cut{Point: point})
				}
			}}, cluster.Kinds(run.reach()))
			if err != nil {
				b.Error(err)
			}
		})
		run.undone()
		if got := look(); got != start {
			b.Fatalf("cut %d:\n%s\nnot\n%s", n, got, start)
		}
		if !cut {
			break
		}
	}
	b.kubectl("delete", "configmap/again-old", "configmap/again-gone")
}

// logins: a kubeconfig as a value, a token, another identity, and what a rollback does without and with credentials.
func logins(b *kubeBed) {
	raw, err := os.ReadFile(b.api.Kubeconfig)
	if err != nil {
		b.Fatal(err)
	}
	var config map[string]any
	if err := yaml.Unmarshal(raw, &config); err != nil {
		b.Fatal(err)
	}
	value := b.apply(configMap)
	value["kubeconfig"] = config
	if r := b.run("k8s", value); !r.Changed {
		b.Errorf("%+v", r)
	}
	if report := b.undo(false); report.OK() || !strings.Contains(report.Problems()[0].Error, "CALROLL_KUBECONFIG") {
		b.Errorf("without credentials: %+v", report)
	}
	b.Setenv("CALROLL_KUBECONFIG", b.api.Kubeconfig)
	b.undone()
	b.kubectl("create", "serviceaccount", "reader")
	token := map[string]any{"kind": "ConfigMap", "host": b.api.Server, "validate_certs": false, "api_key": b.kubectl("create", "token", "reader"), "kubeconfig": map[string]any{}}
	if r := b.try(how{}, "k8s_info", token); !r.Failed || !strings.Contains(r.Msg, "system:serviceaccount:default:reader") {
		b.Errorf("a token: %+v", r)
	}
	other := map[string]any{"kind": "ConfigMap", "impersonate_user": "jane"}
	if r := b.try(how{}, "k8s_info", other); !r.Failed || !strings.Contains(r.Msg, `"jane" cannot list`) {
		b.Errorf("impersonation: %+v", r)
	}
	program := map[string]any{"kind": "ConfigMap", "kubeconfig": map[string]any{"current-context": "c", "contexts": []any{map[string]any{"name": "c", "context": map[string]any{"cluster": "c", "user": "u"}}},
		"clusters": []any{map[string]any{"name": "c", "cluster": map[string]any{"server": b.api.Server}}},
		"users":    []any{map[string]any{"name": "u", "user": map[string]any{"exec": map[string]any{"apiVersion": "client.authentication.k8s.io/v1", "command": "false", "interactiveMode": "Never"}}}}}}
	if r := b.try(how{}, "k8s_info", program); !r.Failed || r.Kind != tasks.Refused {
		b.Errorf("a program that asks for credentials: %+v", r)
	}
	b.kubectl("delete", "serviceaccount", "reader")
}

func wasCut(work func()) (cut bool) {
	defer func() {
		if p := recover(); p != nil {
			if _, cut = p.(tasks.Cut); !cut {
				panic(p)
			}
		}
	}()
	work()
	return false
}
