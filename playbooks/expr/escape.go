package expr

import (
	"errors"
	"strconv"
	"strings"
	"unicode/utf8"
)

var simpleEscapes = map[byte]string{
	'\n': "", '\\': `\`, '\'': "'", '"': `"`, 'a': "\a", 'b': "\b", 'f': "\f", 'n': "\n", 'r': "\r", 't': "\t", 'v': "\v",
}

var hexEscapes = map[byte]int{'x': 2, 'u': 4, 'U': 8}

// unicodeEscape decodes backslash escapes as Python string literals do; unknown ones stay as they are.
func unicodeEscape(s string) (string, error) {
	var b strings.Builder
	for i := 0; i < len(s); i++ {
		if s[i] != '\\' || i+1 == len(s) {
			b.WriteByte(s[i])
			continue
		}
		i++
		n, err := escapeOne(&b, s, i)
		if err != nil {
			return "", err
		}
		i = n
	}
	return b.String(), nil
}

// escapeOne decodes the escape whose letter is s[i] and returns the offset of its last byte.
func escapeOne(b *strings.Builder, s string, i int) (int, error) {
	c := s[i]
	if out, ok := simpleEscapes[c]; ok {
		b.WriteString(out)
		return i, nil
	}
	if width, ok := hexEscapes[c]; ok {
		if i+width >= len(s) {
			return 0, errors.New("truncated \\" + string(c) + " escape in a string")
		}
		n, err := strconv.ParseUint(s[i+1:i+1+width], 16, 32)
		if err != nil || n > utf8.MaxRune {
			return 0, errors.New("illegal \\" + string(c) + " escape in a string")
		}
		b.WriteRune(rune(n))
		return i + width, nil
	}
	if c >= '0' && c <= '7' {
		end := i
		for end < len(s) && end < i+3 && s[end] >= '0' && s[end] <= '7' {
			end++
		}
		n, _ := strconv.ParseUint(s[i:end], 8, 32) // at most 0777
		b.WriteRune(rune(n))
		return end - 1, nil
	}
	b.WriteByte('\\')
	b.WriteByte(c)
	return i, nil
}
