package expr

import (
	"errors"
	"strings"

	"github.com/calroll/calroll/playbooks/source"
)

// FileOptions change the language of a template file; see TemplateModule for what they usually are.
type FileOptions struct {
	TrimBlocks, LstripBlocks bool
	VariableStart            string // "{{" and so on when empty
	VariableEnd              string
	BlockStart               string
	BlockEnd                 string
	CommentStart             string
	CommentEnd               string
	Newline                  string // "\n" when empty
}

// TemplateModule are the defaults of the template module.
func TemplateModule() FileOptions { return FileOptions{TrimBlocks: true} }

func (o FileOptions) syntax() syntax {
	s := taskSyntax
	s.keepBackslashes = false
	s.trimBlocks, s.lstripBlocks = o.TrimBlocks, o.LstripBlocks
	for _, p := range []struct {
		to   *string
		from string
	}{
		{&s.varStart, o.VariableStart}, {&s.varEnd, o.VariableEnd}, {&s.blockStart, o.BlockStart}, {&s.blockEnd, o.BlockEnd},
		{&s.commentStart, o.CommentStart}, {&s.commentEnd, o.CommentEnd}, {&s.newline, o.Newline},
	} {
		if p.from != "" {
			*p.to = p.from
		}
	}
	return s
}

// RenderFile gives the text of a template file as the template module does: no text is turned into other values, and
// newlines at the end are kept. pos names the file; a first line "#jinja2: ..." may change the options.
func (e *Env) RenderFile(text string, pos source.Pos, vars Vars, o FileOptions) (string, error) {
	syn, body, err := overrides(text, o.syntax())
	if err != nil {
		return "", source.Errorf(pos, "cannot read template: %w", err)
	}
	skipped := 0
	if len(body) < len(text) {
		skipped = 1
	}
	p := e.parse(body, syn)
	if err := p.problem(pos.File, pos, skipped); err != nil {
		return "", err
	}
	r := e.render(p.tpl, vars)
	r.syn = &syn
	var out string
	err = attempt(func() {
		o := &output{}
		r.root(&frame{r: r}, o)
		out = o.value(false).(string)
	})
	if err != nil {
		return "", r.fileProblem(pos, skipped, err)
	}
	return out + strings.Repeat(syn.newline, max(0, trailingNewlines(body)-trailingNewlines(out))), nil
}

func (r *render) fileProblem(pos source.Pos, skipped int, err error) error {
	full := r.problem("template", pos.File, pos, err)
	var p *source.Problem
	if errors.As(full, &p) && p.Err == err && //nolint:errorlint // the very error, not one it wraps
		pos.Line == 0 && pos.File != "" {
		p.Pos.Line += skipped
		p.Msg = "cannot evaluate template: " + err.Error()
	}
	return full
}

// CheckFile is Check for a template file.
func (e *Env) CheckFile(text string, pos source.Pos, o FileOptions) error {
	syn, body, err := overrides(text, o.syntax())
	if err != nil {
		return source.Errorf(pos, "cannot read template: %w", err)
	}
	skipped := 0
	if len(body) < len(text) {
		skipped = 1
	}
	return e.parse(body, syn).problem(pos.File, pos, skipped)
}
