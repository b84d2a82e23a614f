package expr

import (
	"math"
	"strings"
)

func (x *constExpr) eval(*frame) any { return x.val }

func (x *nameExpr) eval(f *frame) any {
	if v, ok := f.lookup(x.name); ok {
		return v
	}
	f.r.at = x.at
	return f.r.variable(x.name)
}

func evalAll(f *frame, items []expr) []any {
	out := make([]any, len(items))
	for i, item := range items {
		out[i] = item.eval(f)
	}
	return out
}

func (x *listExpr) eval(f *frame) any { return f.r.own(evalAll(f, x.items)) }

func (x *tupleExpr) eval(f *frame) any { return Tuple(evalAll(f, x.items)) }

func (x *dictExpr) eval(f *frame) any {
	d := &Dict{}
	for i, k := range x.keys {
		key := k.eval(f)
		val := x.vals[i].eval(f)
		f.r.at = x.at
		undefinedFails(key)
		dictSet(d, key, val)
	}
	return d
}

// own makes v alterable when the template has methods that alter.
func (r *render) own(v any) any {
	if r.tpl.mutates {
		return own(v)
	}
	return v
}

func (x *condExpr) eval(f *frame) any { return x.pick(f) }

// pick evaluates the chosen branch.
func (x *condExpr) pick(f *frame) any {
	if truthy(x.test.eval(f)) {
		return x.yes.eval(f)
	}
	if x.no == nil {
		return &Undefined{Message: "the inline if-expression evaluated to false and no else section was defined.", soft: true}
	}
	return x.no.eval(f)
}

func (x *orExpr) eval(f *frame) any {
	if v := x.left.eval(f); truthy(v) {
		return v
	}
	return x.right.eval(f)
}

func (x *andExpr) eval(f *frame) any {
	if v := x.left.eval(f); !truthy(v) {
		return v
	}
	return x.right.eval(f)
}

func (x *notExpr) eval(f *frame) any { return !truthy(x.x.eval(f)) }

func (x *cmpExpr) eval(f *frame) any {
	left := x.left.eval(f)
	for _, op := range x.ops {
		right := op.x.eval(f)
		f.r.at = x.at
		if !compareOp(op.op, left, right) {
			return false
		}
		left = right
	}
	return true
}

func compareOp(op string, a, b any) bool {
	switch op {
	case "==":
		return equal(a, b)
	case "!=":
		return !equal(a, b)
	case "in":
		return contains(b, a)
	case "not in":
		return !contains(b, a)
	}
	if nan(a) || nan(b) {
		return false
	}
	c := compare(a, b, op)
	switch op {
	case "<":
		return c < 0
	case "<=":
		return c <= 0
	case ">":
		return c > 0
	}
	return c >= 0
}

func nan(v any) bool {
	f, ok := v.(float64)
	return ok && math.IsNaN(f)
}

func (x *concatExpr) eval(f *frame) any {
	var b strings.Builder
	for _, item := range x.items {
		b.WriteString(pyStr(item.eval(f)))
	}
	return b.String()
}

func (x *unaryExpr) eval(f *frame) any {
	v := x.x.eval(f)
	f.r.at = x.at
	undefinedFails(v)
	i, fl, isFloat, ok := numeric(v)
	sign := "+"
	if x.negative {
		sign, i, fl = "-", -i, -fl
	}
	if !ok {
		fail("bad operand type for unary %s: '%s'", sign, typeName(v))
	}
	if isFloat {
		return fl
	}
	return i
}

func (x *binExpr) eval(f *frame) any {
	a := x.left.eval(f)
	b := x.right.eval(f)
	f.r.at = x.at
	return f.r.own(binary(x.op, norm(a), norm(b)))
}

func binary(op string, a, b any) any {
	undefinedFails(a)
	undefinedFails(b)
	if s, ok := a.(string); ok && op == "%" {
		return percentFormat(s, b)
	}
	ai, af, aFloat, aNum := numeric(a)
	bi, bf, bFloat, bNum := numeric(b)
	switch {
	case aNum && bNum && (aFloat || bFloat || op == "/"):
		return floatOp(op, af, bf)
	case aNum && bNum:
		return intOp(op, ai, bi)
	}
	if v, ok := sequenceOp(op, a, b); ok {
		return v
	}
	if v, ok := timeOp(op, a, b); ok {
		return v
	}
	if _, isStr := a.(string); isStr && op == "+" {
		fail("can only concatenate str (not \"%s\") to str", typeName(b))
	}
	if _, isList := asList(a); isList && op == "+" {
		fail("can only concatenate %s (not \"%s\") to %[1]s", typeName(a), typeName(b))
	}
	fail("unsupported operand type(s) for %s: '%s' and '%s'", map[string]string{"**": "** or pow()"}[op]+op, typeName(a), typeName(b))
	return nil
}

func floatOp(op string, a, b float64) any {
	if b == 0 && (op == "/" || op == "//" || op == "%") {
		fail("%s", map[string]string{"/": "division by zero", "//": "float floor division by zero", "%": "float modulo"}[op])
	}
	switch op {
	case "+":
		return a + b
	case "-":
		return a - b
	case "*":
		return a * b
	case "/":
		return a / b
	case "//":
		return math.Floor(a / b)
	case "%":
		return floorModFloat(a, b)
	}
	return math.Pow(a, b)
}

func intOp(op string, a, b int) any {
	switch op {
	case "+":
		return exact(op, a, b, a+b, (a+b < a) == (b < 0))
	case "-":
		return exact(op, a, b, a-b, (a-b > a) == (b < 0))
	case "*":
		return exact(op, a, b, a*b, a == 0 || a*b/a == b && !(a == -1 && b == math.MinInt))
	case "**":
		return power(a, b)
	}
	if b == 0 {
		fail("integer division or modulo by zero")
	}
	if op == "//" {
		return floorDiv(a, b)
	}
	return floorMod(a, b)
}

