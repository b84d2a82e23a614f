package main

import (
	"encoding/base64"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/calroll/calroll/runner"
	"github.com/calroll/calroll/testenv/kube"
)

const objects = `
- hosts: all
  gather_facts: false
  become: true
  module_defaults:
    kubernetes.core.k8s: {kubeconfig: /etc/kubernetes/admin.conf}
    kubernetes.core.k8s_info: {kubeconfig: /etc/kubernetes/admin.conf}
  tasks:
    - copy: {content: x, dest: /root/marker}
    - kubernetes.core.k8s:
        template: objects.yml.j2
        apply: true
        server_side_apply: {field_manager: calroll}
    - kubernetes.core.k8s_info: {kind: Secret, namespace: behind, name: hush}
      register: got
      no_log: true
    - assert: {that: "got.resources | length == 1 and got.api_found"}
      when: not ansible_check_mode
`

const objectsTemplate = `
apiVersion: v1
kind: Secret
metadata: {name: hush, namespace: behind}
stringData: {word: "{{ secret_word }}"}
---
apiVersion: v1
kind: Namespace
metadata: {name: behind}
`

// TestKubernetesBehindAHost: the API has a name that only the host knows and the kubeconfig is a file that only the host's root may read; the key that it
// names stands beside it. Another process takes it all back. Nothing that is secret is anywhere on the controller outside of a before-image.
func TestKubernetesBehindAHost(t *testing.T) {
	s := newRig(t, 1)
	h := s.lab.Hosts[0]
	api := kube.APIForTest(t, kube.APIOptions{Listen: s.lab.Gateway.String(), Controllers: true})
	hide(s, api)
	s.write("objects.yml.j2", objectsTemplate)
	book := s.write("play.yml", objects)
	password := []string{"--become-password-file", s.write("password", s.lab.Password+"\n")}
	as := slices.Concat(password, []string{"-e", "ansible_user=guarded", "-e", "@" + s.write("words.yml", "secret_word: hush-hush-word\n")})

	s.contains(s.calroll(runner.ExitOK, append([]string{"run", book, "--check", "--diff"}, as...)...), "changed=2")
	text := s.calroll(runner.ExitOK, append([]string{"run", book, "--diff", "-vvv"}, as...)...)
	s.contains(text, "changed=2")
	if strings.Contains(text, "hush-hush-word") || strings.Contains(text, base64.StdEncoding.EncodeToString([]byte("hush-hush-word"))) {
		t.Errorf("the Secret's value shows:\n%s", text)
	}
	leaves(s, keyIn(t, api))
	s.calroll(runner.ExitOK, append([]string{"rollback", "last"}, password...)...)
	if out, err := api.Kubectl(t.Context(), "get", "namespace", "behind").CombinedOutput(); err == nil || !strings.Contains(string(out), "NotFound") {
		t.Errorf("after the rollback: %s", out)
	}
	if s.sh(h, "ls /root/marker || true") != "" {
		t.Error("the rollback left a file")
	}
	s.contains(s.calroll(runner.ExitOK, append([]string{"run", book}, as...)...), "changed=2")
	s.contains(s.calroll(runner.ExitOK, append([]string{"run", book}, as...)...), "changed=0")
	leaves(s, keyIn(t, api))
}

// hide puts a kubeconfig on the host under whose server's name nobody else finds the API.
func hide(s *rig, api *kube.API) {
	s.Helper()
	h := s.lab.Hosts[0]
	raw, err := os.ReadFile(api.Kubeconfig)
	if err != nil {
		s.Fatal(err)
	}
	text := string(raw)
	text = strings.Replace(text, s.lab.Gateway.String(), "api.behind.invalid", 1)
	text = strings.Replace(text, "server:", "tls-server-name: "+s.lab.Gateway.String()+"\n        server:", 1)
	text = regexp.MustCompile(`client-key-data: .*`).ReplaceAllString(text, "client-key: admin.key")
	if err := h.WriteFile(s.Context(), "/etc/kubernetes/admin.conf", 0o600, []byte(text)); err != nil {
		s.Fatal(err)
	}
	key, err := base64.StdEncoding.DecodeString(keyIn(s.T, api))
	if err != nil {
		s.Fatal(err)
	}
	if err := h.WriteFile(s.Context(), "/etc/kubernetes/admin.key", 0o600, key); err != nil {
		s.Fatal(err)
	}
	s.sh(h, fmt.Sprintf("echo %s api.behind.invalid >> /etc/hosts", s.lab.Gateway))
}

