package node

import (
	"errors"
	"fmt"
	"io/fs"
	"strconv"
	"strings"
	"syscall"
)

// splitWords splits a command as a POSIX shell splits words, without expanding anything.
func splitWords(line string) ([]string, error) {
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

// quoteWord makes one word of text for splitWords and for a shell.
func quoteWord(text string) string {
	return "'" + strings.ReplaceAll(text, "'", `'"'"'`) + "'"
}

func ownerOf(st fs.FileInfo) (uid, gid string) {
	sys, ok := st.Sys().(*syscall.Stat_t)
	if !ok {
		return "", ""
	}
	return strconv.Itoa(int(sys.Uid)), strconv.Itoa(int(sys.Gid))
}

// modeBits are the twelve permission bits as chmod(2) takes them.
func modeBits(st fs.FileInfo) uint32 {
	sys, ok := st.Sys().(*syscall.Stat_t)
	if !ok {
		return uint32(st.Mode().Perm())
	}
	return sys.Mode & 0o7777
}

// octal is a mode as Ansible writes it: four digits.
func octal(bits uint32) string { return fmt.Sprintf("%04o", bits) }
