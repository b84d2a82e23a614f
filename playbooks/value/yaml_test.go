package value

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"math"
	"os/exec"
	"slices"
	"strings"
	"testing"
	"time"

	"gopkg.in/yaml.v3"
	"pgregory.net/rapid"

	"github.com/calroll/calroll/playbooks/source"
)

func read(t *testing.T, text string) any {
	t.Helper()
	docs, err := ReadYAML("f.yml", []byte(text))
	if err != nil {
		t.Fatalf("%q: %v", text, err)
	}
	v, err := docs.Value()
	if err != nil {
		t.Fatalf("%q: %v", text, err)
	}
	return v
}

// show writes a value so that it can be compared with what the Python oracle below prints.
func show(v any) string {
	switch v := v.(type) {
	case nil:
		return "null"
	case bool:
		return fmt.Sprintf("bool:%v", v)
	case int:
		return fmt.Sprintf("int:%d", v)
	case json.Number:
		return "int:" + v.String()
	case float64:
		switch {
		case math.IsNaN(v):
			return "float:nan"
		case math.IsInf(v, 1):
			return "float:inf"
		case math.IsInf(v, -1):
			return "float:-inf"
		}
		return fmt.Sprintf("float:%x", math.Float64bits(v))
	case string:
		return fmt.Sprintf("str:%x", v)
	case Template:
		return fmt.Sprintf("str:%x", v.Text)
	case time.Time:
		return "time:" + TimeString(v)
	case []any:
		parts := make([]string, len(v))
		for i := range v {
			parts[i] = show(v[i])
		}
		return "[" + strings.Join(parts, " ") + "]"
	case *Dict:
		parts := []string{}
		for k, e := range v.All() {
			parts = append(parts, show(k)+"="+show(e))
		}
		return "{" + strings.Join(parts, " ") + "}"
	}
	return fmt.Sprintf("?%T", v)
}

const oracle = `
import sys, json, struct, datetime, yaml
def show(v):
    if v is None: return "null"
    if isinstance(v, bool): return "bool:" + str(v).lower()
    if isinstance(v, int): return "int:%d" % v
    if isinstance(v, float):
        if v != v: return "float:nan"
        if v in (float("inf"), float("-inf")): return "float:" + str(v)
        return "float:%x" % struct.unpack(">Q", struct.pack(">d", v))[0]
    if isinstance(v, str): return "str:" + v.encode().hex()
    if isinstance(v, bytes): return "str:" + v.hex()
    if isinstance(v, (datetime.datetime, datetime.date)): return "time:" + str(v)
    if isinstance(v, list): return "[" + " ".join(map(show, v)) + "]"
    if isinstance(v, dict): return "{" + " ".join(show(str(k) if isinstance(k, datetime.date) else k) + "=" + show(e) for k, e in v.items()) + "}"
    return "?" + type(v).__name__
out = []
for text in json.load(sys.stdin):
    try:
        if text[:1] in ("[", "{"): # as Ansible: JSON first
            try:
                out.append(show(json.loads(text)))
                continue
            except ValueError: pass
        out.append(show(yaml.load(text, Loader=yaml.CSafeLoader)))
    except Exception as e: out.append("error")
json.dump(out, sys.stdout)
`

// python is what PyYAML, through libyaml as Ansible uses it, makes of each text.
func python(t interface{ Fatalf(string, ...any) }, texts []string) []string {
	in, _ := json.Marshal(texts) // strings always marshal
	cmd := exec.Command("/usr/bin/python3", "-c", oracle)
	cmd.Stdin = bytes.NewReader(in)
	var stderr bytes.Buffer
	cmd.Stderr = &stderr
	raw, err := cmd.Output()
	if err != nil {
		t.Fatalf("the comparison with PyYAML needs python3 with python3-yaml (apt-get install python3-yaml): %v\n%s", err, &stderr)
	}
	var out []string
	if err := json.Unmarshal(raw, &out); err != nil {
		t.Fatalf("%v in %s", err, raw)
	}
	return out
}

func ours(text string) string {
	docs, err := ReadYAML("f.yml", []byte(text))
	if err != nil {
		return "error"
	}
	v, err := docs.Value()
	if err != nil {
		return "error"
	}
	return show(v)
}

