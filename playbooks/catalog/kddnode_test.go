package catalog_test

import (
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"strings"
	"testing"
)

// env is what a container is told: values as they are, ConfigMap keys as "key NAME/KEY", fields of the pod as "field PATH".
func env(container any) map[string]string {
	all := map[string]string{}
	for _, e := range list(get(container, "env")) {
		name := fmt.Sprint(get(e, "name"))
		switch {
		case get(e, "valueFrom", "configMapKeyRef") != nil:
			all[name] = fmt.Sprintf("key %v/%v", get(e, "valueFrom", "configMapKeyRef", "name"), get(e, "valueFrom", "configMapKeyRef", "key"))
		case get(e, "valueFrom", "fieldRef") != nil:
			all[name] = fmt.Sprintf("field %v", get(e, "valueFrom", "fieldRef", "fieldPath"))
		default:
			all[name] = get(e, "value").(string) // Kubernetes takes nothing but texts
		}
	}
	return all
}

// mounts are the mounts of a container, as "PATH=HOST PATH", with :ro where it may not write.
func mounts(t *testing.T, daemonSet object, container any) []string {
	t.Helper()
	hostPaths := map[any]any{}
	for _, v := range list(get(daemonSet, "spec", "template", "spec", "volumes")) {
		hostPaths[get(v, "name")] = get(v, "hostPath", "path")
		if p := get(v, "configMap", "name"); p != nil {
			hostPaths[get(v, "name")] = "configmap " + fmt.Sprint(p)
		}
	}
	var all []string
	for _, m := range list(get(container, "volumeMounts")) {
		path, known := hostPaths[get(m, "name")]
		if !known {
			t.Errorf("there is no volume %v", get(m, "name"))
		}
		line := fmt.Sprintf("%v=%v", get(m, "mountPath"), path)
		if get(m, "readOnly") == true {
			line += ":ro"
		}
		all = append(all, line)
	}
	slices.Sort(all)
	return all
}

// containers are the images of the containers of a kind, by name.
func containers(daemonSet object, kind string) map[string]string {
	all := map[string]string{}
	for _, c := range list(get(daemonSet, "spec", "template", "spec", kind)) {
		all[fmt.Sprint(get(c, "name"))] = fmt.Sprint(get(c, "image"))
	}
	return all
}

func container(t *testing.T, daemonSet object, name string) any {
	t.Helper()
	for _, kind := range []string{"containers", "initContainers"} {
		for _, c := range list(get(daemonSet, "spec", "template", "spec", kind)) {
			if get(c, "name") == name {
				return c
			}
		}
	}
	t.Fatalf("there is no container %s", name)
	return nil
}

func kddDaemonSet(t *testing.T, vars string, facts ...string) object {
	t.Helper()
	all := kddObjects(t, "calico_daemonset", "calico-node.yaml.j2", vars, facts...)
	if len(all) != 1 {
		t.Fatalf("got %s, want one DaemonSet", names(all))
	}
	return all[0]
}

func sameMap(t *testing.T, what string, got, want map[string]string) {
	t.Helper()
	for _, k := range slices.Sorted(maps.Keys(want)) {
		if g, ok := got[k]; !ok {
			t.Errorf("%s lacks %s=%s", what, k, want[k])
		} else if g != want[k] {
			t.Errorf("%s has %s=%s, want %s", what, k, g, want[k])
		}
	}
	for _, k := range slices.Sorted(maps.Keys(got)) {
		if _, ok := want[k]; !ok {
			t.Errorf("%s has %s=%s", what, k, got[k])
		}
	}
}

func lacking(m map[string]string, names ...string) map[string]string {
	out := maps.Clone(m)
	for _, n := range names {
		delete(out, n)
	}
	return out
}

func with(m map[string]string, pairs ...string) map[string]string {
	out := maps.Clone(m)
	for _, p := range pairs {
		name, value, _ := strings.Cut(p, "=")
		out[name] = value
	}
	return out
}

