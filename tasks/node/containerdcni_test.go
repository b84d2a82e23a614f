package node_test

import (
	"os"
	"path/filepath"
	"testing"
)

// TestContainerdCNI: the folders get into the table of the file's version, and only when containerd would look elsewhere.
func TestContainerdCNI(t *testing.T) {
	cni := func(a ...any) step {
		return do("containerd_cni", pairs(append([]any{"path", "@/etc/config.toml"}, a...)))
	}
	old, list := []any{"containerd_version", "1.7.2"}, []any{"containerd_version", "2.1.0"}
	elsewhere := []any{"bin_dir", "/x/bin", "conf_dir", "/x/net.d"}
	v1 := "[plugins.cri.cni]\n  bin_dir = \"/opt/cni/bin\"\n"
	tests := []struct {
		name, text, want string
		args             []any
	}{
		{"no file, defaults", "", "", old},
		{"no file", "", "version = 2\n\n[plugins.\"io.containerd.grpc.v1.cri\".cni]\n  conf_dir = \"/x/net.d\"\n  bin_dir = \"/x/bin\"\n", append(elsewhere, old...)},
		{"no file, a list", "", "version = 3\n\n[plugins.\"io.containerd.cri.v1.runtime\".cni]\n  conf_dir = \"/x/net.d\"\n  bin_dirs = [\"/x/bin\"]\n", append(elsewhere, list...)},
		{"version 1, defaults", v1, v1, old},
		{"version 1", v1, "[plugins.cri.cni]\n  conf_dir = \"/x/net.d\"\n  bin_dir = \"/x/bin\"\n", append(elsewhere, old...)},
		{"version 2 with a slash", "version = 2\n[plugins.\"io.containerd.grpc.v1.cri\".cni]\nbin_dir = \"/opt/cni/bin/\"\n", "version = 2\n[plugins.\"io.containerd.grpc.v1.cri\".cni]\nbin_dir = \"/opt/cni/bin/\"\n", old},
		{"a list takes the place of the text", "version = 3\n[plugins.'io.containerd.cri.v1.runtime'.cni]\nbin_dir = '/y'\n", "version = 3\n[plugins.'io.containerd.cri.v1.runtime'.cni]\n  conf_dir = \"/x/net.d\"\n  bin_dirs = [\"/x/bin\"]\n", append(elsewhere, list...)},
		{"a list that is right", "version = 3\n[plugins.'io.containerd.cri.v1.runtime'.cni]\nbin_dirs = ['/opt/cni/bin']\n", "version = 3\n[plugins.'io.containerd.cri.v1.runtime'.cni]\nbin_dirs = ['/opt/cni/bin']\n", list},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			root := filepath.Join(t.TempDir(), "calroll")
			file := filepath.Join(newDir(t, filepath.Join(root, "etc")), "config.toml")
			if tt.text != "" {
				if err := os.WriteFile(file, []byte(tt.text), 0o640); err != nil {
					t.Fatal(err)
				}
			}
			start, runs := tree(t, root), t.TempDir()
			r := runModulesFor(t, sameAs{steps: []step{checked(cni(tt.args...)), cni(tt.args...), cni(tt.args...)}}, root, runs)
			changes := tt.want != tt.text
			if r[0]["changed"] != changes || r[1]["changed"] != changes || r[2]["changed"] != false || r[2]["failed"] != false {
				t.Errorf("the answers are %v", r)
			}
			if got, err := os.ReadFile(file); string(got) != tt.want || err != nil && tt.want != "" {
				t.Errorf("%v\n%s\nwant\n%s", err, got, tt.want)
			}
			undoAll(t, runs, root, start)
		})
	}
}
