package catalog_test

import (
	"path/filepath"
	"strings"
	"testing"
)

const runtimePlay = `
- hosts: kube_node
  tasks:
    - import_role: {name: host_facts}
    - import_role: {name: runtime_cni}
`

// TestRuntimeCNI points each runtime elsewhere and back: containerd is the host's own, the others are stubs that only run.
func TestRuntimeCNI(t *testing.T) {
	t.Parallel()
	c := newNetwork(t, 2)
	h := c.lab.Hosts[1]
	pb := filepath.Join(t.TempDir(), "runtime.yml")
	write(t, pb, runtimePlay)
	stub := "#!/bin/sh\n[ \"$1\" = --version ] && { echo Kubernetes v1.29.3; exit; }\nwhile :; do sleep 1000; done\n"
	for _, name := range []string{"kubelet", "cri-dockerd", "crio"} {
		if err := h.WriteFile(t.Context(), "/usr/local/bin/"+name, 0o755, []byte(stub)); err != nil {
			t.Fatal(err)
		}
	}
	unit := func(name, exec string) {
		c.sh(h, "printf '[Service]\\nExecStart="+exec+"\\n' > /etc/systemd/system/"+name+".service && systemctl daemon-reload && systemctl restart "+name)
	}
	elsewhere := []string{"-e", "cni_bin_dir=/srv/cni/bin"}
	for _, tt := range []struct{ name, kubelet, setup, look, here, there, unit string }{
		{name: "containerd", kubelet: "unix:///run/containerd/containerd.sock", look: "containerd config dump", here: `"/opt/cni/bin"`, there: `"/srv/cni/bin"`, unit: "containerd"},
		{name: "cri-dockerd", kubelet: "unix:///run/cri-dockerd.sock", look: "systemctl show -P ExecStart cri-docker", there: "--cni-bin-dir=/srv/cni/bin", here: "--cni-bin-dir=/opt/cni/bin", unit: "cri-docker"},
		{name: "CRI-O", kubelet: "unix:///var/run/crio/crio.sock", look: "cat /etc/crio/crio.conf.d/*", here: `plugin_dirs = ["/opt/cni/bin"]`, there: `plugin_dirs = ["/srv/cni/bin"]`, unit: "crio"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			c := &network{T: t, lab: c.lab, site: c.site, exe: c.exe}
			if tt.unit != "containerd" {
				unit(tt.unit, "/usr/local/bin/"+map[string]string{"cri-docker": "cri-dockerd", "crio": "crio"}[tt.unit])
			}
			unit("kubelet", "/usr/local/bin/kubelet --container-runtime-endpoint="+tt.kubelet)
			pid := func() string { return strings.TrimSpace(c.sh(h, "systemctl show -P MainPID "+tt.unit)) }
			if tt.unit == "containerd" {
				c.playOnce(pb) // Debian's looks in /usr/lib/cni
			}
			if before := pid(); tt.unit != "cri-docker" && (c.playOnce(pb) || pid() != before) {
				t.Error("the folders are right, and something changes")
			}
			for _, step := range []struct {
				args []string
				want string
			}{{elsewhere, tt.there}, {nil, tt.here}} {
				before := pid()
				if !c.playOnce(pb, step.args...) {
					t.Errorf("with %v nothing changes", step.args)
				}
				if got := c.sh(h, tt.look); !strings.Contains(got, step.want) {
					t.Errorf("%s lacks %s:\n%s", tt.look, step.want, got)
				}
				if pid() == before {
					t.Errorf("%s was not restarted", tt.unit)
				}
				if c.playOnce(pb, step.args...) {
					t.Errorf("with %v the second run changes something", step.args)
				}
			}
		})
	}
}
