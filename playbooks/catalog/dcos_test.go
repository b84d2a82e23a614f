package catalog_test

import (
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/calroll/calroll/testenv"
)

// modernDCOS is Calico 3.28 on DC/OS: real everywhere but for DC/OS itself.
var modernDCOS = []string{"-e", "calico_version=v3.28.5", "-e", "dcos_etcd_access=grpc-proxy", "-e", "etcd_version=3.5.35", "-e", "manage_pool=true"}

// TestDCOS takes agents to Calico and Kubernetes on it, looks whether it works, does it again, and takes everything back.
func TestDCOS(t *testing.T) {
	t.Parallel()
	d := newDCOS(t, 3)
	bare := d.pictures()

	d.play(exitOK, append(modernDCOS, "--check")...)
	d.unchanged(bare)
	if got := d.called(); len(got) > 0 {
		t.Errorf("a check alters the cluster: %q", got)
	}

	d.play(exitOK, modernDCOS...)
	install := d.lastRun()
	d.inOrder("package install etcd", "newcert", "agent", "package install kubernetes", "kubernetes POST deployments")
	d.isCalicoOnDCOS()
	d.restartedOneByOne(1)

	d.forget()
	for host, changed := range d.play(exitOK, modernDCOS...).changed() {
		if changed != "0" {
			t.Errorf("the second run changed %s: %s tasks", host, changed)
		}
	}
	if got := d.called(); len(got) > 0 {
		t.Errorf("the second run alters the cluster: %q", got)
	}

	d.rollback(install)
	d.unchanged(bare)
	d.inOrder("kubernetes DELETE calico-kube-controller", "package uninstall kubernetes", "package uninstall etcd")
	if got := d.etcd("get", "/calico/resources/v3/projectcalico.org/ippools", "--prefix", "--keys-only"); got != "" {
		t.Errorf("etcd still has the pools %s", got)
	}
	d.agentsForgot()
}

// inOrder demands that calls which contain these words were made, each after the one before.
func (d *dcosLab) inOrder(words ...string) {
	d.Helper()
	calls := d.called()
	at := 0
	for _, w := range words {
		i := slices.IndexFunc(calls[at:], func(call string) bool { return strings.Contains(call, w) })
		if i < 0 {
			d.Errorf("no call of %q behind the one before, in\n  %s", w, strings.Join(calls, "\n  "))
			return
		}
		at += i + 1
	}
}

// restartedOneByOne: every agent was restarted that often, and after it had both networks.
func (d *dcosLab) restartedOneByOne(times int) {
	d.Helper()
	d.set(func() {
		for address, a := range d.agents {
			if len(a.registered) != 1+times {
				d.Errorf("the agent %s registered %d times", address, len(a.registered))
			}
			if !strings.Contains(a.networks, `"kube-cni"`) || !strings.Contains(a.networks, `"name": "calico"`) {
				d.Errorf("the agent %s started with the networks %s", address, a.networks)
			}
		}
	})
}

// agentsForgot: after the undo the agents were restarted without the networks. They say so a moment after they have started.
func (d *dcosLab) agentsForgot() {
	d.Helper()
	for tick, end := time.Tick(100*time.Millisecond), time.After(time.Minute); ; {
		still := d.agentsWith("calico")
		if len(still) == 0 {
			return
		}
		select {
		case <-tick:
		case <-end:
			d.Errorf("the agents %s still have networks of Calico", still)
			return
		}
	}
}

// agentsWith are the addresses of agents that have read such a network.
func (d *dcosLab) agentsWith(network string) (addresses []string) {
	d.set(func() {
		for address, a := range d.agents {
			if strings.Contains(a.networks, network) {
				addresses = append(addresses, address)
			}
		}
	})
	return addresses
}

