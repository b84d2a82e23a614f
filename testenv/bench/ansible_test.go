package bench

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	"context"
	"crypto/sha256"
	"fmt"
	"math/rand/v2"
	"net"
	"net/http"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/calroll/calroll/testenv"
)

const (
	labHosts = 3
	// rounds and each: how often second runs are measured. In a round one of Ansible's stands beside several pairs of the others.
	rounds = 2
	each   = 6
	// bytesLimit is what a host that has all files may be sent.
	bytesLimit = 200 << 10
)

// BenchmarkAgainstAnsible reports how many times longer, and how many times more of the controller, ansible-core takes than calroll for
// the same playbook on the same hosts, and how calroll compares with a script over plain ssh.
func BenchmarkAgainstAnsible(b *testing.B) {
	for _, tool := range []string{"ansible-playbook", "ssh"} {
		if _, err := exec.LookPath(tool); err != nil {
			b.Fatalf("cannot compare: %v (install ansible and openssh-client)", err)
		}
	}
	for b.Loop() {
		c := newContest(b)
		c.firstRuns()
		c.secondRuns()
		c.report()
	}
}

// contest is one comparison.
type contest struct {
	*testing.B
	site
	lab     *testenv.Lab
	scripts string // files and configuration of the floor
	url     string

	first, second map[string][]cost
	wire          told
	firstWire     told
}

func newContest(b *testing.B) *contest {
	b.Helper()
	play, err := filepath.Abs("testdata/site/play.yml")
	if err != nil {
		b.Fatal(err)
	}
	lab := testenv.ForTest(b, labHosts)
	dir := b.TempDir()
	c := &contest{B: b, lab: lab, scripts: filepath.Join(dir, "floor"), first: map[string][]cost{}, second: map[string][]cost{},
		site: site{calroll: program(b), play: play, inventory: lab.InventoryFile(), vars: filepath.Join(dir, "vars.yml"), dir: dir}}
	files := payloads()
	c.serve(files)
	sums := map[string]string{}
	for name, content := range files {
		c.write(filepath.Join(c.scripts, name), string(content))
		sums[name] = fmt.Sprintf("%x", sha256.Sum256(content))
	}
	c.write(c.vars, fmt.Sprintf("url: %s\nbundle_sum: %s\ntool_sum: %s\nbundle: %s\nlarge: %s\n", c.url, sums["bundle.tar.gz"], sums["tool"],
		filepath.Join(c.scripts, "pages.tar.gz"), filepath.Join(c.scripts, "large")))
	c.write(filepath.Join(c.scripts, "sums"), fmt.Sprintf("bundle_sum=%s\npages_sum=%s\ntool_sum=%s\nlarge_sum=%s\n", sums["bundle.tar.gz"],
		sums["pages.tar.gz"], sums["tool"], sums["large"]))
	c.configure()
	return c
}

func (c *contest) write(path, text string) {
	c.Helper()
	if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
		c.Fatal(err)
	}
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		c.Fatal(err)
	}
}

// payloads are the files that hosts get, always the same.
func payloads() map[string][]byte {
	r := rand.NewChaCha8([32]byte{1})
	random := func(n int) []byte {
		p := make([]byte, n)
		_, _ = r.Read(p) // never fails
		return p
	}
	return map[string][]byte{"large": random(1 << 20), "tool": random(300 << 10), "version": []byte("1\n"),
		"bundle.tar.gz": archive("docs", 8, 4000), "pages.tar.gz": archive("pages", 3, 1000)}
}

// archive is a compressed tar of n text files in a folder.
func archive(folder string, n, size int) []byte {
	var out bytes.Buffer
	z := gzip.NewWriter(&out)
	t := tar.NewWriter(z)
	when := time.Unix(1.7e9, 0)
	_ = t.WriteHeader(&tar.Header{Typeflag: tar.TypeDir, Name: folder + "/", Mode: 0o755, ModTime: when}) // memory takes everything
	for i := range n {
		text := strings.Repeat(fmt.Sprintf("line of file %d\n", i), size/16)
		_ = t.WriteHeader(&tar.Header{Typeflag: tar.TypeReg, Name: fmt.Sprintf("%s/%d", folder, i), Mode: 0o644, Size: int64(len(text)), ModTime: when})
		_, _ = t.Write([]byte(text))
	}
	_ = t.Close()
	_ = z.Close()
	return out.Bytes()
}

// serve offers the files where the hosts can fetch them.
func (c *contest) serve(files map[string][]byte) {
	c.Helper()
	l, err := net.Listen("tcp", netip.AddrPortFrom(c.lab.Gateway, 0).String())
	if err != nil {
		c.Fatal(err)
	}
	server := &http.Server{ReadHeaderTimeout: time.Minute, Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		content, ok := files[strings.TrimPrefix(r.URL.Path, "/")]
		if !ok {
			http.NotFound(w, r)
			return
		}
		http.ServeContent(w, r, "", time.Time{}, bytes.NewReader(content))
	})}
	go func() { _ = server.Serve(l) }() // ends with Close
	c.Cleanup(func() { _ = server.Close() })
	c.url = "http://" + l.Addr().String()
}

