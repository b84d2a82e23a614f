package artifacts_test

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"io"
	"net/http"
	"os"
	"os/exec"
	"runtime"
	"strings"
	"sync"
	"testing"

	"github.com/calroll/calroll/testenv/artifacts"
)

// built is what all tests share: everything that hosts need, and the upgrade's other version.
var built = sync.OnceValues(func() ([]*artifacts.Set, error) {
	var sets []*artifacts.Set
	for _, r := range []artifacts.Request{artifacts.ForNodes(), artifacts.ForUpgrade("v3.28.4")} {
		s, err := artifacts.Build(context.Background(), r, artifacts.Options{Progress: say})
		if err != nil {
			return nil, err
		}
		sets = append(sets, s)
	}
	return sets, nil
})

// say shows progress while it happens; t.Log would hold it back until the end of minutes.
func say(line string) { os.Stderr.WriteString(line + "\n") }

func sets(t *testing.T) (now, other *artifacts.Set) {
	t.Helper()
	all, err := built()
	if err != nil {
		t.Fatal(err)
	}
	return all[0], all[1]
}

func output(t *testing.T, cmd *exec.Cmd) string {
	t.Helper()
	var stderr bytes.Buffer
	cmd.Stderr = &stderr
	out, err := cmd.Output()
	if err != nil {
		t.Fatalf("%s: %v\n%s%s", strings.Join(cmd.Args, " "), err, out, stderr.Bytes())
	}
	return string(out)
}

func TestProgramsAnswerWithTheirVersions(t *testing.T) {
	now, other := sets(t)
	for _, c := range []struct {
		set  *artifacts.Set
		args []string
		want string
	}{
		{now, []string{"calico-node", "-v"}, artifacts.CalicoVersion},
		{other, []string{"calico-node", "-v"}, "v3.28.4"},
		{now, []string{"calico", "-v"}, artifacts.CalicoVersion},
		{other, []string{"calico", "-v"}, "v3.28.4"},
		{now, []string{"etcd", "--version"}, strings.TrimPrefix(artifacts.EtcdVersion, "v")},
		{now, []string{"etcdctl", "version"}, strings.TrimPrefix(artifacts.EtcdVersion, "v")},
	} {
		cmd := exec.Command(c.set.Program(c.args[0]), c.args[1:]...)
		if got := output(t, cmd); !strings.Contains(got, c.want) {
			t.Errorf("%s says %q, want %s", strings.Join(c.args, " "), got, c.want)
		}
	}
}

func TestPluginsAnswerVERSION(t *testing.T) {
	now, _ := sets(t)
	for _, plugin := range []string{"calico", "bridge", "loopback", "portmap", "host-local", "bandwidth", "tuning"} {
		cmd := exec.Command(now.Program(plugin))
		cmd.Env = append(os.Environ(), "CNI_COMMAND=VERSION")
		cmd.Stdin = strings.NewReader(`{"cniVersion":"0.3.1"}`)
		if got := output(t, cmd); !strings.Contains(got, `"0.3.1"`) {
			t.Errorf("%s answers %q, which does not list 0.3.1", plugin, got)
		}
	}
}

func TestReleaseHasBothPluginsAndManifests(t *testing.T) {
	now, other := sets(t)
	for _, set := range []*artifacts.Set{now, other} {
		top := "release-" + set.Calico
		files := tgz(t, set, "projectcalico/calico/releases/download/"+set.Calico+"/"+top+".tgz")
		program, err := os.ReadFile(set.Program("calico"))
		if err != nil {
			t.Fatal(err)
		}
		for _, plugin := range []string{"calico", "calico-ipam"} {
			name := top + "/bin/cni/" + runtime.GOARCH + "/" + plugin
			if !bytes.Equal(files[name], program) {
				t.Errorf("%s is not the built program", name)
			}
		}
		if want := "docker.io/calico/node:" + set.Calico; !bytes.Contains(files[top+"/manifests/calico.yaml"], []byte(want)) {
			t.Errorf("calico.yaml does not name %s", want)
		}
	}
	plugins := tgz(t, now, "containernetworking/plugins/releases/download/v1.9.1/cni-plugins-linux-"+runtime.GOARCH+"-v1.9.1.tgz")
	if len(plugins["./loopback"]) == 0 {
		t.Error("the plugins' archive has no ./loopback")
	}
}

func tgz(t *testing.T, set *artifacts.Set, url string) map[string][]byte {
	t.Helper()
	file, ok := set.File(url)
	if !ok {
		t.Fatalf("no file at %s", url)
	}
	f, err := os.Open(file.Path)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	zr, err := gzip.NewReader(f)
	if err != nil {
		t.Fatal(err)
	}
	files := map[string][]byte{}
	for tr := tar.NewReader(zr); ; {
		h, err := tr.Next()
		if errors.Is(err, io.EOF) {
			return files
		}
		if err != nil {
			t.Fatal(err)
		}
		if files[h.Name], err = io.ReadAll(tr); err != nil {
			t.Fatal(err)
		}
	}
}

