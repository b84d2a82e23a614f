package expr

import (
	"fmt"
	"slices"
	"strings"

	"github.com/calroll/calroll/playbooks/source"
)

// parser reads statements; parse_expr.go reads expressions. The grammar is Jinja2 3.1's.
type parser struct {
	toks []token
	pos  int
	reg  *registry
	tpl  *template
	tags []string // open tags, innermost last
	loop int      // depth of for loops
}

// parse reads a whole template.
func parse(text string, syn *syntax, reg *registry) (tpl *template, err *syntaxError) {
	tpl = &template{text: normalizeNewlines(text, syn.keepTrailingNewline), blocks: map[string]*blockStmt{}}
	defer catchSyntax(&err)
	p := &parser{toks: lex(tpl.text, syn), reg: reg, tpl: tpl}
	tpl.body = p.body()
	if p.cur().kind != tokEOF {
		p.unknownTag()
	}
	return tpl, nil
}

// parseCondition reads a bare expression as it would stand in {% if ... %}.
func parseCondition(text string, reg *registry) (tpl *template, x expr, err *syntaxError) {
	tpl = &template{text: normalizeNewlines(text, true)}
	defer catchSyntax(&err)
	l := &lexer{src: tpl.text, syn: &taskSyntax}
	var open []byte
	for l.pos = l.skipSpace(0); l.pos < len(l.src); l.pos = l.skipSpace(l.pos) {
		open = l.one(open)
	}
	l.emit(tokEOF, "", len(l.src))
	p := &parser{toks: l.out, reg: reg, tpl: tpl}
	x = p.tuple(tupleRules{noCond: true})
	if p.cur().kind != tokEOF {
		p.fail("expected token 'end of condition', got '%s'", p.cur().describe())
	}
	return tpl, x, nil
}

func catchSyntax(err **syntaxError) {
	switch r := recover().(type) {
	case nil:
	case *syntaxError:
		*err = r
	default:
		panic(r)
	}
}

func (p *parser) cur() token  { return p.toks[p.pos] }
func (p *parser) look() token { return p.toks[min(p.pos+1, len(p.toks)-1)] }

func (p *parser) advance() token {
	t := p.toks[p.pos]
	if p.pos < len(p.toks)-1 {
		p.pos++
	}
	return t
}

func (p *parser) isOp(op string) bool {
	t := p.cur()
	return t.kind == tokOp && t.text == op
}

func (p *parser) isName(names ...string) bool {
	t := p.cur()
	return t.kind == tokName && slices.Contains(names, t.text)
}

func (p *parser) skipOp(op string) bool {
	if p.isOp(op) {
		p.advance()
		return true
	}
	return false
}

func (p *parser) skipName(name string) bool {
	if p.isName(name) {
		p.advance()
		return true
	}
	return false
}

func (p *parser) expectOp(op string) token {
	if !p.isOp(op) {
		p.fail("expected token '%s', got '%s'", op, p.cur().describe())
	}
	return p.advance()
}

func (p *parser) expectName() token {
	if p.cur().kind != tokName {
		p.fail("expected token 'name', got '%s'", p.cur().describe())
	}
	return p.advance()
}

func (p *parser) expect(k kind, what string) {
	if p.cur().kind != k {
		p.fail("expected token '%s', got '%s'", what, p.cur().describe())
	}
	p.advance()
}

func (p *parser) fail(format string, args ...any) { p.failAt(p.cur().at, format, args...) }

func (p *parser) failAt(at int, format string, args ...any) {
	panic(&syntaxError{at: at, msg: fmt.Sprintf(format, args...)})
}

// body reads statements until one of the end tags, which is left as the current token.
func (p *parser) body(ends ...string) []stmt {
	var out []stmt
	for {
		t := p.cur()
		switch t.kind {
		case tokEOF:
			return out
		case tokData:
			p.advance()
			out = append(out, &dataStmt{t.text})
		case tokVarBegin:
			p.advance()
			out = append(out, &printStmt{p.tuple(tupleRules{})})
			p.expect(tokVarEnd, "end of print statement")
		case tokBlockBegin:
			p.advance()
			if p.isName(ends...) {
				return out
			}
			out = append(out, p.statement())
			p.expect(tokBlockEnd, "end of statement block")
		default:
			p.fail("unexpected '%s'", t.describe())
		}
	}
}

