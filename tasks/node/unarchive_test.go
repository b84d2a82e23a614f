package node_test

import (
	"archive/tar"
	"bytes"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/calroll/calroll/tasks/journal"
)

// TestUnarchiveIsIdempotent covers what Ansible's module gets wrong: with owner, group or mode it is changed each time, and a link
// that leads elsewhere it does not see.
func TestUnarchiveIsIdempotent(t *testing.T) {
	root := t.TempDir()
	shell(t, makeArchives, root)
	run := func(a args) map[string]any { return runOne(t, do("unarchive", a), root) }
	a := args{"src": "@/s.tgz", "dest": "@/d", "owner": "daemon", "group": "1", "mode": "0711", "remote_src": true}
	for i, want := range []bool{true, false} {
		if r := run(a); r["changed"] != want {
			t.Errorf("run %d: changed is %v: %v", i+1, r["changed"], r)
		}
	}
	shell(t, "ln -sf other d/s/l", root)
	for i, want := range []bool{true, false} {
		if r := run(a); r["changed"] != want {
			t.Errorf("run %d after changing a link: changed is %v: %v", i+1, r["changed"], r)
		}
	}
}

func runOne(t *testing.T, s step, root string) map[string]any {
	t.Helper()
	j, err := journal.Open(t.TempDir(), "r", journal.Holder{})
	if err != nil {
		t.Fatal(err)
	}
	defer j.Close()
	return runModule(t, j, s, root)
}

// TestUnarchiveStaysInFolder tries archives that lead out of the folder.
func TestUnarchiveStaysInFolder(t *testing.T) {
	for name, headers := range map[string][]tar.Header{
		"leads out of the folder":                         {{Name: "../out", Typeflag: tar.TypeReg}},
		"would be unpacked through a link of the archive": {{Name: "l", Typeflag: tar.TypeSymlink, Linkname: "../elsewhere"}, {Name: "l/out", Typeflag: tar.TypeReg}},
	} {
		root := t.TempDir()
		shell(t, "mkdir d elsewhere", root)
		var b bytes.Buffer
		w := tar.NewWriter(&b)
		for _, h := range headers {
			if err := w.WriteHeader(&h); err != nil {
				t.Fatal(err)
			}
		}
		if err := w.Close(); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(filepath.Join(root, "x.tar"), b.Bytes(), 0o600); err != nil {
			t.Fatal(err)
		}
		r := runOne(t, do("unarchive", args{"src": "@/x.tar", "dest": "@/d", "remote_src": true}), root)
		if msg, _ := r["msg"].(string); r["failed"] != true || !strings.Contains(msg, name) {
			t.Errorf("want a failure that says %q, have %v", name, r)
		}
		for _, out := range []string{"out", "elsewhere/out"} {
			if _, err := os.Stat(filepath.Join(root, out)); err == nil {
				t.Errorf("%s was written", out)
			}
		}
	}
}
