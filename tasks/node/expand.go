package node

import (
	"os"
	"os/user"
	"path/filepath"
	"regexp"
	"strings"
)

var variable = regexp.MustCompile(`\$(\w+|\{[^}]*\})`)

// expandVars puts the values of env, else of the process, for $NAME and ${NAME}. Names that are not known stay as they are.
func expandVars(text string, env map[string]string) string {
	return variable.ReplaceAllStringFunc(text, func(ref string) string {
		name := strings.Trim(ref[1:], "{}")
		if v, ok := env[name]; ok {
			return v
		}
		if v, ok := os.LookupEnv(name); ok {
			return v
		}
		return ref
	})
}

// expandHome puts the home folder for a leading ~ or ~user; an unknown user stays as it is.
func expandHome(text string, env map[string]string) string {
	if !strings.HasPrefix(text, "~") {
		return text
	}
	name, rest, slash := strings.Cut(text[1:], "/")
	home := ""
	switch u, err := user.Lookup(name); {
	case name == "" && env["HOME"] != "":
		home = env["HOME"]
	case name == "":
		home, _ = os.UserHomeDir() // "" leaves the text alone
	case err == nil:
		home = u.HomeDir
	}
	switch {
	case home == "":
		return text
	case !slash:
		return home
	}
	return filepath.Clean(home) + "/" + rest
}

var safeWord = regexp.MustCompile(`^[\w@%+=:,./-]+$`)

// shellJoin writes words so that a shell reads them back, quoting only where it has to.
func shellJoin(words []string) string {
	out := make([]string, len(words))
	for i, w := range words {
		out[i] = w
		if !safeWord.MatchString(w) {
			out[i] = quoteWord(w)
		}
	}
	return strings.Join(out, " ")
}

// splitLines splits text at everything that Python's str.splitlines takes for the end of a line.
func splitLines(text string) []string {
	lines := []string{}
	start, runes := 0, []rune(text)
	for i := 0; i < len(runes); i++ {
		if !strings.ContainsRune("\n\r\v\f\x1c\x1d\x1e\u0085\u2028\u2029", runes[i]) {
			continue
		}
		lines = append(lines, string(runes[start:i]))
		if runes[i] == '\r' && i+1 < len(runes) && runes[i+1] == '\n' {
			i++
		}
		start = i + 1
	}
	if start < len(runes) {
		lines = append(lines, string(runes[start:]))
	}
	return lines
}
