package kube

import (
	encoding "encoding/base64"
	"path/filepath"
)

// Addresses of a lab's cluster. They overlap with nothing that a lab's network may have.
const (
	ServiceCIDR    = "10.96.0.0/16"
	ServiceAddress = "10.96.0.1" // of the API itself
	ClusterCIDR    = "192.168.0.0/16"
)

func base64(b []byte) string { return encoding.StdEncoding.EncodeToString(b) }

// apiServerFlags are kube-apiserver's. dir has the certificates (PKI.Write); etcd are flags that say where etcd is; address is where it listens
// and what it tells clients.
func apiServerFlags(dir string, etcd []string, address, port string) []string {
	in := func(name string) string { return filepath.Join(dir, name) }
	return append(etcd,
		"--bind-address="+address, "--advertise-address="+address, "--secure-port="+port,
		"--service-cluster-ip-range="+ServiceCIDR, "--authorization-mode=Node,RBAC", "--enable-admission-plugins=NodeRestriction",
		"--allow-privileged=true", "--anonymous-auth=true", "--profiling=false",
		"--client-ca-file="+in("ca.crt"), "--tls-cert-file="+in("apiserver.crt"), "--tls-private-key-file="+in("apiserver.key"),
		"--kubelet-client-certificate="+in("apiserver-kubelet-client.crt"), "--kubelet-client-key="+in("apiserver-kubelet-client.key"),
		"--kubelet-certificate-authority="+in("ca.crt"),
		"--kubelet-preferred-address-types=InternalIP", // or it would look a node's name up in DNS, which a lab has not
		"--service-account-issuer=https://kubernetes.default.svc.cluster.local",
		"--service-account-key-file="+in("sa.pub"), "--service-account-signing-key-file="+in("sa.key"),
		"--requestheader-client-ca-file="+in("front-proxy-ca.crt"), "--requestheader-allowed-names=front-proxy-client",
		"--requestheader-username-headers=X-Remote-User", "--requestheader-group-headers=X-Remote-Group",
		"--requestheader-extra-headers-prefix=X-Remote-Extra-",
		"--proxy-client-cert-file="+in("front-proxy-client.crt"), "--proxy-client-key-file="+in("front-proxy-client.key"),
		"--enable-aggregator-routing=true", // no kube-proxy runs beside it
		"--endpoint-reconciler-type=lease",
		"--shutdown-watch-termination-grace-period=2s") // or it waits for a minute before a restart, and nodes count as lost
}

// controllerManagerFlags are kube-controller-manager's. dir has the certificates, kubeconfig the way to the API.
func controllerManagerFlags(dir, kubeconfig string) []string {
	in := func(name string) string { return filepath.Join(dir, name) }
	return []string{
		"--kubeconfig=" + kubeconfig, "--authentication-kubeconfig=" + kubeconfig, "--authorization-kubeconfig=" + kubeconfig,
		"--bind-address=127.0.0.1", "--leader-elect=false", "--use-service-account-credentials=true",
		"--service-account-private-key-file=" + in("sa.key"), "--root-ca-file=" + in("ca.crt"),
		"--cluster-signing-cert-file=" + in("ca.crt"), "--cluster-signing-key-file=" + in("ca.key"),
		"--kube-api-qps=200", "--kube-api-burst=400", // at its usual 20 it needs half a minute to start
		"--allocate-node-cidrs=true", "--cluster-cidr=" + ClusterCIDR, "--service-cluster-ip-range=" + ServiceCIDR,
	}
}

// schedulerFlags are kube-scheduler's.
func schedulerFlags(kubeconfig string) []string {
	return []string{"--kubeconfig=" + kubeconfig, "--authentication-kubeconfig=" + kubeconfig, "--authorization-kubeconfig=" + kubeconfig,
		"--bind-address=127.0.0.1", "--leader-elect=false"}
}

// proxyFlags are kube-proxy's. A host may neither raise what the machine allows of connections nor lower its score for the day memory runs out.
func proxyFlags(kubeconfig string) []string {
	return []string{"--kubeconfig=" + kubeconfig, "--proxy-mode=iptables", "--cluster-cidr=" + ClusterCIDR,
		"--conntrack-max-per-core=0", "--oom-score-adj=0"}
}

// etcdFlags are those of the one member of a cluster's etcd. It does not sync to disk: its data survives the end of a host, not of the machine.
func etcdFlags(address, name string) []string {
	in := func(file string) string { return pkiDir + "/etcd/" + file }
	peer := "https://" + address + ":2380"
	return []string{"--name=" + name, "--data-dir=/var/lib/etcd", "--unsafe-no-fsync", "--log-level=warn",
		"--listen-client-urls=https://127.0.0.1:2379,https://" + address + ":2379", "--advertise-client-urls=https://" + address + ":2379",
		"--listen-peer-urls=" + peer, "--initial-advertise-peer-urls=" + peer, "--initial-cluster=" + name + "=" + peer,
		"--client-cert-auth", "--trusted-ca-file=" + in("ca.crt"), "--cert-file=" + in("server.crt"), "--key-file=" + in("server.key"),
		"--peer-client-cert-auth", "--peer-trusted-ca-file=" + in("ca.crt"), "--peer-cert-file=" + in("peer.crt"), "--peer-key-file=" + in("peer.key"),
		"--heartbeat-interval=20", "--election-timeout=100", // alone it only waits for its own election
	}
}
