package expr

import (
	"slices"
	"strconv"
	"strings"
)

// tupleRules say how "a, b" is read: where it ends, whether "x if y" belongs to it, whether only names may stand in it.
type tupleRules struct {
	simple, noCond, parens bool
	ends                   []string
}

func (p *parser) tuple(rules tupleRules) expr {
	at := p.cur().at
	var items []expr
	isTuple := false
	for {
		if len(items) > 0 {
			p.expectOp(",")
		}
		if p.tupleEnds(rules) {
			break
		}
		items = append(items, p.tupleItem(rules))
		if !p.isOp(",") {
			break
		}
		isTuple = true
	}
	if isTuple {
		return &tupleExpr{items}
	}
	if len(items) == 1 {
		return items[0]
	}
	if !rules.parens {
		p.failAt(at, "Expected an expression, got '%s'", p.cur().describe())
	}
	return &tupleExpr{}
}

func (p *parser) tupleEnds(rules tupleRules) bool {
	k := p.cur().kind
	return k == tokVarEnd || k == tokBlockEnd || k == tokEOF || p.isOp(")") || p.isName(rules.ends...)
}

func (p *parser) tupleItem(rules tupleRules) expr {
	switch {
	case rules.simple:
		return p.primary()
	case rules.noCond:
		return p.or()
	}
	return p.expression()
}

func (p *parser) expression() expr {
	x := p.or()
	for p.skipName("if") {
		c := &condExpr{yes: x, test: p.or()}
		if p.skipName("else") {
			c.no = p.expression()
		}
		x = c
	}
	return x
}

func (p *parser) or() expr {
	x := p.and()
	for p.skipName("or") {
		x = &orExpr{x, p.and()}
	}
	return x
}

func (p *parser) and() expr {
	x := p.not()
	for p.skipName("and") {
		x = &andExpr{x, p.not()}
	}
	return x
}

func (p *parser) not() expr {
	if p.skipName("not") {
		return &notExpr{p.not()}
	}
	return p.compare()
}

var compareOps = []string{"==", "!=", "<", "<=", ">", ">="}

func (p *parser) compare() expr {
	c := &cmpExpr{at: p.cur().at, left: p.sum()}
	for {
		t := p.cur()
		switch {
		case t.kind == tokOp && slices.Contains(compareOps, t.text):
			p.advance()
			c.ops = append(c.ops, cmpOperand{t.text, p.sum()})
		case p.skipName("in"):
			c.ops = append(c.ops, cmpOperand{"in", p.sum()})
		case p.isName("not") && p.look().kind == tokName && p.look().text == "in":
			p.advance()
			p.advance()
			c.ops = append(c.ops, cmpOperand{"not in", p.sum()})
		case len(c.ops) == 0:
			return c.left
		default:
			return c
		}
	}
}

// binary reads operators of one rank, from the left.
func (p *parser) binary(next func() expr, ops ...string) expr {
	x := next()
	for p.cur().kind == tokOp && slices.Contains(ops, p.cur().text) {
		t := p.advance()
		x = &binExpr{t.at, t.text, x, next()}
	}
	return x
}

func (p *parser) sum() expr { return p.binary(p.concat, "+", "-") }

func (p *parser) concat() expr {
	items := []expr{p.product()}
	for p.skipOp("~") {
		items = append(items, p.product())
	}
	if len(items) == 1 {
		return items[0]
	}
	return &concatExpr{items}
}

func (p *parser) product() expr { return p.binary(p.power, "*", "/", "//", "%") }

func (p *parser) power() expr {
	return p.binary(func() expr { return p.unary(true) }, "**")
}

func (p *parser) unary(withFilter bool) expr {
	t := p.cur()
	var x expr
	switch {
	case p.skipOp("-"):
		x = &unaryExpr{t.at, true, p.unary(false)}
	case p.skipOp("+"):
		x = &unaryExpr{t.at, false, p.unary(false)}
	default:
		x = p.primary()
	}
	x = p.postfix(x)
	if withFilter {
		x = p.filters(x)
	}
	return x
}

func (p *parser) primary() expr {
	t := p.cur()
	switch {
	case t.kind == tokName:
		p.advance()
		return nameOrConst(t)
	case t.kind == tokString:
		var b strings.Builder
		for p.cur().kind == tokString {
			b.WriteString(p.advance().text)
		}
		return &constExpr{b.String()}
	case t.kind == tokInt || t.kind == tokFloat:
		p.advance()
		return p.numberConst(t)
	case p.skipOp("("):
		x := p.tuple(tupleRules{parens: true})
		p.expectOp(")")
		return x
	case p.isOp("["):
		return p.list()
	case p.isOp("{"):
		return p.dict()
	}
	p.fail("unexpected '%s'", t.describe())
	return nil
}

