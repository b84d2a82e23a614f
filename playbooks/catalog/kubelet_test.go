package catalog_test

import (
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/calroll/calroll/testenv"
)

// stubKubelet keeps its arguments where /proc shows them, and from 1.24 on does not start with the flags that are gone.
const stubKubelet = `#!/bin/sh
version=$(cat /etc/stub-kubelet-version)
[ "$1" = --version ] && { echo "Kubernetes v$version"; exit; }
case $version in 1.2[4-9]*) case "$*" in *--network-plugin*|*--cni-*) echo "unknown flag" >&2; exit 1 ;; esac ;; esac
while :; do sleep 1000; done
`

// kubeletRoles is a playbook of the roles that deal with Kubernetes' own units.
const kubeletRoles = `
- hosts: kube_control_plane:kube_node
  tasks:
    - import_role: {name: host_facts}
    - import_role: {name: kubelet_cni}
    - import_role: {name: kube_proxy_mode}
`

// kubeletCase is how a kubelet of one time is started.
type kubeletCase struct {
	name, version string
	files         map[string]string // beside the unit
	start         string            // of the unit
	want          string            // the arguments behind the program, after the run
	changes       bool
}

var kubeletCases = []kubeletCase{
	{name: "before 1.4, one folder for all", version: "1.3.10", start: "--api-servers=http://127.0.0.1:8080",
		want: "--api-servers=http://127.0.0.1:8080 --network-plugin=cni --network-plugin-dir=/etc/cni/net.d", changes: true},
	{name: "kubeadm 1.10 has a variable for them", version: "1.10.5", start: "$KUBELET_CONFIG_ARGS $KUBELET_NETWORK_ARGS --v=2",
		files: map[string]string{"/etc/systemd/system/kubelet.service.d/10-kubeadm.conf": "[Service]\nEnvironment=\"KUBELET_CONFIG_ARGS=--config=/k\"\nEnvironment=\"KUBELET_NETWORK_ARGS=--network-plugin=kubenet\"\n"},
		want:  "--config=/k --network-plugin=cni --cni-conf-dir=/etc/cni/net.d --cni-bin-dir=/opt/cni/bin --v=2", changes: true},
	{name: "kubeadm 1.11 reads files; another value is replaced where it stands", version: "1.11.2", start: "$KUBELET_KUBEADM_ARGS $KUBELET_EXTRA_ARGS",
		files: map[string]string{
			"/etc/systemd/system/kubelet.service.d/10-kubeadm.conf": "[Service]\nEnvironmentFile=-/var/lib/kubelet/kubeadm-flags.env\nEnvironmentFile=-/etc/default/kubelet\n",
			"/var/lib/kubelet/kubeadm-flags.env":                    "KUBELET_KUBEADM_ARGS=--cgroup-driver=cgroupfs\n",
			"/etc/default/kubelet":                                  "# kept\nKUBELET_EXTRA_ARGS=--cni-bin-dir=/wrong --node-ip=10.0.0.1\n"},
		want: "--cgroup-driver=cgroupfs --cni-bin-dir=/opt/cni/bin --node-ip=10.0.0.1 --network-plugin=cni --cni-conf-dir=/etc/cni/net.d", changes: true},
	{name: "kubeadm put them there itself", version: "1.11.2", start: "$KUBELET_KUBEADM_ARGS",
		files: map[string]string{
			"/etc/systemd/system/kubelet.service.d/10-kubeadm.conf": "[Service]\nEnvironmentFile=-/var/lib/kubelet/kubeadm-flags.env\n",
			"/var/lib/kubelet/kubeadm-flags.env":                    "KUBELET_KUBEADM_ARGS=--cgroup-driver=cgroupfs --network-plugin=cni\n"},
		want: "--cgroup-driver=cgroupfs --network-plugin=cni"},
	{name: "equal flags in another order and spelling stay", version: "1.23.17", start: "--cni-bin-dir=/opt/cni/bin --network-plugin cni --cni-conf-dir=/etc/cni/net.d",
		want: "--cni-bin-dir=/opt/cni/bin --network-plugin cni --cni-conf-dir=/etc/cni/net.d"},
	{name: "a file of arguments", version: "1.23.17", start: "--v=1 $KUBELET_ARGS",
		files: map[string]string{
			"/etc/systemd/system/kubelet.service.d/10-env.conf": "[Service]\nEnvironmentFile=/etc/kubernetes/kubelet.env\n",
			"/etc/kubernetes/kubelet.env":                       "KUBELET_ARGS=\"--network-plugin=kubenet\"\nOTHER=1\n"},
		want: "--v=1 --network-plugin=cni --cni-conf-dir=/etc/cni/net.d --cni-bin-dir=/opt/cni/bin", changes: true},
	{name: "from 1.24 on they are taken away everywhere", version: "1.24.0", start: "$KUBELET_KUBEADM_ARGS --cni-conf-dir=/etc/cni/net.d --v=2",
		files: map[string]string{
			"/etc/systemd/system/kubelet.service.d/10-kubeadm.conf": "[Service]\nEnvironmentFile=-/var/lib/kubelet/kubeadm-flags.env\n",
			"/var/lib/kubelet/kubeadm-flags.env":                    "KUBELET_KUBEADM_ARGS=\"--network-plugin=cni --container-runtime=remote\"\n"},
		want: "--container-runtime=remote --v=2", changes: true},
	{name: "from 1.24 on our own drop-in goes too", version: "1.24.0", start: "--v=2",
		files: map[string]string{"/etc/systemd/system/kubelet.service.d/20-calroll-cni.conf": "[Service]\nExecStart=\nExecStart=/usr/local/bin/kubelet --v=2 --network-plugin=cni\n"},
		want:  "--v=2", changes: true},
	{name: "from 1.24 on there is nothing to do", version: "1.29.3", start: "--v=2", want: "--v=2"},
}

