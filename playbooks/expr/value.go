package expr

import (
	"cmp"
	"encoding/json"
	"math"
	"reflect"
	"slices"
	"sort"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/calroll/calroll/playbooks/value"
)

// Mapping is a mapping whose values are worked out when asked for, such as hostvars.
// Get's error means that the key exists but its value cannot be given.
type Mapping interface {
	Get(key string) (any, bool, error)
	Keys() []string
}

// Tuple is a list that cannot be altered; outside this package it is seen as []any.
type Tuple []any

// List is a list that a template may alter. Templates that call no altering method work on []any instead.
type List struct{ items []any }

type omitted struct{}

// Omit is the value of the magic variable omit: the argument that has it is not given at all.
var Omit any = &omitted{}

const omitText = "__omit_place_holder__"

// callable is a function a template may call.
type callable interface {
	call(f *frame, a callValues) any
}

// callValues are evaluated arguments.
type callValues struct {
	pos   []any
	names []string
	named []any
}

// funcValue is a callable made of a Go function.
type funcValue struct {
	name string
	fn   func(f *frame, a callValues) any
}

func (fv *funcValue) call(f *frame, a callValues) any { return fv.fn(f, a) }

// norm gives v one of the types the evaluator knows. It is shallow: members are seen when they are used.
func norm(v any) any {
	switch v := v.(type) {
	case nil, bool, int, float64, string, []any, *Dict, *List, Tuple, *Undefined, Mapping:
		return v
	case map[string]any:
		return dictOfMap(v)
	case json.Number:
		return value.FromGo(v)
	case value.Template:
		fail("a template of %s was not rendered before it was used", v.Pos)
	case value.Vault:
		failErr(v.Err())
	case []byte:
		return string(v)
	case *time.Time:
		return &dateTime{*v}
	case time.Time:
		return &dateTime{v}
	}
	return normReflect(v)
}

func normReflect(v any) any {
	r := reflect.ValueOf(v)
	switch r.Kind() {
	case reflect.Int8, reflect.Int16, reflect.Int32, reflect.Int64:
		return int(r.Int())
	case reflect.Uint, reflect.Uint8, reflect.Uint16, reflect.Uint32, reflect.Uint64:
		return int(r.Uint())
	case reflect.Float32:
		return r.Float()
	case reflect.String:
		return r.String()
	case reflect.Bool:
		return r.Bool()
	case reflect.Slice, reflect.Array:
		out := make([]any, r.Len())
		for i := range out {
			out[i] = norm(r.Index(i).Interface())
		}
		return out
	case reflect.Map:
		return dictOfReflect(r)
	}
	return v
}

func dictOfMap(m map[string]any) *Dict {
	d := &Dict{}
	for _, k := range sortedKeys(m) {
		d.Set(k, m[k])
	}
	return d
}

func dictOfReflect(r reflect.Value) *Dict {
	d := &Dict{}
	keys := r.MapKeys()
	sort.Slice(keys, func(i, j int) bool { return pyStr(keys[i].Interface()) < pyStr(keys[j].Interface()) })
	for _, k := range keys {
		dictSet(d, k.Interface(), r.MapIndex(k).Interface())
	}
	return d
}

// dictOfMapping asks a lazy mapping for everything.
func dictOfMapping(m Mapping) *Dict {
	d := &Dict{}
	for _, k := range m.Keys() {
		v, ok, err := m.Get(k)
		if err != nil {
			failErr(err)
		}
		if ok {
			d.Set(k, v)
		}
	}
	return d
}

// asDict is v as a Dict when it is a mapping of any kind.
func asDict(v any) (*Dict, bool) {
	switch v := norm(v).(type) {
	case *Dict:
		return v, true
	case Mapping:
		return dictOfMapping(v), true
	case *namespace:
		return v.attrs, true
	}
	return nil, false
}

// asList is v's items when it is a list or tuple.
func asList(v any) ([]any, bool) {
	switch v := norm(v).(type) {
	case []any:
		return v, true
	case *List:
		return v.items, true
	case Tuple:
		return v, true
	case *group:
		return v.pair(), true
	}
	return nil, false
}

