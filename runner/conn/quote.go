package conn

import "strings"

// Quote returns s as one word for a shell. Any shell may be given what has no exclamation
// mark, backslash or line break; csh and fish have ideas of their own about those.
func Quote(s string) string {
	if s != "" && strings.Trim(s, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_-+./:,@") == "" {
		return s
	}
	return "'" + strings.ReplaceAll(s, "'", `'"'"'`) + "'"
}

// Sh returns a command line that runs script with /bin/sh, whatever shell gets the line.
// Conn.Start does so itself.
func Sh(script string) string {
	if !strings.ContainsAny(script, "!\\\n") {
		return "exec /bin/sh -c " + Quote(script)
	}
	// printf's %b turns the numbers back into the characters.
	encode := strings.NewReplacer("!", `\0041`, `\`, `\0134`, "\n", `\0012`)
	return `exec /bin/sh -c 'eval "$(printf %b "$1")"' sh ` + Quote(encode.Replace(script))
}
