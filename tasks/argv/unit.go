package argv

import (
	"fmt"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
)

// File is a text file with its path.
type File struct{ Path, Text string }

// Unit is what a service's unit files say of its arguments.
type Unit struct {
	Exec  string // the last command of ExecStart, continued lines joined
	Where string // the file that says so
	Vars  []Var
	Files []string // its environment files, without the dash that forgives their absence
}

// Var is a variable of a unit.
type Var struct {
	Name, Value string
	Path        string // the file where it is defined
	InUnit      bool   // in a unit file; else in an environment file
}

// ReadUnit reads a unit from its files, the fragment first and the drop-ins in systemd's order.
func ReadUnit(files []File) Unit {
	var u Unit
	for _, f := range files {
		for _, s := range settings(f.Text) {
			u.apply(f.Path, s.key, s.value)
		}
	}
	return u
}

func (u *Unit) apply(path, key, value string) {
	switch {
	case key == "ExecStart" && value == "":
		u.Exec, u.Where = "", ""
	case key == "ExecStart":
		u.Exec, u.Where = value, path
	case key == "EnvironmentFile" && value == "":
		u.Files = nil
	case key == "EnvironmentFile":
		u.Files = append(u.Files, strings.TrimPrefix(value, "-"))
	case key == "Environment" && value == "":
		u.Vars = nil
	case key == "Environment":
		for _, w := range Words(value) {
			if name, v, ok := strings.Cut(w, "="); ok {
				u.define(Var{name, v, path, true})
			}
		}
	}
}

func (u *Unit) define(v Var) {
	u.Vars = slices.DeleteFunc(u.Vars, func(have Var) bool { return have.Name == v.Name })
	u.Vars = append(u.Vars, v)
}

// ReadFile adds the variables of one of the unit's environment files, which count more than those in unit files.
func (u *Unit) ReadFile(f File) {
	for line := range strings.SplitSeq(f.Text, "\n") {
		if m := assignment.FindStringSubmatch(line); m != nil {
			u.define(Var{m[1], unquote(m[2]), f.Path, false})
		}
	}
}

// Var finds a variable.
func (u *Unit) Var(name string) (Var, bool) {
	i := slices.IndexFunc(u.Vars, func(v Var) bool { return v.Name == name })
	if i < 0 {
		return Var{}, false
	}
	return u.Vars[i], true
}

// Used are the variables that the command consists of, in its order: $NAME and ${NAME} as words of their own.
func (u *Unit) Used() []string {
	var out []string
	for _, w := range Words(u.Exec) {
		if m := reference.FindStringSubmatch(w); m != nil {
			out = append(out, m[1]+m[2])
		}
	}
	return out
}

// Argv are the words of the command with its variables filled in.
func (u *Unit) Argv() []string {
	var out []string
	for _, w := range Words(u.Exec) {
		m := reference.FindStringSubmatch(w)
		if m == nil {
			out = append(out, single(w))
			continue
		}
		v, _ := u.Var(m[1] + m[2])
		if m[1] == "" {
			out = append(out, v.Value)
		} else {
			out = append(out, Words(v.Value)...)
		}
	}
	return out
}

// Base is the program's name, without the signs that systemd takes before its path.
func (u *Unit) Base() string {
	list := Words(u.Exec)
	if len(list) == 0 {
		return ""
	}
	return filepath.Base(strings.TrimLeft(list[0], "@-:+!"))
}

var (
	reference  = regexp.MustCompile(`^\$(?:(\w+)|\{(\w+)\})$`)
	assignment = regexp.MustCompile(`^\s*([A-Za-z_]\w*)=(.*?)\s*$`)
)

type setting struct{ key, value string }

// settings are those of the section Service.
func settings(text string) []setting {
	var out []setting
	section, continued := "", ""
	for line := range strings.SplitSeq(text, "\n") {
		line = strings.TrimSpace(line)
		if strings.HasPrefix(line, "#") || strings.HasPrefix(line, ";") {
			continue // between continued lines, too
		}
		if whole, ok := strings.CutSuffix(line, `\`); ok {
			continued += strings.TrimRight(whole, " \t") + " "
			continue
		}
		line, continued = strings.TrimSpace(continued+line), ""
		if strings.HasPrefix(line, "[") {
			section = line
			continue
		}
		if key, value, ok := strings.Cut(line, "="); ok && section == "[Service]" {
			out = append(out, setting{strings.TrimSpace(key), strings.TrimSpace(value)})
		}
	}
	return out
}

func unquote(v string) string {
	if len(v) >= 2 && (v[0] == '"' || v[0] == '\'') && v[len(v)-1] == v[0] {
		return v[1 : len(v)-1]
	}
	return v
}

// Assign gives a variable of an environment file a value, in its line as that is quoted, or in a new line at the end.
func Assign(text, name, value string) string {
	lines := strings.SplitAfter(text, "\n")
	for i := len(lines) - 1; i >= 0; i-- { // the last assignment is the one that counts
		m := assignment.FindStringSubmatchIndex(strings.TrimSuffix(lines[i], "\n"))
		if m == nil || lines[i][m[2]:m[3]] != name {
			continue
		}
		old := lines[i][m[4]:m[5]]
		lines[i] = lines[i][:m[4]] + requote(old, value) + lines[i][m[5]:]
		return strings.Join(lines, "")
	}
	if text != "" && !strings.HasSuffix(text, "\n") {
		text += "\n"
	}
	return text + fmt.Sprintf("%s=%q\n", name, value)
}

// requote writes a value the way the old one is written; blanks without quotes stay so only where there were some.
func requote(old, value string) string {
	switch {
	case unquote(old) != old:
		return old[:1] + value + old[:1]
	case strings.ContainsAny(value, " \t") && !strings.ContainsAny(old, " \t"):
		return `"` + value + `"`
	}
	return value
}

// DropIn is a drop-in of our own: variables, and the command if it is restated ("" leaves it).
func DropIn(exec string, vars []Flag) string {
	text := "# managed by calroll\n[Service]\n"
	for _, v := range vars {
		text += fmt.Sprintf("Environment=\"%s=%s\"\n", v.Name, strings.NewReplacer(`\`, `\\`, `"`, `\"`).Replace(v.Value))
	}
	if exec != "" {
		text += "ExecStart=\nExecStart=" + exec + "\n"
	}
	return text
}
