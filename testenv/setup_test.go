package testenv

import (
	"bytes"
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
