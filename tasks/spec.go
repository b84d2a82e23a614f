package tasks

import (
	"fmt"
	"reflect"
	"strings"
	"sync"
)

// Spec is what a module says about its arguments, read from the struct tags of its exported fields:
//
//	Path  tasks.Path `arg:"path,alias=dest|name,required" doc:"the file"`
//	State string     `arg:"state,choices=file|absent,default=file" doc:"what it shall be"`
//
// Options, in this order of meaning: required, alias=a|b, choices=a|b (for a list: of each element), secret (never shown), freeform (takes the text
// written after the module's name, _raw_params), local (used by the controller only; a node ignores it), default=x (last:
// the rest of the tag). Names that begin with "_" are internal: the controller sets them, a playbook may not.
//
// The type follows from the field: string, bool, int, float64, []string, []any, map[string]any, []map[string]any, any,
// Mode, Path, Content; *T for "may be absent". Embedded structs add their fields.
type Spec struct {
	Args     []*Arg
	FreeForm string // the argument that takes _raw_params; "" when the module takes no free form
	Rules    Rules
	typ      reflect.Type
	byName   map[string]*Arg // by name and alias
}

// Arg is one argument.
type Arg struct {
	Name     string
	Aliases  []string
	Type     string // "str", "bool", "int", "float", "list", "dict", "raw", "path", "mode", "content" as documentation shows it
	Elements string // of a list
	Doc      string
	Default  string // "" when there is none
	Choices  []string
	Required bool
	Secret   bool
	Local    bool
	index    []int
}

// Internal tells whether only the controller may set the argument.
func (a *Arg) Internal() bool { return strings.HasPrefix(a.Name, "_") }

// Rules are constraints between arguments, under Ansible's names.
type Rules struct {
	MutuallyExclusive [][]string
	RequiredOneOf     [][]string
	RequiredTogether  [][]string
	RequiredIf        []RequiredIf
	RequiredBy        map[string][]string // if the key is given, the values must be
	// Open lets any argument pass (set_fact); it is given to the field tagged "*".
	Open bool
}

// RequiredIf says that Need must be given when Arg has Value. AnyOf: one of Need is enough.
type RequiredIf struct {
	Arg, Value string
	Need       []string
	AnyOf      bool
}

// ruled is implemented by modules whose arguments depend on each other.
type ruled interface{ Rules() Rules }

var specs sync.Map // reflect.Type -> *Spec

// SpecOf reads the spec of m's type; it panics on a malformed tag, which is a mistake in the program.
func SpecOf(m Module) *Spec {
	t := reflect.TypeOf(m)
	if t.Kind() != reflect.Pointer || t.Elem().Kind() != reflect.Struct {
		panic(fmt.Sprintf("tasks: module %T must be a pointer to a struct", m))
	}
	if s, ok := specs.Load(t.Elem()); ok {
		return s.(*Spec)
	}
	s := &Spec{typ: t.Elem(), byName: map[string]*Arg{}}
	s.addFields(t.Elem(), nil)
	if r, ok := m.(ruled); ok {
		s.Rules = r.Rules()
	}
	got, _ := specs.LoadOrStore(t.Elem(), s)
	return got.(*Spec)
}

// Arg is the argument with this name or alias, or nil.
func (s *Spec) Arg(name string) *Arg { return s.byName[name] }

// Names are the names and aliases that a playbook may use.
func (s *Spec) Names() []string {
	var names []string
	for _, a := range s.Args {
		if !a.Internal() {
			names = append(append(names, a.Name), a.Aliases...)
		}
	}
	return names
}

func (s *Spec) addFields(t reflect.Type, index []int) {
	for i := range t.NumField() {
		f := t.Field(i)
		at := append(append([]int(nil), index...), i)
		tag, ok := f.Tag.Lookup("arg")
		switch {
		case ok && f.IsExported():
			s.add(parseArg(f, tag, at))
		case f.Anonymous && f.Type.Kind() == reflect.Struct:
			s.addFields(f.Type, at)
		}
	}
}

func (s *Spec) add(a *Arg, freeform bool) {
	s.Args = append(s.Args, a)
	if freeform {
		s.FreeForm = a.Name
	}
	for _, n := range append([]string{a.Name}, a.Aliases...) {
		if s.byName[n] != nil {
			panic(fmt.Sprintf("tasks: %v has two arguments %q", s.typ, n))
		}
		s.byName[n] = a
	}
}

func parseArg(f reflect.StructField, tag string, index []int) (a *Arg, freeform bool) {
	a = &Arg{index: index, Doc: f.Tag.Get("doc")}
	tag, a.Default, _ = strings.Cut(tag, ",default=")
	name, opts, _ := strings.Cut(tag, ",")
	a.Name = name
	for opt := range strings.SplitSeq(opts, ",") {
		key, val, _ := strings.Cut(opt, "=")
		switch key {
		case "":
		case "required":
			a.Required = true
		case "alias":
			a.Aliases = strings.Split(val, "|")
		case "choices":
			a.Choices = strings.Split(val, "|")
		case "secret":
			a.Secret = true
		case "local":
			a.Local = true
		case "freeform":
			freeform = true
		default:
			panic(fmt.Sprintf("tasks: field %s has the unknown arg option %q", f.Name, opt))
		}
	}
	a.Type, a.Elements = typeName(f.Type)
	return a, freeform
}

func typeName(t reflect.Type) (name, elements string) {
	if t.Kind() == reflect.Pointer {
		t = t.Elem()
	}
	switch t {
	case reflect.TypeFor[Path]():
		return "path", ""
	case reflect.TypeFor[Mode]():
		return "mode", ""
	case reflect.TypeFor[Content]():
		return "content", ""
	}
	switch t.Kind() {
	case reflect.String:
		return "str", ""
	case reflect.Bool:
		return "bool", ""
	case reflect.Int, reflect.Int64:
		return "int", ""
	case reflect.Float64:
		return "float", ""
	case reflect.Interface:
		return "raw", ""
	case reflect.Map:
		return "dict", ""
	case reflect.Struct:
		return "dict", ""
	case reflect.Slice:
		e, _ := typeName(t.Elem())
		return "list", e
	}
	panic(fmt.Sprintf("tasks: an argument cannot have the type %v", t))
}
