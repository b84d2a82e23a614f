package event

import "strings"

// The colours of ansible-playbook.
const (
	reset   = "\x1b[0m"
	red     = "\x1b[0;31m"
	green   = "\x1b[0;32m"
	yellow  = "\x1b[0;33m"
	magenta = "\x1b[0;35m"
	cyan    = "\x1b[0;36m"
)

func colourDiff(text string, on bool) string {
	if !on {
		return text
	}
	lines := strings.SplitAfter(text, "\n")
	for i, l := range lines {
		switch {
		case strings.HasPrefix(l, "+"):
			lines[i] = green + l + reset
		case strings.HasPrefix(l, "-"):
			lines[i] = red + l + reset
		case strings.HasPrefix(l, "@@"):
			lines[i] = cyan + l + reset
		}
	}
	return strings.Join(lines, "")
}
