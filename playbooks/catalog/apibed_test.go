package catalog_test

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/calroll/calroll/testenv/kube"
)

// apiBed is a play on a Kubernetes API without nodes, whose only control plane host is this machine.
type apiBed struct {
	*testing.T
	api      *kube.API
	exe, dir string
}

func newAPIBed(t *testing.T, play string) *apiBed {
	t.Helper()
	exe, err := program()
	if err != nil {
		t.Fatal(err)
	}
	b := &apiBed{T: t, api: kube.APIForTest(t, kube.APIOptions{}), exe: exe, dir: t.TempDir()}
	write(t, filepath.Join(b.dir, "play.yml"), play)
	write(t, filepath.Join(b.dir, "inventory.yml"), fmt.Sprintf(
		"kube_control_plane: {hosts: {node1: {ansible_connection: local, kubeconfig_admin: %s, etcd_endpoints: [\"http://127.0.0.1:1\"]}}}\n", b.api.Kubeconfig))
	return b
}

// run carries the play out with variables, as JSON or name=value, and demands an exit code.
func (b *apiBed) run(code int, vars ...string) string {
	b.Helper()
	args := []string{"run", filepath.Join(b.dir, "play.yml")}
	for _, v := range vars {
		args = append(args, "-e", v)
	}
	return b.calroll(code, args...)
}

// settled: once more, it changes nothing.
func (b *apiBed) settled(vars ...string) {
	b.Helper()
	if out := b.run(exitOK, vars...); !strings.Contains(out, "changed=0 ") {
		b.Errorf("the second run with %v changes something:\n%s", vars, out)
	}
}

func (b *apiBed) calroll(code int, args ...string) string {
	b.Helper()
	cmd := exec.CommandContext(b.Context(), b.exe, append(args, "-i", filepath.Join(b.dir, "inventory.yml"))...)
	cmd.Env = append(os.Environ(), "XDG_STATE_HOME="+filepath.Join(b.dir, "state"))
	out, err := cmd.CombinedOutput()
	if cmd.ProcessState == nil || cmd.ProcessState.ExitCode() != code {
		b.Fatalf("calroll %v: %v, want exit code %d\n%s", args, err, code, out)
	}
	return string(out)
}

// lastRun is the id of the newest run.
func (b *apiBed) lastRun() string {
	b.Helper()
	runs, err := os.ReadDir(filepath.Join(b.dir, "state", "calroll", "runs"))
	if err != nil {
		b.Fatal(err)
	}
	return runs[len(runs)-1].Name()
}

func (b *apiBed) kubectl(stdin string, args ...string) string {
	b.Helper()
	out, err := b.try(stdin, args...)
	if err != nil {
		b.Fatalf("kubectl %v: %v\n%s", args, err, out)
	}
	return out
}

// try is kubectl where it may fail.
func (b *apiBed) try(stdin string, args ...string) (string, error) {
	cmd := b.api.Kubectl(b.Context(), args...)
	cmd.Stdin = strings.NewReader(stdin)
	out, err := cmd.CombinedOutput()
	return string(out), err
}
