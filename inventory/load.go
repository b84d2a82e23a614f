package inventory

import (
	"bytes"
	"context"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/calroll/calroll/playbooks/source"
	"github.com/calroll/calroll/playbooks/value"
)

// loader reads sources into an inventory and collects what is wrong with them.
type loader struct {
	ctx      context.Context // ends scripts
	inv      *Inventory
	problems source.Problems
}

// Load reads sources in order: paths of files, folders and executable scripts, and lists of hosts with a comma in
// them ("web1,web2", "web1,"). The error is source.Problems: everything that is wrong in all of them. Cancelling ctx
// ends running scripts.
func Load(ctx context.Context, sources []string) (*Inventory, error) {
	l := &loader{ctx: ctx, inv: newInventory()}
	for _, s := range sources {
		l.source(s)
	}
	l.inv.settle()
	l.folders(sources)
	l.nameClashes()
	l.absences(time.Now())
	if err := l.problems.Err(); err != nil {
		return nil, err
	}
	return l.inv, nil
}

func (l *loader) source(s string) {
	info, err := os.Stat(s)
	switch {
	case err != nil && strings.Contains(s, ","):
		l.list(s)
	case os.IsNotExist(err):
		l.problems.Addf(source.Pos{File: s}, "cannot read the inventory: there is no such file").
			WithHint("to name a host here, put a comma behind it: -i %s,", s)
	case err != nil:
		l.problems.Addf(source.Pos{File: s}, "cannot read the inventory: %w", err)
	case info.IsDir():
		l.folder(s)
	default:
		l.file(s, info.Mode()&0o111 != 0)
	}
}

// list reads "web1,web2:2222,db[1:3]".
func (l *loader) list(s string) {
	for entry := range strings.SplitSeq(s, ",") {
		entry = strings.TrimSpace(entry)
		if entry == "" {
			continue
		}
		names, port, err := expandHosts(entry)
		l.problems.Add(source.Pos{}, err)
		for _, name := range names {
			if l.inv.hostNamed[name] != nil {
				continue
			}
			h := l.inv.host(name, l.inv.groupOf["ungrouped"], source.Pos{}, "")
			h.Source = s
			if port != 0 {
				h.Vars.Put("ansible_port", port, source.Pos{})
			}
		}
	}
}

// Endings of files that are no inventory when they lie in a folder of inventories (.ini is among them, as under Ansible).
var ignoredEndings = []string{".pyc", ".pyo", ".swp", ".bak", "~", ".rpm", ".md", ".txt", ".rst", ".orig", ".ini", ".cfg", ".retry"}
var ignoredNames = []string{"host_vars", "group_vars", "vars_plugins"}

// folder reads every inventory in a folder, in the order of their names.
func (l *loader) folder(dir string) {
	entries, err := os.ReadDir(dir)
	if err != nil {
		l.problems.Addf(source.Pos{File: dir}, "cannot read the inventory: %w", err)
		return
	}
	for _, e := range entries { // ReadDir sorts by name
		name := e.Name()
		ignored := strings.HasPrefix(name, ".") || slices.Contains(ignoredNames, name) ||
			slices.ContainsFunc(ignoredEndings, func(end string) bool { return strings.HasSuffix(name, end) })
		if !ignored {
			l.source(filepath.Join(dir, name))
		}
	}
}

func (l *loader) file(path string, executable bool) {
	text, err := os.ReadFile(path)
	if err != nil {
		l.problems.Addf(source.Pos{File: path}, "cannot read the inventory: %w", err)
		return
	}
	isScript := bytes.HasPrefix(text, []byte("#!"))
	ending := filepath.Ext(path)
	switch {
	case executable && (isScript || bytes.HasPrefix(text, []byte("\x7fELF"))):
		l.script(path)
	case isScript:
		l.problems.Addf(source.Pos{File: path, Line: 1, Col: 1}, "cannot run the inventory script: it is not executable").WithHint("chmod +x %s", path)
	case ending == ".yml" || ending == ".yaml" || ending == ".json":
		docs, err := value.ReadYAML(path, text)
		l.problems.Add(source.Pos{File: path}, err)
		if err == nil {
			l.readYAML(path, docs)
		}
	case ending == ".toml":
		l.problems.Addf(source.Pos{File: path}, "cannot read the inventory: TOML is not supported").WithHint("write it in YAML")
	case ending == "":
		l.guess(path, text)
	default:
		l.readINI(path, text)
	}
}

// guess reads a file without an ending: as YAML when it is a mapping of groups, else as INI.
func (l *loader) guess(path string, text []byte) {
	docs, err := value.ReadYAML(path, text)
	switch {
	case err == nil && looksLikeGroups(docs):
		l.readYAML(path, docs)
	case err != nil && looksLikeYAML(text):
		l.problems.Add(source.Pos{File: path}, err)
	default:
		l.readINI(path, text)
	}
}

// looksLikeGroups tells a YAML inventory from INI lines that happen to be YAML: every value is a mapping or nothing.
func looksLikeGroups(docs value.Docs) bool {
	node, err := docs.One()
	if err != nil || node == nil {
		return err != nil
	}
	pairs, err := value.Pairs(node, docs.File)
	for _, p := range pairs {
		if !value.IsNull(p.Value) && value.KindName(p.Value) != "a mapping" && p.Key.Value != "plugin" {
			return false
		}
	}
	return err == nil && len(pairs) > 0
}

// looksLikeYAML looks at the first line that says something.
func looksLikeYAML(text []byte) bool {
	for line := range strings.Lines(string(text)) {
		line = strings.TrimSpace(line)
		if line == "" || line[0] == '#' || line[0] == ';' {
			continue
		}
		return line == "---" || strings.HasSuffix(line, ":") && line[0] != '['
	}
	return false
}

func (l *loader) nameClashes() {
	for _, h := range l.inv.hosts {
		if g := l.inv.groupOf[h.Name]; g != nil {
			l.inv.Warnings.Addf(h.Pos, "%q is both a host and a group: as a pattern it means the host", h.Name)
		}
	}
}
