package catalog_test

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"golang.org/x/net/dns/dnsmessage"

	"github.com/calroll/calroll/testenv"
	"github.com/calroll/calroll/testenv/artifacts"
	"github.com/calroll/calroll/testenv/proc"
	"github.com/calroll/calroll/testenv/site"
)

// dcosLab is a lab whose hosts are laid out like agents of DC/OS, with what stands around them: a cluster that answers the dcos command
// and that agents register with, the names of etcd in DNS, and a real etcd with both of its APIs.
type dcosLab struct {
	*network
	*dcosCluster
	calico26    string // the program that stands in for Calico 2.6
	image26     []byte // its image
	etcdProgram []byte
}

// agentUnit stands in for the Mesos agent: it reads the CNI networks when it starts, tells the cluster, and stays.
const agentUnit = `[Unit]
Description=Mesos agent
[Service]
ExecStart=/opt/mesosphere/bin/agent
Restart=always
RestartSec=1
[Install]
WantedBy=multi-user.target
`

const agentProgram = `#!/bin/sh
cd /opt/mesosphere/etc/dcos/network/cni
until curl -fsS --max-time 60 --data-urlencode networks="$(cat -- *.cni *.conflist 2>/dev/null)" CLUSTER/register; do sleep 1; done
exec sleep infinity
`

// netUnit stands in for dcos-net, behind which the proxy starts.
const netUnit = "[Service]\nExecStart=/bin/sleep infinity\n"

// oneDCOS is held while there is a cluster of DC/OS: its names are served at the address and the port that hosts expect, of which there is one.
var oneDCOS sync.Mutex

func newDCOS(t *testing.T, hosts int) *dcosLab {
	t.Helper()
	oneDCOS.Lock()
	t.Cleanup(oneDCOS.Unlock)
	exe, err := program()
	if err != nil {
		t.Fatal(err)
	}
	lab := testenv.ForTest(t, hosts)
	if err := lab.Reset(t.Context()); err != nil {
		t.Fatal(err)
	}
	sets, err := site.Build(t.Context(), func(line string) { t.Log(line) })
	if err != nil {
		t.Fatal(err)
	}
	d := &dcosLab{network: &network{T: t, lab: lab, exe: exe}}
	d.dcosCluster = newCluster(d)
	d.startEtcd(sets[0])
	d.serveNames()
	d.setVars(sets)
	for i, h := range lab.Hosts {
		d.layOut(h, i == len(lab.Hosts)-1)
	}
	return d
}

// layOut makes a host an agent of DC/OS; the last one is public.
func (d *dcosLab) layOut(h *testenv.Host, public bool) {
	d.Helper()
	unit := "dcos-mesos-slave"
	if public {
		unit += "-public"
	}
	for name, file := range map[string]struct {
		mode os.FileMode
		text string
	}{
		"/opt/mesosphere/etc/dcos-version.json":                  {0o644, `{"version": "1.10.4"}` + "\n"},
		"/opt/mesosphere/bin/agent":                              {0o755, strings.ReplaceAll(agentProgram, "CLUSTER", d.url)},
		"/opt/mesosphere/etc/dcos/network/cni/dcos.cni":          {0o644, `{"name": "dcos", "type": "mesos-cni-port-mapper"}` + "\n"},
		"/opt/mesosphere/packages/cni/cni/mesos-cni-port-mapper": {0o755, "#!/bin/sh\nexit 1\n"},
		"/etc/systemd/system/dcos-net.service":                   {0o644, netUnit},
		"/etc/systemd/system/" + unit + ".service":               {0o644, agentUnit},
	} {
		if err := h.WriteFile(d.Context(), name, file.mode, []byte(file.text)); err != nil {
			d.Fatal(err)
		}
	}
	d.sh(h, "mkdir -p /opt/mesosphere/active && ln -sfn /opt/mesosphere/packages/cni/cni /opt/mesosphere/active/cni && "+
		"echo nameserver "+d.lab.Gateway.String()+" > /etc/resolv.conf && sysctl -qw net.ipv4.conf.all.rp_filter=2 && "+ // DC/OS has it loose
		"systemctl daemon-reload && systemctl start dcos-net && systemctl enable -q --now "+unit)
	d.eventually(h, time.Minute, "systemctl is-active "+unit)
}

