package catalog_test

import (
	"encoding/json"
	"fmt"
	"strings"
	"testing"
)

// sameParts compares what stands at paths ("spec.replicas") with JSON.
func sameParts(t *testing.T, o any, want map[string]string) {
	t.Helper()
	for path, text := range want {
		var steps []any
		for s := range strings.SplitSeq(path, ".") {
			steps = append(steps, s)
		}
		if got, _ := json.Marshal(get(o, steps...)); string(got) != text {
			t.Errorf("%s is %s, want %s", path, got, text)
		}
	}
}

// TestControllers is K-03 and K-04. The account is named: without it the pod would be forbidden what its role allows.
func TestControllers(t *testing.T) {
	tolerations := `[{"key":"CriticalAddonsOnly","operator":"Exists"},{"effect":"NoSchedule","key":"node-role.kubernetes.io/master"},{"effect":"NoSchedule","key":"node-role.kubernetes.io/control-plane"}]`
	for name, c := range map[string]struct {
		template, vars, facts string
		env, parts            map[string]string
	}{
		"3.28": {"kube-controllers.yaml.j2", "", "", map[string]string{"DATASTORE_TYPE": "kubernetes", "ENABLED_CONTROLLERS": "node"}, map[string]string{
			"spec.template.spec.hostNetwork": "false", "spec.template.spec.serviceAccountName": `"calico-kube-controllers"`, "spec.template.spec.tolerations": tolerations,
			"spec.template.spec.priorityClassName": `"system-cluster-critical"`, "spec.template.spec.nodeSelector": `{"kubernetes.io/os":"linux"}`}},
		"3.28 with etcd": {"kube-controllers.yaml.j2", "", hostedEtcd, map[string]string{"ETCD_ENDPOINTS": "http://10.0.0.9:2379,http://10.0.0.10:2379",
			"ENABLED_CONTROLLERS": "policy,namespace,serviceaccount,workloadendpoint,node"}, map[string]string{"spec.template.spec.hostNetwork": "true"}},
		"2.6 with etcd": {"kube-controllers.yaml.j2", "calico_version: v2.6.12", hostedEtcd + factsOfOldCluster, map[string]string{"ETCD_ENDPOINTS": "http://10.0.0.9:2379,http://10.0.0.10:2379",
			"ENABLED_CONTROLLERS": "policy,profile,workloadendpoint,node"}, map[string]string{"spec.template.spec.hostNetwork": "true", "apiVersion": `"extensions/v1beta1"`,
			"spec.template.spec.priorityClassName": "null"}},
		"2.5 with etcd": {"policy-controller.yaml.j2", "calico_version: v2.5.1", hostedEtcd + factsOfOldCluster, map[string]string{"ETCD_ENDPOINTS": "http://10.0.0.9:2379,http://10.0.0.10:2379",
			"K8S_API": "https://kubernetes.default:443", "CONFIGURE_ETC_HOSTS": "true"}, map[string]string{"spec.template.spec.hostNetwork": "true",
			"metadata.name": `"calico-policy-controller"`, "spec.template.metadata.labels": `{"k8s-app":"calico-policy"}`, "spec.template.spec.serviceAccountName": `"calico-policy-controller"`}},
	} {
		t.Run(name, func(t *testing.T) {
			o := kddObjects(t, "kube_controllers", c.template, c.vars, c.facts)[0]
			sameMap(t, "the controllers", env(get(o, "spec", "template", "spec", "containers", 0)), c.env)
			sameParts(t, o, c.parts)
			sameParts(t, o, map[string]string{"spec.replicas": "1", "spec.strategy": `{"type":"Recreate"}`})
			if s, l := get(o, "spec", "selector", "matchLabels"), get(o, "spec", "template", "metadata", "labels"); fmt.Sprint(s) != fmt.Sprint(l) {
				t.Errorf("the selector %v is not the labels %v", s, l)
			}
		})
	}
}

// TestTypha is K-11, without and with TLS.
func TestTypha(t *testing.T) {
	plain := map[string]string{"TYPHA_LOGSEVERITYSCREEN": "info", "TYPHA_LOGFILEPATH": "none", "TYPHA_LOGSEVERITYSYS": "none", "TYPHA_CONNECTIONREBALANCINGMODE": "kubernetes",
		"TYPHA_DATASTORETYPE": "kubernetes", "TYPHA_HEALTHENABLED": "true", "TYPHA_SHUTDOWNTIMEOUTSECS": "300"}
	all := kddObjects(t, "typha", "typha.yaml.j2", "typha: \"on\"")
	sameParts(t, named(t, all, "Service", "calico-typha"), map[string]string{"spec.ports": `[{"name":"calico-typha","port":5473,"protocol":"TCP","targetPort":"calico-typha"}]`,
		"spec.selector": `{"k8s-app":"calico-typha"}`})
	d := named(t, all, "Deployment", "calico-typha")
	sameMap(t, "Typha", env(get(d, "spec", "template", "spec", "containers", 0)), plain)
	sameParts(t, d, map[string]string{"spec.replicas": "2", "spec.revisionHistoryLimit": "2", "spec.template.spec.hostNetwork": "true", "spec.template.spec.terminationGracePeriodSeconds": "300",
		"spec.strategy": `{"rollingUpdate":{"maxSurge":"100%","maxUnavailable":1},"type":"RollingUpdate"}`, "spec.template.spec.serviceAccountName": `"calico-typha"`})
	c := get(d, "spec", "template", "spec", "containers", 0)
	sameParts(t, c, map[string]string{"livenessProbe": `{"httpGet":{"host":"localhost","path":"/liveness","port":9098},"initialDelaySeconds":30,"periodSeconds":30,"timeoutSeconds":10}`,
		"readinessProbe": `{"httpGet":{"host":"localhost","path":"/readiness","port":9098},"periodSeconds":10,"timeoutSeconds":10}`,
		"ports":          `[{"containerPort":5473,"name":"calico-typha","protocol":"TCP"}]`})
	sameParts(t, named(t, all, "PodDisruptionBudget", "calico-typha"), map[string]string{"spec.maxUnavailable": "1"})

	const tls = "typha: \"on\"\ntypha_tls: true"
	sameMap(t, "Typha with TLS", env(get(named(t, kddObjects(t, "typha", "typha.yaml.j2", tls), "Deployment", "calico-typha"), "spec", "template", "spec", "containers", 0)),
		with(plain, "TYPHA_CAFILE=/typha-ca/typhaca.crt", "TYPHA_SERVERCERTFILE=/typha-certs/typha.crt", "TYPHA_SERVERKEYFILE=/typha-certs/typha.key", "TYPHA_CLIENTCN=calico-node"))
	node := container(t, kddDaemonSet(t, ownPool+tls), "calico-node")
	sameMap(t, "Felix with TLS", env(node), with(modernNodeEnv, "FELIX_TYPHACAFILE=/typha-ca/typhaca.crt", "FELIX_TYPHACERTFILE=/node-certs/node.crt",
		"FELIX_TYPHAKEYFILE=/node-certs/node.key", "FELIX_TYPHACN=calico-typha"))
}
