package value

import (
	"errors"
	"fmt"
	"strings"
	"testing"

	"github.com/calroll/calroll/playbooks/source"
)

func TestSyntaxErrorsStandWhereTheMistakeIs(t *testing.T) {
	for _, c := range []struct{ text, want, says string }{
		{"a: b: c\n", "1:5", "mapping values"},
		{"a: 1\nb: c: d\n", "2:5", "mapping values"},
		{"- n: é\n  msg: one é: two\n", "2:13", "mapping values"},
		{"a: \"x: y\": z\n", "1:10", "mapping values"},
		{"a: 1\n  b: 2\n", "2:4", "mapping values"},
		{"a: one\n  two\n  b: 2\n", "3:4", "mapping values"},
		{"a: @b\n", "1:4", "cannot start any token"},
		{"x: 1\na: `b`\n", "2:4", "cannot start any token"},
		{"x: 1\na: [b, %c]\n", "2:8", "cannot start any token"},
		{"a: 1\n#c\n\tb: 2\n", "3:1", "cannot start any token"},
		{"a:\n\t- b\n", "2:1", "cannot start any token"},
		{"a: 1\n\tb: 2\n", "2:1", "tab character"},
		{"a:\n  b: 1\n  \tc: 2\n", "3:3", "tab character"},
		{" a: 1\nb: 2\n", "2:1", "<document start>"},
		{"a:\n  - b\n c: d\n", "3:2", "expected key"},
		{"a:\n    b: 1\n  c: 2\n", "3:3", "expected key"},
		{"- a: 1\n   # note\n\n  b: 2\nc: 3\n", "5:1", "'-' indicator"},
		{"- a\n-b: 1\n", "2:1", "'-' indicator"},
		{"a: \"b\" c\n", "1:8", "expected key"},
		{"a: \"b\" \"c\"\n", "1:8", "expected key"},
		{"x: 1\na: {{ b }}/bin\nc: 1\n", "2:11", "expected key"},
		{"a: [1]]\n", "1:7", "expected key"},
		{"a: 1\nb 2\nc: 3\n", "2:1", "could not find expected ':'"},
		{"- a: 1\n  b 2\n", "2:3", "could not find expected ':'"},
		{"a: 'b\nc: d\n", "1:4", "end of stream"},
		{"x: 1\na: \"b\nc: d\n", "2:4", "end of stream"},
		{"x: 1\na: [b, \"c]\n", "2:8", "end of stream"},
		{"a: 'b\n---\nc: d\n", "1:4", "document indicator"},
		{"a: [1, 2\nb: 3\n", "1:4", "',' or ']'"},
		{"x: 1\na: {b: 1\nc: 2\n", "2:4", "',' or '}'"},
		{"x: 1\na: [1, {b: 2]\nc: 3\n", "2:8", "',' or '}'"},
		{"x:\n  [1,\n   {b: 2]\n", "3:4", "',' or '}'"},
		{"a: {b: \"c\" d: e}\n", "1:12", "',' or '}'"},
		{"x: 1\na: [b,,c]\n", "2:7", "node content"},
		{"a: [\n" + strings.Repeat("  'x', # y\n", 100) + "  @b]\n", "102:3", "cannot start any token"},
		{"a: " + strings.Repeat("b", 1000) + ": c\n", "1:1004", "mapping values"},
		{"a: [" + strings.Repeat("b ", 1000) + "\n", "1:1", "',' or ']'"}, // too far to seek
		{"a: }\n", "1:4", "node content"},
		{"x: 1\n\n# why\na: - b\n", "4:4", "block sequence entries"},
		{"x: 1\na: \"b\\qc\"\n", "2:6", "unknown escape character"},
		{"a: \"b\n  \\xzz\"\n", "2:3", "hexdecimal"},
		{"x: 1\na: *nope\n", "2:4", "unknown anchor 'nope'"},
		{"c: ls *nope # *nope\na: [1, *nope, *nope]\nb: 1\n", "2:8", "unknown anchor 'nope'"},
		{"a: |x\n  b\n", "1:1", "comment or line break"},
		{"x: 1\n a: !<b c\n", "2:3", "mapping values"},
		{"x: 1\na: !n!b c\n", "2:1", "undefined tag handle"},
		{"x: 1\n...\n%FOO\n---\na: 1\n", "3:1", "unknown directive"},
		{"x: 1\na: b\u0085\u0086c\n", "2:6", "control characters"},
		{"# é\nk: |\n  it's \"[{\nl: [\n", "4:4", "node content"},
		{strings.Repeat("- a: 'x'\n  b: [1, 2]\n", 500) + "- c: {d: 1\n" + strings.Repeat("- a: 'x'\n", 500), "1001:6", "',' or '}'"},
	} {
		_, err := ReadYAML("f.yml", []byte(c.text))
		var ps source.Problems
		if !errors.As(err, &ps) || len(ps) != 1 {
			t.Errorf("%.60q: got %v, want one problem", c.text, err)
			continue
		}
		if got := fmt.Sprintf("%d:%d", ps[0].Pos.Line, ps[0].Pos.Col); got != c.want || !strings.Contains(ps[0].Msg, c.says) {
			t.Errorf("%.60q: got %s %s, want %s %s", c.text, got, ps[0].Msg, c.want, c.says)
		}
	}
}