// isCalicoOnDCOS looks at the agents without calroll.
func (d *dcosLab) isCalicoOnDCOS() {
	d.Helper()
	for i, h := range d.lab.Hosts {
		d.sh(h, "systemctl is-active calroll-etcd-proxy calico-node && systemctl is-enabled calroll-etcd-proxy calico-node")
		d.sh(h, "systemd-analyze verify /etc/systemd/system/calroll-etcd-proxy.service")
		if got := d.sh(h, "sysctl -n net.ipv4.conf.all.rp_filter"); got != "1" {
			d.Errorf("%s: rp_filter is %s", h.Name, got)
		}
		if got := d.sh(h, "stat -c '%a %U' "+certFiles+" | tr '\\n' ' '"); got != "700 root 644 root 600 root 644 root" {
			d.Errorf("%s: modes are %s", h.Name, got)
		}
		for file, want := range map[string]string{"calico.cni": `{"name": "calico", "type": "calico", "etcd_endpoints": "http://localhost:2379", "ipam": {"type": "calico-ipam"}}`, "cni.conflist": kubeCNI("kubernetes", "")} {
			sameJSON(d.T, d.sh(h, "cat /opt/mesosphere/etc/dcos/network/cni/"+file), want)
		}
		if got := d.sh(h, "stat -c '%a %F' /opt/mesosphere/active/cni/calico"); got != "755 regular file" {
			d.Errorf("%s: the plugin is %s", h.Name, got)
		}
		if got := d.sh(h, "calicoctl node status"); strings.Count(got, "Established") != len(d.lab.Hosts)-1 {
			d.Errorf("%s has not all BGP sessions:\n%s", h.Name, got)
		}
		if i > 0 {
			if a, b := d.sh(h, "sha256sum < "+certDir+"/private.pem"), d.sh(d.lab.Hosts[0], "sha256sum < "+certDir+"/private.pem"); a != b {
				d.Errorf("%s has another key", h.Name)
			}
		}
	}
	d.certificateIsSound(d.lab.Hosts[0])
	sameJSON(d.T, d.optionsOfKubernetes(), `{"kubernetes": {"network_provider": "calico"}}`)
	if d.smoke == "" || !strings.HasPrefix(d.smoke, "192.168.") {
		d.Errorf("the task on the network calico had the address %q", d.smoke)
	}
}

const certDir = "/etc/calico/certs/kubernetes"
const certFiles = certDir + " " + certDir + "/crt.pem " + certDir + "/private.pem " + certDir + "/ca.pem"

func (d *dcosLab) optionsOfKubernetes() string {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.options
}

// certificateIsSound looks at F-22 with openssl: of the cluster's authority, with the addresses of all agents, and with its key.
func (d *dcosLab) certificateIsSound(h *testenv.Host) {
	d.Helper()
	text := d.sh(h, "cd "+certDir+" && openssl verify -CAfile ca.pem crt.pem && openssl x509 -in crt.pem -noout -subject -ext subjectAltName")
	for _, want := range append([]string{"crt.pem: OK", "CN = calico"}, d.addresses()...) {
		if !strings.Contains(text, want) {
			d.Errorf("the certificate lacks %s:\n%s", want, text)
		}
	}
	if got := d.sh(h, "cat "+certDir+"/ca.pem"); got != strings.TrimSpace(d.caPEM) {
		d.Errorf("ca.pem is\n%s", got)
	}
}

func (d *dcosLab) addresses() []string {
	var all []string
	for _, h := range d.lab.Hosts {
		all = append(all, h.Address.String())
	}
	return all
}

// makeProfiles does what the controller does: it gives Calico a profile for every namespace.
func (d *dcosLab) makeProfiles(namespaces []string, old bool) error {
	for _, n := range namespaces {
		if old {
			put := "curl -fsS -X PUT -d value=x http://localhost:2379/v2/keys/calico/v1/policy/profile/k8s_ns." + n
			if _, err := d.lab.Hosts[0].Sh(d.Context(), put); err != nil {
				return err
			}
			continue
		}
		object := fmt.Sprintf(`{"kind": "Profile", "apiVersion": "projectcalico.org/v3", "metadata": {"name": "kns.%s"}, "spec": {"ingress": [{"action": "Allow"}], "egress": [{"action": "Allow"}]}}`, n)
		text, err := json.Marshal(object)
		if err != nil {
			return err
		}
		cmd := "printf %s " + string(text) + " | calicoctl apply --config=/etc/calico/calicoctl.cfg -f -"
		if _, err := d.lab.Hosts[0].Sh(d.Context(), cmd); err != nil {
			return err
		}
	}
	return nil
}
