package artifacts

import (
	"cmp"
	"context"
	"encoding/json"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path"
	"path/filepath"
	"regexp"
	"runtime"
	"strings"

	"github.com/calroll/calroll/testenv/artifacts/image"
)

// imageSpec is one of Calico's images. Its Go programs make up the top layer; only the node image has a layer below.
type imageSpec struct {
	name     string            // with the repository before it, without a tag
	version  string            // its tag; empty for Calico's version
	programs map[string]string // path in the image -> program
	config   image.Config
	base     bool // on top of nodeBase
}

const usualPath = "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"

// These and imageSpecs follow the Dockerfiles of Calico's source: same paths, environment and start commands.
var (
	nodeSpec = imageSpec{name: "calico/node", base: true,
		programs: map[string]string{"usr/bin/calico-node": "calico-node"},
		config:   image.Config{Env: []string{usualPath, "SVDIR=/etc/service/enabled"}, Cmd: []string{"start_runit"}}}
	cniSpec = imageSpec{name: "calico/cni",
		programs: map[string]string{
			"opt/cni/bin/calico": "calico", "opt/cni/bin/calico-ipam": "calico", "opt/cni/bin/install": "install",
			"opt/cni/bin/bandwidth": "bandwidth", "opt/cni/bin/host-local": "host-local", "opt/cni/bin/loopback": "loopback",
			"opt/cni/bin/portmap": "portmap", "opt/cni/bin/tuning": "tuning"},
		config: image.Config{Env: []string{usualPath + ":/opt/cni/bin"}, Cmd: []string{"/opt/cni/bin/install"}}}
	typhaSpec = imageSpec{name: "calico/typha",
		programs: map[string]string{"usr/bin/calico-typha": "calico-typha"},
		config:   image.Config{Env: []string{usualPath}, Cmd: []string{"/usr/bin/calico-typha"}}}
)

// named is the same image under another name, with a version that is not Calico's.
func (s imageSpec) named(name, version string) imageSpec {
	s.name, s.version = name, version
	return s
}

var imageSpecs = map[Part]imageSpec{
	NodeImage: nodeSpec,
	CNIImage:  cniSpec,
	KubeControllersImage: {name: "calico/kube-controllers",
		programs: map[string]string{"usr/bin/kube-controllers": "kube-controllers", "usr/bin/check-status": "check-status"},
		config:   image.Config{Env: []string{usualPath}, Entrypoint: []string{"/usr/bin/kube-controllers"}}},
	TyphaImage: typhaSpec,
	// flanneld calls iptables and ip, which are in the base of calico/node.
	FlannelImage: {name: "flannel/flannel", version: FlannelVersion, base: true,
		programs: map[string]string{"opt/bin/flanneld": "flanneld"},
		config:   image.Config{Env: []string{usualPath}, Entrypoint: []string{"/opt/bin/flanneld"}}},
	PauseImage: {name: "lab/pause", version: podVersion,
		programs: map[string]string{"pod": "pod"},
		config:   image.Config{Entrypoint: []string{"/pod", "pause"}}},
	PodImage: {name: "lab/pod", version: podVersion,
		programs: map[string]string{"pod": "pod"},
		config:   image.Config{Entrypoint: []string{"/pod"}, Cmd: []string{"serve"}}},
	CNXNodeImage:  nodeSpec.named("tigera/cnx-node", "v2.0.2"),
	CNXTyphaImage: typhaSpec.named("tigera/typha", "v2.0.2"),
	CNXCNIImage:   cniSpec.named("calico/cni", "v2.0.1"),
	CNXAPIServerImage: {name: "tigera/cnx-apiserver", version: "v2.0.0",
		programs: map[string]string{"pod": "pod"},
		config:   image.Config{Entrypoint: []string{"/pod", "cnx-apiserver"}}},
	CNXManagerImage: {name: "tigera/cnx-manager", version: "v2.0.0",
		programs: map[string]string{"pod": "pod"},
		config:   image.Config{Entrypoint: []string{"/pod", "cnx-manager"}}},
}

// ImageTag is the name under which an engine knows a loaded image: calico/node:v3.28.5. version is Calico's; images of others have their own.
func ImageTag(p Part, version string) string {
	return imageSpecs[p].name + ":" + cmp.Or(imageSpecs[p].version, version)
}

// Image returns the archive of an image part, if the set has it.
func (s *Set) Image(p Part) (File, bool) { return s.File(imageURL(ImageTag(p, s.Calico))) }