// differ are texts that the two parsers are known to treat differently, none of which anybody writes.
var differ = map[string]string{
	"!!binary '%%'":                    "PyYAML drops what is not base64",
	"[Infinity]":                       "Python's JSON knows it",
	"! '12'":                           "libyaml lets the lone ! undo the quotes",
	"!!omap [b: 1]":                    "pairs are not supported, which is said",
	".nan: v":                          "not a number cannot be looked up, which is said",
	".NaN: v":                          "the same",
	".NAN: v":                          "the same",
	"a: &x 1\nb: *x\nc: &x 2\nd: *x\n": "YAML 1.2 lets an anchor be used anew; libyaml refuses",
}

func compare(t *testing.T, texts []string) {
	t.Helper()
	texts = slices.DeleteFunc(texts, func(s string) bool { return differ[s] != "" })
	for i, want := range python(t, texts) {
		if got := ours(texts[i]); got != want {
			t.Errorf("%q: got %s, PyYAML %s", texts[i], got, want)
		}
	}
}

func TestScalarsAreWhatPyYAMLSays(t *testing.T) {
	words := strings.Fields(`yes Yes YES yEs no No NO nO true True TRUE tRUE false False FALSE on On ON oN off Off OFF oFF y Y n N t f
		~ null Null NULL nULL none None 0 00 -0 +0 1 -1 +1 12 1_000 1__0 _1 1_ 0644 0_644 08 09 0o17 0o8 0x1F 0xfg 0X1F 0x 0x_ 0x_1 0b101 0b2
		0b 0b_ 0b1_0 -0x1F +0b11 -0644 1:30 1:60 1:59 190:20:30 -1:30 0:30 01:30 22:22 80:80 1:2:3:4 1:030 1:3_0 1:30.5 1:30. 190:20:30.15 -1:30.5 60:60.1
		1.0 1. .5 -.5 +.5 ._5 .5_0 . .. ... 1.5e3 1.5e+3 1.5E-3 1e5 1e+5 1E5 1.e+5 1.0e5 6.8523015e+5 685_230.15 +1.5 -1.5 1_0.0_1 0.1 00.1
		.inf .Inf .INF -.inf +.inf .iNF inf Infinity .nan .NaN .NAN .nAN nan -.nan
		2001-12-14 2001-1-1 2001-13-01 2001-02-30 0000-01-01 9999-12-31 2001-12-14T21:59:43Z 2001-12-14t21:59:43.10-05:00 2001-12-14T21:59:43
		2001-12-14T21:59:43.1234567Z 2001-12-14T21:59:43. 2001-12-14T25:00:00Z 2001-12-14T21:59:60Z 2001-12-15T2:59:43.1Z 2001-12-14T21:59:43+5 2001-12-14T21:59:43-05:30 20011214
		<< = == - -- --- 9223372036854775807 9223372036854775808 -9223372036854775808 -9223372036854775809 123456789012345678901234567890 0xffffffffffffffffff
		10.0.0.1 1.2.3 v1.2 1.28 1.30 1,000 1k 0x0g a b 'a' "a" '' "" '1' "yes" "0644" !!str\ 1 0755 00755 -755 +755 1234_ 0_ 0__ 0_8 9_9 1_:30
		192.168.0.0/16 ::1 a::b fe80::1 aa:bb:cc 00:11:22:33:44:55 12:34:56:78:90:12 1e3 1e-3 0e0 0.e0 1_e3 .e3 0.0 -0.0 +0.0 -.0 %s %`)
	texts := []string{"", " ", "\n", "# only a comment\n", "---\n", "--- \n...\n", "2001-12-14 21:59:43.10 -5", "2001-12-15 2:59:43.10", "2001-12-14  21:59:43 Z",
		"!!int '12'", "!!float 1", "!!float '1e5'", "!!str 12", "!!bool 'yes'", "!!bool maybe", "!!int abc", "!!null x", "!!binary aGVsbG8=", "!!binary '%%'", "!!timestamp 2001-01-01",
		"!!timestamp x", "!foo bar", "! 12", "! '12'", "!!str", "!!str yes", "!!seq [a]", "!!map {a: b}", "!!seq {a: b}", "'it''s'", `"tab\there"`, `"\x41\u00e9\U0001F600"`, `"\q"`}
	for _, w := range words {
		texts = append(texts, w, "k: "+w, "- "+w, "["+w+"]", w+": v")
	}
	compare(t, texts)
	if len(texts) < 300 {
		t.Errorf("only %d texts", len(texts))
	}
}

