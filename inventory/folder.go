package inventory

import (
	"cmp"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"

	"github.com/calroll/calroll/playbooks/source"
	"github.com/calroll/calroll/playbooks/value"
)

// Folder is a directory with group_vars/ and host_vars/ in it. Files are read when first asked for, once.
// It is safe for use by many at a time.
type Folder struct {
	Dir string

	mu       sync.Mutex
	entries  map[string][]string // guarded by mu; names in group_vars and in host_vars
	files    map[string]read     // guarded by mu; by "group_vars/web"
	warnings source.Problems     // guarded by mu
}

// File is one file of variables.
type File struct {
	Path string
	Vars *value.Vars
}

type read struct {
	files []File
	err   error
}

// NewFolder is the folder dir, such as the one of a playbook; nothing is read yet.
func NewFolder(dir string) *Folder {
	return &Folder{Dir: dir, entries: map[string][]string{}, files: map[string]read{}}
}

// Group are the files with variables of a group, in the order in which they apply: group_vars/NAME and below, or the
// first of NAME.yml, NAME.yaml, NAME.json. Mistakes come as source.Problems.
func (f *Folder) Group(name string) ([]File, error) { return f.read("group_vars", name) }

// Host are the files with variables of a host, as for Group.
func (f *Folder) Host(name string) ([]File, error) { return f.read("host_vars", name) }

// Warnings are those of all files read so far.
func (f *Folder) Warnings() source.Problems {
	f.mu.Lock()
	defer f.mu.Unlock()
	return slices.Clone(f.warnings)
}

func (f *Folder) read(kind, name string) ([]File, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	key := kind + "/" + name
	if got, ok := f.files[key]; ok {
		return got.files, got.err
	}
	var got read
	var problems source.Problems
	for _, path := range f.find(kind, name) {
		file, err := f.readFile(path)
		problems.Add(source.Pos{File: path}, err)
		got.files = append(got.files, file)
	}
	got.err = problems.Err()
	f.files[key] = got
	return got.files, got.err
}

func (f *Folder) readFile(path string) (File, error) {
	text, err := os.ReadFile(path)
	if err != nil {
		return File{}, source.Errorf(source.Pos{File: path}, "cannot read variables: %w", err)
	}
	vars, warnings, err := value.ReadVars(path, text)
	f.warnings = append(f.warnings, warnings...)
	return File{path, vars}, err
}

var varEndings = []string{"", ".yml", ".yaml", ".json"}

// find is where the variables of name stand: the first of the endings that exists, a folder being all files in it.
func (f *Folder) find(kind, name string) []string {
	if strings.Contains(name, "/") {
		return nil
	}
	dir := filepath.Join(f.Dir, kind)
	entries, ok := f.entries[kind]
	if !ok {
		list, _ := os.ReadDir(dir) // a folder that is not there has nothing in it
		for _, e := range list {
			entries = append(entries, e.Name())
		}
		f.entries[kind] = entries
	}
	for _, ending := range varEndings {
		if _, found := slices.BinarySearchFunc(entries, name+ending, cmp.Compare[string]); found {
			path := filepath.Join(dir, name+ending)
			if isDir(path) {
				return filesBelow(path)
			}
			return []string{path}
		}
	}
	return nil
}

func isDir(path string) bool {
	info, err := os.Stat(path)
	return err == nil && info.IsDir()
}

// filesBelow are the files of variables in dir and the folders in it, in the order of their names. Hidden files,
// backups and other endings are left out.
func filesBelow(dir string) []string {
	var out []string
	list, _ := os.ReadDir(dir) // what cannot be listed has no files, as for Ansible
	for _, e := range list {
		name, path := e.Name(), filepath.Join(dir, e.Name())
		ending := filepath.Ext(name)
		switch {
		case strings.HasPrefix(name, ".") || strings.HasSuffix(name, "~"):
		case isDir(path):
			if ending == "" {
				out = append(out, filesBelow(path)...)
			}
		case slices.Contains(varEndings, ending):
			out = append(out, path)
		}
	}
	return out
}

// folders notes the folder of every source and reads the variables of all hosts and groups there, so that mistakes in
// them are reported with the rest. Of a folder named twice the last place counts.
func (l *loader) folders(sources []string) {
	for i, dir := range slices.Backward(folderOf(sources)) {
		if dir != "" && !slices.Contains(folderOf(sources)[i+1:], dir) {
			l.inv.Folders = append([]*Folder{NewFolder(dir)}, l.inv.Folders...)
		}
	}
	for _, f := range l.inv.Folders {
		for _, g := range l.inv.groups {
			_, err := f.Group(g.Name)
			l.problems.Add(source.Pos{File: f.Dir}, err)
		}
		for _, h := range l.inv.hosts {
			_, err := f.Host(h.Name)
			l.problems.Add(source.Pos{File: f.Dir}, err)
		}
		l.inv.Warnings = append(l.inv.Warnings, f.Warnings()...)
	}
}

// folderOf is where each source lies; empty for a list.
func folderOf(sources []string) []string {
	dirs := make([]string, len(sources))
	for i, s := range sources {
		if _, err := os.Stat(s); err != nil {
			continue
		}
		if dirs[i] = filepath.Dir(s); isDir(s) {
			dirs[i] = filepath.Clean(s)
		}
	}
	return dirs
}