// exact is n, unless it does not fit in 64 bits.
func exact(op string, a, b, n int, ok bool) int {
	if !ok {
		fail("%d %s %d does not fit in 64 bits", a, op, b)
	}
	return n
}

func power(a, b int) any {
	if b < 0 {
		if a == 0 {
			fail("0.0 cannot be raised to a negative power")
		}
		return math.Pow(float64(a), float64(b))
	}
	n := 1
	for range b {
		if n == 0 || n == 1 && a == 1 {
			break
		}
		n = intOp("*", n, a).(int)
	}
	return n
}

// sequenceOp is + of two sequences and * of one with a number.
func sequenceOp(op string, a, b any) (any, bool) {
	if op == "*" {
		if n, _, isFloat, ok := numeric(a); ok && !isFloat {
			return repeat(b, n)
		}
		if n, _, isFloat, ok := numeric(b); ok && !isFloat {
			return repeat(a, n)
		}
		return nil, false
	}
	if op != "+" || typeName(a) != typeName(b) {
		return nil, false
	}
	if s, ok := a.(string); ok {
		return s + b.(string), true
	}
	x, ok := asList(a)
	if !ok {
		return nil, false
	}
	y, _ := asList(b)
	sum := append(append(make([]any, 0, len(x)+len(y)), x...), y...)
	if typeName(a) == "tuple" {
		return Tuple(sum), true
	}
	return sum, true
}

func repeat(v any, n int) (any, bool) {
	n = max(n, 0)
	if s, ok := v.(string); ok {
		if n*len(s) > 1<<26 {
			fail("text repeated %d times is too long", n)
		}
		return strings.Repeat(s, n), true
	}
	items, ok := asList(v)
	if !ok {
		return nil, false
	}
	if n*len(items) > 1<<24 {
		fail("a list repeated %d times is too long", n)
	}
	out := make([]any, 0, n*len(items))
	for range n {
		out = append(out, items...)
	}
	if typeName(v) == "tuple" {
		return Tuple(out), true
	}
	return out, true
}

func (x *filterExpr) eval(f *frame) any { return x.apply(f, x.x.eval(f)) }

// apply runs the filter on v; what follows the first filter of a filter block gets its input the same way.
func (x *filterExpr) apply(f *frame, v any) any {
	a := x.args.eval(f)
	f.r.at = x.at
	if x.fn == nil {
		fail("there is no filter named '%s'", x.name)
	}
	return f.r.own(norm(x.fn.apply(f, v, a)))
}

func (x *testExpr) eval(f *frame) any {
	v := x.x.eval(f)
	a := x.args.eval(f)
	f.r.at = x.at
	if x.fn == nil {
		fail("there is no test named '%s'", x.name)
	}
	return x.fn.apply(f, v, a)
}

// textFilters promise text: their result alone is never read as a list, a mapping or a bool.
var textFilters = map[string]bool{"string": true, "to_json": true, "to_nice_json": true, "to_yaml": true, "to_nice_yaml": true, "ppretty": true, "json": true}

// evalPrinted evaluates what {{ }} holds and tells whether it promises to be text.
func evalPrinted(f *frame, x expr) (any, bool) {
	switch x := x.(type) {
	case *filterExpr:
		if name := shortName(x.name); name != "default" && name != "d" {
			return x.eval(f), textFilters[name]
		}
		v, text := evalPrinted(f, x.x)
		out := x.apply(f, v)
		return out, text && out == v
	case *condExpr:
		if truthy(x.test.eval(f)) {
			return evalPrinted(f, x.yes)
		}
		if x.no != nil {
			return evalPrinted(f, x.no)
		}
	}
	return x.eval(f), false
}

func (a *callArgs) eval(f *frame) callValues {
	var out callValues
	if len(a.pos) > 0 || a.star != nil {
		out.pos = evalAll(f, a.pos)
	}
	if len(a.named) > 0 {
		out.names, out.named = a.names, evalAll(f, a.named)
	}
	if a.star != nil {
		out.pos = append(out.pos, iterate(a.star.eval(f))...)
	}
	if a.twoStar != nil {
		out.addNamed(a.twoStar.eval(f))
	}
	return out
}

func (a *callValues) addNamed(v any) {
	d, ok := asDict(v)
	if !ok {
		fail("argument after ** must be a mapping, not %s", typeName(v))
	}
	names := append([]string(nil), a.names...)
	for k, v := range d.All() {
		names, a.named = append(names, pyStr(k)), append(a.named, v)
	}
	a.names = names
}

func (x *callExpr) eval(f *frame) any {
	if m, ok := x.fn.(*attrExpr); ok {
		return x.method(f, m)
	}
	fn := x.fn.eval(f)
	a := x.args.eval(f)
	f.r.at = x.at
	return f.r.own(norm(callValue(f, fn, a)))
}

// method calls x.name(...) without making a bound method first.
func (x *callExpr) method(f *frame, m *attrExpr) any {
	recv := norm(m.x.eval(f))
	f.r.at = m.at
	if fn := methodOf(recv, m.name); fn != nil {
		a := x.args.eval(f)
		f.r.at = m.at
		return f.r.own(norm(fn(f, recv, a)))
	}
	fn := getAttr(f, recv, m.name)
	a := x.args.eval(f)
	f.r.at = x.at
	return f.r.own(norm(callValue(f, fn, a)))
}

func callValue(f *frame, fn any, a callValues) any {
	undefinedFails(fn)
	c, ok := fn.(callable)
	if !ok {
		fail("'%s' object is not callable", typeName(fn))
	}
	return c.call(f, a)
}
