package node

import (
	"context"
	"os"
	"path/filepath"
	"reflect"
	"regexp"
	"strconv"

	"github.com/pelletier/go-toml/v2"

	"github.com/calroll/calroll/tasks"
	"github.com/calroll/calroll/tasks/argv"
)

var _ = register("containerd_cni", func() tasks.Module { return &ContainerdCNI{} })

// ContainerdCNI sees to the folders in which containerd looks for CNI files and programs. The configuration is edited, all else of it left as it
// is, only when containerd would look elsewhere. It knows the three versions of the file, and the list bin_dirs that takes the place of
// bin_dir from containerd 2.1 on (which refuses bin_dir beside a list of its own). containerd is not restarted.
type ContainerdCNI struct {
	Path    tasks.Path `arg:"path,default=/etc/containerd/config.toml" doc:"containerd's configuration"`
	ConfDir string     `arg:"conf_dir,default=/etc/cni/net.d" doc:"folder of CNI files"`
	BinDir  string     `arg:"bin_dir,default=/opt/cni/bin" doc:"folder of CNI programs"`
	Version string     `arg:"containerd_version" doc:"such as 1.7.2; default: what containerd --version says"`
}

// Run edits the file if the folders are others.
func (m *ContainerdCNI) Run(ctx context.Context, sys *tasks.Sys) (r tasks.Result, err error) {
	path := m.Path.Expand()
	raw, err := os.ReadFile(path)
	if err != nil && !os.IsNotExist(err) {
		return r, fail("cannot read %s: %v", path, err)
	}
	doc := map[string]any{}
	if err := toml.Unmarshal(raw, &doc); err != nil {
		return r, fail("cannot read %s: %v", path, err)
	}
	major, minor, err := m.release(ctx, sys)
	if err != nil {
		return r, err
	}
	text := string(raw)
	if len(doc) == 0 { // containerd's defaults: a file that says nothing else must say its version
		version := "version = 2\n"
		if major >= 2 {
			version = "version = 3\n"
		}
		text = version + text
		_ = toml.Unmarshal([]byte(text), &doc) // is made just above
	}
	table := cniTable(doc)
	r.Set("path", path)
	r.Set("table", table)
	conf, bins := m.effective(argv.Table(doc, table))
	r.Set("conf_dir", conf)
	r.Set("bin_dirs", bins)
	if filepath.Clean(conf) == filepath.Clean(m.ConfDir) && len(bins) == 1 && filepath.Clean(bins[0]) == filepath.Clean(m.BinDir) {
		return r, nil
	}
	want := argv.Settings{"conf_dir": m.ConfDir, "bin_dir": m.BinDir}
	if major > 2 || major == 2 && minor >= 1 {
		want["bin_dir"], want["bin_dirs"] = nil, []string{m.BinDir}
	}
	if text, err = argv.EditTOML(text, table, want); err != nil {
		return r, fail("cannot edit %s: %v", path, err)
	}
	if _, err := makeDirs(ctx, sys, filepath.Dir(path), tasks.Attrs{}); err != nil {
		return r, err
	}
	r.Changed, err = sys.WriteFile(ctx, path, tasks.Text([]byte(text)), tasks.Attrs{}, tasks.WriteOptions{Follow: true})
	r.Set("conf_dir", m.ConfDir)
	r.Set("bin_dirs", []string{m.BinDir})
	return r, err
}

// cniTable is where a file of its version keeps the folders.
func cniTable(doc map[string]any) []string {
	switch version, _ := doc["version"].(int64); version {
	case 0, 1:
		return []string{"plugins", "cri", "cni"}
	case 2:
		return []string{"plugins", "io.containerd.grpc.v1.cri", "cni"}
	}
	return []string{"plugins", "io.containerd.cri.v1.runtime", "cni"}
}

// effective are the folders that containerd takes, with its defaults for those that are not given.
func (m *ContainerdCNI) effective(table map[string]any) (conf string, bins []string) {
	conf, bins = "/etc/cni/net.d", []string{"/opt/cni/bin"}
	if v, ok := table["conf_dir"].(string); ok && v != "" {
		conf = v
	}
	if list, ok := table["bin_dirs"].([]any); ok && len(list) > 0 {
		bins = nil
		for _, v := range list {
			text, _ := v.(string)
			bins = append(bins, text)
		}
	}
	if v, ok := table["bin_dir"].(string); ok && v != "" && (reflect.DeepEqual(bins, []string{"/opt/cni/bin"})) {
		bins = []string{v}
	}
	return conf, bins
}

var releaseNumber = regexp.MustCompile(`\bv?(\d+)\.(\d+)\.\d+`)

// release is containerd's version.
func (m *ContainerdCNI) release(ctx context.Context, sys *tasks.Sys) (major, minor int, err error) {
	text := m.Version
	if text == "" {
		out, err := sys.Exec(ctx, tasks.Cmd{Argv: []string{"containerd", "--version"}})
		if err != nil {
			return 0, 0, err
		}
		text = string(out.Stdout)
	}
	found := releaseNumber.FindStringSubmatch(text)
	if found == nil {
		return 0, 0, fail("cannot tell containerd's version from %q", text)
	}
	major, _ = strconv.Atoi(found[1]) // digits
	minor, _ = strconv.Atoi(found[2])
	return major, minor, nil
}