func TestStructuresAreWhatPyYAMLSays(t *testing.T) {
	compare(t, []string{
		"a: &x {p: 1, q: 2}\nb:\n  <<: *x\n  q: 3\n", "b:\n  q: 3\n  <<: {p: 1, q: 2}\n  r: 4\n", "- &a {x: 1, y: 1}\n- &b {x: 2, z: 2}\n- {<<: [*a, *b], w: 0}\n",
		"<<: 1\n", "<<: [1]\n", "'<<': 1\n", "a: {<<: {b: {<<: {c: 1}}}}\n", "a: 1\na: 2\n", "a: 1\nb: 2\na: 3\n", "2: a\n1.5: b\ntrue: c\nnull: d\n",
		"a: |\n  one\n  two\n\nb: >\n  one\n  two\n\n  three\n", "a: |-\n  x\n\n\nb: |+\n  y\n\n", "a: |2\n    indented\n  less\n", "a: >-\n  folded\n    more\n  back\n",
		"a: plain\n  goes on\n  here\n", "a: 'quoted\n  goes on\n\n  here'\n", "\"a\\\n  b\"\n", "[a, b, {c: d, e: f}, [g]]", "{a, b: , c: d}", "[a: b, c]", "{\"a\":1}", "{'a':1, b:2}",
		"- - a\n  - b\n- c\n", "-\n  a: b\n- \n- c\n", "a:\n- b\n- c\nd:\n  - e\n", "? a\n: b\n? c\n", "? [a]\n: b\n", "{[a]: b}", "a: {{ b }}\n", "{{ a }}: b\n",
		"a: 1\n\tb: 2\n", "a:\n\t- b\n", "a:\tb\n", "a: b\t\n", "\ta: b\n", "a: b: c\n", "a: 'b\n", "a: [b\n", "a: *nope\n", "a: @b\n", "a: `b\n", "a: %b\n", "a: b %c\n", "a: b #c\n", "a: b#c\n",
		"a: 1\n---\nb: 2\n", "a: 1\n...\n", "a: 1\n--- # end\n", "%YAML 1.1\n---\na: on\n", "a: 1\n b: 2\n", " a: 1\nb: 2\n", "a\nb\n", "a: 1\nb\n", "- a\nb: c\n", "a: - b\n", "a: \"b\" c\n",
		"a: &x 1\nb: *x\nc: &x 2\nd: *x\n", "a: &x\n  b: 1\nc: *x\n", "&k a: 1\nb: *k\n", "a: !!str 1\nb: ! 1\n", "a:\r\n  - b\r\n  - c\r\n", "a: \"x\\ny\"\n", "key with spaces: value with spaces\n",
		"a: x:y\nb: http://h:80/\nc: a::b\n", "a: -\n", "a: - \n", "- \n-\n", "a: ?\n", "a: ,\n", "[a,]", "[a,,b]", "{a: 1,}", "[]\n", "{}\n", "a: []\nb: {}\n", "\xef\xbb\xbfa: 1\n", "a: \"\\ud83d\\ude00\"\n",
		"a: \u00a0b\n", "a: é\nü: ö\n", "a: 'b' \nc: \"d\" # e\n", "2001-01-01: x\n", "'a': b\n\"c\": d\n", "a: >\n\n  b\n", "a: |\n\n  b\n   c\n", "a: |\n# no\n  b\n", "a: |\n  b\n # c\nd: e\n",
	})
}

func TestRandomPlainScalarsAreWhatPyYAMLSays(t *testing.T) {
	var texts []string
	gen := rapid.StringMatching(`[-+]?(0[bxo]?)?[0-9_:.eE+\-TZ abfFnNoOyY~]{0,9}`)
	for i := range 3000 {
		text := strings.TrimSpace(gen.Example(i))
		texts = append(texts, "k: "+text, "- "+text)
	}
	compare(t, texts)
}

func TestRandomStructuresAreWhatPyYAMLSays(t *testing.T) {
	var texts []string
	part := rapid.SampledFrom([]string{"a: ", "b: ", "c: ", "- ", "\n", "\n", "\n  ", "\n  ", "\n    ", "\n# c\n", "\n  # d\n", " # e", "x", "y z", "'q'", "\"d\"",
		"[", "]", "{", "}", ", ", "|\n  ", "|-\n    ", ">\n  ", "&x ", "*x", "!!str ", "\n\n", "é", "<<: {q: 1}", "|2\n    ", "k: [1, {z: 2}]\n", "- s: 1\n  t: 2\n"})
	gen := rapid.SliceOfN(part, 1, 12)
	for i := range 10000 {
		if text := strings.Join(gen.Example(i), ""); strings.Count(text, "&x") < 2 { // an anchor may be used anew here, see differ
			texts = append(texts, text)
		}
	}
	compare(t, texts)
}

