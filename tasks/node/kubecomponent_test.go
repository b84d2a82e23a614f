package node_test

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
)

const apiserverManifest = `apiVersion: v1
kind: Pod
metadata:
  labels: {component: kube-apiserver}   # kept
spec:
  containers:
  - command:
    - kube-apiserver
    - --secure-port=6443
    - --cors-allowed-origins=https://other
    image: registry.k8s.io/kube-apiserver:v1.29.0
    name: kube-apiserver
`

// TestStaticPodFlags edits a manifest through the module: only the argument changes, check mode foresees it, an undo brings it back.
func TestStaticPodFlags(t *testing.T) {
	root := filepath.Join(t.TempDir(), "calroll")
	shell(t, "cat > api.yaml <<'EOT'\n"+apiserverManifest+"EOT\nchmod 600 api.yaml", newDir(t, root))
	start, runs := tree(t, root), t.TempDir()
	flags := func(more args) step {
		a := args{"component": "kube-apiserver", "manifest": "@/api.yaml", "flags": args{"cors-allowed-origins": "https://cnx:9443"}, "merge": "cors-allowed-origins"}
		for k, v := range more {
			a[k] = v
		}
		return do("kube_component", a)
	}
	info := do("kube_component_info", args{"component": "kube-apiserver", "manifest": "@/api.yaml"})
	r := runModulesFor(t, sameAs{steps: []step{checked(flags(nil)), flags(nil), flags(nil), info, flags(args{"flags": args{"x": nil, "secure-port": 443}, "strategy": "static_pod"}),
		flags(args{"state": "absent"}), flags(args{"state": "absent", "flags": args{"cors-allowed-origins": "https://other"}}), flags(args{"state": "absent", "flags": []any{"x"}}), flags(args{"strategy": "env_file"})}}, root, runs)
	for i, want := range []bool{true, true, false, false, true, true, true, true} {
		if r[i]["failed"] != false || r[i]["changed"] != want {
			t.Errorf("step %d: %v", i+1, r[i])
		}
	}
	if r[8]["failed"] != true {
		t.Errorf("a static pod has an environment file: %v", r[8])
	}
	if got := r[1]["flags"].(map[string]any)["cors-allowed-origins"]; got != "https://other,https://cnx:9443" {
		t.Errorf("the list is %v", got)
	}
	if r[3]["kind"] != "static_pod" { // its flags are those of the process, and this machine may well have one
		t.Errorf("info: %v", r[3])
	}
	end := strings.NewReplacer("    - --cors-allowed-origins=https://other\n", "", "=6443", "=443").Replace(apiserverManifest)
	if got, err := os.ReadFile(filepath.Join(root, "api.yaml")); err != nil || string(got) != end {
		t.Errorf("%v\n%s\nwant\n%s", err, got, end)
	}
	undoAll(t, runs, root, start)
}
