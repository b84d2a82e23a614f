package artifacts_test

import (
	"context"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/calroll/calroll/testenv/artifacts"
)

func startEtcd(t *testing.T, o artifacts.EtcdOptions) *artifacts.Etcd {
	t.Helper()
	o.Programs, _ = sets(t)
	e, err := artifacts.StartEtcd(context.Background(), o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := e.Stop(); err != nil {
			t.Error(err)
		}
	})
	return e
}

func TestEtcdWithTLSWantsACertificate(t *testing.T) {
	e := startEtcd(t, artifacts.EtcdOptions{TLS: true})
	ctx := context.Background()
	output(t, e.Command(ctx, "put", "/calico/x", "1"))
	if got := output(t, e.Command(ctx, "get", "--print-value-only", "/calico/x")); got != "1\n" {
		t.Errorf("got %q", got)
	}
	other, err := artifacts.WriteCerts(t.TempDir(), "127.0.0.1")
	if err != nil {
		t.Fatal(err)
	}
	ctl := strings.Fields(e.Command(ctx).String())[0]
	for name, args := range map[string][]string{
		"no certificate":            {"--cacert", e.CA},
		"a stranger's certificate":  {"--cacert", e.CA, "--cert", other.ClientCert, "--key", other.ClientKey},
		"another authority trusted": {"--cacert", other.CA, "--cert", e.ClientCert, "--key", e.ClientKey},
	} {
		args = append(args, "--endpoints", e.Endpoints()[0], "--dial-timeout=1s", "--command-timeout=1s", "get", "/calico/x")
		if out, err := exec.Command(ctl, args...).CombinedOutput(); err == nil {
			t.Errorf("with %s it answers %q", name, out)
		}
	}
}

// The built calicoctl speaks to the built etcd with the client's certificate, and is of the stamped version.
func TestCalicoctlReachesEtcd(t *testing.T) {
	e := startEtcd(t, artifacts.EtcdOptions{TLS: true})
	now, other := sets(t)
	for _, set := range []*artifacts.Set{now, other} {
		calicoctl := func(args ...string) *exec.Cmd {
			cmd := exec.Command(set.Program("calicoctl"), args...)
			cmd.Env = append(os.Environ(), "DATASTORE_TYPE=etcdv3", "ETCD_ENDPOINTS="+strings.Join(e.Endpoints(), ","),
				"ETCD_CA_CERT_FILE="+e.CA, "ETCD_CERT_FILE="+e.ClientCert, "ETCD_KEY_FILE="+e.ClientKey)
			return cmd
		}
		if got := output(t, calicoctl("get", "nodes")); !strings.Contains(got, "NAME") {
			t.Errorf("calicoctl get nodes says %q", got)
		}
		// It fails because no node has recorded the cluster's version yet, but only after it has told its own.
		if got, err := calicoctl("version").CombinedOutput(); err == nil || !strings.Contains(string(got), set.Calico) {
			t.Errorf("calicoctl version says %q, want %s", got, set.Calico)
		}
	}
}

func TestEtcdLosesAMemberAndGetsItBack(t *testing.T) {
	e := startEtcd(t, artifacts.EtcdOptions{Members: 3})
	ctx := context.Background()
	output(t, e.Command(ctx, "put", "/k", "before"))
	if err := e.StopMember(2); err != nil {
		t.Fatal(err)
	}
	if out, err := e.Command(ctx, "endpoint", "health", "--command-timeout=2s").CombinedOutput(); err == nil {
		t.Errorf("a stopped member is healthy: %s", out)
	}
	// If it was the leader there is none for a moment.
	eventually(t, time.Minute, func() error { return e.Command(ctx, "put", "/k", "without").Run() })
	if err := e.StartMember(ctx, 2); err != nil {
		t.Fatal(err)
	}
	eventually(t, time.Minute, func() error { return e.Command(ctx, "endpoint", "health").Run() })
	if got := output(t, e.Command(ctx, "get", "--print-value-only", "/k")); got != "without\n" {
		t.Errorf("got %q", got)
	}
}

func TestKeptEtcdIsFoundAgain(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "etcd")
	startEtcd(t, artifacts.EtcdOptions{Dir: dir, Keep: true, TLS: true})
	found, err := artifacts.OpenEtcd(dir)
	if err != nil {
		t.Fatal(err)
	}
	ctx := context.Background()
	output(t, found.Command(ctx, "put", "/k", "v"))
	if err := found.Stop(); err != nil {
		t.Fatal(err)
	}
	if out, err := found.Command(ctx, "endpoint", "health", "--command-timeout=1s").CombinedOutput(); err == nil {
		t.Errorf("it still answers after Stop: %s", out)
	}
	if err := found.StartMember(ctx, 0); err != nil {
		t.Fatal(err)
	}
	if got := output(t, found.Command(ctx, "get", "--print-value-only", "/k")); got != "v\n" {
		t.Errorf("got %q", got)
	}
	if err := found.Stop(); err != nil {
		t.Error(err)
	}
}

func TestEtcdRefusesBadOptions(t *testing.T) {
	now, _ := sets(t)
	for want, o := range map[string]artifacts.EtcdOptions{
		"the built set does not have it": {},
		"want 1 to 3 members, not 4":     {Programs: now, Members: 4},
		"is not an IP address":           {Programs: now, Listen: "localhost"},
		"needs a directory":              {Programs: now, Keep: true},
	} {
		if _, err := artifacts.StartEtcd(context.Background(), o); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("error is %v, want %q", err, want)
		}
	}
}

// A member that cannot start says why in its log; the error has to carry that.
func TestEtcdFailureCarriesTheLog(t *testing.T) {
	now, _ := sets(t)
	dir := t.TempDir()
	if err := os.WriteFile(filepath.Join(dir, "etcd0.data"), nil, 0o600); err != nil {
		t.Fatal(err)
	}
	e, err := artifacts.StartEtcd(context.Background(), artifacts.EtcdOptions{Programs: now, Dir: dir})
	if err == nil {
		e.Stop()
		t.Fatal("it started with a file for its data directory")
	}
	if !strings.Contains(err.Error(), "etcd0.data") {
		t.Errorf("the error does not name the data directory: %v", err)
	}
}
