package node_test

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/calroll/calroll/tasks"
	"github.com/calroll/calroll/testenv/kube"
)

// oldCalicoctl stands in for calicoctl 1.x, which cannot be built any more: this is NOT the real program. It keeps objects as files, speaks the
// commands as the 1.6 reference documents them, and writes down what it was called with. So the tests below show what calroll says to such a
// program, and not that the program agrees.
const oldCalicoctl = `#!/bin/sh
store=%s
echo "$*" >>$store/calls
for a; do case $a in --config=*) [ -e "${a#--config=}" ] || exit 1 ;; esac; done
case "$1 $2" in
"config get") [ -e "$store/config-$3" ] && cat "$store/config-$3" || { [ "$3" = nodeToNodeMesh ] && echo on || echo "(unset)"; } ;;
"config set") echo "$4" >"$store/config-$3" ;;
"config unset") rm -f "$store/config-$3" ;;
"get "*) file=$store/object-$2-$(echo "$3" | tr / _); [ -e "$file" ] && { echo "["; cat "$file"; echo "]"; } || echo "[]" ;;
"create "*|"replace "*)
  text=$(cat); kind=$(echo "$text" | sed 's/.*"kind":"\([^"]*\)".*/\1/'); name=$(echo "$text" | sed 's/.*"\(cidr\|peerIP\|name\)":"\([^"]*\)".*/\2/' | tr / _)
  [ "$1" = replace ] || [ ! -e "$store/object-$kind-$name" ] || { echo "Failed to create: resource already exists"; exit 1; }
  echo "$text" >"$store/object-$kind-$name" ;;
"delete "*) rm "$store/object-$2-$(echo "$3" | tr / _)" ;;
*) echo "Invalid option: '$*'"; exit 1 ;;
esac
`

