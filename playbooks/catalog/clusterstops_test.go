//go:build nightly

package catalog_test

import (
	"path/filepath"
	"testing"

	"github.com/calroll/calroll/testenv/kube"
)

// clusterLook is the head of a playbook that talks to Kubernetes, with everything that such playbooks evaluate, and a body that writes.
const clusterLook = `
- name: Look at the hosts and the cluster
  hosts: kube_control_plane:kube_node
  any_errors_fatal: true
  vars:
    datastore: kdd
    mode: hosted
    pool_encap: vxlan-always
    networking_backend: vxlan
    image_registry: registry.internal/
    cnx_objects_translated: true
  tasks:
    - name: Look at the hosts
      ansible.builtin.import_role: {name: host_facts}
    - name: Look at the cluster
      ansible.builtin.import_role: {name: kube_facts}
    - name: Check what was found
      ansible.builtin.import_role: {name: preflight}
      vars:
        preflight_topics: [host, node, cluster, release, installed, kdd, pools, scale, cnx]

- name: Write
  hosts: kube_control_plane:kube_node
  tasks:
    - name: Write
      ansible.builtin.copy: {content: x, dest: /etc/written}
`

const poolDefinition = `
apiVersion: apiextensions.k8s.io/v1
kind: CustomResourceDefinition
metadata: {name: ippools.crd.projectcalico.org}
spec:
  group: crd.projectcalico.org
  scope: Cluster
  names: {kind: IPPool, listKind: IPPoolList, plural: ippools, singular: ippool}
  versions:
  - {name: v1, served: true, storage: true, schema: {openAPIV3Schema: {type: object, x-kubernetes-preserve-unknown-fields: true}}}
`

const twoPools = `
apiVersion: crd.projectcalico.org/v1
kind: IPPool
metadata: {name: default-ipv4-ippool}
spec: {cidr: 192.168.0.0/16, ipipMode: Never, vxlanMode: Always}
---
apiVersion: crd.projectcalico.org/v1
kind: IPPool
metadata: {name: second}
spec: {cidr: 10.99.0.0/16, ipipMode: Never, vxlanMode: Never}
`

// TestClusterGatesStopTheRun: what is wrong with a real cluster ends the run before anything is written, at the right gate.
func TestClusterGatesStopTheRun(t *testing.T) {
	t.Parallel()
	exe, err := program()
	if err != nil {
		t.Fatal(err)
	}
	cluster := raise(t, kube.Options{})
	control, node := cluster.Control, cluster.Nodes()[0]
	file := filepath.Join(t.TempDir(), "look.yml")
	write(t, file, clusterLook)
	c := &network{T: t, lab: cluster.Lab, exe: exe}
	// Asked to stop, kube-apiserver waits a minute for those who watch.
	restart := " && systemctl daemon-reload && systemctl kill --signal=KILL kube-apiserver && timeout 60 sh -c 'until kubectl get --raw /readyz; do sleep 0.2; done'"
	const unit = "/etc/systemd/system/kube-apiserver.service"
	for _, s := range []stop{
		{name: "wrong kubeconfig", on: control, closed: "sed 's/server: .*/server: https:\\/\\/127.0.0.1:1/' /etc/kubernetes/admin.conf > /etc/kubernetes/other.conf", open: "rm /etc/kubernetes/other.conf",
			args: []string{"-e", "kubeconfig_admin=/etc/kubernetes/other.conf"}, says: []string{"G-25 stop on the cluster:", "with /etc/kubernetes/other.conf on " + control.Name, "127.0.0.1:1", "set kubeconfig_admin"}},
		{name: "pool is not the cluster CIDR", on: control, closed: "true", open: "true", args: []string{"-e", "pool_cidr=10.55.0.0/16"},
			says: []string{"G-17 stop on the cluster:", "pool_cidr is 10.55.0.0/16", "cluster CIDR 192.168.0.0/16 (the flag --cluster-cidr of kube-controller-manager on " + control.Name + ")", "set pool_cidr"}},
		{name: "aggregation", on: control, closed: "cp " + unit + " /run/unit && sed -i '/--proxy-client-/d' " + unit + restart, open: "cp /run/unit " + unit + restart,
			says: []string{"G-05 stop on the cluster:", "--proxy-client-cert-file, --proxy-client-key-file on " + control.Name, "aggregation layer"}},
		{name: "a machine that is no host", on: control, closed: "kubectl create -f - <<E\napiVersion: v1\nkind: Node\nmetadata: {name: stranger}\nspec: {podCIDR: 192.168.77.0/24}\nE", open: "kubectl delete node stranger",
			says: []string{"G-07 stop on the cluster:", "the nodes stranger are no hosts", "add them to the inventory"}},
		{name: "a name that no node has", on: node, closed: "true", open: "true", args: []string{"-e", "nodename=somebody", "-l", node.Name},
			says: []string{"G-07 stop on " + node.Name + ":", "the cluster has no node somebody"}},
		{name: "two pools", on: control, closed: "kubectl create -f - <<E\n" + poolDefinition + "\nE\nkubectl wait --for=condition=Established crd/ippools.crd.projectcalico.org && kubectl create -f - <<E\n" + twoPools + "\nE",
			open: "kubectl delete crd ippools.crd.projectcalico.org", says: []string{"G-22 stop on the cluster:", "the pool second 10.99.0.0/16", "name further pools in pool_others"}},
	} {
		t.Run(s.name, func(t *testing.T) {
			s.playbook, s.cluster = file, cluster
			s.check(&network{T: t, lab: c.lab, exe: exe})
		})
	}
	if o := c.calroll("run", file, "-C"); o.code != exitOK {
		t.Errorf("nothing is wrong with the cluster, and the run ends with %d:\n%s", o.code, o.text)
	}
}