// keyIn is the administrator's private key, as the kubeconfig has it.
func keyIn(t *testing.T, api *kube.API) string {
	t.Helper()
	raw, err := os.ReadFile(api.Kubeconfig)
	if err != nil {
		t.Fatal(err)
	}
	return strings.TrimSpace(string(regexp.MustCompile(`client-key-data: (.*)`).FindSubmatch(raw)[1]))
}

// leaves fails when the key is in any file that calroll wrote here.
func leaves(s *rig, key string) {
	s.Helper()
	plain, err := base64.StdEncoding.DecodeString(key)
	if err != nil {
		s.Fatal(err)
	}
	files := 0
	err = filepath.WalkDir(filepath.Join(s.dir, "state"), func(path string, d os.DirEntry, err error) error {
		if err != nil || !d.Type().IsRegular() {
			return err
		}
		files++
		text, err := os.ReadFile(path)
		for _, secret := range []string{key, string(plain), strings.Split(string(plain), "\n")[1], "hush-hush-word", base64.StdEncoding.EncodeToString([]byte("hush-hush-word"))} {
			if strings.Contains(string(text), secret) {
				s.Errorf("%s holds a secret", path)
			}
		}
		return err
	})
	if err != nil || files == 0 {
		s.Errorf("%d files, %v", files, err)
	}
}