// TestCalicoV1WithAStandIn: the words for calicoctl 1.x, with a stand-in for it (see oldCalicoctl).
func TestCalicoV1WithAStandIn(t *testing.T) {
	store := t.TempDir()
	b := &calicoBed{T: t, program: filepath.Join(t.TempDir(), "calicoctl"), dir: t.TempDir()}
	if err := os.WriteFile(b.program, fmt.Appendf(nil, oldCalicoctl, store), 0o700); err != nil {
		t.Fatal(err)
	}
	b.configure("{datastoreType: etcdv2}")
	if err := os.WriteFile(filepath.Join(store, "config-LogSeverityScreen"), []byte("debug\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	v1 := func(kind string, metadata, spec map[string]any) map[string]any {
		return map[string]any{"definition": map[string]any{"apiVersion": "v1", "kind": kind, "metadata": metadata, "spec": spec}}
	}
	for _, args := range []map[string]any{
		v1("ipPool", map[string]any{"cidr": "192.168.0.0/16"}, map[string]any{"ipip": map[string]any{"enabled": true, "mode": "always"}, "nat-outgoing": true}),
		v1("bgpPeer", map[string]any{"scope": "global", "peerIP": "10.0.0.9"}, map[string]any{"asNumber": 64512}),
		v1("felixConfig", map[string]any{}, map[string]any{"IpInIpMtu": 1440, "LogSeverityScreen": nil}),
		v1("bgpConfig", map[string]any{}, map[string]any{"nodeToNodeMesh": false}),
	} {
		checked, first, second := b.run("calico_resource", tasks.Options{Check: true}, args), b.run("calico_resource", tasks.Options{}, args), b.run("calico_resource", tasks.Options{}, args)
		if first.Failed || !first.Changed || !checked.Changed || second.Failed || second.Changed || len(first.Warnings) > 0 {
			t.Errorf("%v: %+v (check mode: %+v, again: %+v)", args, first, checked, second)
		}
	}
	if report := b.undo(false); !report.OK() {
		t.Errorf("undo: %+v", report)
	}
	left, _ := filepath.Glob(filepath.Join(store, "[co]*-*"))
	if len(left) != 2 { // the mesh has a value always: it is set to what it was
		t.Errorf("after the undo there are %v", left)
	}
	raw, err := os.ReadFile(filepath.Join(store, "calls"))
	if err != nil {
		t.Fatal(err)
	}
	var writes []string
	for line := range strings.Lines(string(raw)) {
		line = strings.TrimSpace(strings.ReplaceAll(line, " --config="+b.config, ""))
		if !strings.HasPrefix(line, "get ") && !strings.HasPrefix(line, "config get ") {
			writes = append(writes, line)
		}
	}
	want := []string{"create -f -", "create -f -", "config set IpInIpMtu 1440 --raw=felix", "config unset LogSeverityScreen --raw=felix", "config set nodeToNodeMesh off",
		"config set nodeToNodeMesh on", "config set LogSeverityScreen debug --raw=felix", "config unset IpInIpMtu --raw=felix", "delete bgpPeer 10.0.0.9 --scope=global", "delete ipPool 192.168.0.0/16"}
	if strings.Join(writes, "\n") != strings.Join(want, "\n") {
		t.Errorf("it was told\n%s\nnot\n%s", strings.Join(writes, "\n"), strings.Join(want, "\n"))
	}
}

// TestCalicoInKubernetes: the same objects in the Kubernetes datastore, where a Node is Kubernetes' own with annotations.
func TestCalicoInKubernetes(t *testing.T) {
	api := kube.APIForTest(t, kube.APIOptions{})
	set := calicoPrograms(t)
	b := &calicoBed{T: t, program: set.Program("calicoctl"), dir: t.TempDir()}
	kubectl := func(stdin string, args ...string) string {
		t.Helper()
		cmd := api.Kubectl(t.Context(), args...)
		cmd.Stdin = strings.NewReader(stdin)
		out, err := cmd.CombinedOutput()
		if err != nil {
			t.Fatalf("kubectl %v: %v\n%s", args, err, out)
		}
		return string(out)
	}
	kubectl(calicoCRDs(t), "create", "-f", "-")
	for _, plural := range []string{"ippools", "felixconfigurations", "bgpconfigurations", "bgppeers"} {
		kubectl("", "wait", "--for=condition=Established", "crd/"+plural+".crd.projectcalico.org", "--timeout=60s")
	}
	kubectl(`{"apiVersion":"v1","kind":"Node","metadata":{"name":"node1","labels":{"rack":"r1"}}}`, "create", "-f", "-")
	b.configure("{datastoreType: kubernetes, kubeconfig: " + api.Kubeconfig + "}")
	kinds := []string{"ippool", "felixconfiguration", "bgpconfiguration", "bgppeer", "node"}
	before, node := b.all(kinds...), kubectl("", "get", "node", "node1", "-o", "jsonpath={.metadata.labels}{.metadata.annotations}")
	for _, c := range calicoCases[:4] {
		first, second := b.run("calico_resource", tasks.Options{}, c.args), b.run("calico_resource", tasks.Options{}, c.args)
		if first.Failed || !first.Changed || second.Failed || second.Changed || len(first.Warnings) > 0 {
			t.Errorf("%s: %+v (again: %+v)", c.name, first, second)
		}
	}
	if got := kubectl("", "get", "node", "node1", "-o", "yaml"); !strings.Contains(got, "projectcalico.org/RouteReflectorClusterID: 244.0.0.1") {
		t.Errorf("the node is no reflector:\n%s", got)
	}
	if report := b.undo(false); !report.OK() || b.all(kinds...) != before {
		t.Errorf("undo: %+v\n%s\nbefore it was\n%s", report, b.all(kinds...), before)
	}
	if got := kubectl("", "get", "node", "node1", "-o", "jsonpath={.metadata.labels}{.metadata.annotations}"); got != node {
		t.Logf("the node has %s, and had %s", got, node)
	}
}

// calicoCRDs are Calico's own definitions, from the sources that calicoctl is built from.
func calicoCRDs(t *testing.T) string {
	t.Helper()
	out, err := exec.Command("go", "list", "-C", "../../testenv/upstream/calico", "-mod=mod", "-m", "-f", "{{.Dir}}", "github.com/projectcalico/calico").Output()
	if err != nil {
		t.Fatalf("cannot find Calico's sources: %v", err)
	}
	files, err := filepath.Glob(filepath.Join(strings.TrimSpace(string(out)), "libcalico-go/config/crd/*.yaml"))
	if err != nil || len(files) == 0 {
		t.Fatalf("Calico's sources in %s have no CRDs: %v", out, err)
	}
	var all []string
	for _, f := range files {
		raw, err := os.ReadFile(f)
		if err != nil {
			t.Fatal(err)
		}
		all = append(all, string(raw))
	}
	return strings.Join(all, "\n---\n")
}
