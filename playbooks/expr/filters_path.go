package expr

import (
	"os"
	"path"
	"path/filepath"
	"strings"
)

func addPathFilters(r *registry) {
	pathFilter := func(name string, fn func(string) string) {
		r.addFilter(name, "path", func(a args) any { return fn(a.text(0, "a path")) })
	}
	pathFilter("basename", func(s string) string { return s[strings.LastIndexByte(s, '/')+1:] })
	pathFilter("dirname", pyDirname)
	pathFilter("expanduser", expandUser)
	pathFilter("realpath", realPath)
	r.addFilter("expandvars", "path", func(a args) any {
		env := a.f.r.env.opts.Environ
		return expandVars(a.str(0), env)
	})
	r.addFilter("splitext", "p", func(a args) any {
		root, ext := splitExt(a.text(0, "a path"))
		return Tuple{root, ext}
	})
	r.addFilter("relpath", "path, start='.'", func(a args) any {
		return relPath(a.str(0), a.str(1))
	})
	r.addFilter("path_join", "paths", func(a args) any {
		if s, ok := a.v[0].(string); ok {
			return s
		}
		items, ok := asList(a.v[0])
		if !ok {
			fail("|path_join expects string or sequence, got %s instead.", typeName(a.v[0]))
		}
		return pyJoin(items)
	})
	r.addFilter("fileglob", "pathname", func(a args) any { return strings2any(globFiles(a.str(0))) })
	r.textFilter("win_basename", func(s string) string { return s[strings.LastIndexAny(s, `\/`)+1:] })
	r.textFilter("win_dirname", func(s string) string { return s[:max(strings.LastIndexAny(s, `\/`), 0)] })
	r.addFilter("quote", "a", func(a args) any {
		if a.nil(0) {
			return "''"
		}
		return shellQuote(a.str(0))
	})
}

// pyDirname is everything before the last slash, without slashes at its end unless it is nothing else.
func pyDirname(s string) string {
	head := s[:strings.LastIndexByte(s, '/')+1]
	if trimmed := strings.TrimRight(head, "/"); trimmed != "" {
		return trimmed
	}
	return head
}

func expandUser(s string) string {
	if s != "~" && !strings.HasPrefix(s, "~/") {
		return s
	}
	home, err := os.UserHomeDir()
	if err != nil {
		return s
	}
	return home + s[1:]
}

// realPath follows links as far as the path exists.
func realPath(s string) string {
	abs, err := filepath.Abs(s)
	if err != nil {
		return s
	}
	rest := ""
	for dir := abs; ; {
		if real, err := filepath.EvalSymlinks(dir); err == nil {
			return filepath.Join(real, rest)
		}
		parent := filepath.Dir(dir)
		if parent == dir {
			return abs
		}
		rest, dir = filepath.Join(filepath.Base(dir), rest), parent
	}
}

func expandVars(s string, env func(string) (string, bool)) string {
	return os.Expand(s, func(name string) string {
		if v, ok := env(name); ok {
			return v
		}
		return "$" + name
	})
}

// splitExt splits before the last dot of the last part, unless that part begins with it.
func splitExt(s string) (root, ext string) {
	base := strings.LastIndexByte(s, '/') + 1
	dot := strings.LastIndexByte(s, '.')
	if dot < base || strings.Trim(s[base:dot], ".") == "" {
		return s, ""
	}
	return s[:dot], s[dot:]
}

func relPath(to, from string) string {
	absTo, errTo := filepath.Abs(to)
	absFrom, errFrom := filepath.Abs(from)
	rel, err := filepath.Rel(absFrom, absTo)
	if errTo != nil || errFrom != nil || err != nil {
		fail("cannot give the path %s relative to %s", to, from)
	}
	return rel
}

// pyJoin joins paths; one that is absolute drops those before it.
func pyJoin(items []any) string {
	if len(items) == 0 {
		fail("path_join needs at least one part")
	}
	out := ""
	for i, item := range items {
		part, ok := norm(item).(string)
		if !ok {
			undefinedFails(item)
			fail("expected str, bytes or os.PathLike object, not %s", typeName(item))
		}
		switch {
		case i == 0 || strings.HasPrefix(part, "/"):
			out = part
		case out == "" || strings.HasSuffix(out, "/"):
			out += part
		default:
			out += "/" + part
		}
	}
	return out
}

func globFiles(pattern string) []string {
	found, err := filepath.Glob(pattern)
	if err != nil {
		fail("cannot use the pattern %s: %w", pyQuote(pattern), err)
	}
	out := []string{}
	for _, name := range found {
		if info, err := os.Stat(name); err == nil && info.Mode().IsRegular() && !strings.HasPrefix(path.Base(name), ".") {
			out = append(out, name)
		}
	}
	return out
}

// shellQuote is s as one word of a shell.
func shellQuote(s string) string {
	if s == "" {
		return "''"
	}
	safe := func(r rune) bool {
		return r >= 'a' && r <= 'z' || r >= 'A' && r <= 'Z' || r >= '0' && r <= '9' || strings.ContainsRune("_@%+=:,./-", r)
	}
	if strings.IndexFunc(s, func(r rune) bool { return !safe(r) }) < 0 {
		return s
	}
	return "'" + strings.ReplaceAll(s, "'", `'"'"'`) + "'"
}