// startEtcd starts etcd where the agents reach its peers and clients, as the etcd of Universe would.
func (d *dcosLab) startEtcd(set *artifacts.Set) {
	d.Helper()
	ip, dir := d.lab.Gateway.String(), d.TempDir()
	ports, err := proc.FreePorts(2)
	if err != nil {
		d.Fatal(err)
	}
	d.etcdPeer, d.etcdClient = ports[0], ports[1]
	peer, client := fmt.Sprintf("http://%s:%d", ip, d.etcdPeer), fmt.Sprintf("http://%s:%d", ip, d.etcdClient)
	d.etcdctl = []string{set.Program("etcdctl"), "--endpoints", client}
	log, err := os.Create(filepath.Join(dir, "log"))
	if err != nil {
		d.Fatal(err)
	}
	cmd := exec.Command(set.Program("etcd"), "--name=etcd0", "--data-dir="+filepath.Join(dir, "data"), "--enable-v2=true", "--unsafe-no-fsync",
		"--listen-client-urls="+client, "--advertise-client-urls="+client, "--listen-peer-urls="+peer, "--initial-advertise-peer-urls="+peer,
		"--initial-cluster=etcd0="+peer, "--log-level=warn")
	cmd.Stdout, cmd.Stderr = log, log
	if err := cmd.Start(); err != nil {
		d.Fatal(err)
	}
	d.Cleanup(func() {
		_ = cmd.Process.Kill()
		_ = cmd.Wait()
		log.Close()
	})
	d.eventually(d.lab.Hosts[0], time.Minute, "curl -fsS "+client+"/health")
}

// serveNames answers for etcd.mesos, once the cluster runs etcd.
func (d *dcosLab) serveNames() {
	d.Helper()
	conn, err := net.ListenPacket("udp", d.lab.Gateway.String()+":53")
	if err != nil {
		d.Fatal(err)
	}
	d.Cleanup(func() { conn.Close() })
	go func() {
		buf := make([]byte, 1500)
		for {
			n, from, err := conn.ReadFrom(buf)
			if err != nil {
				return
			}
			if answer, err := d.answer(buf[:n]); err == nil {
				_, _ = conn.WriteTo(answer, from)
			}
		}
	}()
}

// answer is the answer to a question of DNS.
func (d *dcosLab) answer(question []byte) ([]byte, error) {
	var m dnsmessage.Message
	if err := m.Unpack(question); err != nil {
		return nil, err
	}
	m.Response, m.Authoritative, m.RecursionAvailable, m.Additionals = true, true, true, nil
	q := m.Questions[0]
	head := dnsmessage.ResourceHeader{Name: q.Name, Class: dnsmessage.ClassINET, TTL: 1}
	ports := map[string]int{"_etcd-server._tcp.etcd.mesos.": d.etcdPeer, "_etcd-client._tcp.etcd.mesos.": d.etcdClient}
	target := dnsmessage.MustNewName("etcd0.etcd.mesos.")
	switch port, ok := ports[q.Name.String()]; {
	case !d.installed("etcd") || !ok && q.Name != target:
		m.RCode = dnsmessage.RCodeNameError
	case q.Type == dnsmessage.TypeSRV && ok:
		m.Answers = []dnsmessage.Resource{{Header: head, Body: &dnsmessage.SRVResource{Port: uint16(port), Target: target}}}
	case q.Type == dnsmessage.TypeA && !ok:
		m.Answers = []dnsmessage.Resource{{Header: head, Body: &dnsmessage.AResource{A: d.lab.Gateway.As4()}}}
	}
	return m.Pack()
}

// setVars writes what differs from a real site into the inventory, and serves the files of releases.
func (d *dcosLab) setVars(sets []*artifacts.Set) {
	d.Helper()
	files := http.NewServeMux()
	files.Handle("/", artifacts.Handler(sets...))
	sums := map[string]any{}
	for _, f := range sets[0].Files() {
		sums[f.URL] = f.SHA256
	}
	offer := func(url string, content []byte) {
		sum := sha256.Sum256(content)
		sums[url] = hex.EncodeToString(sum[:])
		files.HandleFunc("/"+url, func(w http.ResponseWriter, _ *http.Request) { _, _ = w.Write(content) })
	}
	archive := etcdArchive(d.T, sets[0])
	var err error
	if d.etcdProgram, err = os.ReadFile(sets[0].Program("etcd")); err != nil {
		d.Fatal(err)
	}
	offer("coreos/etcd/releases/download/"+artifacts.EtcdVersion+"/etcd-"+artifacts.EtcdVersion+"-linux-amd64.tar.gz", archive(artifacts.EtcdVersion))
	offer("coreos/etcd/releases/download/v3.3.1/etcd-v3.3.1-linux-amd64.tar.gz", archive("v3.3.1"))
	d.offer26(offer)
	base := serve(d.T, d.lab.Gateway.String(), files)

	image, ok := sets[0].File("images/calico-node-" + sets[0].Calico + ".tar")
	if !ok {
		d.Fatal("the site has no image of calico/node")
	}
	agents, public := map[string]any{}, map[string]any{}
	for i, h := range d.lab.Hosts {
		if i == len(d.lab.Hosts)-1 {
			public[h.Name] = nil
		} else {
			agents[h.Name] = nil
		}
	}
	inventory, err := json.Marshal(map[string]any{
		"dcos_agent":        map[string]any{"hosts": agents, "vars": map[string]any{"node_serial": []any{1, "100%"}}},
		"dcos_agent_public": map[string]any{"hosts": public},
		"all": map[string]any{"vars": map[string]any{
			"dcos_cli": d.command(), "dcos_work_dir": filepath.Join(d.lab.Dir, "work"),
			"artifact_base_url": base, "checksums": sums, "image_delivery": "preload", "unit_steady_seconds": 1,
			"image_archives": append(d.images26(base), map[string]any{"image": artifacts.ImageTag(artifacts.NodeImage, sets[0].Calico), "url": base + "/" + image.URL, "sha256": image.SHA256}),
		}},
	})
	if err != nil {
		d.Fatal(err)
	}
	write(d.T, filepath.Join(d.lab.Dir, "dcos.yml"), string(inventory))
}

