package expr

import (
	"errors"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/calroll/calroll/playbooks/source"
)

// Lookup runs a lookup plugin for a with_ loop: terms are its arguments, named its options.
func (e *Env) Lookup(name string, terms []any, named map[string]any, pos source.Pos, vars Vars) ([]any, error) {
	l := e.reg.lookup(name)
	if l == nil {
		p := source.Errorf(pos, "cannot look up %q: there is no lookup plugin of this name", name)
		if hint := didYouMean(name, e.reg.lookupNames()); hint != "" {
			p.Hint = hint
		}
		return nil, p
	}
	r := e.render(&template{}, vars)
	var c callValues
	for _, k := range sortedKeys(named) {
		c.names, c.named = append(c.names, k), append(c.named, named[k])
	}
	var out []any
	err := attempt(func() { out = plainItems(l.run(&frame{r: r}, flattenTerms(terms), c)) })
	if err != nil {
		return nil, &source.Problem{Pos: pos, Msg: "cannot look up " + name + ": " + err.Error(), Err: err}
	}
	return out, nil
}

// texts are terms as text.
func texts(terms []any) []string {
	out := make([]string, len(terms))
	for i, t := range terms {
		out[i] = pyStr(t)
	}
	return out
}

func addLookups(r *registry) {
	r.addLookup("env", "default=''", func(a args, terms []any) []any {
		out := []any{}
		for _, name := range texts(terms) {
			name, _, _ = strings.Cut(name, " ")
			if v, ok := a.f.r.env.opts.Environ(name); ok {
				out = append(out, v)
				continue
			}
			undefinedFails(a.v[0])
			out = append(out, a.v[0])
		}
		return out
	})
	r.addLookup("vars", "default=None", varsLookup)
	r.addLookup("varnames", "", func(a args, terms []any) []any {
		l, ok := a.f.r.vars.(Lister)
		if !ok {
			fail("the names of the variables are not known here")
		}
		out := []any{}
		for _, pattern := range texts(terms) {
			re := compileRegex(pattern, false, false)
			for _, name := range l.Names() {
				if findFrom(re, []rune(name), 0) != nil {
					out = append(out, name)
				}
			}
		}
		return out
	})
	r.addLookup("inventory_hostnames", "", func(a args, terms []any) []any {
		hosts := a.f.r.env.opts.Hosts
		if hosts == nil {
			fail("the hosts of the inventory are not known here")
		}
		names, err := hosts(strings.Join(texts(flatten2(terms, -1, true)), ","))
		if err != nil {
			failErr(err)
		}
		return strings2any(names)
	})
}

func varsLookup(a args, terms []any) []any {
	out := []any{}
	for _, t := range terms {
		name, ok := norm(t).(string)
		if !ok {
			fail("Invalid setting identifier, \"%s\" is not a string, its a %s", pyStr(t), typeName(t))
		}
		v := a.f.r.variable(name)
		if _, isGlobal := globals[name]; isUndef(v) || isGlobal && isFunc(v) {
			if !a.given[0] {
				if u, ok := v.(*Undefined); ok && u.Message != undefinedName(name).Message {
					panic(failure{u})
				}
				panic(failure{&Undefined{Name: name, Message: "No variable found with this name: " + name}})
			}
			v = a.v[0]
		}
		out = append(out, v)
	}
	return out
}

func isFunc(v any) bool {
	_, ok := v.(*funcValue)
	return ok
}

// searchesFiles are the lookups that find files through the search path.
var searchesFiles = map[string]bool{"file": true, "template": true, "fileglob": true, "first_found": true, "unvault": true, "csvfile": true, "ini": true}

// searchDirs are the directories to look for files in, nearest first.
func (r *render) searchDirs() []string {
	var dirs []string
	if v, ok := r.find("ansible_search_path").([]any); ok {
		dirs = append(dirs, texts(v)...)
	}
	dirs = append(dirs, r.env.opts.SearchPath...)
	if base := r.env.opts.BaseDir; base != "" {
		dirs = append(dirs, base)
	}
	return dirs
}

// candidates are the paths where name may be: in each directory its sub first, then itself.
func (r *render) candidates(sub, name string) []string {
	if name = expandUser(name); filepath.IsAbs(name) {
		return []string{name}
	}
	var out []string
	dirs := r.searchDirs()
	if len(dirs) == 0 {
		dirs = []string{"."}
	}
	for _, dir := range dirs {
		if filepath.Base(dir) == "tasks" {
			dir = filepath.Dir(dir)
		}
		for _, path := range []string{filepath.Join(dir, sub, name), filepath.Join(dir, name)} {
			if !slices.Contains(out, path) {
				out = append(out, path)
			}
		}
	}
	return out
}

// findFile is the first candidate that is there, or "".
func (r *render) findFile(sub, name string) string {
	for _, path := range r.candidates(sub, name) {
		if _, err := os.Stat(path); err == nil {
			return path
		}
	}
	return ""
}

// readFile reads a file that a lookup names.
func (r *render) readFile(sub, name string) (string, string) {
	path := r.findFile(sub, name)
	if path == "" {
		fail("could not locate file in lookup: %s", name)
	}
	raw, err := r.env.opts.ReadFile(path)
	if err != nil {
		if errors.Is(err, os.ErrNotExist) {
			fail("could not locate file in lookup: %s", name)
		}
		fail("cannot read %s: %w", path, err)
	}
	return string(raw), path
}
