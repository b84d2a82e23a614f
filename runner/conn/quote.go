package conn

import "strings"

// Quote returns s as one word for a shell: sh, bash, zsh, ksh and fish, and csh as
// long as s has no line break. A backslash right before a quote or another backslash
// means something else to fish; nothing this package sends has one.
func Quote(s string) string {
	if s != "" && strings.Trim(s, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_-+=./:,@") == "" {
		return s
	}
	return "'" + strings.ReplaceAll(s, "'", `'\''`) + "'"
}

// Sh returns a command line that runs script with /bin/sh, whatever shell the user
// logs in with.
func Sh(script string) string { return "exec /bin/sh -c " + Quote(script) }
