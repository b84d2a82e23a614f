package artifacts

import (
	"fmt"
	"slices"
	"strings"
)

// The pinned releases. CalicoVersion is also what a Request without a version gets.
const (
	CalicoVersion     = "v3.28.5"
	CNIPluginsVersion = "v1.9.1"
	EtcdVersion       = "v3.5.35"
	FlannelVersion    = "v0.28.10"
	KubernetesVersion = "v1.29.15"
	// KubeletDockershimVersion is the last kubelet that has dockershim in it.
	KubeletDockershimVersion = "v1.23.17"
)

// pin is a nested module that fixes one upstream release.
type pin struct {
	name     string            // directory under testenv/upstream, and first part of the cache key
	version  string            // as stamped into the programs
	ldflags  []string          // beyond -s -w
	programs map[string]string // program -> its main package
	cgo      bool              // needs a C compiler; linked statically all the same
	own      string            // instead of a nested module: the package of this module that it is, below the clone's root
}

const (
	calicoModule = "github.com/projectcalico/calico"
	calicoCommit = "a0db560f0520" // the commit that go.mod pins
)

// calicoVersionVars are the variables that hold Calico's version. calicoctl compares .../common.VERSION with the
// version that the cluster records and refuses to work on a difference, so none may be left out.
var calicoVersionVars = []string{
	"main.VERSION",
	calicoModule + "/calicoctl/calicoctl/commands.VERSION",
	calicoModule + "/calicoctl/calicoctl/commands/common.VERSION",
	calicoModule + "/felix/buildinfo.GitVersion",
	calicoModule + "/node/buildinfo.GitVersion",
	calicoModule + "/node/pkg/lifecycle/startup.VERSION",
	calicoModule + "/typha/pkg/buildinfo.GitVersion",
}

func calicoPin(version string) pin {
	p := pin{name: "calico", version: version, programs: map[string]string{
		// One program is both plugins: it looks at the name it is called by.
		"calico":           calicoModule + "/cni-plugin/cmd/calico",
		"calico-node":      calicoModule + "/node/cmd/calico-node",
		"calico-typha":     calicoModule + "/typha/cmd/calico-typha",
		"calicoctl":        calicoModule + "/calicoctl/calicoctl",
		"check-status":     calicoModule + "/kube-controllers/cmd/check-status",
		"install":          calicoModule + "/cni-plugin/cmd/install",
		"kube-controllers": calicoModule + "/kube-controllers/cmd/kube-controllers",
	}}
	p.ldflags = append(p.ldflags, "-X", calicoModule+"/calicoctl/calicoctl/commands.GIT_REVISION="+calicoCommit)
	for _, v := range calicoVersionVars {
		p.ldflags = append(p.ldflags, "-X", v+"="+version)
	}
	return p
}

func cniPin() pin {
	const module = "github.com/containernetworking/plugins"
	return pin{name: "cni", version: CNIPluginsVersion,
		ldflags: []string{"-X", module + "/pkg/utils/buildversion.BuildVersion=" + CNIPluginsVersion},
		programs: map[string]string{
			"bandwidth":  module + "/plugins/meta/bandwidth",
			"bridge":     module + "/plugins/main/bridge",
			"host-local": module + "/plugins/ipam/host-local",
			"loopback":   module + "/plugins/main/loopback",
			"portmap":    module + "/plugins/meta/portmap",
			"tuning":     module + "/plugins/meta/tuning",
		}}
}

func etcdPin() pin {
	return pin{name: "etcd", version: EtcdVersion, programs: map[string]string{
		"etcd":    "go.etcd.io/etcd/server/v3",
		"etcdctl": "go.etcd.io/etcd/etcdctl/v3",
	}}
}

// flannelPin is flanneld as upstream has it, with the backend that is written in C.
func flannelPin() pin {
	const module = "github.com/flannel-io/flannel"
	return pin{name: "flannel", version: FlannelVersion, cgo: true, programs: map[string]string{"flanneld": module},
		ldflags: []string{"-linkmode", "external", "-extldflags", "-static", "-X", module + "/pkg/version.Version=" + FlannelVersion}}
}