// iterate is what a for loop over v sees: items, keys or characters.
func iterate(v any) []any {
	switch v := norm(v).(type) {
	case []any:
		return v
	case *List:
		return slices.Clone(v.items)
	case Tuple:
		return v
	case string:
		out := make([]any, 0, len(v))
		for _, r := range v {
			out = append(out, string(r))
		}
		return out
	case *Dict:
		return v.Keys()
	case Mapping:
		return strings2any(v.Keys())
	case *Undefined:
		v.use()
		return nil
	case *namespace:
		return v.attrs.Keys()
	case *group:
		return v.pair()
	}
	fail("'%s' object is not iterable", typeName(v))
	return nil
}

func strings2any(in []string) []any {
	out := make([]any, len(in))
	for i, s := range in {
		out[i] = s
	}
	return out
}

func isIterable(v any) bool {
	switch norm(v).(type) {
	case []any, *List, Tuple, string, *Dict, Mapping, *Undefined, *group:
		return true
	}
	return false
}

// length is Python's len.
func length(v any) int {
	switch v := norm(v).(type) {
	case string:
		return utf8.RuneCountInString(v)
	case *Dict:
		return v.Len()
	case Mapping:
		return len(v.Keys())
	case *Undefined:
		v.use()
		return 0
	}
	if items, ok := asList(v); ok {
		return len(items)
	}
	fail("object of type '%s' has no len()", typeName(v))
	return 0
}

// truthy is Python's bool.
func truthy(v any) bool {
	switch v := norm(v).(type) {
	case nil:
		return false
	case bool:
		return v
	case int:
		return v != 0
	case float64:
		return v != 0
	case string:
		return v != ""
	case *Dict:
		return v.Len() > 0
	case Mapping:
		return len(v.Keys()) > 0
	case *Undefined:
		v.use()
		return false
	case *timeDelta:
		return v.d != 0
	}
	if items, ok := asList(v); ok {
		return len(items) > 0
	}
	return true
}

// typeName is the name of v's Python type.
func typeName(v any) string {
	switch norm(v).(type) {
	case nil:
		return "NoneType"
	case bool:
		return "bool"
	case int:
		return "int"
	case float64:
		return "float"
	case string, *omitted:
		return "str"
	case []any, *List:
		return "list"
	case Tuple, *group:
		return "tuple"
	case *Dict, Mapping:
		return "dict"
	case *Undefined:
		return "AnsibleUndefined"
	case *dateTime:
		return "datetime"
	case *timeDelta:
		return "timedelta"
	case *namespace:
		return "Namespace"
	case *macro:
		return "Macro"
	case *loopValue:
		return "LoopContext"
	}
	return "function"
}

// numeric is v as a number: an int or a float; bools count as 0 and 1.
func numeric(v any) (i int, f float64, isFloat, ok bool) {
	switch v := norm(v).(type) {
	case bool:
		if v {
			return 1, 1, false, true
		}
		return 0, 0, false, true
	case int:
		return v, float64(v), false, true
	case float64:
		return int(v), v, true, true
	}
	return 0, 0, false, false
}

// equal is Python's ==. An undefined value cannot be compared.
func equal(a, b any) bool {
	a, b = norm(a), norm(b)
	switch x := a.(type) {
	case string:
		y, ok := b.(string)
		return ok && x == y || !ok && undefinedFails(b)
	case nil:
		return b == nil || undefinedFails(b)
	case *Undefined:
		x.use()
		y, ok := b.(*Undefined)
		return ok && y.soft
	case Tuple:
		y, ok := b.(Tuple)
		return ok && equalLists(x, y) || !ok && undefinedFails(b)
	case *dateTime:
		y, ok := b.(*dateTime)
		return ok && x.t.Equal(y.t)
	}
	if ai, af, aFloat, ok := numeric(a); ok {
		bi, bf, bFloat, ok := numeric(b)
		if !ok {
			return undefinedFails(b)
		}
		if aFloat || bFloat {
			return af == bf
		}
		return ai == bi
	}
	return equalCollections(a, b)
}