func serve(t *testing.T, ip string, h http.Handler) string {
	t.Helper()
	l, err := net.Listen("tcp", ip+":0")
	if err != nil {
		t.Fatal(err)
	}
	s := &http.Server{Handler: h, ReadHeaderTimeout: 10 * time.Second}
	go func() { _ = s.Serve(l) }()
	t.Cleanup(func() { s.Close() })
	return "http://" + l.Addr().String()
}

// etcdArchive makes an archive as etcd's releases have it, of the lab's own etcd.
func etcdArchive(t *testing.T, set *artifacts.Set) func(version string) []byte {
	return func(version string) []byte {
		t.Helper()
		var b bytes.Buffer
		zw, err := gzip.NewWriterLevel(&b, gzip.BestSpeed)
		if err != nil {
			t.Fatal(err)
		}
		tw := tar.NewWriter(zw)
		for _, name := range []string{"etcd", "etcdctl"} {
			text, err := os.ReadFile(set.Program(name))
			if err != nil {
				t.Fatal(err)
			}
			if err := tw.WriteHeader(&tar.Header{Name: "etcd-" + version + "-linux-amd64/" + name, Mode: 0o755, Size: int64(len(text))}); err != nil {
				t.Fatal(err)
			}
			if _, err := tw.Write(text); err != nil {
				t.Fatal(err)
			}
		}
		if tw.Close() != nil || zw.Close() != nil {
			t.Fatal("cannot write the archive of etcd")
		}
		return b.Bytes()
	}
}

// play carries dcos-calico out and demands an exit code.
func (d *dcosLab) play(code int, args ...string) outcome {
	d.Helper()
	o := d.calroll(append([]string{"run", "dcos-calico", "-i", filepath.Join(d.lab.Dir, "dcos.yml")}, args...)...)
	if o.code != code {
		d.Fatalf("calroll run dcos-calico %s: exit code %d, not %d\n%s\ncalls of dcos and of Kubernetes:\n%s", strings.Join(args, " "), o.code, code, o.text, strings.Join(d.called(), "\n"))
	}
	return o
}

// etcd asks the real etcd.
func (d *dcosLab) etcd(args ...string) string {
	d.Helper()
	cmd := exec.CommandContext(d.Context(), d.etcdctl[0], append(d.etcdctl[1:], args...)...)
	out, err := cmd.CombinedOutput()
	if err != nil {
		d.Fatalf("etcdctl %s: %v\n%s", args, err, out)
	}
	return strings.TrimSpace(string(out))
}

// dcosWatched is what an agent is compared by.
func (d *dcosLab) pictures() map[string]testenv.Snapshot {
	d.Helper()
	w := watched
	w.Units = append([]string{"calroll-etcd-proxy.service", "dcos-mesos-slave.service", "dcos-mesos-slave-public.service"}, w.Units...)
	all := map[string]testenv.Snapshot{}
	for _, h := range d.lab.Hosts {
		s, err := h.Snapshot(d.Context(), w)
		if err != nil {
			d.Fatal(err)
		}
		all[h.Name] = s
	}
	return all
}

func (d *dcosLab) unchanged(before map[string]testenv.Snapshot) {
	d.Helper()
	after := d.pictures()
	for name, s := range before {
		if diff := s.Diff(after[name]); len(diff) > 0 {
			d.Errorf("%s is not as it was:\n  %s", name, strings.Join(diff, "\n  "))
		}
	}
}
