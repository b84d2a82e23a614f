package testenv

import (
	"context"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/docker/docker/api/types/container"
	"github.com/docker/docker/api/types/mount"
	"github.com/docker/docker/api/types/network"
	"github.com/docker/docker/api/types/volume"
	"golang.org/x/crypto/ssh"
	"golang.org/x/crypto/ssh/knownhosts"
	"golang.org/x/sync/errgroup"
	"gopkg.in/yaml.v3"
)

// startLab is Start for a test that looks at what Start and Down themselves do.
func startLab(t *testing.T, hosts int) *Lab {
	t.Helper()
	bound := t.TempDir()
	if err := os.WriteFile(filepath.Join(bound, "file"), []byte("bound"), 0o600); err != nil {
		t.Fatal(err)
	}
	l, err := Start(t.Context(), Options{
		Name: "t-own-" + randomHex(4), Hosts: hosts, Dir: filepath.Join(t.TempDir(), "folder"),
		Binds: []string{bound + ":/bound:ro"}, Progress: func(line string) { t.Log(line) }, owner: thisProcess(),
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := l.Down(context.Background()); err != nil {
			t.Error(err)
		}
	})
	return l
}

func login(t *testing.T, l *Lab, h *Host, address, user string, auth ...ssh.AuthMethod) (*ssh.Client, error) {
	t.Helper()
	verify, err := knownhosts.New(l.KnownHostsFile())
	if err != nil {
		t.Fatal(err)
	}
	c, err := ssh.Dial("tcp", address, &ssh.ClientConfig{User: user, Auth: auth, HostKeyCallback: verify, Timeout: 10 * time.Second})
	if err == nil {
		t.Cleanup(func() { c.Close() })
	}
	return c, err
}

func remote(t *testing.T, c *ssh.Client, stdin, command string) string {
	t.Helper()
	s, err := c.NewSession()
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	s.Stdin = strings.NewReader(stdin)
	out, err := s.CombinedOutput(command)
	if err != nil {
		t.Fatalf("%s: %v: %s", command, err, out)
	}
	return strings.TrimSpace(string(out))
}

func TestLabFromUpToDown(t *testing.T) {
	l := startLab(t, 2)
	ctx := t.Context()

	key, err := os.ReadFile(l.KeyFile())
	if err != nil {
		t.Fatal(err)
	}
	signer, err := ssh.ParsePrivateKey(key)
	if err != nil {
		t.Fatal(err)
	}
	for _, h := range l.Hosts {
		for user, uid := range map[string]string{"root": "0", "ops": "1000", "guarded": "1001"} {
			c, err := login(t, l, h, h.sshAddress(), user, ssh.PublicKeys(signer))
			if err != nil {
				t.Fatalf("%s@%s: %v", user, h.Name, err)
			}
			if got := remote(t, c, "", "id -u; hostname"); got != uid+"\n"+h.Name {
				t.Errorf("%s@%s says %q", user, h.Name, got)
			}
		}
	}
	if got, err := l.Hosts[0].Output(ctx, "getent", "ahostsv4", "node2"); err != nil || !strings.HasPrefix(got, l.Hosts[1].Address.String()) {
		t.Errorf("node1 finds node2 at %q, %v", got, err)
	}

	if got, err := l.Hosts[0].Sh(ctx, "cat /bound/file; touch /bound/x 2>/dev/null || echo ' read-only'"); err != nil || got != "bound read-only" {
		t.Errorf("the bound folder shows %q, %v", got, err)
	}
	if _, err := Start(ctx, Options{Name: l.Name}); !errors.Is(err, ErrExists) {
		t.Errorf("a second Start says %v", err)
	}
	again, err := Open(ctx, l.Name, l.Dir)
	if err != nil {
		t.Fatal(err)
	}
	if again.Password != l.Password || len(again.Hosts) != 2 || again.Hosts[1].Address != l.Hosts[1].Address {
		t.Errorf("Open gave %+v", again)
	}

	volumes := labVolumes(t, l)
	if len(volumes) != 6 {
		t.Errorf("the hosts have %d volumes, want 6", len(volumes))
	}
	if err := os.Remove(filepath.Join(l.Dir, recordFile)); err != nil { // as after a crash
		t.Fatal(err)
	}
	// As the reaper of a process and the next process's search for orphans do.
	var removers errgroup.Group
	for range 3 {
		removers.Go(func() error { return Remove(ctx, l.Name) })
	}
	if err := removers.Wait(); err != nil {
		t.Fatal(err)
	}
	assertGone(t, l, volumes)
	if err := Remove(ctx, l.Name); err != nil {
		t.Errorf("removing it again: %v", err)
	}
}

