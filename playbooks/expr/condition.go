package expr

import (
	"errors"
	"regexp"
	"strings"

	"github.com/calroll/calroll/playbooks/source"
)

// errUnsafe refuses to evaluate text that came from a host.
var errUnsafe = errors.New("Conditional is marked as unsafe, and cannot be evaluated.")

// Condition evaluates a bare expression, as in when: and until:. Empty text holds. Text with a marker is templated
// first, and what that gives is evaluated, unless a variable in it is Unsafe.
func (e *Env) Condition(text string, pos source.Pos, vars Vars) (bool, error) {
	if !IsTemplate(text) {
		return e.condition(text, text, pos, vars)
	}
	p, _, err := e.parseTask(text)
	if err != nil {
		return false, &source.Problem{Pos: pos, Msg: err.Error(), Err: err}
	}
	if err := p.problem(text, pos, 0); err != nil {
		return false, err
	}
	r := e.render(p.tpl, vars)
	r.convert = true
	v, err := r.template(p, text)
	if err == nil && r.usedUnsafe() {
		if _, ok := v.(string); ok {
			err = errUnsafe
		}
	}
	if err != nil {
		return false, r.problem("condition", text, pos, err)
	}
	if inner, ok := v.(string); ok && inner != "" {
		return e.condition(inner, text, pos, vars)
	}
	return truthy(v), nil
}

// Evaluate gives the value of a bare expression with its type, which is not put through text as Template's is.
func (e *Env) Evaluate(text string, pos source.Pos, vars Vars) (any, error) {
	p := e.parseCondition(text)
	if err := p.problem(text, pos, 0); err != nil {
		return nil, err
	}
	r := e.render(p.tpl, vars)
	var out any
	err := attempt(func() {
		out = plain(p.cond.eval(&frame{r: r}))
		undefinedFails(out)
		readsBack(out) // fails on undefined members
	})
	if err != nil {
		return nil, r.problem("expression", text, pos, err)
	}
	return out, nil
}

func (r *render) usedUnsafe() bool {
	for name := range r.known {
		if r.origin(name) == Unsafe {
			return true
		}
	}
	return false
}

func (e *Env) condition(text, shown string, pos source.Pos, vars Vars) (bool, error) {
	if strings.TrimSpace(text) == "" {
		return true, nil
	}
	p := e.parseCondition(text)
	if err := p.problem(shown, pos, 0); err != nil {
		return false, err
	}
	r := e.render(p.tpl, vars)
	var holds bool
	err := attempt(func() { holds = truthy(p.cond.eval(&frame{r: r})) })
	if err == nil {
		return holds, nil
	}
	if holds, ok := definedElsewhere(text, err); ok {
		return holds, nil
	}
	return false, r.problem("condition", shown, pos, err)
}

var (
	undefinedVar = regexp.MustCompile(`'(hostvars\[.+\]|\w+)' is undefined`)
	definedTest  = regexp.MustCompile(`(hostvars\[.+\]|\w+)\s+(not\s+is|is|is\s+not)\s+(defined|undefined)`)
)

// definedElsewhere decides a condition that failed on an undefined variable which the same condition asks about with
// "is defined": "x == 1 and x is defined" is false, not an error.
func definedElsewhere(text string, err error) (holds, ok bool) {
	var u *Undefined
	if !errors.As(err, &u) {
		return false, false
	}
	m := undefinedVar.FindStringSubmatch(u.Message)
	if m == nil {
		return false, false
	}
	name := strings.ReplaceAll(m[1], "'", `"`)
	for _, t := range definedTest.FindAllStringSubmatch(text, -1) {
		if strings.ReplaceAll(t[1], "'", `"`) == name {
			mustExist := strings.Contains(t[2], "not") != (t[3] == "defined")
			return !mustExist, true
		}
	}
	return false, false
}
