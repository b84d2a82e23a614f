package playbooks

import (
	"errors"
	"strings"
	"testing"

	"github.com/calroll/calroll/playbooks/source"
	"github.com/calroll/calroll/playbooks/value"
)

func TestSettingsAreConvertedAsAnsibleDoes(t *testing.T) {
	for _, c := range []struct {
		in   any
		get  func(any) (any, error)
		want any // nil: refused
	}{
		{"yes", as[bool], true}, {"Off", as[bool], false}, {1, as[bool], true}, {" true ", as[bool], true}, {2, as[bool], nil}, {"maybe", as[bool], nil}, {nil, as[bool], nil},
		{"5", as[int], 5}, {5.0, as[int], 5}, {5.5, as[int], nil}, {true, as[int], 1}, {"x", as[int], nil}, {[]any{1}, as[int], nil},
		{"1.5", as[float64], 1.5}, {2, as[float64], 2.0}, {"x", as[float64], nil},
		{5, as[string], "5"}, {true, as[string], "True"}, {"a", as[string], "a"}, {value.NewDict("a", 1), as[string], nil},
	} {
		got, err := c.get(c.in)
		if (err != nil) != (c.want == nil) || err == nil && got != c.want {
			t.Errorf("%#v gives %#v, %v; want %#v", c.in, got, err, c.want)
		}
	}
}

// as renders a template to v, and takes it for a T.
func as[T bool | int | float64 | string](v any) (any, error) {
	var unset T
	return Templated[T](value.Template{Text: "{{ x }}"}).Get(func(value.Template) (any, error) { return v, nil }, unset)
}

func TestSettingSaysWhereItStands(t *testing.T) {
	at := source.Pos{File: "f", Line: 3, Col: 4}
	s := Templated[int](value.Template{Text: "{{ x }}", Pos: at})
	_, err := s.Get(func(value.Template) (any, error) { return "many", nil }, 0)
	if got, want := err.Error(), `f:3:4: cannot use "{{ x }}": it renders to "many", and a whole number is needed`; got != want {
		t.Errorf("it says %s, want %s", got, want)
	}
	broken := errors.New("undefined")
	if _, err := s.Get(func(value.Template) (any, error) { return nil, broken }, 0); !errors.Is(err, broken) {
		t.Errorf("it says %v", err)
	}
	var unset Setting[int]
	if v, err := unset.Get(nil, 7); v != 7 || err != nil || unset.IsSet() {
		t.Errorf("not set is %d, %v", v, err)
	}
}

func TestMatchTags(t *testing.T) {
	for _, c := range []struct {
		tags, only, skip string
		want             bool
	}{
		{"", "", "", true}, {"a", "", "", true}, {"a", "all", "", true}, {"a", "a", "", true}, {"a", "b", "", false}, {"", "a", "", false},
		{"never", "", "", false}, {"never", "all", "", false}, {"never", "never", "", true}, {"never a", "a", "", true}, {"never a", "tagged", "", false},
		{"always", "b", "", true}, {"always", "", "always", false}, {"always", "", "all", true}, {"always a", "", "a", false},
		{"a", "tagged", "", true}, {"", "tagged", "", false}, {"", "untagged", "", true}, {"a", "untagged", "", false}, {"untagged", "tagged", "", false},
		{"a", "", "a", false}, {"a", "", "tagged", false}, {"", "", "tagged", true}, {"", "", "untagged", false}, {"a", "", "all", false},
	} {
		if got := MatchTags(split(c.tags), split(c.only), split(c.skip)); got != c.want {
			t.Errorf("tags %q under --tags %q --skip-tags %q: %v, want %v", c.tags, c.only, c.skip, got, c.want)
		}
	}
}

func split(words string) []string { return strings.Fields(words) }

func TestTagsThatAreTemplates(t *testing.T) {
	play := onePlay(t, "  tasks: [{name: t, debug: , tags: [a, '{{ more }}']}]\n")
	got, err := taskNamed(t, play.Tasks, "t").TagNames(func(value.Template) (any, error) { return []any{"b", 3}, nil })
	if err != nil || len(got) != 3 || got[1] != "b" || got[2] != "3" {
		t.Errorf("tags %q, %v", got, err)
	}
}