// configure writes what Ansible and ssh are told.
func (c *contest) configure() {
	sockets, err := os.MkdirTemp("", "cp-") // short: it becomes part of a socket's name
	if err != nil {
		c.Fatal(err)
	}
	c.Cleanup(func() {
		open, _ := filepath.Glob(filepath.Join(sockets, "*")) // Ansible's connections that persist
		for _, socket := range open {
			_ = exec.Command("ssh", "-o", "ControlPath="+socket, "-O", "exit", "any").Run()
		}
		_ = os.RemoveAll(sockets)
	})
	c.write(filepath.Join(c.dir, "ansible.cfg"), fmt.Sprintf("[defaults]\nforks = %d\nretry_files_enabled = False\n[ssh_connection]\npipelining = True\n"+
		"ssh_args = -o ControlMaster=auto -o ControlPersist=60s\ncontrol_path_dir = %s\n", labHosts, sockets))
	c.write(filepath.Join(c.scripts, "ssh_config"), fmt.Sprintf("Host *\n  User root\n  IdentityFile %s\n  IdentitiesOnly yes\n  UserKnownHostsFile %s\n"+
		"  StrictHostKeyChecking yes\n  BatchMode yes\n  ControlMaster no\n  ControlPath none\n  LogLevel ERROR\n", c.lab.KeyFile(), c.lab.KnownHostsFile()))
}

// floor is the script over plain ssh.
func (c *contest) floor() *exec.Cmd {
	args := []string{filepath.Join(c.scripts, "ssh_config"), c.scripts, c.url}
	for _, h := range c.lab.Hosts {
		args = append(args, h.Name+"="+h.Address.String())
	}
	return exec.Command("testdata/floor/run.sh", args...)
}

func (c *contest) ansible() *exec.Cmd {
	cmd := exec.Command("ansible-playbook", c.play, "-i", c.inventory, "-e", "@"+c.vars)
	cmd.Env = append(os.Environ(), "ANSIBLE_CONFIG="+filepath.Join(c.dir, "ansible.cfg"), "ANSIBLE_LOCAL_TEMP="+filepath.Join(c.dir, "ansible"))
	return cmd
}

func (c *contest) reset() {
	c.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), 5*time.Minute)
	defer cancel()
	if err := c.lab.Reset(ctx); err != nil {
		c.Fatal(err)
	}
}

// firstRuns measures each tool on fresh hosts. Where another has been, calroll must find nothing to do.
func (c *contest) firstRuns() {
	c.Helper()
	for _, other := range c.others() {
		c.reset()
		cost, _ := spent(c.B, other.cmd())
		c.first[other.name] = append(c.first[other.name], cost)
		c.secondRun("calroll after "+other.name, c.run())
	}
	c.reset()
	cost, out := spent(c.B, c.run("--output", "json"))
	c.first["calroll"] = append(c.first["calroll"], cost)
	c.firstWire = readEvents(c.B, out)
}

// other is what calroll is compared with.
type other struct {
	name string
	cmd  func() *exec.Cmd
}

func (c *contest) others() []other {
	return []other{{"floor", c.floor}, {"ansible", c.ansible}}
}

// secondRun measures a run that has to find everything in place.
func (c *contest) secondRun(who string, cmd *exec.Cmd) cost {
	c.Helper()
	cost, out := spent(c.B, cmd)
	if !strings.HasPrefix(who, "floor") {
		unchanged(c.B, who, out)
	}
	return cost
}

// secondRuns takes turns, so that whatever else the machine does meets all alike.
func (c *contest) secondRuns() {
	c.Helper()
	c.secondRun("floor", c.floor()) // the script wants a file that the playbook leaves behind elsewhere
	for range rounds {
		for range each {
			c.second["calroll"] = append(c.second["calroll"], c.secondRun("calroll", c.run()))
			c.second["floor"] = append(c.second["floor"], c.secondRun("floor", c.floor()))
		}
		c.second["ansible"] = append(c.second["ansible"], c.secondRun("ansible", c.ansible()))
	}
	_, out := spent(c.B, c.run("--output", "json"))
	c.wire = readEvents(c.B, out)
}

// report prints the table and the ratios, and holds calroll to its bounds on frames and bytes.
func (c *contest) report() {
	c.Helper()
	var table strings.Builder
	fmt.Fprintf(&table, "%d tasks on %d hosts; CPU is the controller's, memory that of its largest process\n", c.wire.tasks, labHosts)
	for _, run := range []struct {
		name  string
		costs map[string][]cost
	}{{"first", c.first}, {"second", c.second}} {
		ours, floor, ansible := typical(run.costs["calroll"]), typical(run.costs["floor"]), typical(run.costs["ansible"])
		fmt.Fprintf(&table, "%-6s run  calroll %v\n            floor   %v\n            ansible %v\n", run.name, ours, floor, ansible)
		c.ReportMetric(ratio(ansible.wall, ours.wall), "ansible/calroll-"+run.name)
		c.ReportMetric(ratio(ansible.cpu, ours.cpu), "ansible/calroll-"+run.name+"-cpu")
		c.ReportMetric(float64(ansible.memory)/float64(ours.memory), "ansible/calroll-"+run.name+"-memory")
		c.ReportMetric(ratio(ours.wall, floor.wall), "calroll/floor-"+run.name)
		c.ReportMetric(ratio(ours.cpu, floor.cpu), "calroll/floor-"+run.name+"-cpu")
	}
	c.Log(table.String())
	c.reportWire()
}

func (c *contest) reportWire() {
	c.Helper()
	frames := float64(c.wire.wire.FramesOut) / labHosts / float64(c.wire.tasks)
	bytes := c.wire.wire.BytesOut / labHosts
	c.ReportMetric(frames, "frames/task")
	c.ReportMetric(float64(bytes), "B/host-second")
	c.ReportMetric(float64(c.firstWire.wire.BytesOut/labHosts), "B/host-first")
	if frames > 1 {
		c.Errorf("%.2f frames a task went to each host; one is the most", frames)
	}
	if bytes > bytesLimit {
		c.Errorf("%d bytes went to each host that had everything; %d is the most", bytes, bytesLimit)
	}
}

func ratio(a, b time.Duration) float64 { return float64(a) / float64(b) }