// seedNodeEnv is K-08 for Calico 2.6.
var seedNodeEnv = map[string]string{
	"DATASTORE_TYPE": "kubernetes", "FELIX_LOGSEVERITYSCREEN": "info", "CLUSTER_TYPE": "k8s,bgp", "CALICO_DISABLE_FILE_LOGGING": "true",
	"FELIX_DEFAULTENDPOINTTOHOSTACTION": "ACCEPT", "FELIX_IPV6SUPPORT": "false", "FELIX_IPINIPMTU": "1440", "WAIT_FOR_DATASTORE": "true",
	"CALICO_IPV4POOL_CIDR": "192.168.0.0/16", "CALICO_IPV4POOL_IPIP": "always", "FELIX_IPINIPENABLED": "true",
	"NODENAME": "field spec.nodeName", "IP": "", "FELIX_HEALTHENABLED": "true",
}

// modernNodeEnv is K-08 for Calico 3.28.
var modernNodeEnv = map[string]string{
	"DATASTORE_TYPE": "kubernetes", "FELIX_LOGSEVERITYSCREEN": "info", "CLUSTER_TYPE": "k8s,bgp", "CALICO_DISABLE_FILE_LOGGING": "true",
	"FELIX_DEFAULTENDPOINTTOHOSTACTION": "ACCEPT", "FELIX_IPV6SUPPORT": "false", "WAIT_FOR_DATASTORE": "true",
	"FELIX_IPINIPMTU": "key calico-config/veth_mtu", "FELIX_VXLANMTU": "key calico-config/veth_mtu", "FELIX_WIREGUARDMTU": "key calico-config/veth_mtu",
	"CALICO_IPV4POOL_CIDR": "192.168.0.0/16", "CALICO_IPV4POOL_IPIP": "Always", "CALICO_IPV4POOL_VXLAN": "Never",
	"CALICO_NETWORKING_BACKEND": "key calico-config/calico_backend", "FELIX_TYPHAK8SSERVICENAME": "key calico-config/typha_service_name",
	"NODENAME": "field spec.nodeName", "IP": "autodetect", "FELIX_HEALTHENABLED": "true",
}

// hostedEtcd are facts that make it K-08e: pods with the datastore in etcd, without TLS.
const hostedEtcd = `
datastore: etcd
etcd_endpoints: ["http://10.0.0.9:2379", "http://10.0.0.10:2379"]
`

const ownPool = "manage_pool: false\n"