// Building again from nothing must give the same bytes, or a playbook would see a change where there is none.
func TestBuildIsReproducible(t *testing.T) {
	now, _ := sets(t)
	again, err := artifacts.Build(context.Background(), artifacts.Request{Parts: []artifacts.Part{artifacts.CNIPlugins}},
		artifacts.Options{Cache: t.TempDir()})
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range again.Files() {
		if first, ok := now.File(f.URL); !ok || first.SHA256 != f.SHA256 {
			t.Errorf("%s has sum %s, and before that %s", f.URL, f.SHA256, first.SHA256)
		}
	}
}

func TestServerOffersFilesWithTheirSums(t *testing.T) {
	now, other := sets(t)
	server, err := artifacts.Serve("127.0.0.1:0", now, other)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { server.Close() })
	for _, f := range append(now.Files(), other.Files()...) {
		sum := sha256.New()
		sum.Write(get(t, server.URL()+"/"+f.URL, http.StatusOK))
		if got := hex.EncodeToString(sum.Sum(nil)); got != f.SHA256 {
			t.Errorf("%s has sum %s, want %s", f.URL, got, f.SHA256)
		}
		name := f.URL[strings.LastIndex(f.URL, "/")+1:]
		line := f.SHA256 + "  " + name + "\n"
		if got := string(get(t, server.URL()+"/"+f.URL+".sha256", http.StatusOK)); got != line {
			t.Errorf("%s.sha256 is %q", f.URL, got)
		}
		sums := string(get(t, server.URL()+"/"+strings.TrimSuffix(f.URL, name)+"SHA256SUMS", http.StatusOK))
		if !strings.Contains(sums, line) {
			t.Errorf("SHA256SUMS beside %s does not list it", f.URL)
		}
	}
	for _, path := range []string{"/none", "/images", "/../../etc/passwd"} {
		get(t, server.URL()+path, http.StatusNotFound)
	}
}

func get(t *testing.T, url string, status int) []byte {
	t.Helper()
	resp, err := http.Get(url)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatal(err)
	}
	if resp.StatusCode != status {
		t.Errorf("%s answers %s, want %d", url, resp.Status, status)
	}
	return body
}

// The engine that loads the image is the judge of its format.
func TestImageRunsInTheEngine(t *testing.T) {
	now, other := sets(t)
	for _, set := range []*artifacts.Set{now, other} {
		tag := artifacts.ImageTag(artifacts.NodeImage, set.Calico)
		file, ok := set.File("images/calico-node-" + set.Calico + ".tar")
		if !ok {
			t.Fatal("the set has no node image")
		}
		load(t, file, tag)
		if got := output(t, exec.Command("docker", "run", "--rm", tag, "calico-node", "-v")); strings.TrimSpace(got) != set.Calico {
			t.Errorf("calico-node -v in %s says %q", tag, got)
		}
	}
}

// load gives an image to the engine until the test ends.
func load(t *testing.T, file artifacts.File, tag string) {
	t.Helper()
	if got := output(t, exec.Command("docker", "load", "-i", file.Path)); !strings.Contains(got, tag) {
		t.Fatalf("docker load says %q, want %s", got, tag)
	}
	t.Cleanup(func() { output(t, exec.Command("docker", "rmi", tag)) })
}

// The images that hosts do not need are loaded too: each must start its program, of the right version.
func TestOtherImagesRun(t *testing.T) {
	set, err := artifacts.Build(context.Background(), artifacts.Request{Parts: []artifacts.Part{
		artifacts.CNIImage, artifacts.KubeControllersImage, artifacts.TyphaImage}}, artifacts.Options{Progress: say})
	if err != nil {
		t.Fatal(err)
	}
	for part, args := range map[artifacts.Part][]string{
		artifacts.CNIImage:             {"calico", "-v"},
		artifacts.KubeControllersImage: {"-version"},
		artifacts.TyphaImage:           {"calico-typha", "--version"},
	} {
		tag := artifacts.ImageTag(part, set.Calico)
		file, _ := set.File("images/" + strings.NewReplacer("/", "-", ":", "-").Replace(tag) + ".tar")
		load(t, file, tag)
		if got := output(t, exec.Command("docker", append([]string{"run", "--rm", tag}, args...)...)); !strings.Contains(got, set.Calico) {
			t.Errorf("%s says %q", tag, got)
		}
	}
}

// Every program that calico-node and its services call must start: that finds a missing shared library.
func TestImageProgramsStart(t *testing.T) {
	now, _ := sets(t)
	file, _ := now.File("images/calico-node-" + now.Calico + ".tar")
	load(t, file, artifacts.ImageTag(artifacts.NodeImage, now.Calico))
	script := `set -e
bird --version; bird6 --version; ip -V; iptables-nft -V; iptables-legacy -V; ip6tables-nft-save -V; conntrack -V; arp -V | grep net-tools
ipset -v | grep v7; iptables-nft -m conntrack -m set -j MARK --help | grep ctstate
which runsvdir runsv sv svlogd chpst birdcl modprobe sed tee
cat <(echo substitution)
test -x /etc/rc.local -a -x /etc/service/available/felix/log/run -a -e /in-the-container
! grep krt_tunnel /etc/calico/confd/templates/bird_ipam.cfg.template
echo complete`
	tag := artifacts.ImageTag(artifacts.NodeImage, now.Calico)
	out := output(t, exec.Command("docker", "run", "--rm", tag, "bash", "-c", script+" 2>&1"))
	if !strings.HasSuffix(out, "complete\n") {
		t.Errorf("the script ended early:\n%s", out)
	}
}