// beside is a playbook that both tools run against the same API, each in a namespace of its own; what they register is compared.
const beside = `
- hosts: h1
  gather_facts: false
  vars:
    cm: {apiVersion: v1, kind: ConfigMap, metadata: {name: one, namespace: "{{ ns }}", labels: {app: x}}, data: {a: "1"}}
    seen: []
  tasks:
    - kubernetes.core.k8s: {kubeconfig: "{{ kubeconfig }}", kind: Namespace, name: "{{ ns }}"}
      register: r01
    - kubernetes.core.k8s: {kubeconfig: "{{ kubeconfig }}", kind: Namespace, name: "{{ ns }}"}
      register: r02
    - kubernetes.core.k8s: {kubeconfig: "{{ kubeconfig }}", definition: "{{ cm }}"}
      check_mode: true
      register: r03
    - kubernetes.core.k8s: {kubeconfig: "{{ kubeconfig }}", definition: "{{ cm }}"}
      register: r04
    - kubernetes.core.k8s: {kubeconfig: "{{ kubeconfig }}", definition: "{{ cm }}"}
      register: r05
    - kubernetes.core.k8s: {kubeconfig: "{{ kubeconfig }}", definition: "{{ cm | combine({'data': {'b': '2'}}, recursive=true) }}"}
      register: r06
    - kubernetes.core.k8s: {kubeconfig: "{{ kubeconfig }}", definition: "{{ cm | combine({'data': {'a': '5'}}) }}", force: true}
      register: r07
    - kubernetes.core.k8s: {kubeconfig: "{{ kubeconfig }}", definition: "{{ cm | combine({'metadata': {'name': 'applied', 'namespace': ns}}) }}", apply: true}
      register: r08
    - kubernetes.core.k8s: {kubeconfig: "{{ kubeconfig }}", definition: "{{ cm | combine({'metadata': {'name': 'applied', 'namespace': ns}}) }}", apply: true}
      register: r09
    - kubernetes.core.k8s: {kubeconfig: "{{ kubeconfig }}", definition: "{{ cm | combine({'metadata': {'name': 'applied', 'namespace': ns}, 'data': {'z': '1'}}) }}", apply: true}
      register: r10
    - kubernetes.core.k8s: {kubeconfig: "{{ kubeconfig }}", definition: "{{ cm | combine({'metadata': {'name': 'ssa', 'namespace': ns}}) }}", apply: true, server_side_apply: {field_manager: calroll}}
      register: r11
    - kubernetes.core.k8s: {kubeconfig: "{{ kubeconfig }}", definition: "{{ cm | combine({'metadata': {'name': 'ssa', 'namespace': ns}}) }}", apply: true, server_side_apply: {field_manager: calroll}}
      register: r12
    - kubernetes.core.k8s: {kubeconfig: "{{ kubeconfig }}", definition: "{{ cm | combine({'metadata': {'name': 'ssa', 'namespace': ns}, 'data': {'z': '1'}}) }}", apply: true, server_side_apply: {field_manager: calroll}}
      register: r13
    - kubernetes.core.k8s: {kubeconfig: "{{ kubeconfig }}", state: patched, definition: "{{ cm | combine({'metadata': {'name': 'none', 'namespace': ns}}) }}"}
      register: r14
    - kubernetes.core.k8s: {kubeconfig: "{{ kubeconfig }}", state: patched, kind: ConfigMap, name: one, namespace: "{{ ns }}", definition: {metadata: {labels: {more: "yes"}}}}
      register: r15
    - kubernetes.core.k8s: {kubeconfig: "{{ kubeconfig }}", definition: ["{{ cm }}", {apiVersion: v1, kind: ServiceAccount, metadata: {name: sa, namespace: "{{ ns }}"}}]}
      register: r16
    - kubernetes.core.k8s:
        kubeconfig: "{{ kubeconfig }}"
        wait: true
        wait_sleep: 1
        definition:
          apiVersion: apps/v1
          kind: Deployment
          metadata: {name: d, namespace: "{{ ns }}"}
          spec:
            replicas: 0
            selector: {matchLabels: {app: d}}
            template: {metadata: {labels: {app: d}}, spec: {containers: [{name: c, image: nothing}]}}
      register: r17
    - kubernetes.core.k8s: {kubeconfig: "{{ kubeconfig }}", api_version: apps/v1, kind: Deployment, name: d, namespace: "{{ ns }}", wait: true, wait_sleep: 1, wait_timeout: 2, definition: {spec: {replicas: 1}}}
      register: r18
      ignore_errors: true
    - kubernetes.core.k8s: {kubeconfig: "{{ kubeconfig }}", definition: {kind: Nothing, apiVersion: v1, metadata: {name: x}}}
      register: r19
      ignore_errors: true
    - kubernetes.core.k8s: {kubeconfig: "{{ kubeconfig }}", continue_on_error: true, definition: [{kind: Nothing, apiVersion: v1, metadata: {name: x}}, "{{ cm }}"]}
      register: r20
    - kubernetes.core.k8s: {kubeconfig: "{{ kubeconfig }}", label_selectors: ["app=y"], definition: "{{ cm }}"}
      register: r21
    - kubernetes.core.k8s: {kubeconfig: "{{ kubeconfig }}", state: absent, kind: ConfigMap, name: applied, namespace: "{{ ns }}"}
      register: r22
    - kubernetes.core.k8s: {kubeconfig: "{{ kubeconfig }}", state: absent, kind: ConfigMap, name: applied, namespace: "{{ ns }}"}
      register: r23
    - kubernetes.core.k8s_info: {kubeconfig: "{{ kubeconfig }}", kind: ConfigMap, namespace: "{{ ns }}", label_selectors: ["app=x"]}
      register: i1
    - kubernetes.core.k8s_info: {kubeconfig: "{{ kubeconfig }}", kind: cm, namespace: "{{ ns }}", field_selectors: ["metadata.name=ssa"]}
      register: i2
    - kubernetes.core.k8s_info: {kubeconfig: "{{ kubeconfig }}", kind: Nothing}
      register: i3
    - kubernetes.core.k8s_info: {kubeconfig: "{{ kubeconfig }}", kind: ConfigMap, name: none, namespace: "{{ ns }}"}
      register: i4
    - kubernetes.core.k8s_info: {kubeconfig: "{{ kubeconfig }}", api_version: apps/v1, kind: Deployment, namespace: "{{ ns }}", name: d}
      register: i5
    - kubernetes.core.k8s_cluster_info: {kubeconfig: "{{ kubeconfig }}"}
      register: c1
    - kubernetes.core.k8s: {kubeconfig: "{{ kubeconfig }}", definition: {apiVersion: v1, kind: Node, metadata: {name: "{{ ns }}"}}}
    - kubernetes.core.k8s_drain: {kubeconfig: "{{ kubeconfig }}", name: "{{ ns }}", state: cordon}
      register: d1
    - kubernetes.core.k8s_drain: {kubeconfig: "{{ kubeconfig }}", name: "{{ ns }}", state: cordon}
      register: d2
    - kubernetes.core.k8s_drain: {kubeconfig: "{{ kubeconfig }}", name: "{{ ns }}", state: uncordon}
      register: d3
    - kubernetes.core.k8s_drain: {kubeconfig: "{{ kubeconfig }}", name: "{{ ns }}", state: uncordon}
      register: d4
    - kubernetes.core.k8s_drain: {kubeconfig: "{{ kubeconfig }}", name: "{{ ns }}"}
      register: d5
    - kubernetes.core.k8s_drain: {kubeconfig: "{{ kubeconfig }}", name: nobody}
      register: d6
      ignore_errors: true
    - copy: {content: "{{ lookup('template', 'seen.j2') }}", dest: "{{ work }}/seen"}
`