// image offers one image as an archive for `docker load`.
func (b *builder) image(ctx context.Context, p Part) error {
	s := imageSpecs[p]
	var below []image.Layer
	if s.base {
		base, err := b.nodeBase(ctx)
		if err != nil {
			return err
		}
		below = append(below, base)
	}
	tag := ImageTag(p, b.set.Calico)
	inputs := b.inputs(programsOf[p])
	for _, l := range below {
		inputs = append(inputs, l.DiffID)
	}
	return b.offer(ctx, imageURL(tag), inputs, func(file string) error {
		top, err := b.topLayer(file+".layer", s) // goes with the directory it is in
		if err != nil {
			return err
		}
		c := s.config
		c.Arch = runtime.GOARCH
		name, version, _ := strings.Cut(tag, ":")
		c.Labels = map[string]string{"version": version, "description": name + " for a test lab, built from the Go module proxy and Debian packages"}
		return writeImage(file, tag, c, append(below, top)...)
	})
}

// inputs are the keys of the pins that a part's programs come from.
func (b *builder) inputs(n need) []string {
	var keys []string
	for _, step := range n.steps(b.set.Calico) {
		keys = append(keys, b.keys[step.pin.name])
	}
	return keys
}

func (b *builder) topLayer(file string, s imageSpec) (image.Layer, error) {
	var t image.Tree
	for to, prog := range s.programs {
		t.PutFile(to, 0o755, b.set.programs[prog])
	}
	if !s.base {
		t.Mkdir("tmp", fs.ModeSticky|0o777)
		t.Mkdir("status", 0o777) // kube-controllers writes here, and not as root
	}
	return image.WriteLayer(file, &t)
}

func writeImage(file, tag string, c image.Config, layers ...image.Layer) error {
	f, err := os.Create(file)
	if err != nil {
		return err
	}
	defer f.Close()
	if err := image.WriteArchive(f, tag, c, layers...); err != nil {
		return err
	}
	return f.Close()
}

// nodePackages are the Debian packages that have what calico-node runs.
var nodePackages = []string{"bash", "bird", "busybox-static", "conntrack", "iproute2", "ipset", "iptables", "net-tools", "runit"}

// nodePrograms are the files taken out of them, each with the shared libraries it needs.
var nodePrograms = []string{
	"bin/bash", "bin/busybox", "bin/ip",
	"usr/bin/chpst", "usr/bin/runsv", "usr/bin/runsvdir", "usr/bin/sv", "usr/bin/svlogd",
	"usr/sbin/arp", "usr/sbin/bird", "usr/sbin/bird6", "usr/sbin/birdc", "usr/sbin/birdc6",
	"usr/sbin/conntrack", "usr/sbin/ipset", "usr/sbin/xtables-legacy-multi", "usr/sbin/xtables-nft-multi",
}

// nodeBase returns the lower layer of the node image: everything but calico-node itself. It is the same for all versions
// that Calico is stamped with, so that an engine that has one version's image unpacks only calico-node of the next.
func (b *builder) nodeBase(ctx context.Context) (image.Layer, error) {
	source, err := b.tools.pinKey(calicoPin(CalicoVersion))
	if err != nil {
		return image.Layer{}, err
	}
	dir := b.cache.dir("node-base", format, source, distribution(), strings.Join(nodePackages, " "), strings.Join(nodePrograms, " "))
	err = b.cache.ensure(ctx, dir, []string{"layer.tgz", "layer.json", "packages.txt"}, func(tmp string, _ []string) error {
		b.say("making the base of the node image")
		return b.makeNodeBase(ctx, tmp)
	})
	if err != nil {
		return image.Layer{}, fmt.Errorf("cannot make the base of the node image: %w", err)
	}
	text, err := os.ReadFile(filepath.Join(dir, "layer.json"))
	if err != nil {
		return image.Layer{}, err
	}
	l := image.Layer{File: filepath.Join(dir, "layer.tgz")}
	return l, json.Unmarshal(text, &l)
}

// distribution names the release that packages come from, such as "debian bookworm".
func distribution() string {
	text, _ := os.ReadFile("/etc/os-release")
	var id, codename string
	for line := range strings.Lines(string(text)) {
		k, v, _ := strings.Cut(strings.TrimSpace(line), "=")
		switch k {
		case "ID":
			id = strings.Trim(v, `"`)
		case "VERSION_CODENAME":
			codename = strings.Trim(v, `"`)
		}
	}
	return id + " " + codename
}

func (b *builder) makeNodeBase(ctx context.Context, dir string) error {
	debs, err := image.Fetch(ctx, dir, nodePackages, b.say)
	if err != nil {
		return err
	}
	pool, err := image.OpenPool(ctx, debs)
	if err != nil {
		return err
	}
	var t image.Tree
	t.MergeUsr()
	if err := addDebian(ctx, &t, pool, dir); err != nil {
		return err
	}
	if err := b.addCalicoFiles(ctx, &t); err != nil {
		return err
	}
	l, err := image.WriteLayer(filepath.Join(dir, "layer.tgz"), &t)
	if err != nil {
		return err
	}
	text, err := json.Marshal(l)
	if err != nil {
		return err
	}
	if err := os.WriteFile(filepath.Join(dir, "layer.json"), text, 0o644); err != nil {
		return err
	}
	return os.WriteFile(filepath.Join(dir, "packages.txt"), []byte(packageList(debs)), 0o644)
}