// TestNodeEnv is what calico/node is told, exactly, in every option.
func TestNodeEnv(t *testing.T) {
	v30 := with(seedNodeEnv, "CALICO_IPV4POOL_IPIP=Always", "FELIX_TYPHAK8SSERVICENAME=key calico-config/typha_service_name", "IP=autodetect")
	policy := []string{"CLUSTER_TYPE=k8s", "CALICO_NETWORKING_BACKEND=none"}
	for name, c := range map[string]struct {
		vars, facts string
		want        map[string]string
	}{
		"2.6": {"calico_version: v2.6.12", factsOfOldCluster, seedNodeEnv},
		"2.6 policy-only": {"calico_version: v2.6.12\noption: policy-only", factsOfOldCluster,
			with(lacking(seedNodeEnv, "FELIX_IPINIPMTU", "FELIX_IPINIPENABLED"), policy...)},
		"3.0":      {"calico_version: v3.0.3", factsOfOldCluster, v30},
		"3.0 seed": {"calico_version: v3.0.3\nprofile: seed", factsOfOldCluster, with(v30, "IP=")},
		"CNX 2.0": {"calico_version: v3.0.3", factsOfOldCluster + "product: cnx",
			with(v30, "FELIX_PROMETHEUSREPORTERENABLED=true", "FELIX_PROMETHEUSREPORTERPORT=9081")},
		"3.28": {"", "", modernNodeEnv},
		"3.28 with calroll's pool": {"manage_pool: true", "",
			with(lacking(modernNodeEnv, "CALICO_IPV4POOL_CIDR", "CALICO_IPV4POOL_IPIP", "CALICO_IPV4POOL_VXLAN"), "NO_DEFAULT_POOLS=true")},
		"3.28 VXLAN": {"pool_encap: vxlan-always\npool_cidr: 10.244.0.0/16", "",
			with(modernNodeEnv, "CALICO_IPV4POOL_CIDR=10.244.0.0/16", "CALICO_IPV4POOL_IPIP=Never", "CALICO_IPV4POOL_VXLAN=Always")},
		"3.28 policy-only": {"option: policy-only", "",
			with(lacking(modernNodeEnv, "FELIX_IPINIPMTU", "FELIX_VXLANMTU", "FELIX_WIREGUARDMTU"), append(policy, "USE_POD_CIDR=true", "CALICO_MANAGE_CNI=true",
				"CALICO_IPV4POOL_IPIP=Never")...)},
		"3.28 canal": {"option: flannel\npool_cidr: 10.244.0.0/16", "",
			with(lacking(modernNodeEnv, "FELIX_IPINIPMTU", "FELIX_VXLANMTU", "FELIX_WIREGUARDMTU"), "CLUSTER_TYPE=k8s,canal", "CALICO_NETWORKING_BACKEND=none",
				"FELIX_IPTABLESREFRESHINTERVAL=60", "IP=", "USE_POD_CIDR=true", "CALICO_IPV4POOL_IPIP=Never", "CALICO_IPV4POOL_CIDR=10.244.0.0/16",
				"FELIX_TYPHAK8SSERVICENAME=key canal-config/typha_service_name", "CALICO_CNI_SERVICE_ACCOUNT=field spec.serviceAccountName")},
		"3.28 with etcd": {"", hostedEtcd,
			with(lacking(modernNodeEnv, "DATASTORE_TYPE", "WAIT_FOR_DATASTORE", "NODENAME", "FELIX_TYPHAK8SSERVICENAME"),
				"ETCD_ENDPOINTS=key calico-config/etcd_endpoints", "ETCD_CA_CERT_FILE=key calico-config/etcd_ca", "ETCD_KEY_FILE=key calico-config/etcd_key",
				"ETCD_CERT_FILE=key calico-config/etcd_cert", "CALICO_K8S_NODE_REF=field spec.nodeName")},
		"3.28 with a setting of Felix": {"felix_env: {FELIX_LOGSEVERITYSCREEN: debug}", "", with(modernNodeEnv, "FELIX_LOGSEVERITYSCREEN=debug")},
	} {
		t.Run(name, func(t *testing.T) {
			vars := c.vars
			if !strings.Contains(vars, "manage_pool") {
				vars = ownPool + vars
			}
			sameMap(t, "calico-node", env(container(t, kddDaemonSet(t, vars, c.facts), "calico-node")), c.want)
		})
	}
}