func kubernetesPin() pin {
	return pin{name: "kubernetes", version: KubernetesVersion, ldflags: kubernetesStamp(KubernetesVersion), programs: map[string]string{
		"kube-apiserver":          kubernetesModule + "/cmd/kube-apiserver",
		"kube-controller-manager": kubernetesModule + "/cmd/kube-controller-manager",
		"kube-proxy":              kubernetesModule + "/cmd/kube-proxy",
		"kube-scheduler":          kubernetesModule + "/cmd/kube-scheduler",
		"kubectl":                 kubernetesModule + "/cmd/kubectl",
		"kubelet":                 kubernetesModule + "/cmd/kubelet",
	}}
}

func kubeletDockershimPin() pin {
	return pin{name: "kubelet123", version: KubeletDockershimVersion, ldflags: kubernetesStamp(KubeletDockershimVersion),
		programs: map[string]string{"kubelet-dockershim": kubernetesModule + "/cmd/kubelet"}}
}

// podVersion is the tag of the lab's own images.
const podVersion = "v1"

// podPin is the program of the lab's own pods.
func podPin() pin {
	return pin{name: "pod", version: podVersion, own: "testenv/pod", programs: map[string]string{"pod": "github.com/calroll/calroll/testenv/pod"}}
}

const kubernetesModule = "k8s.io/kubernetes"

// kubernetesStamp sets what the components of Kubernetes say of their version, and what a node reports to the API.
func kubernetesStamp(version string) []string {
	minor := strings.Split(version, ".")[1]
	var flags []string
	for _, where := range []string{"k8s.io/component-base/version", "k8s.io/client-go/pkg/version"} {
		for _, v := range []string{"gitVersion=" + version, "gitMajor=1", "gitMinor=" + minor, "gitTreeState=clean",
			"gitCommit=" + strings.Repeat("0", 40), "buildDate=1970-01-01T00:00:00Z"} {
			flags = append(flags, "-X", where+"."+v)
		}
	}
	return flags
}

// Part is something a Request may ask for.
type Part string

// The parts. Each image part includes compiling the programs in it.
const (
	CNIPlugins           Part = "cni-plugins"            // archive of the standard CNI plugins
	CalicoRelease        Part = "calico-release"         // archive with the plugins calico and calico-ipam, and the manifests
	Calicoctl            Part = "calicoctl"              // the program
	NodeImage            Part = "node-image"             // calico/node
	CNIImage             Part = "cni-image"              // calico/cni
	KubeControllersImage Part = "kube-controllers-image" // calico/kube-controllers
	TyphaImage           Part = "typha-image"            // calico/typha
	EtcdPrograms         Part = "etcd"                   // etcd and etcdctl, for StartEtcd; not offered over HTTP
	KubernetesPrograms   Part = "kubernetes"             // control plane, kubelet, kube-proxy and kubectl; not offered over HTTP
	KubeletDockershim    Part = "kubelet-dockershim"     // the last kubelet with dockershim; not offered over HTTP
	FlannelImage         Part = "flannel-image"          // flannel/flannel; building it needs gcc
	PauseImage           Part = "pause-image"            // what holds a pod's namespaces
	PodImage             Part = "pod-image"              // an HTTP server and client, see testenv/pod

	// Stand-ins for the images of Tigera CNX, under their names: its own programs are not to be had.
	CNXNodeImage      Part = "cnx-node-image"      // what calico/node has
	CNXTyphaImage     Part = "cnx-typha-image"     // what calico/typha has
	CNXCNIImage       Part = "cnx-cni-image"       // what calico/cni has, at the version that CNX comes with
	CNXAPIServerImage Part = "cnx-apiserver-image" // see testenv/pod
	CNXManagerImage   Part = "cnx-manager-image"   // see testenv/pod
)

// need is which programs of which pin a part is made of.
type need struct{ calico, cni, etcd, kubernetes, kubelet, flannel, pod []string }

// step is programs to compile, all from one pin.
type step struct {
	pin      pin
	programs []string
}