func TestTemplatesKnowWhereTheyStand(t *testing.T) {
	text := "a: x {{ 1 }}\nb: \"{{ 2 }}\"\nc: |\n    top\n    {{ 3 }}\nd: !!str  '{% 4 %}'\ne: >-\n\n  {{ 5 }}\nf: [\"é\", '{# 6 #}']\ng: &anchor {{{ 7 }}}\nh: !unsafe \"{{ 8 }}\"\n" +
		"i: |2\n    {{ 9 }}\n'{{ k }}': plain\nj: &x # note\n  {{ '{{' }}\n"
	text = strings.Replace(text, "g: &anchor {{{ 7 }}}\n", "g: &anchor z{{ 7 }}\n", 1)
	text = strings.Replace(text, "  {{ '{{' }}\n", "  - 'v{{ 10 }}'\n", 1)
	d := read(t, text).(*Dict)
	at := func(line, col int) source.Pos { return source.Pos{File: "f.yml", Line: line, Col: col} }
	for key, want := range map[string]Template{
		"a": {"x {{ 1 }}", at(1, 4)},
		"b": {"{{ 2 }}", at(2, 5)},
		"c": {"top\n{{ 3 }}\n", at(4, 5)},
		"d": {"{% 4 %}", at(6, 12)},
		"e": {"\n{{ 5 }}", at(8, 3)},
		"g": {"z{{ 7 }}", at(11, 12)},
		"i": {"  {{ 9 }}\n", at(14, 3)},
	} {
		if got := d.At(key); got != want {
			t.Errorf("%s: got %#v, want %#v", key, got, want)
		}
	}
	if got, want := d.At("f").([]any)[1], (Template{"{# 6 #}", at(10, 11)}); got != want {
		t.Errorf("f: got %#v, want %#v", got, want)
	}
	if got, want := d.At("j").([]any)[0], (Template{"v{{ 10 }}", at(17, 6)}); got != want {
		t.Errorf("j: got %#v, want %#v", got, want)
	}
	if d.At("h") != "{{ 8 }}" {
		t.Errorf("!unsafe must give a plain string, got %#v", d.At("h"))
	}
	if d.At("{{ k }}") != "plain" {
		t.Errorf("a key is never a template: %#v", d.Keys())
	}
}

func TestMistakesAreShownWhereTheyAre(t *testing.T) {
	for text, want := range map[string]string{
		"a: 1\n\tb: 2\n":                "f.yml:2:1: cannot read YAML: found a tab character that violates indentation",
		"a: b: c\n":                     "f.yml:1:5: cannot read YAML: mapping values are not allowed in this context",
		"a: 1\nb: \xff\n":               "f.yml:2:4: cannot read the file: byte 0xff is not UTF-8 text",
		"a: \x01\n":                     "f.yml:1:4: cannot read the file: control character 0x01 is not allowed",
		"a: 1\n---\nb: 2\n":             "f.yml:3:1: cannot read the file: it holds 2 documents, expected one",
		"a: {{ b }}\n":                  "f.yml:1:5: cannot use a list or mapping as a key\n  hint: a value that begins with {{ must be quoted",
		"a: 2001-02-30\n":               `f.yml:1:4: cannot read the value "2001-02-30": there is no such time`,
		"a: &x [*x]\n":                  "f.yml:1:8: cannot use *x here: it stands inside the value it names",
		"a: &x {<<: *x}\n":              "f.yml:1:12: cannot merge *x here",
		"a: !foo b\n":                   `f.yml:1:9: cannot read the value "b": nothing is known about the tag !foo`,
		"$ANSIBLE_VAULT;1.1;AES256\n66": "f.yml:1:1: cannot read the file: it is encrypted with Ansible Vault",
		"a: [1, 2\nb: 3\n":              "f.yml:1:4: cannot read YAML: did not find expected ',' or ']'\n  hint: look for a bracket or a comma",
	} {
		docs, err := ReadYAML("f.yml", []byte(text))
		if err == nil {
			_, err = docs.Value()
		}
		if err == nil || !strings.HasPrefix(err.Error(), want) {
			t.Errorf("%q:\ngot  %v\nwant %s", text, err, want)
		}
	}
}

func TestAllMistakesOfAFileComeAtOnce(t *testing.T) {
	_, err := FromYAML(mustNode(t, "a: !x 1\nb: !y 2\n"), "f.yml")
	var ps source.Problems
	if !errors.As(err, &ps) || len(ps) != 2 {
		t.Errorf("want two problems, got %v", err)
	}
}

