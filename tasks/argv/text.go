package argv

import (
	"regexp"
	"slices"
	"strings"
)

// word is a word in a text: its meaning and where it stands.
type word struct {
	value      string
	start, end int
}

// words splits a text at blanks that are not quoted, as systemd does. A backslash before the end of a line joins lines.
func words(text string) []word {
	var out []word
	var value strings.Builder
	start, quote := -1, byte(0)
	flush := func(end int) {
		if start >= 0 {
			out = append(out, word{value.String(), start, end})
		}
		start = -1
		value.Reset()
	}
	for i := 0; i < len(text); i++ {
		c := text[i]
		switch {
		case c == '\\' && i+1 < len(text) && text[i+1] == '\n':
			if quote == 0 {
				flush(i)
			}
			i++
			continue
		case quote == 0 && (c == ' ' || c == '\t' || c == '\n'):
			flush(i)
			continue
		}
		if start < 0 {
			start = i
		}
		switch {
		case c == quote:
			quote = 0
		case quote == 0 && (c == '"' || c == '\''):
			quote = c
		case c == '\\' && quote != '\'' && i+1 < len(text):
			i++
			value.WriteByte(text[i])
		default:
			value.WriteByte(c)
		}
	}
	flush(len(text))
	return out
}

// Words are the words of a text.
func Words(text string) []string {
	var out []string
	for _, w := range words(text) {
		out = append(out, w.value)
	}
	return out
}

// SetIn gives a flag of a text a value where it stands, and takes further ones of the name away. It tells whether the flag was there.
func SetIn(text, name, value string) (string, bool) {
	list := words(text)
	found := named(scan(values(list)), name)
	if len(found) == 0 {
		return text, false
	}
	for _, f := range slices.Backward(found[1:]) {
		text = cut(text, list[f.first].start, list[f.last].end)
	}
	f := found[0]
	if single(f.Value) == value {
		return text, true
	}
	if f.first != f.last { // the value is a word of its own
		return text[:list[f.last].start] + quoted(value) + text[list[f.last].end:], true
	}
	return text[:list[f.first].start] + "--" + name + "=" + quoted(value) + text[list[f.first].end:], true
}

// RemoveIn takes a flag out of a text.
func RemoveIn(text, name string) string {
	list := words(text)
	for _, f := range slices.Backward(named(scan(values(list)), name)) {
		text = cut(text, list[f.first].start, list[f.last].end)
	}
	return text
}

// AddTo puts a flag at the end of a text.
func AddTo(text string, f Flag) string {
	text = strings.TrimRight(text, " \t\n")
	if text != "" {
		text += " "
	}
	return text + "--" + f.Name + "=" + quoted(f.Value)
}

func values(list []word) []string {
	out := make([]string, len(list))
	for i := range list {
		out[i] = list[i].value
	}
	return out
}

func named(flags []at, name string) []at {
	return slices.DeleteFunc(flags, func(f at) bool { return f.Name != name })
}

// cut takes a span out, with the blanks on one side of it.
func cut(text string, start, end int) string {
	rest := strings.TrimLeft(text[end:], " \t")
	if rest == "" || rest[0] == '\n' {
		return strings.TrimRight(text[:start], " \t") + rest
	}
	return text[:start] + rest
}

var plainWord = regexp.MustCompile(`^[^\s"'\\$;%]*$`)

// quoted is a value as systemd reads it back as one word; a dollar and a percent sign are doubled.
func quoted(value string) string {
	if plainWord.MatchString(value) {
		return value
	}
	value = strings.NewReplacer(`\`, `\\`, `'`, `\'`, "$", "$$", "%", "%%").Replace(value)
	return "'" + value + "'"
}

// single undoes the doubling.
func single(word string) string { return strings.NewReplacer("$$", "$", "%%", "%").Replace(word) }