func nameOrConst(t token) expr {
	switch t.text {
	case "true", "True":
		return &constExpr{true}
	case "false", "False":
		return &constExpr{false}
	case "none", "None":
		return &constExpr{nil}
	}
	return &nameExpr{t.at, t.text}
}

func (p *parser) numberConst(t token) expr {
	if t.kind == tokFloat {
		f, err := strconv.ParseFloat(t.text, 64)
		if err != nil && f == 0 {
			p.failAt(t.at, "bad number %s", t.text)
		}
		return &constExpr{f}
	}
	base := 10
	if len(t.text) > 1 && t.text[0] == '0' {
		base = 0 // 0x, 0o, 0b; only zeros may follow a leading zero otherwise
		if strings.Trim(t.text, "0") == "" {
			return &constExpr{0}
		}
		if isDigit(t.text[1]) {
			p.failAt(t.at, "leading zeros in the number %s are not permitted", t.text)
		}
	}
	n, err := strconv.ParseInt(t.text, base, 0)
	if err != nil {
		p.failAt(t.at, "the number %s does not fit in 64 bits", t.text)
	}
	return &constExpr{int(n)}
}

func (p *parser) list() expr {
	p.expectOp("[")
	x := &listExpr{}
	for !p.isOp("]") {
		if len(x.items) > 0 {
			p.expectOp(",")
			if p.isOp("]") {
				break
			}
		}
		x.items = append(x.items, p.expression())
	}
	p.expectOp("]")
	return x
}

func (p *parser) dict() expr {
	x := &dictExpr{at: p.expectOp("{").at}
	for !p.isOp("}") {
		if len(x.keys) > 0 {
			p.expectOp(",")
			if p.isOp("}") {
				break
			}
		}
		x.keys = append(x.keys, p.expression())
		p.expectOp(":")
		x.vals = append(x.vals, p.expression())
	}
	p.expectOp("}")
	return x
}

func (p *parser) postfix(x expr) expr {
	for {
		switch {
		case p.isOp("."), p.isOp("["):
			x = p.subscript(x)
		case p.isOp("("):
			x = p.call(x)
		default:
			return x
		}
	}
}

// mutators are the methods that alter their list or dict.
var mutators = []string{"append", "extend", "insert", "update", "pop", "popitem", "remove", "setdefault", "clear", "sort", "reverse"}

func (p *parser) subscript(x expr) expr {
	t := p.advance()
	if t.text == "[" {
		key := p.subscripts()
		p.expectOp("]")
		return &itemExpr{t.at, x, key}
	}
	name := p.advance()
	switch name.kind {
	case tokName:
		p.tpl.mutates = p.tpl.mutates || slices.Contains(mutators, name.text)
		return &attrExpr{name.at, x, name.text}
	case tokInt:
		return &itemExpr{name.at, x, p.numberConst(name)}
	case tokFloat: // x.1.2 reads as one number
		a, b, _ := strings.Cut(name.text, ".")
		x = &itemExpr{name.at, x, p.numberConst(token{tokInt, a, name.at})}
		return &itemExpr{name.at, x, p.numberConst(token{tokInt, b, name.at})}
	}
	p.failAt(name.at, "expected name or number")
	return nil
}

func (p *parser) subscripts() expr {
	var keys []expr
	for !p.isOp("]") {
		if len(keys) > 0 {
			p.expectOp(",")
		}
		keys = append(keys, p.subscribed())
	}
	if len(keys) == 1 {
		return keys[0]
	}
	return &tupleExpr{keys}
}

func (p *parser) subscribed() expr {
	var s sliceExpr
	if !p.isOp(":") {
		x := p.expression()
		if !p.isOp(":") {
			return x
		}
		s.start = x
	}
	p.advance()
	if !p.isOp(":") && !p.isOp("]") && !p.isOp(",") {
		s.stop = p.expression()
	}
	if p.skipOp(":") && !p.isOp("]") && !p.isOp(",") {
		s.step = p.expression()
	}
	return &s
}

func (p *parser) call(fn expr) expr {
	c := &callExpr{at: p.cur().at, fn: fn}
	c.args = p.callArgs()
	p.checkLookup(c)
	return c
}

