package expr

import (
	"slices"
)

// AnyVariable is in what Names gives when a text may read variables that it does not name: it looks one up by a name
// that it makes, or renders another file.
const AnyVariable = "vars"

// Names are the variables that a template may use, sorted. Names that the template sets itself are left out, and so
// are functions such as range. Text that does not parse has none.
func Names(text string) []string {
	if !IsTemplate(text) {
		return nil
	}
	syn, body, err := overrides(text, taskSyntax)
	if err != nil {
		return nil
	}
	tpl, bad := parse(body, &syn, builtins())
	if bad != nil {
		return nil
	}
	n := newCollector()
	n.stmts(tpl.body)
	return n.sorted()
}

// ConditionNames is Names for a bare condition. A condition with a marker may evaluate any text, so it has AnyVariable.
func ConditionNames(text string) []string {
	if IsTemplate(text) {
		return slices.Compact(slices.Sorted(slices.Values(append(Names(text), AnyVariable))))
	}
	_, x, bad := parseCondition(text, builtins())
	if bad != nil {
		return nil
	}
	n := newCollector()
	n.expr(x)
	return n.sorted()
}

// nameCollector walks a template and keeps the names that it reads and does not bind.
type nameCollector struct {
	bound []map[string]bool
	found map[string]bool
}

func newCollector() *nameCollector {
	return &nameCollector{bound: []map[string]bool{{}}, found: map[string]bool{}}
}

func (n *nameCollector) sorted() []string {
	out := []string{}
	for name := range n.found {
		if _, ok := globals[name]; !ok && name != "omit" {
			out = append(out, name)
		}
	}
	slices.Sort(out)
	return out
}

func (n *nameCollector) read(name string) {
	for _, b := range n.bound {
		if b[name] {
			return
		}
	}
	n.found[name] = true
}

func (n *nameCollector) bind(target expr) {
	switch t := target.(type) {
	case *nameExpr:
		n.bound[len(n.bound)-1][t.name] = true
	case *tupleExpr:
		for _, item := range t.items {
			n.bind(item)
		}
	case nsTarget:
		n.read(t.ns)
	}
}

func (n *nameCollector) scope(names []string, walk func()) {
	b := map[string]bool{}
	for _, name := range names {
		b[name] = true
	}
	n.bound = append(n.bound, b)
	walk()
	n.bound = n.bound[:len(n.bound)-1]
}

func (n *nameCollector) exprs(xs ...expr) {
	for _, x := range xs {
		if x != nil {
			n.expr(x)
		}
	}
}

func (n *nameCollector) args(a *callArgs) {
	n.exprs(a.pos...)
	n.exprs(a.named...)
	n.exprs(a.star, a.twoStar)
}

func (n *nameCollector) expr(x expr) {
	switch x := x.(type) {
	case *nameExpr:
		n.read(x.name)
	case *listExpr:
		n.exprs(x.items...)
	case *tupleExpr:
		n.exprs(x.items...)
	case *dictExpr:
		n.exprs(x.keys...)
		n.exprs(x.vals...)
	case *condExpr:
		n.exprs(x.test, x.yes, x.no)
	case *orExpr:
		n.exprs(x.left, x.right)
	case *andExpr:
		n.exprs(x.left, x.right)
	case *notExpr:
		n.expr(x.x)
	case *cmpExpr:
		n.expr(x.left)
		for _, op := range x.ops {
			n.expr(op.x)
		}
	case *concatExpr:
		n.exprs(x.items...)
	case *binExpr:
		n.exprs(x.left, x.right)
	case *unaryExpr:
		n.expr(x.x)
	default:
		n.access(x)
	}
}

func (n *nameCollector) access(x expr) {
	switch x := x.(type) {
	case *attrExpr:
		n.expr(x.x)
	case *itemExpr:
		n.exprs(x.x, x.key)
	case *sliceExpr:
		n.exprs(x.start, x.stop, x.step)
	case *callExpr:
		n.lookup(x)
		n.expr(x.fn)
		n.args(&x.args)
	case *filterExpr:
		n.exprs(x.x)
		n.args(&x.args)
	case *testExpr:
		n.expr(x.x)
		n.args(&x.args)
	}
}

// lookup sees through lookup('vars', 'name') and the lookups that read any variable.
func (n *nameCollector) lookup(c *callExpr) {
	fn, ok := c.fn.(*nameExpr)
	if !ok || fn.name != "lookup" && fn.name != "query" && fn.name != "q" || len(c.args.pos) == 0 {
		return
	}
	name, known := constText(c.args.pos[0])
	switch {
	case !known:
		n.read(AnyVariable)
	case shortName(name) == "template" || shortName(name) == "varnames":
		n.read(AnyVariable)
	case shortName(name) == "vars":
		for _, x := range c.args.pos[1:] {
			if s, ok := constText(x); ok {
				n.read(s)
			} else {
				n.read(AnyVariable)
			}
		}
	case searchesFiles[shortName(name)]:
		n.read("ansible_search_path")
	}
}

func constText(x expr) (string, bool) {
	c, ok := x.(*constExpr)
	if !ok {
		return "", false
	}
	s, ok := c.val.(string)
	return s, ok
}

func (n *nameCollector) stmts(body []stmt) {
	for _, s := range body {
		n.stmt(s)
	}
}

func (n *nameCollector) stmt(s stmt) {
	switch s := s.(type) {
	case *printStmt:
		n.expr(s.x)
	case *doStmt:
		n.expr(s.x)
	case *ifStmt:
		for _, b := range s.branches {
			n.expr(b.test)
			n.scope(nil, func() { n.stmts(b.body) }) // what one branch sets may be unset after it
		}
		n.scope(nil, func() { n.stmts(s.other) })
	case *forStmt:
		n.loop(s)
	case *setStmt:
		n.expr(s.x)
		n.bind(s.target)
	case *setBlockStmt:
		n.stmts(s.body)
		n.exprs(asExpr(s.filter))
		n.bind(s.target)
	default:
		n.definition(s)
	}
}

func asExpr(f *filterExpr) expr {
	if f == nil {
		return nil
	}
	return f
}

func (n *nameCollector) loop(s *forStmt) {
	n.expr(s.iter)
	n.scope([]string{"loop"}, func() {
		n.bind(s.target)
		n.exprs(s.cond)
		n.stmts(s.body)
	})
	n.stmts(s.empty)
}

func (n *nameCollector) definition(s stmt) {
	switch s := s.(type) {
	case *macroStmt:
		n.macro(s)
		n.bound[len(n.bound)-1][s.name] = true
	case *callStmt:
		n.expr(s.call)
		n.macro(s.macro)
	case *filterStmt:
		n.stmts(s.body)
		n.expr(s.filter)
	case *withStmt:
		n.exprs(s.vals...)
		n.scope(nil, func() {
			for _, t := range s.targets {
				n.bind(t)
			}
			n.stmts(s.body)
		})
	case *blockStmt:
		n.stmts(s.body)
	case *extendsStmt:
		n.expr(s.x)
		n.read(AnyVariable)
	case *includeStmt:
		n.expr(s.x)
		n.read(AnyVariable)
	case *importStmt:
		n.expr(s.x)
		n.read(AnyVariable)
	}
}

func (n *nameCollector) macro(s *macroStmt) {
	n.exprs(s.defaults...)
	names := s.params
	if s.name != "" {
		names = append(slices.Clone(names), "varargs", "kwargs", "caller")
	}
	n.scope(names, func() { n.stmts(s.body) })
}
