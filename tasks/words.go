package tasks

import (
	"errors"
	"strings"
)

// SplitWords splits a command as a POSIX shell splits words, without expanding anything.
func SplitWords(line string) ([]string, error) {
	var words []string
	var word strings.Builder
	started, quote := false, rune(0)
	escaped := false
	for _, c := range line {
		switch {
		case escaped:
			if quote == '"' && !strings.ContainsRune("\"\\$`\n", c) {
				word.WriteRune('\\')
			}
			word.WriteRune(c)
			escaped = false
		case c == '\\' && quote != '\'':
			escaped, started = true, true
		case quote != 0 && c == quote:
			quote = 0
		case quote != 0:
			word.WriteRune(c)
		case c == '\'' || c == '"':
			quote, started = c, true
		case strings.ContainsRune(" \t\r\n", c):
			if started {
				words = append(words, word.String())
			}
			word.Reset()
			started = false
		default:
			word.WriteRune(c)
			started = true
		}
	}
	if quote != 0 || escaped {
		return nil, errors.New("a quotation is not closed")
	}
	if started {
		words = append(words, word.String())
	}
	return words, nil
}