// steps puts what is needed into the order in which it is compiled. calico is the version to stamp Calico with.
func (n need) steps(calico string) []step {
	all := []step{{cniPin(), n.cni}, {etcdPin(), n.etcd}, {calicoPin(calico), n.calico}, {kubernetesPin(), n.kubernetes},
		{kubeletDockershimPin(), n.kubelet}, {flannelPin(), n.flannel}, {podPin(), n.pod}}
	return slices.DeleteFunc(all, func(s step) bool { return len(s.programs) == 0 })
}

var programsOf = map[Part]need{
	CNIPlugins:           {cni: []string{"bandwidth", "bridge", "host-local", "loopback", "portmap", "tuning"}},
	CalicoRelease:        {calico: []string{"calico"}},
	Calicoctl:            {calico: []string{"calicoctl"}},
	NodeImage:            {calico: []string{"calico-node"}},
	CNIImage:             {calico: []string{"calico", "install"}, cni: []string{"bandwidth", "host-local", "loopback", "portmap", "tuning"}},
	KubeControllersImage: {calico: []string{"kube-controllers", "check-status"}},
	TyphaImage:           {calico: []string{"calico-typha"}},
	EtcdPrograms:         {etcd: []string{"etcd", "etcdctl"}},
	KubernetesPrograms: {kubernetes: []string{"kube-apiserver", "kube-controller-manager", "kube-proxy", "kube-scheduler", "kubectl",
		"kubelet"}},
	FlannelImage:      {flannel: []string{"flanneld"}},
	PauseImage:        {pod: []string{"pod"}},
	PodImage:          {pod: []string{"pod"}},
	KubeletDockershim: {kubelet: []string{"kubelet-dockershim"}},
	CNXNodeImage:      {calico: []string{"calico-node"}},
	CNXTyphaImage:     {calico: []string{"calico-typha"}},
	CNXCNIImage:       {calico: []string{"calico", "install"}, cni: []string{"bandwidth", "host-local", "loopback", "portmap", "tuning"}},
	CNXAPIServerImage: {pod: []string{"pod"}},
	CNXManagerImage:   {pod: []string{"pod"}},
}

// Request says what to build.
type Request struct {
	Calico string // version to stamp Calico with; empty means CalicoVersion
	Parts  []Part
}

// ForNodes asks for all that hosts need for Calico with an etcd datastore, and etcd itself.
func ForNodes() Request {
	return Request{Parts: []Part{EtcdPrograms, CNIPlugins, CalicoRelease, Calicoctl, NodeImage}}
}

// ForUpgrade asks for the version-dependent part of ForNodes, stamped with another version. It costs no compiling,
// only linking, once ForNodes has been built.
func ForUpgrade(version string) Request {
	return Request{Calico: version, Parts: []Part{CalicoRelease, Calicoctl, NodeImage}}
}

// ForAPIServer asks for what StartAPI of package kube runs.
func ForAPIServer() Request {
	return Request{Parts: []Part{EtcdPrograms, KubernetesPrograms}}
}

// ForCluster asks for what a cluster of package kube runs: the programs of its hosts, and the images of its pods with those of all of Calico,
// stamped with a version (empty means CalicoVersion).
func ForCluster(calico string) Request {
	return Request{Calico: calico, Parts: []Part{EtcdPrograms, KubernetesPrograms, KubeletDockershim, CNIPlugins,
		PauseImage, PodImage, NodeImage, CNIImage, KubeControllersImage, TyphaImage}}
}

// ForCNX asks for the stand-ins of CNX 2.0.2, and for what one of calicoctl is made of, beside what ForCluster asks for.
func ForCNX() []Part {
	return []Part{Calicoctl, CNXNodeImage, CNXTyphaImage, CNXCNIImage, CNXAPIServerImage, CNXManagerImage}
}

// complete checks a request and fills in its defaults.
func (r Request) complete() (Request, error) {
	if r.Calico == "" {
		r.Calico = CalicoVersion
	}
	if !strings.HasPrefix(r.Calico, "v") || strings.ContainsAny(r.Calico, " \t\n/'\"") {
		return r, fmt.Errorf("cannot stamp Calico with version %q: want a form like %s", r.Calico, CalicoVersion)
	}
	for _, p := range r.Parts {
		if _, ok := programsOf[p]; !ok {
			return r, fmt.Errorf("cannot build %q: no such part", p)
		}
	}
	return r, nil
}