// TestNodeParts is the rest of K-08 to K-10: containers, what they mount, whom they tolerate, and how a kubelet asks them.
func TestNodeParts(t *testing.T) {
	seedMounts := []string{"/lib/modules=/lib/modules:ro", "/var/run/calico=/var/run/calico"}
	modernMounts := []string{"/host/etc/cni/net.d=/etc/cni/net.d", "/lib/modules=/lib/modules:ro", "/run/xtables.lock=/run/xtables.lock", "/sys/fs/bpf=/sys/fs/bpf",
		"/var/lib/calico=/var/lib/calico", "/var/log/calico/cni=/var/log/calico/cni:ro", "/var/run/calico=/var/run/calico", "/var/run/nodeagent=/var/run/nodeagent"}
	master := `[{"effect":"NoSchedule","key":"node-role.kubernetes.io/master"},{"key":"CriticalAddonsOnly","operator":"Exists"}]`
	everything := `[{"effect":"NoSchedule","operator":"Exists"},{"key":"CriticalAddonsOnly","operator":"Exists"},{"effect":"NoExecute","operator":"Exists"}]`
	httpProbe := func(path, host string) string {
		return `{"failureThreshold":6,"httpGet":{` + host + `"path":"` + path + `","port":9099},"initialDelaySeconds":10,"periodSeconds":10}`
	}
	for name, c := range map[string]struct {
		vars, facts, api  string
		containers, inits map[string]string
		mounts            []string
		tolerations, live string
		ready, install    string
	}{
		"2.6": {"calico_version: v2.6.12", factsOfOldCluster, "extensions/v1beta1",
			map[string]string{"calico-node": "quay.io/calico/node:v2.6.12", "install-cni": "quay.io/calico/cni:v1.11.8"}, map[string]string{}, seedMounts, master,
			httpProbe("/liveness", ""), `{"httpGet":{"path":"/readiness","port":9099},"periodSeconds":10}`, "/install-cni.sh"},
		"3.0": {"calico_version: v3.0.3", factsOfOldCluster, "extensions/v1beta1",
			map[string]string{"calico-node": "quay.io/calico/node:v3.0.3", "install-cni": "quay.io/calico/cni:v2.0.1"}, map[string]string{}, seedMounts, everything,
			httpProbe("/liveness", ""), `{"httpGet":{"path":"/readiness","port":9099},"periodSeconds":10}`, "/install-cni.sh"},
		"3.28": {"", "", "apps/v1",
			map[string]string{"calico-node": "docker.io/calico/node:v3.28.5"},
			map[string]string{"upgrade-ipam": "docker.io/calico/cni:v3.28.5", "install-cni": "docker.io/calico/cni:v3.28.5", "mount-bpffs": "docker.io/calico/node:v3.28.5"},
			modernMounts, everything,
			`{"exec":{"command":["/bin/calico-node","-felix-live","-bird-live"]},"failureThreshold":6,"initialDelaySeconds":10,"periodSeconds":10,"timeoutSeconds":10}`,
			`{"exec":{"command":["/bin/calico-node","-felix-ready","-bird-ready"]},"periodSeconds":10,"timeoutSeconds":10}`, "/opt/cni/bin/install"},
		"3.28 policy-only": {"option: policy-only", "", "apps/v1",
			map[string]string{"calico-node": "docker.io/calico/node:v3.28.5"},
			map[string]string{"install-cni": "docker.io/calico/cni:v3.28.5", "mount-bpffs": "docker.io/calico/node:v3.28.5"}, modernMounts, everything,
			`{"exec":{"command":["/bin/calico-node","-felix-live"]},"failureThreshold":6,"initialDelaySeconds":10,"periodSeconds":10,"timeoutSeconds":10}`,
			`{"exec":{"command":["/bin/calico-node","-felix-ready"]},"periodSeconds":10,"timeoutSeconds":10}`, "/opt/cni/bin/install"},
		"2.6 canal": {"calico_version: v2.6.12\noption: flannel", factsOfOldCluster, "extensions/v1beta1",
			map[string]string{"calico-node": "quay.io/calico/node:v2.6.12", "install-cni": "quay.io/calico/cni:v1.11.8", "kube-flannel": "quay.io/coreos/flannel:v0.9.1"},
			map[string]string{}, seedMounts, master, httpProbe("/liveness", ""), `{"httpGet":{"path":"/readiness","port":9099},"periodSeconds":10}`, "/install-cni.sh"},
		"3.28 canal": {"option: flannel", "", "apps/v1",
			map[string]string{"calico-node": "docker.io/calico/node:v3.28.5", "kube-flannel": "docker.io/flannel/flannel:v0.24.3"},
			map[string]string{"install-cni": "docker.io/calico/cni:v3.28.5", "mount-bpffs": "docker.io/calico/node:v3.28.5"}, modernMounts, everything,
			`{"exec":{"command":["/bin/calico-node","-felix-live"]},"failureThreshold":6,"initialDelaySeconds":10,"periodSeconds":10,"timeoutSeconds":10}`,
			`{"exec":{"command":["/bin/calico-node","-felix-ready"]},"periodSeconds":10,"timeoutSeconds":10}`, "/opt/cni/bin/install"},
	} {
		t.Run(name, func(t *testing.T) {
			ds := kddDaemonSet(t, ownPool+c.vars, c.facts)
			node := container(t, ds, "calico-node")
			if ds["apiVersion"] != c.api {
				t.Errorf("it is at %v, want %s", ds["apiVersion"], c.api)
			}
			sameMap(t, "containers", containers(ds, "containers"), c.containers)
			sameMap(t, "init containers", containers(ds, "initContainers"), c.inits)
			if got := mounts(t, ds, node); !slices.Equal(got, c.mounts) {
				t.Errorf("calico-node mounts %s, want %s", got, c.mounts)
			}
			for what, pair := range map[string][2]any{
				"tolerations":   {get(ds, "spec", "template", "spec", "tolerations"), c.tolerations},
				"livenessProbe": {get(node, "livenessProbe"), c.live}, "readinessProbe": {get(node, "readinessProbe"), c.ready},
				"command":     {get(container(t, ds, "install-cni"), "command"), `["` + c.install + `"]`},
				"hostNetwork": {get(ds, "spec", "template", "spec", "hostNetwork"), "true"},
				"privileged":  {get(node, "securityContext", "privileged"), "true"},
				"cpu":         {get(node, "resources", "requests", "cpu"), `"250m"`},
				"updates":     {get(ds, "spec", "updateStrategy"), `{"rollingUpdate":{"maxUnavailable":1},"type":"RollingUpdate"}`},
			} {
				if got, _ := json.Marshal(pair[0]); string(got) != pair[1] {
					t.Errorf("%s are %s, want %s", what, got, pair[1])
				}
			}
			for _, x := range []string{"install-cni", "kube-flannel", "upgrade-ipam", "mount-bpffs"} {
				if slices.Contains(slices.Collect(maps.Keys(c.containers)), x) || slices.Contains(slices.Collect(maps.Keys(c.inits)), x) {
					mounts(t, ds, container(t, ds, x)) // every volume is there
				}
			}
		})
	}
}