func undefinedFails(v any) bool {
	if u, ok := v.(*Undefined); ok {
		u.use()
	}
	return false
}

func equalCollections(a, b any) bool {
	undefinedFails(b)
	if x, ok := asDict(a); ok {
		y, ok := asDict(b)
		return ok && equalDicts(x, y)
	}
	if x, ok := asList(a); ok {
		if _, isTuple := b.(Tuple); isTuple {
			return false
		}
		y, ok := asList(b)
		return ok && equalLists(x, y)
	}
	return reflect.TypeOf(a).Comparable() && reflect.TypeOf(a) == reflect.TypeOf(b) && a == b
}

func equalLists(a, b []any) bool {
	return slices.EqualFunc(a, b, equal)
}

func equalDicts(a, b *Dict) bool {
	if a.Len() != b.Len() {
		return false
	}
	for k, v := range a.All() {
		if w, ok := dictGet(b, k); !ok || !equal(v, w) {
			return false
		}
	}
	return true
}

// compare orders a and b as Python does; values that have no order fail, naming op.
func compare(a, b any, op string) int {
	a, b = norm(a), norm(b)
	undefinedFails(a)
	undefinedFails(b)
	if x, ok := a.(string); ok {
		if y, ok := b.(string); ok {
			return cmp.Compare(x, y)
		}
	}
	if ai, af, aFloat, ok := numeric(a); ok {
		if bi, bf, bFloat, ok := numeric(b); ok {
			if aFloat || bFloat {
				return cmp.Compare(af, bf)
			}
			return cmp.Compare(ai, bi)
		}
	}
	if c, ok := compareOthers(a, b, op); ok {
		return c
	}
	fail("'%s' not supported between instances of '%s' and '%s'", op, typeName(a), typeName(b))
	return 0
}

func compareOthers(a, b any, op string) (int, bool) {
	if x, ok := a.(*dateTime); ok {
		if y, ok := b.(*dateTime); ok {
			return x.t.Compare(y.t), true
		}
	}
	if x, ok := a.(*timeDelta); ok {
		if y, ok := b.(*timeDelta); ok {
			return cmp.Compare(x.d, y.d), true
		}
	}
	x, okx := asList(a)
	y, oky := asList(b)
	if !okx || !oky || typeName(a) != typeName(b) {
		return 0, false
	}
	for i := range min(len(x), len(y)) {
		if !equal(x[i], y[i]) {
			return compare(x[i], y[i], op), true
		}
	}
	return cmp.Compare(len(x), len(y)), true
}

// contains is "item in v".
func contains(v, item any) bool {
	item = norm(item)
	switch v := norm(v).(type) {
	case string:
		s, ok := item.(string)
		if !ok {
			undefinedFails(item)
			fail("'in <string>' requires string as left operand, not %s", typeName(item))
		}
		return strings.Contains(v, s)
	case *Dict:
		undefinedFails(item)
		_, ok := dictGet(v, item)
		return ok
	case Mapping:
		return mappingHas(v, item)
	case *Undefined:
		panic(failure{v})
	}
	items, ok := asList(v)
	if !ok {
		fail("argument of type '%s' is not iterable", typeName(v))
	}
	return slices.ContainsFunc(items, func(x any) bool { return equal(x, item) })
}

func mappingHas(m Mapping, key any) bool {
	s, ok := key.(string)
	if !ok {
		return false
	}
	_, ok, err := m.Get(s)
	return ok || err != nil
}

// floorDiv and floorMod round down, as Python's // and % do.
func floorDiv(a, b int) int {
	q := a / b
	if a%b != 0 && (a < 0) != (b < 0) {
		q--
	}
	return q
}

func floorMod(a, b int) int { return a - floorDiv(a, b)*b }

func floorModFloat(a, b float64) float64 {
	m := math.Mod(a, b)
	if m != 0 && (m < 0) != (b < 0) {
		m += b
	}
	return m
}