// checkLookup notes a lookup plugin that does not exist.
func (p *parser) checkLookup(c *callExpr) {
	fn, ok := c.fn.(*nameExpr)
	if !ok || len(c.args.pos) == 0 || !slices.Contains([]string{"lookup", "query", "q"}, fn.name) {
		return
	}
	if name, ok := c.args.pos[0].(*constExpr); ok {
		if s, ok := name.val.(string); ok && p.reg.lookup(s) == nil {
			p.missing(c.at, "lookup plugin", s, p.reg.lookupNames())
		}
	}
}

func (p *parser) missing(at int, what, name string, known []string) {
	p.tpl.unknown = append(p.tpl.unknown, &syntaxError{
		at: at, msg: "there is no " + what + " named '" + name + "'", hint: didYouMean(name, known),
	})
}

func (p *parser) callArgs() (a callArgs) {
	open := p.expectOp("(")
	ensure := func(ok bool) {
		if !ok {
			p.failAt(open.at, "invalid syntax for function call expression")
		}
	}
	for n := 0; !p.isOp(")"); n++ {
		if n > 0 {
			p.expectOp(",")
			if p.isOp(")") {
				break
			}
		}
		switch {
		case p.skipOp("*"):
			ensure(a.star == nil && a.twoStar == nil)
			a.star = p.expression()
		case p.skipOp("**"):
			ensure(a.twoStar == nil)
			a.twoStar = p.expression()
		case p.cur().kind == tokName && p.look().kind == tokOp && p.look().text == "=":
			ensure(a.twoStar == nil)
			a.names = append(a.names, p.advance().text)
			p.advance()
			a.named = append(a.named, p.expression())
		default:
			ensure(a.star == nil && a.twoStar == nil && len(a.named) == 0)
			a.pos = append(a.pos, p.expression())
		}
	}
	p.expectOp(")")
	return a
}

// filters reads what may follow a value: |filter, is test, and calls of their results.
func (p *parser) filters(x expr) expr {
	for {
		switch {
		case p.skipOp("|"):
			x = p.filterCall(x)
		case p.isName("is"):
			x = p.testCall(x)
		case p.isOp("("):
			x = p.call(x)
		default:
			return x
		}
	}
}

// dotted reads a plugin name, which may be a fully qualified collection name.
func (p *parser) dotted() token {
	t := p.expectName()
	for p.skipOp(".") {
		t.text += "." + p.expectName().text
	}
	return t
}

func (p *parser) filterCall(x expr) expr {
	name := p.dotted()
	f := &filterExpr{at: name.at, name: name.text, x: x}
	if p.isOp("(") {
		f.args = p.callArgs()
	}
	if f.fn = p.reg.filter(name.text); f.fn == nil {
		p.missing(name.at, "filter", name.text, p.reg.filterNames())
	}
	p.checkNamed(f.name, f.args)
	return f
}

// checkNamed checks filters and tests that are given by name to map, select and their kind.
func (p *parser) checkNamed(outer string, a callArgs) {
	arg := func(i int) (string, bool) {
		if i >= len(a.pos) {
			return "", false
		}
		c, ok := a.pos[i].(*constExpr)
		if !ok {
			return "", false
		}
		s, ok := c.val.(string)
		return s, ok
	}
	at := p.cur().at
	switch outer {
	case "map":
		if name, ok := arg(0); ok && p.reg.filter(name) == nil {
			p.missing(at, "filter", name, p.reg.filterNames())
		}
	case "select", "reject":
		if name, ok := arg(0); ok && p.reg.test(name) == nil {
			p.missing(at, "test", name, p.reg.testNames())
		}
	case "selectattr", "rejectattr":
		if name, ok := arg(1); ok && p.reg.test(name) == nil {
			p.missing(at, "test", name, p.reg.testNames())
		}
	}
}

func (p *parser) testCall(x expr) expr {
	p.advance()
	negated := p.skipName("not")
	name := p.testName()
	t := &testExpr{at: name.at, name: name.text, x: x}
	k := p.cur().kind
	switch {
	case p.isOp("("):
		t.args = p.callArgs()
	case (k == tokName || k == tokString || k == tokInt || k == tokFloat || p.isOp("[") || p.isOp("{")) && !p.isName("else", "or", "and"):
		if p.isName("is") {
			p.fail("You cannot chain multiple tests with is")
		}
		t.args.pos = []expr{p.postfix(p.primary())}
	}
	if t.fn = p.reg.test(name.text); t.fn == nil {
		p.missing(name.at, "test", name.text, p.reg.testNames())
	}
	if negated {
		return &notExpr{t}
	}
	return t
}

// testName also takes the operators' names, so that "is in x" works.
func (p *parser) testName() token { return p.dotted() }
