package expr

import (
	"strings"
	"testing"

	"github.com/calroll/calroll/playbooks/source"
)

func BenchmarkTemplate(b *testing.B) {
	vars := loadVars(b)
	simple := MapVars{"x": "value", "d": NewDict("k", 1), "l": []any{1, 2, 3}}
	forty := strings.Repeat("{% for u in l %}\n- {{ u }}: {{ x | upper }}\n{% if u > 1 %}\n  big: {{ d.k + u }}\n{% endif %}\n{% endfor %}\nplain text, {{ x | default('none') }} and more\n{{ l | map('string') | join(',') }}\n", 5)
	for _, c := range []struct {
		name, text string
		vars       Vars
	}{
		{"no marker", "just text, as most arguments are", simple},
		{"one variable", "{{ x }}", simple},
		{"expression", "{{ d.k + 1 }}-{{ x | upper }}", simple},
		{"forty lines", forty, simple},
		{"through variables", "{{ tpl_dict.m | join(',') }}", vars},
	} {
		b.Run(c.name, func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				if _, err := vars.env.Template(c.text, source.Pos{}, c.vars); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
	b.Run("condition", func(b *testing.B) {
		for b.Loop() {
			if _, err := vars.env.Condition("x is defined and d.k == 1", source.Pos{}, simple); err != nil {
				b.Fatal(err)
			}
		}
	})
	b.Run("parse forty lines", func(b *testing.B) {
		for b.Loop() {
			if _, err := parse(forty, &taskSyntax, builtins()); err != nil {
				b.Fatal(err)
			}
		}
	})
}