// TestKubeletFlags runs the roles against stub kubelets of five ages and reads the arguments that they really run with.
func TestKubeletFlags(t *testing.T) {
	t.Parallel()
	c := newNetwork(t, 1)
	h := c.lab.Hosts[0]
	pb := filepath.Join(t.TempDir(), "kubelet.yml")
	write(t, pb, kubeletRoles)
	if err := h.WriteFile(t.Context(), "/usr/local/bin/kubelet", 0o755, []byte(stubKubelet)); err != nil {
		t.Fatal(err)
	}
	for _, tt := range kubeletCases {
		t.Run(tt.name, func(t *testing.T) {
			c := &network{T: t, lab: c.lab, site: c.site, exe: c.exe}
			c.startKubelet(h, tt)
			if got := c.playOnce(pb); got != tt.changes {
				t.Errorf("something changed: %v, want %v", got, tt.changes)
			}
			got := c.eventually(h, time.Minute, `pid=$(systemctl show --property MainPID --value kubelet); [ "$pid" -gt 0 ] && tr '\0' ' ' < /proc/$pid/cmdline`)
			if _, args, _ := strings.Cut(got, "/usr/local/bin/kubelet "); args != tt.want {
				t.Errorf("the kubelet runs with\n  %s\nwant\n  %s", args, tt.want)
			}
			if c.playOnce(pb) {
				t.Error("the second run changes something")
			}
		})
	}
}

// startKubelet makes the host one with this kubelet, and with nothing of the case before.
func (c *network) startKubelet(h *testenv.Host, k kubeletCase) {
	c.Helper()
	c.sh(h, "systemctl stop kubelet 2>/dev/null; rm -rf /etc/systemd/system/kubelet.service* /var/lib/kubelet/kubeadm-flags.env /etc/default/kubelet /etc/kubernetes/kubelet.env")
	files := map[string]string{"/etc/stub-kubelet-version": k.version, "/etc/systemd/system/kubelet.service": "[Service]\nExecStart=/usr/local/bin/kubelet \\\n  " + k.start + "\nRestart=always\nRestartSec=1\n"}
	for _, more := range []map[string]string{files, k.files} {
		for name, text := range more {
			c.sh(h, "mkdir -p "+filepath.Dir(name))
			if err := h.WriteFile(c.Context(), name, 0o644, []byte(text)); err != nil {
				c.Fatal(err)
			}
		}
	}
	c.sh(h, "systemctl daemon-reload && systemctl start kubelet")
}

// playOnce carries a playbook out and tells whether it changed anything.
func (c *network) playOnce(playbook string, args ...string) bool {
	c.Helper()
	for _, changed := range c.carry(exitOK, playbook, args...).changed() {
		if changed != "0" {
			return true
		}
	}
	return false
}

// TestKubeProxyMode: a mode that hides the source address is replaced, in a drop-in; others are left alone.
func TestKubeProxyMode(t *testing.T) {
	t.Parallel()
	c := newNetwork(t, 1)
	h := c.lab.Hosts[0]
	pb := filepath.Join(t.TempDir(), "kubelet.yml")
	write(t, pb, kubeletRoles)
	if err := h.WriteFile(t.Context(), "/usr/local/bin/kube-proxy", 0o755, []byte("#!/bin/sh\nwhile :; do sleep 1000; done\n")); err != nil {
		t.Fatal(err)
	}
	tests := []struct {
		version, start, want string
		changes              bool
	}{
		{"1.1.8", "--v=2", "--v=2 --proxy-mode=iptables", true},
		{"1.2.0", "--v=2", "--v=2", false},
		{"1.5.1", "--proxy-mode=userspace --v=2", "--proxy-mode=iptables --v=2", true},
		{"1.29.3", "--proxy-mode=ipvs", "--proxy-mode=ipvs", false},
	}
	for _, tt := range tests {
		unit := "[Service]\nExecStart=/usr/local/bin/kube-proxy " + tt.start + "\n"
		c.sh(h, "rm -rf /etc/systemd/system/kube-proxy.service*")
		if err := h.WriteFile(t.Context(), "/etc/systemd/system/kube-proxy.service", 0o644, []byte(unit)); err != nil {
			t.Fatal(err)
		}
		c.sh(h, "systemctl daemon-reload && systemctl restart kube-proxy")
		if got := c.playOnce(pb, "-e", "kube_version="+tt.version); got != tt.changes {
			t.Errorf("%s %s: something changed: %v", tt.version, tt.start, got)
		}
		got := c.eventually(h, time.Minute, `tr '\0' ' ' < /proc/$(systemctl show --property MainPID --value kube-proxy)/cmdline`)
		if _, args, _ := strings.Cut(got, "/usr/local/bin/kube-proxy "); args != tt.want {
			t.Errorf("%s %s: kube-proxy runs with %s, want %s", tt.version, tt.start, args, tt.want)
		}
		if c.playOnce(pb, "-e", "kube_version="+tt.version) {
			t.Errorf("%s %s: the second run changes something", tt.version, tt.start)
		}
	}
}