// labVolumes are the names of the volumes of a lab's hosts.
func labVolumes(t *testing.T, l *Lab) []string {
	t.Helper()
	var names []string
	for _, h := range l.Hosts {
		c, err := l.engine.ContainerInspect(t.Context(), h.Container())
		if err != nil {
			t.Fatal(err)
		}
		for _, m := range c.Mounts {
			if m.Type == mount.TypeVolume {
				names = append(names, m.Name)
			}
		}
	}
	return names
}

func assertGone(t *testing.T, l *Lab, volumes []string) {
	t.Helper()
	ctx := t.Context()
	containers, err := l.engine.ContainerList(ctx, container.ListOptions{All: true, Filters: labFilter(l.Name)})
	if err != nil || len(containers) != 0 {
		t.Errorf("containers left: %v %v", containers, err)
	}
	networks, err := l.engine.NetworkList(ctx, network.ListOptions{Filters: labFilter(l.Name)})
	if err != nil || len(networks) != 0 {
		t.Errorf("networks left: %v %v", networks, err)
	}
	left, err := l.engine.VolumeList(ctx, volume.ListOptions{})
	if err != nil {
		t.Fatal(err)
	}
	for _, v := range left.Volumes {
		if slices.Contains(volumes, v.Name) {
			t.Errorf("volume left: %s", v.Name)
		}
	}
	if _, err := os.Stat(l.Dir); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("folder left: %v", err)
	}
}

func TestInventory(t *testing.T) {
	l := ForTest(t, 2)
	l.vars = map[string]any{"etcd_port": 2379}
	r, err := l.Hosts[1].Relay()
	if err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(t.TempDir(), "inventory.yml")
	if err := l.WriteInventory(path, map[string]*Relay{l.Hosts[1].Name: r}); err != nil {
		t.Fatal(err)
	}
	text, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	type group struct {
		Vars     map[string]any
		Hosts    map[string]map[string]any
		Children map[string]group
	}
	var got struct{ All group }
	if err := yaml.Unmarshal(text, &got); err != nil {
		t.Fatal(err)
	}
	one, two := l.Hosts[0], l.Hosts[1]
	if at := got.All.Hosts[one.Name]["ansible_host"]; at != one.Address.String() {
		t.Errorf("%s is at %v", one.Name, at)
	}
	if at, port := got.All.Hosts[two.Name]["ansible_host"], got.All.Hosts[two.Name]["ansible_port"]; !strings.HasPrefix(r.Addr(), at.(string)) || port == nil {
		t.Errorf("%s is at %v port %v, not behind its relay %s", two.Name, at, port, r.Addr())
	}
	groups := got.All.Children["k8s_cluster"].Children
	if _, ok := groups["kube_control_plane"].Hosts[one.Name]; !ok {
		t.Errorf("%s is not in kube_control_plane:\n%s", one.Name, text)
	}
	if _, ok := groups["kube_node"].Hosts[two.Name]; !ok {
		t.Errorf("%s is not in kube_node:\n%s", two.Name, text)
	}
	if got.All.Vars["ansible_user"] != "root" || got.All.Vars["etcd_port"] != 2379 {
		t.Errorf("variables are %v", got.All.Vars)
	}
}

func TestOptionsAreChecked(t *testing.T) {
	for _, o := range []Options{{}, {Name: "Upper"}, {Name: "a/b"}, {Name: "-a"}, {Name: strings.Repeat("a", 33)}, {Name: "a", Hosts: -1}, {Name: "a", Hosts: maxHosts + 1}} {
		if _, err := Start(t.Context(), o); err == nil {
			t.Errorf("%+v was accepted", o)
		}
	}
}

func TestCanceledStartLeavesNothing(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	name, dir := "t-own-"+randomHex(4), filepath.Join(t.TempDir(), "folder")
	_, err := Start(ctx, Options{Name: name, Hosts: 2, Dir: dir, owner: thisProcess(), Progress: func(line string) {
		if strings.HasPrefix(line, "starting") {
			time.AfterFunc(700*time.Millisecond, cancel)
		}
	}})
	if !errors.Is(err, context.Canceled) {
		t.Fatalf("Start says %v", err)
	}
	eng, err := reachEngine(t.Context(), nil)
	if err != nil {
		t.Fatal(err)
	}
	assertGone(t, &Lab{Name: name, Dir: dir, engine: eng}, nil)
}