// TestInstallCNI is the container that puts the plugins and their file on the host.
func TestInstallCNI(t *testing.T) {
	for vars, want := range map[string]map[string]string{
		"calico_version: v2.6.12": {"CNI_CONF_NAME": "10-calico.conf", "CNI_NETWORK_CONFIG": "key calico-config/cni_network_config", "KUBERNETES_NODE_NAME": "field spec.nodeName"},
		"calico_version: v3.0.3":  {"CNI_CONF_NAME": "10-calico.conflist", "CNI_NETWORK_CONFIG": "key calico-config/cni_network_config", "KUBERNETES_NODE_NAME": "field spec.nodeName"},
		"calico_version: v3.28.5": {"CNI_CONF_NAME": "10-calico.conflist", "CNI_NETWORK_CONFIG": "key calico-config/cni_network_config", "KUBERNETES_NODE_NAME": "field spec.nodeName",
			"CNI_MTU": "key calico-config/veth_mtu", "SLEEP": "false"},
		"option: flannel": {"CNI_CONF_NAME": "10-canal.conflist", "CNI_NETWORK_CONFIG": "key canal-config/cni_network_config", "KUBERNETES_NODE_NAME": "field spec.nodeName",
			"CNI_MTU": "key canal-config/veth_mtu", "SLEEP": "false", "CALICO_CNI_SERVICE_ACCOUNT": "field spec.serviceAccountName"},
	} {
		sameMap(t, vars, env(container(t, kddDaemonSet(t, vars), "install-cni")), want)
	}
}