// block reads the rest of a tag and its body, up to and with one of the end tags, whose name it gives.
func (p *parser) block(ends ...string) ([]stmt, string) {
	p.skipOp(":")
	p.expect(tokBlockEnd, "end of statement block")
	body := p.body(ends...)
	if p.cur().kind == tokEOF {
		p.fail("Unexpected end of template. Jinja was looking for the following tags: '%s'. The innermost block that needs to be closed is '%s'.",
			strings.Join(ends, "' or '"), p.tags[len(p.tags)-1])
	}
	return body, p.advance().text
}

var statements map[string]func(*parser) stmt

func init() {
	statements = map[string]func(*parser) stmt{
		"if": (*parser).ifTag, "for": (*parser).forTag, "set": (*parser).setTag, "macro": (*parser).macroTag,
		"call": (*parser).callTag, "filter": (*parser).filterTag, "with": (*parser).withTag, "block": (*parser).blockTag,
		"extends": (*parser).extendsTag, "include": (*parser).includeTag, "import": (*parser).importTag,
		"from": (*parser).fromTag, "do": (*parser).doTag, "break": (*parser).breakTag, "continue": (*parser).continueTag,
	}
}

func (p *parser) statement() stmt {
	if p.cur().kind != tokName {
		p.fail("tag name expected")
	}
	read, ok := statements[p.cur().text]
	if !ok {
		p.unknownTag()
	}
	p.tags = append(p.tags, p.cur().text)
	p.advance()
	s := read(p)
	p.tags = p.tags[:len(p.tags)-1]
	return s
}

func (p *parser) unknownTag() {
	err := &syntaxError{at: p.cur().at, msg: fmt.Sprintf("Encountered unknown tag '%s'.", p.cur().text)}
	if len(p.tags) > 0 {
		err.msg += fmt.Sprintf(" The innermost block that needs to be closed is '%s'.", p.tags[len(p.tags)-1])
	}
	known := []string{"elif", "else", "endif", "endfor", "endset", "raw", "endmacro"}
	for name := range statements {
		known = append(known, name)
	}
	slices.Sort(known)
	err.hint = didYouMean(p.cur().text, known)
	panic(err)
}

func didYouMean(name string, known []string) string {
	if near := source.Nearest(name, known); near != "" && near != name {
		return fmt.Sprintf("did you mean %q?", near)
	}
	return ""
}

func (p *parser) ifTag() stmt {
	s := &ifStmt{}
	for {
		test := p.tuple(tupleRules{noCond: true})
		body, end := p.block("elif", "else", "endif")
		s.branches = append(s.branches, ifBranch{test, body})
		if end == "else" {
			s.other, end = p.block("endif")
		}
		if end == "endif" {
			return s
		}
	}
}

func (p *parser) forTag() stmt {
	s := &forStmt{at: p.cur().at}
	s.target = p.target(tupleRules{ends: []string{"in"}})
	if !p.skipName("in") {
		p.fail("expected token 'in', got '%s'", p.cur().describe())
	}
	s.iter = p.tuple(tupleRules{noCond: true, ends: []string{"recursive"}})
	if p.skipName("if") {
		s.cond = p.expression()
	}
	s.recursive = p.skipName("recursive")
	p.loop++
	var end string
	s.body, end = p.block("endfor", "else")
	p.loop--
	if end == "else" {
		s.empty, _ = p.block("endfor")
	}
	return s
}

// target reads what a for, set or with assigns to: a name or a (nested) tuple of names.
func (p *parser) target(rules tupleRules) expr {
	at := p.cur().at
	rules.simple = true
	t := p.tuple(rules)
	p.checkTarget(t, at)
	return t
}

func (p *parser) checkTarget(t expr, at int) {
	switch t := t.(type) {
	case *nameExpr:
	case *tupleExpr:
		for _, item := range t.items {
			p.checkTarget(item, at)
		}
	default:
		p.failAt(at, "can't assign to this expression")
	}
}

func (p *parser) setTag() stmt {
	at := p.cur().at
	var target expr
	if p.cur().kind == tokName && p.look().kind == tokOp && p.look().text == "." {
		ns := p.advance()
		p.advance()
		target = nsTarget{ns.at, ns.text, p.expectName().text}
	} else {
		target = p.target(tupleRules{})
	}
	if p.skipOp("=") {
		return &setStmt{at, target, p.tuple(tupleRules{})}
	}
	s := &setBlockStmt{at: at, target: target}
	if p.isOp("|") {
		s.filter, _ = p.filters(nil).(*filterExpr)
	}
	s.body, _ = p.block("endset")
	return s
}