// packageList names the packages and versions that a base was made from, for the reader of the cache.
func packageList(debs []string) string {
	var s strings.Builder
	for _, d := range debs {
		s.WriteString(strings.TrimSuffix(filepath.Base(d), ".deb") + "\n")
	}
	return s.String()
}

func addDebian(ctx context.Context, t *image.Tree, pool *image.Pool, dir string) error {
	if err := pool.Install(t, nodePrograms...); err != nil {
		return err
	}
	// iptables loads its matches and targets at run time, so no program names them.
	if err := pool.Install(t, pool.DirOf("libxt_conntrack.so")+"/"); err != nil {
		return err
	}
	// Debian makes these links when it installs the packages. Felix chooses between nft and legacy by name.
	for _, tool := range []string{"tables", "tables-save", "tables-restore"} {
		for _, family := range []string{"ip", "ip6"} {
			name := "usr/sbin/" + family + tool
			t.Link(name, "xtables-nft-multi")
			for _, kind := range []string{"nft", "legacy"} {
				t.Link(strings.Replace(name, "tables", "tables-"+kind, 1), "xtables-"+kind+"-multi")
			}
		}
	}
	// As upstream. Busybox's own sh would run its applets ip and arp in place of the real programs.
	t.Link("usr/bin/sh", "bash")
	// calico-node's health check calls it by this path; birdc does all that birdcl does.
	t.Link("usr/bin/birdcl", "/usr/sbin/birdc")
	return addBusybox(ctx, t, pool, dir)
}

// addBusybox links every applet that no real program provides already.
func addBusybox(ctx context.Context, t *image.Tree, pool *image.Pool, dir string) error {
	probe := filepath.Join(dir, "busybox")
	if err := os.WriteFile(probe, pool.File("bin/busybox"), 0o755); err != nil {
		return err
	}
	out, err := exec.CommandContext(ctx, probe, "--list-full").Output()
	if err != nil {
		return fmt.Errorf("cannot list what busybox has: %w", err)
	}
	for _, applet := range strings.Fields(string(out)) {
		base := path.Base(applet)
		if t.Has("usr/bin/"+base) || t.Has("usr/sbin/"+base) || strings.HasPrefix(base, "dpkg") || strings.HasPrefix(base, "rpm") {
			continue
		}
		t.Link("usr/bin/"+base, "busybox")
	}
	return nil
}

// krtTunnel is a line that sets a route's tunnel, which needs Calico's own patch of BIRD.
var krtTunnel = regexp.MustCompile(`(?m)^ *krt_tunnel = .*\n`)

// addCalicoFiles adds the files of the image that are in Calico's source: the services, their start scripts, confd's templates.
func (b *builder) addCalicoFiles(ctx context.Context, t *image.Tree) error {
	source, err := b.tools.moduleDir(ctx, calicoPin(CalicoVersion), calicoModule)
	if err != nil {
		return err
	}
	if err := t.PutDir("", filepath.Join(source, "node", "filesystem"), scriptMode); err != nil {
		return err
	}
	if err := t.PutDir("etc/calico/confd", filepath.Join(source, "confd", "etc", "calico", "confd"), scriptMode); err != nil {
		return err
	}
	const routes = "etc/calico/confd/templates/bird_ipam.cfg.template"
	t.Put(routes, 0o644, krtTunnel.ReplaceAll(t.Body(routes), nil))
	if license, err := os.ReadFile(filepath.Join(source, "node", "LICENSE")); err == nil {
		t.Put("licenses/LICENSE", 0o644, license)
	}
	addSystemFiles(t)
	return nil
}

// scriptMode makes the start scripts and services executable: a module archive does not keep that bit.
func scriptMode(name string) fs.FileMode {
	if strings.HasPrefix(name, "usr/sbin/") || path.Base(name) == "run" || name == "etc/rc.local" {
		return 0o755
	}
	return 0o644
}

// addSystemFiles adds the rest of a root file system, and the mark by which calico-node knows that it is in its container.
func addSystemFiles(t *image.Tree) {
	t.Put("in-the-container", 0o644, nil)
	t.Put("etc/passwd", 0o644, []byte("root:x:0:0:root:/root:/bin/sh\nnobody:x:65534:65534:nobody:/:/bin/false\n"))
	t.Put("etc/group", 0o644, []byte("root:x:0:\nnogroup:x:65534:\n"))
	for _, dir := range []string{"dev", "proc", "root", "run", "sys", "var/lib/calico", "var/log/calico"} {
		t.Mkdir(dir, 0o755)
	}
	t.Mkdir("tmp", fs.ModeSticky|0o777)
	t.Link("var/run", "/run")
}