// TestConfigMap is K-06, with the CNI file of F-08 in it, word by word.
func TestConfigMap(t *testing.T) {
	for name, c := range map[string]struct {
		vars, facts string
		want        map[string]string
	}{
		"2.6": {"calico_version: v2.6.12\nmtu: 1500", factsOfOldCluster, map[string]string{"typha_service_name": "none", "cni_network_config": `{
			"name": "k8s-pod-network", "cniVersion": "0.1.0", "type": "calico", "log_level": "info", "datastore_type": "kubernetes",
			"nodename": "__KUBERNETES_NODE_NAME__", "mtu": 1500, "ipam": {"type": "host-local", "subnet": "usePodCidr"},
			"policy": {"type": "k8s", "k8s_auth_token": "__SERVICEACCOUNT_TOKEN__"},
			"kubernetes": {"k8s_api_root": "https://__KUBERNETES_SERVICE_HOST__:__KUBERNETES_SERVICE_PORT__", "kubeconfig": "__KUBECONFIG_FILEPATH__"}}`}},
		"3.0": {"calico_version: v3.0.3", factsOfOldCluster, map[string]string{"typha_service_name": "none", "calico_backend": "bird", "cni_network_config": `{
			"name": "k8s-pod-network", "cniVersion": "0.3.0", "plugins": [
			{"type": "calico", "log_level": "info", "datastore_type": "kubernetes",
			 "nodename": "__KUBERNETES_NODE_NAME__", "mtu": 1500, "ipam": {"type": "host-local", "subnet": "usePodCidr"},
			 "policy": {"type": "k8s", "k8s_auth_token": "__SERVICEACCOUNT_TOKEN__"},
			 "kubernetes": {"k8s_api_root": "https://__KUBERNETES_SERVICE_HOST__:__KUBERNETES_SERVICE_PORT__", "kubeconfig": "__KUBECONFIG_FILEPATH__"}},
			{"type": "portmap", "snat": true, "capabilities": {"portMappings": true}}]}`}},
		"3.28": {"typha: \"on\"", "", map[string]string{"typha_service_name": "calico-typha", "calico_backend": "bird", "veth_mtu": "0", "cni_network_config": `{
			"name": "k8s-pod-network", "cniVersion": "0.3.1", "plugins": [
			{"type": "calico", "log_level": "info", "log_file_path": "/var/log/calico/cni/cni.log", "datastore_type": "kubernetes",
			 "nodename": "__KUBERNETES_NODE_NAME__", "mtu": __CNI_MTU__, "ipam": {"type": "calico-ipam"}, "policy": {"type": "k8s"},
			 "kubernetes": {"kubeconfig": "__KUBECONFIG_FILEPATH__"}},
			{"type": "portmap", "snat": true, "capabilities": {"portMappings": true}},
			{"type": "bandwidth", "capabilities": {"bandwidth": true}}]}`}},
		"3.28 with etcd": {"", hostedEtcd, map[string]string{"typha_service_name": "none", "calico_backend": "bird", "veth_mtu": "0",
			"etcd_endpoints": "http://10.0.0.9:2379,http://10.0.0.10:2379", "etcd_ca": "", "etcd_cert": "", "etcd_key": "", "cni_network_config": `{
			"name": "k8s-pod-network", "cniVersion": "0.3.1", "plugins": [
			{"type": "calico", "log_level": "info", "log_file_path": "/var/log/calico/cni/cni.log", "etcd_endpoints": "__ETCD_ENDPOINTS__",
			 "etcd_key_file": "__ETCD_KEY_FILE__", "etcd_cert_file": "__ETCD_CERT_FILE__", "etcd_ca_cert_file": "__ETCD_CA_CERT_FILE__",
			 "mtu": __CNI_MTU__, "ipam": {"type": "calico-ipam"}, "policy": {"type": "k8s"}, "kubernetes": {"kubeconfig": "__KUBECONFIG_FILEPATH__"}},
			{"type": "portmap", "snat": true, "capabilities": {"portMappings": true}},
			{"type": "bandwidth", "capabilities": {"bandwidth": true}}]}`}},
		"3.28 canal": {"option: flannel\npool_cidr: 10.244.0.0/16\nflannel_iface: eth1\nmtu: 1400", "", map[string]string{"typha_service_name": "none", "veth_mtu": "1400",
			"canal_iface": "eth1", "masquerade": "true", "net-conf.json": `{"Network": "10.244.0.0/16", "Backend": {"Type": "vxlan"}}`, "cni_network_config": `{
			"name": "k8s-pod-network", "cniVersion": "0.3.1", "plugins": [
			{"type": "calico", "log_level": "info", "log_file_path": "/var/log/calico/cni/cni.log", "datastore_type": "kubernetes",
			 "nodename": "__KUBERNETES_NODE_NAME__", "mtu": __CNI_MTU__, "ipam": {"type": "host-local", "subnet": "usePodCidr"}, "policy": {"type": "k8s"},
			 "kubernetes": {"kubeconfig": "__KUBECONFIG_FILEPATH__"}},
			{"type": "portmap", "snat": true, "capabilities": {"portMappings": true}},
			{"type": "bandwidth", "capabilities": {"bandwidth": true}}]}`}},
	} {
		t.Run(name, func(t *testing.T) {
			all := kddObjects(t, "calico_config", "config.yaml.j2", c.vars, c.facts)
			got := map[string]string{}
			for key, v := range all[len(all)-1]["data"].(object) {
				got[key] = v.(string) // Kubernetes takes nothing but texts
			}
			for _, key := range []string{"cni_network_config", "net-conf.json"} {
				if want, ok := c.want[key]; ok {
					numbered := strings.NewReplacer("__CNI_MTU__", "1") // stands where a number does
					sameJSON(t, numbered.Replace(got[key]), numbered.Replace(want))
					delete(got, key)
					delete(c.want, key)
				}
			}
			sameMap(t, "the ConfigMap", got, c.want)
		})
	}
}
