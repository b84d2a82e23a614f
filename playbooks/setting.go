package playbooks

import (
	"fmt"
	"math"
	"strconv"
	"strings"

	"github.com/calroll/calroll/playbooks/source"
	"github.com/calroll/calroll/playbooks/value"
)

// Render turns a template into its value for one host.
type Render func(value.Template) (any, error)

// Setting is the value of a keyword: not set, a constant, or a template that each host renders for itself. The zero value is not set.
type Setting[T bool | int | float64 | string] struct {
	Pos   source.Pos // where the value stands
	set   bool
	value T
	tmpl  *value.Template // instead of value
}

// Const is a Setting with a constant value.
func Const[T bool | int | float64 | string](v T, pos source.Pos) Setting[T] {
	return Setting[T]{Pos: pos, set: true, value: v}
}

// Templated is a Setting that has to be rendered.
func Templated[T bool | int | float64 | string](t value.Template) Setting[T] {
	return Setting[T]{Pos: t.Pos, set: true, tmpl: &t}
}

// IsSet tells whether somebody gave a value.
func (s Setting[T]) IsSet() bool { return s.set }

// Constant is the value when it is set and needs no rendering.
func (s Setting[T]) Constant() (v T, ok bool) { return s.value, s.set && s.tmpl == nil }

// Template is the text to render, when there is one.
func (s Setting[T]) Template() (value.Template, bool) {
	if s.tmpl == nil {
		return value.Template{}, false
	}
	return *s.tmpl, true
}

// Get is the value for one host: unset when nobody set it, and what render gives, converted as Ansible does, when it is a template.
func (s Setting[T]) Get(render Render, unset T) (T, error) {
	switch {
	case !s.set:
		return unset, nil
	case s.tmpl == nil:
		return s.value, nil
	}
	raw, err := render(*s.tmpl)
	if err != nil {
		return unset, err
	}
	v, err := convert[T](raw)
	if err != nil {
		return unset, source.Errorf(s.Pos, "cannot use %q: it renders to %w", s.tmpl.Text, err)
	}
	return v, nil
}

// fix replaces a template by its value.
func (s *Setting[T]) fix(render Render) error {
	if s.tmpl == nil {
		return nil
	}
	var unset T
	v, err := s.Get(render, unset)
	*s = Const(v, s.Pos)
	return err
}

// Text is the constant or the template's text as it was written, for listings.
func (s Setting[T]) Text() string {
	if s.tmpl != nil {
		return s.tmpl.Text
	}
	if !s.set {
		return ""
	}
	return fmt.Sprint(s.value)
}

// or is s, or outer when s is not set.
func (s Setting[T]) or(outer Setting[T]) Setting[T] {
	if s.set {
		return s
	}
	return outer
}

// convert makes a T of a rendered or written value; the error reads on from "it is ...".
func convert[T bool | int | float64 | string](raw any) (T, error) {
	var out T
	var err error
	switch p := any(&out).(type) {
	case *bool:
		*p, err = toBool(raw)
	case *int:
		*p, err = toInt(raw)
	case *float64:
		*p, err = toFloat(raw)
	case *string:
		*p, err = toString(raw)
	}
	return out, err
}

func toBool(raw any) (bool, error) {
	switch v := raw.(type) {
	case bool:
		return v, nil
	case int:
		if v == 0 || v == 1 {
			return v == 1, nil
		}
	case float64:
		if v == 0 || v == 1 {
			return v == 1, nil
		}
	case string:
		switch strings.ToLower(strings.TrimSpace(v)) {
		case "y", "yes", "on", "1", "true", "t", "1.0":
			return true, nil
		case "n", "no", "off", "0", "false", "f", "0.0":
			return false, nil
		}
	}
	return false, fmt.Errorf("%s, and a boolean (true or false) is needed", show(raw))
}

func toInt(raw any) (int, error) {
	switch v := raw.(type) {
	case int:
		return v, nil
	case bool:
		if v {
			return 1, nil
		}
		return 0, nil
	case float64:
		if v == math.Trunc(v) {
			return int(v), nil
		}
	case string:
		if n, err := strconv.Atoi(strings.TrimSpace(v)); err == nil {
			return n, nil
		}
	}
	return 0, fmt.Errorf("%s, and a whole number is needed", show(raw))
}

func toFloat(raw any) (float64, error) {
	switch v := raw.(type) {
	case int:
		return float64(v), nil
	case float64:
		return v, nil
	case string:
		if n, err := strconv.ParseFloat(strings.TrimSpace(v), 64); err == nil {
			return n, nil
		}
	}
	return 0, fmt.Errorf("%s, and a number is needed", show(raw))
}

func toString(raw any) (string, error) {
	switch v := raw.(type) {
	case string:
		return v, nil
	case bool:
		if v {
			return "True", nil
		}
		return "False", nil
	case int, float64:
		return fmt.Sprint(v), nil
	}
	return "", fmt.Errorf("%s, and a text is needed", show(raw))
}

// show is a value as a message names it.
func show(raw any) string {
	switch v := raw.(type) {
	case nil:
		return "nothing"
	case string:
		return strconv.Quote(v)
	case value.Template:
		return strconv.Quote(v.Text)
	case value.Vault:
		return "an encrypted value"
	case *value.Dict:
		return "a mapping"
	case []any:
		return "a list"
	}
	return fmt.Sprint(raw)
}