func TestDuplicateKeysWarn(t *testing.T) {
	docs, err := ReadYAML("f.yml", []byte("a: 1\nb: {c: 1, c: 2}\na: 3\n"))
	if err != nil || len(docs.Warnings) != 2 {
		t.Fatalf("want two warnings, got %v, %v", docs.Warnings, err)
	}
	if got := docs.Warnings.Error(); !strings.Contains(got, `f.yml:3:1: duplicate key "a": the value of line 1 is ignored`) {
		t.Error(got)
	}
}

func TestVaultValuesSayThatTheyAreEncrypted(t *testing.T) {
	d := read(t, "a: !vault |\n  $ANSIBLE_VAULT;1.1;AES256\n  6162\n").(*Dict)
	v, ok := d.At("a").(Vault)
	if !ok || !strings.HasPrefix(v.Err().Error(), "f.yml:2:3: cannot use a value that is encrypted") {
		t.Errorf("got %#v", d.At("a"))
	}
}

func TestJSONIsReadAsJSON(t *testing.T) {
	d := read(t, "{\n\t\"a\": 1e5, \"s\": \"\\ud83d\\ude00\", \"t\": \"{{ x }}\",\n\t\"u\": {\"__ansible_unsafe\": \"{{ y }}\"}, \"l\": [true, null, 3]}\n").(*Dict)
	want := "{str:61=float:40f86a0000000000 str:73=str:f09f9880 str:74=str:7b7b2078207d7d str:75=str:7b7b2079207d7d str:6c=[bool:true null int:3]}"
	if got := show(d); got != want {
		t.Errorf("got %s\nwant %s", got, want)
	}
	if got, want := d.At("t"), (Template{"{{ x }}", source.Pos{File: "f.yml", Line: 2, Col: 39}}); got != want {
		t.Errorf("got %#v, want %#v", got, want)
	}
	if d.At("u") != "{{ y }}" {
		t.Errorf("unsafe is plain, got %#v", d.At("u"))
	}
}

func TestFromJSONKeepsOrderAndNumbers(t *testing.T) {
	v, err := FromJSON([]byte(`{"b": 1, "a": [1.5, 12345678901234567890], "t": "{{ x }}"}`))
	if got, want := show(v), "{str:62=int:1 str:61=[float:3ff8000000000000 int:12345678901234567890] str:74=str:7b7b2078207d7d}"; err != nil || got != want {
		t.Errorf("got %s, %v", got, err)
	}
	if _, isTemplate := v.(*Dict).At("t").(Template); isTemplate {
		t.Error("data is never a template")
	}
}

func TestVarsKnowWhereEachStands(t *testing.T) {
	vars, warnings, err := ReadVars("f.yml", []byte("# first\na: 1\nb:\n  <<: {c: 1}\n"))
	if err != nil || len(warnings) != 0 || fmt.Sprint(vars.Names()) != "[a b]" {
		t.Fatal(vars, warnings, err)
	}
	if got := vars.Pos("b"); got.Line != 3 || got.Col != 1 {
		t.Errorf("b stands at %v", got)
	}
	for text, want := range map[string]string{"- a\n": "expected a mapping of names to values, found a list", "1: a\n": "cannot use 1 as the name of a variable"} {
		if _, _, err := ReadVars("f.yml", []byte(text)); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%q: got %v", text, err)
		}
	}
	if vars, _, err := ReadVars("f.yml", nil); err != nil || vars.Len() != 0 {
		t.Errorf("an empty file has no variables: %v, %v", vars, err)
	}
}

func mustNode(t *testing.T, text string) *yaml.Node {
	t.Helper()
	docs, err := ReadYAML("f.yml", []byte(text))
	if err != nil {
		t.Fatal(err)
	}
	return docs.Nodes[0]
}

func TestNothingThatIsReadPanics(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		text := rapid.OneOf(rapid.String(), rapid.StringMatching(`([\[\]{}:=,'"#\\ \n\t!&*|>~?<%@-]|<<: |&a |\*a|!!int |[a-z0-9.]{1,3}|\{\{ ){0,30}`)).Draw(t, "text")
		docs, err := ReadYAML("f.yml", []byte(text))
		if err != nil {
			return
		}
		for _, node := range docs.Nodes {
			if v, err := FromYAML(node, "f.yml"); err == nil {
				_ = show(v)
			}
			_, _ = VarsFromYAML(node, "f.yml") // any outcome will do
			_, _ = Pairs(node, "f.yml")
		}
	})
}
