package testenv

import (
	"bytes"
	"fmt"
	"net/netip"
	"os"
	"slices"
	"strings"
	"testing"
)

func TestImageContext(t *testing.T) {
	if !bytes.Equal(imageContext(), imageContext()) {
		t.Error("equal files make different bytes, so the image would be built each time")
	}
	packages := imagePackages()
	if !slices.Contains(packages, "docker.io") || slices.ContainsFunc(packages, func(p string) bool { return strings.ContainsAny(p, " #,") }) {
		t.Errorf("packages are %q", packages)
	}
}

func TestSubnets(t *testing.T) {
	subnets := candidates("some-lab")
	if len(subnets) != 256 || len(slices.Compact(slices.SortedFunc(slices.Values(subnets), netip.Prefix.Compare))) != 256 {
		t.Errorf("%d candidates, not 256 different ones", len(subnets))
	}
	used := []netip.Prefix{netip.MustParsePrefix("10.213.4.0/22")}
	for _, s := range subnets {
		third := s.Addr().As4()[2]
		if got, want := overlapsAny(s, used), third >= 4 && third < 8; got != want {
			t.Errorf("%s in use: %v", s, got)
		}
	}
	if a := addressIn(subnets[0], firstHost-1+maxHosts); a.As4()[3] != 250 {
		t.Errorf("the last host is at %s", a)
	}
}

// The control plane's host comes before the numbered ones and is no node; a number is not given twice while a later one is there.
func TestControlPlaneComesFirst(t *testing.T) {
	l := &Lab{Name: "x", Dir: t.TempDir(), Subnet: netip.MustParsePrefix("10.213.7.0/24")}
	for _, number := range []int{0, 1, 2, 4} {
		h, err := l.newHost(number)
		if err != nil {
			t.Fatal(err)
		}
		l.Hosts = append(l.Hosts, h)
	}
	if h := l.Hosts[0]; h.Name != "control" || h.Address.String() != "10.213.7.10" || l.Hosts[1].Address.String() != "10.213.7.11" || !l.IsCluster() {
		t.Errorf("the first host is %s at %s", h.Name, h.Address)
	}
	if n := l.nextNumber(); n != 5 {
		t.Errorf("the next number is %d", n)
	}
	groups := l.inventoryGroups()
	for group, want := range map[string]string{"kube_control_plane": "map[control:<nil>]", "kube_node": "map[node1:<nil> node2:<nil> node4:<nil>]"} {
		if got := fmt.Sprint(groups[group].(map[string]any)["hosts"]); got != want {
			t.Errorf("%s has %s, want %s", group, got, want)
		}
	}
}

func TestUsedPrefixesHaveThisMachine(t *testing.T) {
	eng, err := openEngine(t.Context(), nil)
	if err != nil {
		t.Fatal(err)
	}
	used, err := eng.usedPrefixes(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if !overlapsAny(netip.MustParsePrefix("127.0.0.0/8"), used) {
		t.Errorf("the loopback network is not among %v", used)
	}
	routes, err := routedPrefixes()
	if err != nil {
		t.Fatal(err)
	}
	if slices.ContainsFunc(routes, func(p netip.Prefix) bool { return p.Bits() == 0 }) {
		t.Errorf("the default route counts as used: %v", routes)
	}
}

func TestFollowReportsTheEngine(t *testing.T) {
	var said []string
	e := &engine{progress: func(l string) { said = append(said, l) }}
	err := e.follow(strings.NewReader(`{"stream":"Step 1/2 : FROM x\n"}{"stream":"noise\n"}{"error":"no space"}`), "Step ")
	if err == nil || !strings.Contains(err.Error(), "no space\nStep 1/2 : FROM x\nnoise") {
		t.Errorf("the error is %v", err)
	}
	if len(said) != 1 {
		t.Errorf("progress was %q", said)
	}
	if err := e.follow(strings.NewReader(`{"stream":"half`), ""); err == nil {
		t.Error("a stream that breaks off is no error")
	}
}

// The engine is found by DOCKER_HOST or at its socket; settings of the docker command do
// not count.
func TestCallersDockerSettingsAreIgnored(t *testing.T) {
	dir := t.TempDir()
	if err := os.WriteFile(dir+"/config.json", []byte(`{"currentContext":"elsewhere"}`), 0o600); err != nil {
		t.Fatal(err)
	}
	t.Setenv("DOCKER_CONFIG", dir)
	t.Setenv("DOCKER_CONTEXT", "elsewhere")
	if _, err := reachEngine(t.Context(), nil); err != nil {
		t.Error(err)
	}
	t.Setenv("DOCKER_HOST", "unix:///nowhere.sock")
	if _, err := openEngine(t.Context(), nil); err == nil || !strings.Contains(err.Error(), "/nowhere.sock") {
		t.Errorf("with DOCKER_HOST set wrongly: %v", err)
	}
}

func TestPasswordAndRandomNamesDiffer(t *testing.T) {
	if a, b := randomHex(12), randomHex(12); a == b || len(a) != 24 {
		t.Errorf("%s and %s", a, b)
	}
}
