//go:build nightly

package catalog_test

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/calroll/calroll/testenv/artifacts"
)

// standInUpgrade stands in for calico-upgrade, which nobody can build any more: it notes its calls, says what the real one says when it succeeds, and
// alters the keys by which Calico 2 and Calico 3 know whether they may use their data. It converts nothing.
const standInUpgrade = `#!/bin/sh
dir=%[1]s v2=%[2]s/v2/keys/calico
echo "$1" >>$dir/calls
v3() { ETCDCTL_API=3 %[3]s --endpoints %[2]s "$@"; }
info=/calico/resources/v3/projectcalico.org/clusterinformations/default
ready() { curl -fsS -X PUT "$v2/v1/Ready" -d value=$1 >/dev/null; }
for arg; do case $arg in --apiconfigv[13]|--output-dir|--no-prompts|--ignore-v3-data|dry-run|start|abort|complete|/*) ;; *) echo "Invalid option: $arg"; exit 1 ;; esac; done
case $1 in
dry-run|start)
  if [ -n "$(v3 get --prefix --keys-only /calico/)" ]; then case "$*" in *--ignore-v3-data*) ;; *) echo "The v3 datastore is not clean"; exit 1 ;; esac; fi
  echo "Successfully validated v1 to v3 conversion."
  [ $1 = dry-run ] && exit 0
  ready false
  v3 put $info '{"kind":"ClusterInformation","spec":{"datastoreReady":false}}' >/dev/null
  if [ -e $dir/breaks ]; then echo "Failed to migrate Calico v1 data to v3 format."; exit 1; fi
  echo "Successfully migrated Calico v1 data to v3 format." ;;
abort) ready true; echo "Successfully aborted the upgrade process." ;;
complete) v3 put $info '{"kind":"ClusterInformation","spec":{"datastoreReady":true}}' >/dev/null; echo "Successfully completed the upgrade process." ;;
esac
`

// etcdMigrationPlay is what etcd-v2-to-v3 does to data, without what it does to hosts.
const etcdMigrationPlay = `
- hosts: all
  gather_facts: true
  any_errors_fatal: true
  tasks:
    - import_role: {name: migration_settings, tasks_from: validate}
    - import_role: {name: etcd_migration, tasks_from: look}
    - import_role: {name: preflight}
      vars: {preflight_topics: [etcd_migration]}
- hosts: kube_control_plane[0]
  gather_facts: false
  rollback: {scope: all}
  tasks:
    - import_role: {name: etcd_migration}
- hosts: all
  gather_facts: false
  tasks:
    - import_role: {name: etcd_migration, tasks_from: complete}
      when: migration_finish | bool
`