func (p *parser) macroTag() stmt {
	s := &macroStmt{at: p.cur().at, name: p.expectName().text}
	p.signature(s)
	s.body, _ = p.block("endmacro")
	s.findCatches()
	return s
}

func (p *parser) signature(s *macroStmt) {
	p.expectOp("(")
	for !p.isOp(")") {
		if len(s.params) > 0 {
			p.expectOp(",")
		}
		s.params = append(s.params, p.expectName().text)
		if p.skipOp("=") {
			s.defaults = append(s.defaults, p.expression())
		} else if len(s.defaults) > 0 {
			p.fail("non-default argument follows default argument")
		}
	}
	p.advance()
}

func (p *parser) callTag() stmt {
	m := &macroStmt{at: p.cur().at}
	if p.isOp("(") {
		p.signature(m)
	}
	call, ok := p.expression().(*callExpr)
	if !ok {
		p.failAt(m.at, "expected call")
	}
	m.body, _ = p.block("endcall")
	m.findCatches()
	return &callStmt{call, m}
}

func (p *parser) filterTag() stmt {
	s := &filterStmt{}
	x := p.filterCall(nil)
	s.filter, _ = p.filters(x).(*filterExpr)
	s.body, _ = p.block("endfilter")
	return s
}

func (p *parser) withTag() stmt {
	s := &withStmt{}
	for p.cur().kind != tokBlockEnd {
		if len(s.targets) > 0 {
			p.expectOp(",")
		}
		at := p.cur().at
		t := p.primary()
		p.checkTarget(t, at)
		p.expectOp("=")
		s.targets, s.vals = append(s.targets, t), append(s.vals, p.expression())
	}
	s.body, _ = p.block("endwith")
	return s
}

func (p *parser) blockTag() stmt {
	s := &blockStmt{at: p.cur().at, name: p.expectName().text}
	p.skipName("scoped")
	p.skipName("required")
	if p.tpl.blocks[s.name] != nil {
		p.failAt(s.at, "block '%s' defined twice", s.name)
	}
	p.tpl.blocks[s.name] = s
	s.body, _ = p.block("endblock")
	p.skipName(s.name)
	return s
}

func (p *parser) extendsTag() stmt { return &extendsStmt{p.cur().at, p.expression()} }

func (p *parser) includeTag() stmt {
	s := &includeStmt{at: p.cur().at, x: p.expression()}
	if p.isName("ignore") && p.look().text == "missing" {
		p.advance()
		p.advance()
		s.ignoreMissing = true
	}
	s.bare = !p.context(true)
	return s
}

// context reads "with context" or "without context".
func (p *parser) context(byDefault bool) bool {
	if p.isName("with", "without") && p.look().text == "context" {
		with := p.advance().text == "with"
		p.advance()
		return with
	}
	return byDefault
}

func (p *parser) importTag() stmt {
	s := &importStmt{at: p.cur().at, x: p.expression()}
	if !p.skipName("as") {
		p.fail("expected token 'as', got '%s'", p.cur().describe())
	}
	s.as = p.expectName().text
	s.withContext = p.context(false)
	return s
}

func (p *parser) fromTag() stmt {
	s := &importStmt{at: p.cur().at, x: p.expression()}
	if !p.skipName("import") {
		p.fail("expected token 'import', got '%s'", p.cur().describe())
	}
	for p.cur().kind == tokName && !(p.isName("with", "without") && p.look().text == "context") {
		name := p.advance().text
		as := name
		if p.skipName("as") {
			as = p.expectName().text
		}
		s.names = append(s.names, [2]string{name, as})
		if !p.skipOp(",") {
			break
		}
	}
	if len(s.names) == 0 {
		p.fail("expected token 'name', got '%s'", p.cur().describe())
	}
	s.withContext = p.context(false)
	return s
}

func (p *parser) doTag() stmt { return &doStmt{p.tuple(tupleRules{})} }

func (p *parser) breakTag() stmt {
	p.inLoop("break")
	return breakStmt{}
}

func (p *parser) continueTag() stmt {
	p.inLoop("continue")
	return continueStmt{}
}

func (p *parser) inLoop(tag string) {
	if p.loop == 0 {
		p.fail("'%s' outside loop", tag)
	}
}
