package cluster_test

import (
	"encoding/json"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

// TestEtcdSnapshot: a copy is one that etcd takes back, of either API, for the owner's eyes alone; check mode writes nothing.
func TestEtcdSnapshot(t *testing.T) {
	b := newBed(t, 1)
	b.etcdctl("put", "/kept", "value-of-v3")
	if r := b.run(false, map[string]any{"api": "v2", "state": "put", "key": "/calico/v1/kept", "value": "value-of-v2"}); r.Failed {
		t.Fatal(r.Msg)
	}
	dir := filepath.Join(t.TempDir(), "new")
	for _, c := range []struct{ api, file string }{{"v3", "etcd.db"}, {"v2", "calico.json"}} {
		file := filepath.Join(dir, c.file)
		if r := b.run(true, map[string]any{"api": c.api, "state": "snapshot", "dest": file}); r.Failed || r.Changed {
			t.Errorf("check mode of %s: %+v", c.api, r)
		}
		if _, err := os.Stat(dir); c.api == "v3" && !os.IsNotExist(err) {
			t.Errorf("check mode has made %s", dir)
		}
		r := b.run(false, map[string]any{"api": c.api, "state": "snapshot", "dest": file})
		if r.Failed || r.Changed || r.Values["dest"] != file {
			t.Fatalf("snapshot of %s: %+v", c.api, r)
		}
		if info, err := os.Stat(file); err != nil || info.Mode().Perm() != 0o600 || info.Size() != r.Values["size"] {
			t.Errorf("%s: %v, %v; the module says %v bytes", file, info, err, r.Values["size"])
		}
	}
	if got := restored(b, filepath.Join(dir, "etcd.db")); !strings.Contains(got, "value-of-v3") {
		t.Errorf("the restored data lack the value")
	}
	var values map[string]string
	if text, err := os.ReadFile(filepath.Join(dir, "calico.json")); err != nil || json.Unmarshal(text, &values) != nil || values["/calico/v1/kept"] != "value-of-v2" {
		t.Errorf("the copy of v2 is %s, %v", text, err)
	}
	if entries, err := os.ReadDir(dir); err != nil || len(entries) != 2 {
		t.Errorf("the folder has %v, %v", entries, err)
	}
	b.undo(true)
	if _, err := os.Stat(filepath.Join(dir, "etcd.db")); err != nil {
		t.Errorf("an undo has taken the copy: %v", err)
	}
}

// restored has etcd's own tool restore a snapshot, which checks its sum, and returns what lies in the database then.
func restored(b *bed, snapshot string) string {
	b.Helper()
	to := filepath.Join(b.TempDir(), "data")
	ctl := b.etcd.Command(b.Context()).Path
	if out, err := exec.CommandContext(b.Context(), ctl, "snapshot", "restore", snapshot, "--data-dir", to).CombinedOutput(); err != nil {
		b.Fatalf("etcdctl snapshot restore: %v\n%s", err, out)
	}
	text, err := os.ReadFile(filepath.Join(to, "member", "snap", "db"))
	if err != nil {
		b.Fatal(err)
	}
	return string(text)
}