// TestEtcdMigration drives calico-upgrade in its order, aborts what fails, handles what an earlier attempt left, and knows the point of no return.
func TestEtcdMigration(t *testing.T) {
	exe, err := program()
	if err != nil {
		t.Fatal(err)
	}
	if _, err := exec.LookPath("curl"); err != nil {
		t.Fatal("curl is missing: install the package curl")
	}
	set, err := artifacts.Build(t.Context(), artifacts.Request{Parts: []artifacts.Part{artifacts.EtcdPrograms}}, artifacts.Options{})
	if err != nil {
		t.Fatal(err)
	}
	m := newMigration(t, nil, set, exe)
	etcd := m.etcdFor(artifacts.EtcdOptions{V2: true})
	play := filepath.Join(m.dir, "play.yml")
	write(t, play, etcdMigrationPlay)
	m.vars["with_kubernetes"], m.vars["calico_version"], m.vars["calico_upgrade_path"] = false, "v3.1.7", filepath.Join(m.dir, "calico-upgrade")

	m.stops("G-12", "nothing of Calico 2 in etcd", play, "migration_finish=false")
	m.v2(etcd, "v1/Ready", "true")
	m.v2(etcd, "v1/ipam/v4/pool/192.168.0.0-16", `{"cidr":"192.168.0.0/16"}`)
	m.stops("G-39", "there is no program", play, "migration_finish=false")
	write(t, filepath.Join(m.dir, "calico-upgrade"), fmt.Sprintf(standInUpgrade, m.dir, etcd.Endpoints()[0], set.Program("etcdctl")))
	if err := os.Chmod(filepath.Join(m.dir, "calico-upgrade"), 0o700); err != nil {
		t.Fatal(err)
	}
	m.stops("G-38", "costs pods that are made after it their network", play)

	// A start that fails is aborted, and what it left of Calico 3 is not taken for data.
	write(t, filepath.Join(m.dir, "breaks"), "")
	m.play(exitFailed, play, "migration_finish=false")
	m.called("dry-run start abort")
	m.states("true", "false")
	m.stops("G-39", "keys of Calico 3 already", play, "migration_finish=false")
	if err := os.Remove(filepath.Join(m.dir, "breaks")); err != nil {
		t.Fatal(err)
	}

	// Started and taken back before the last step.
	m.play(exitOK, play, `{"migration_finish": false, "v3_data": "delete"}`)
	m.called("dry-run start")
	m.states("false", "false")
	kept, err := os.ReadFile(filepath.Join(m.dir, "migration", "calico-v2.json"))
	if err != nil || !strings.Contains(string(kept), "/calico/v1/ipam/v4/pool/192.168.0.0-16") {
		t.Errorf("the backup is %s, %v", kept, err)
	}
	m.back(exitOK)
	m.called("abort")
	m.states("true", "false")

	// All the way in two runs, the second of which goes on where the first stopped.
	m.play(exitOK, play, `{"migration_finish": false, "v3_data": "ignore"}`)
	m.play(exitOK, play, `{"ack": ["G-38"]}`)
	m.called("dry-run start complete")
	m.states("false", "true")
	if o := m.back(exitFailed); !strings.Contains(o.text, "pods that were made since would lose their network") {
		t.Errorf("the rollback says\n%s", o.text)
	}
	m.unchanged(play, `{"ack": ["G-38"]}`)
	m.called("")
}

// v2 writes a key of Calico 2.
func (m *migration) v2(etcd *artifacts.Etcd, key, value string) {
	m.Helper()
	if out, err := exec.CommandContext(m.Context(), "curl", "-fsS", "-X", "PUT", etcd.Endpoints()[0]+"/v2/keys/calico/"+key, "--data-urlencode", "value="+value).CombinedOutput(); err != nil {
		m.Fatalf("%v\n%s", err, out)
	}
}

// called demands the calls of calico-upgrade since the last time.
func (m *migration) called(want string) {
	m.Helper()
	file := filepath.Join(m.dir, "calls")
	raw, err := os.ReadFile(file)
	if err != nil && !os.IsNotExist(err) {
		m.Fatal(err)
	}
	if got := strings.Join(strings.Fields(string(raw)), " "); got != want {
		m.Errorf("calico-upgrade was called %q, not %q", got, want)
	}
	_ = os.Remove(file)
}

// states demands which of Calico 2 and Calico 3 may use their data.
func (m *migration) states(two, three string) {
	m.Helper()
	endpoint := m.vars["etcd_endpoints"].([]string)[0]
	raw, err := exec.CommandContext(m.Context(), "curl", "-fsS", endpoint+"/v2/keys/calico/v1/Ready").Output()
	if err != nil || !strings.Contains(string(raw), `"value":"`+two+`"`) {
		m.Errorf("for Calico 2 ready is %s (%v), not %s", raw, err, two)
	}
	cmd := exec.CommandContext(m.Context(), m.set.Program("etcdctl"), "--endpoints", endpoint, "get", "--prefix", "--print-value-only", "/calico/")
	cmd.Env = append(os.Environ(), "ETCDCTL_API=3")
	raw, err = cmd.Output()
	if err != nil || !strings.Contains(string(raw), `"datastoreReady":`+three) {
		m.Errorf("for Calico 3 ready is %s (%v), not %s", raw, err, three)
	}
}