// seen writes what can be compared of a result.
const seen = `{% for name in ['r01','r02','r03','r04','r05','r06','r07','r08','r09','r10','r11','r12','r13','r14','r15','r16','r17','r18','r19','r20','r21','r22','r23'] %}
{% set r = lookup('vars', name) %}
{{ name }} changed={{ r.changed }} failed={{ r.failed | default(false) }} method={{ r.method | default('-') }} data={{ (r.result | default({})).data | default('-') | to_json }} labels={{ ((r.result | default({})).metadata | default({})).labels | default('-') | to_json }} waited={{ 'duration' in r }} results={{ ((r.result | default({})).results | default([])) | map(attribute='changed') | list }}
{% endfor %}
{% for name in ['i1','i2','i3','i4','i5'] %}
{% set r = lookup('vars', name) %}
{{ name }} changed={{ r.changed }} found={{ r.api_found }} names={{ r.resources | map(attribute='metadata.name') | sort | list }} spec={{ r.resources | map(attribute='spec', default='-') | list | to_json(sort_keys=true) }}
{% endfor %}
r19 {{ r19.msg }}
i3 {{ i3.msg }}
c1 {{ c1.changed }} {{ c1.apis | sort | list }} {{ c1.apis['apps/v1'].Deployment | to_json(sort_keys=true) }} {{ c1.version.server.kubernetes.gitVersion }}
{% for name in ['d1','d2','d3','d4','d5','d6'] %}
{% set r = lookup('vars', name) %}
{{ name }} changed={{ r.changed }} failed={{ r.failed | default(false) }} result={{ r.result | default('-') }} msg={{ r.msg | default('-') }}
{% endfor %}
`

// TestKubernetesModulesDoWhatTheCollectionDoes runs one playbook through Ansible's collection and through calroll against one API.
func TestKubernetesModulesDoWhatTheCollectionDoes(t *testing.T) {
	if _, err := os.Stat("/usr/lib/python3/dist-packages/kubernetes/__init__.py"); err != nil {
		t.Fatal("cannot compare with the collection kubernetes.core: install python3-kubernetes (apt-get install python3-kubernetes)")
	}
	path, err := program()
	if err != nil {
		t.Fatal(err)
	}
	api := kube.APIForTest(t, kube.APIOptions{Controllers: true})
	theirs := besideOf(t, api, "theirs", "ansible-playbook")
	ours := besideOf(t, api, "ours", path, "run")
	if ours != theirs {
		t.Errorf("ansible:\n%s\ncalroll:\n%s", theirs, ours)
	}
}

func besideOf(t *testing.T, api *kube.API, name string, command ...string) string {
	t.Helper()
	dir := t.TempDir()
	for file, text := range map[string]string{"play.yml": beside, "seen.j2": seen, "hosts": "h1 ansible_connection=local ansible_python_interpreter=/usr/bin/python3\n"} {
		if err := os.WriteFile(filepath.Join(dir, file), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	cmd := exec.CommandContext(t.Context(), command[0], append(command[1:], "play.yml", "-i", "hosts", "-e", "ns="+name, "-e", "work="+dir, "-e", "kubeconfig="+api.Kubeconfig)...)
	cmd.Dir = dir
	cmd.Env = append(os.Environ(), "XDG_STATE_HOME="+dir+"/state", "ANSIBLE_HOME="+dir+"/.ansible", "LC_ALL=C.UTF-8")
	out, err := cmd.CombinedOutput()
	if err != nil {
		t.Fatalf("%s: %v\n%s", command[0], err, out)
	}
	text, err := os.ReadFile(filepath.Join(dir, "seen"))
	if err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	return strings.ReplaceAll(string(text), name, "NS")
}
