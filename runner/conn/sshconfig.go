package conn

import (
	"bufio"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/user"
	"path"
	"path/filepath"
	"strings"
)

// The reader of ssh_config(5) files. It is our own because it must tell the line a
// mistake is in, skip "Match final" blocks (Red Hat ships one in /etc/ssh), and honour
// Match host and user; the published readers refuse a whole file for those.

// settings are the ssh_config options that hold for one host, by lower-case keyword.
// As in OpenSSH the first value found wins, so sources are added in order of precedence.
type settings map[string][]setting

type setting struct {
	args []string
	from string // "file:line" or "-o", for messages
}

// add keeps the arguments unless an earlier source has set the keyword already, or the
// other one of ProxyJump and ProxyCommand. Identity and certificate files add up instead.
func (s settings) add(keyword string, args []string, from string) {
	rival := map[string]string{"proxyjump": "proxycommand", "proxycommand": "proxyjump"}[keyword]
	taken := len(s[keyword]) > 0 || len(s[rival]) > 0
	if taken && keyword != "identityfile" && keyword != "certificatefile" {
		return
	}
	s[keyword] = append(s[keyword], setting{args, from})
}

// get returns the first argument of keyword, or "".
func (s settings) get(keyword string) string {
	if len(s[keyword]) == 0 || len(s[keyword][0].args) == 0 {
		return ""
	}
	return s[keyword][0].args[0]
}

// list returns all arguments of keyword.
func (s settings) list(keyword string) []string {
	var all []string
	for _, one := range s[keyword] {
		all = append(all, one.args...)
	}
	return all
}

// from says where keyword was set.
func (s settings) from(keyword string) string {
	if len(s[keyword]) == 0 {
		return ""
	}
	return s[keyword][0].from
}

// configReader adds to settings what files say about alias.
type configReader struct {
	alias string
	user  string // the login asked for explicitly, or ""
	home  string
	into  settings
}

// maxIncludes is how deep files may include each other (as in OpenSSH).
const maxIncludes = 16

// read adds the options of file that hold for the alias; required makes a missing file an error.
func (r *configReader) read(file string, required bool) error {
	err := r.readFile(file, 0)
	if errors.Is(err, fs.ErrNotExist) && !required {
		return nil
	}
	return err
}

// place is the line being read, and how many files deep it is.
type place struct {
	file        string
	line, depth int
}

func (p place) String() string { return fmt.Sprintf("%s:%d", p.file, p.line) }

func (r *configReader) readFile(file string, depth int) error {
	if depth > maxIncludes {
		return fmt.Errorf("cannot read %s: files include each other", file)
	}
	f, err := os.Open(file)
	if err != nil {
		return fmt.Errorf("cannot read the ssh configuration: %w", err)
	}
	defer f.Close()
	lines := bufio.NewScanner(f)
	active := true // until the first Host or Match line
	for n := 1; lines.Scan(); n++ {
		at := place{file, n, depth}
		if active, err = r.line(lines.Text(), at, active); err != nil {
			return fmt.Errorf("%s: %w\n  %s", at, err, strings.TrimSpace(lines.Text()))
		}
	}
	return lines.Err()
}

// line handles one line and returns whether the lines after it hold for the alias.
func (r *configReader) line(text string, at place, active bool) (bool, error) {
	keyword, rest := cutKeyword(text)
	if keyword == "" {
		return active, nil
	}
	args, err := splitArgs(rest)
	if err != nil {
		return active, err
	}
	if len(args) == 0 {
		return active, fmt.Errorf("%s has no value", keyword)
	}
	switch {
	case keyword == "host":
		return matchPatterns(args, r.alias), nil
	case keyword == "match":
		return r.match(args)
	case !active:
	case keyword == "include":
		return active, r.include(args, at)
	case keyword == "proxycommand": // a command line: quotes in it belong to the shell
		r.into.add(keyword, []string{strings.TrimSpace(rest)}, at.String())
	default:
		r.into.add(keyword, args, at.String())
	}
	return active, nil
}

// include reads the files that match the patterns; relative ones are looked for where
// OpenSSH looks: beside the system's file, or in ~/.ssh.
func (r *configReader) include(patterns []string, at place) error {
	folder := filepath.Dir(at.file)
	if !strings.HasPrefix(folder, "/etc/ssh") {
		folder = filepath.Join(r.home, ".ssh")
	}
	for _, p := range patterns {
		p = expandHome(p, r.home)
		if !filepath.IsAbs(p) {
			p = filepath.Join(folder, p)
		}
		files, err := filepath.Glob(p)
		if err != nil {
			return fmt.Errorf("bad pattern %s: %w", p, err)
		}
		for _, file := range files {
			if err := r.readFile(file, at.depth+1); err != nil {
				return err
			}
		}
	}
	return nil
}

// match evaluates the criteria of a Match line.
func (r *configReader) match(args []string) (bool, error) {
	holds := true
	for len(args) > 0 {
		criterion := strings.ToLower(args[0])
		not := strings.HasPrefix(criterion, "!")
		criterion = strings.TrimPrefix(criterion, "!")
		value, needsValue := r.matched(criterion)
		one := criterion == "all"
		if needsValue {
			if len(args) < 2 {
				return false, fmt.Errorf("Match %s has no value", criterion)
			}
			patterns := args[1]
			if strings.HasSuffix(criterion, "host") { // names of hosts, unlike those of Host lines, know no case
				patterns, value = strings.ToLower(patterns), strings.ToLower(value)
			}
			one = matchPatterns(strings.Split(patterns, ","), value)
			args = args[1:]
		} else if criterion != "all" && criterion != "final" && criterion != "canonical" {
			return false, fmt.Errorf("Match %s is not supported; all, host, originalhost, user and localuser are", criterion)
		}
		holds = holds && one != not
		args = args[1:]
	}
	return holds, nil
}

// matched returns what a criterion's patterns are compared with. The final and canonical
// criteria are never met: names are not canonicalised here, and files are read once.
func (r *configReader) matched(criterion string) (value string, ok bool) {
	switch criterion {
	case "originalhost":
		return r.alias, true
	case "host":
		if name := r.into.get("hostname"); name != "" {
			return strings.ReplaceAll(name, "%h", r.alias), true
		}
		return r.alias, true
	case "user":
		if r.user != "" {
			return r.user, true
		}
		if name := r.into.get("user"); name != "" {
			return name, true
		}
		return localUser(), true
	case "localuser":
		return localUser(), true
	}
	return "", false
}

// cutKeyword splits "Keyword value", "Keyword=value" and comments (keyword "").
func cutKeyword(text string) (keyword, rest string) {
	text = strings.TrimSpace(text)
	if text == "" || text[0] == '#' {
		return "", ""
	}
	end := strings.IndexAny(text, " \t=")
	if end < 0 {
		return strings.ToLower(text), ""
	}
	rest = strings.TrimLeft(text[end:], " \t")
	rest = strings.TrimPrefix(rest, "=")
	return strings.ToLower(text[:end]), strings.TrimLeft(rest, " \t")
}

// splitArgs splits a line into words as OpenSSH and the shell do: single and double
// quotes group, a backslash takes the next quote, blank or backslash literally. A word
// that starts with # begins a comment.
func splitArgs(s string) ([]string, error) {
	var words []string
	var word strings.Builder
	quote, inWord := byte(0), false
	for i := 0; i < len(s); i++ {
		c := s[i]
		switch {
		case c == '\\' && quote != '\'' && i+1 < len(s) && strings.IndexByte(`'"\ `, s[i+1]) >= 0:
			i++
			word.WriteByte(s[i])
			inWord = true
		case quote != 0 && c == quote:
			quote = 0
		case quote != 0:
			word.WriteByte(c)
		case c == '"' || c == '\'':
			quote, inWord = c, true
		case c == ' ' || c == '\t' || c == '\n' || c == '\r':
			if inWord {
				words = append(words, word.String())
				word.Reset()
			}
			inWord = false
		case c == '#' && !inWord:
			return words, nil
		default:
			word.WriteByte(c)
			inWord = true
		}
	}
	if quote != 0 {
		return nil, fmt.Errorf("a %c is not closed", quote)
	}
	if inWord {
		words = append(words, word.String())
	}
	return words, nil
}

// matchPatterns tells whether name matches one of the patterns and none of the negated ones.
// Upper and lower case differ, as in Host lines of OpenSSH.
func matchPatterns(patterns []string, name string) bool {
	matched := false
	for _, p := range patterns {
		negated := strings.HasPrefix(p, "!")
		if !matchPattern(strings.TrimPrefix(p, "!"), name) {
			continue
		}
		if negated {
			return false
		}
		matched = true
	}
	return matched
}

// matchPattern knows * and ?; everything else, [ too, stands for itself.
func matchPattern(pattern, name string) bool {
	if !strings.ContainsAny(pattern, "*?") { // nearly all: known_hosts has a line for each host, and each host reads it
		return pattern == name
	}
	ok, err := path.Match(patternLiterals.Replace(pattern), strings.ReplaceAll(name, "/", "\x00"))
	return ok && err == nil
}

// patternLiterals takes from path.Match what it knows beyond * and ?.
var patternLiterals = strings.NewReplacer(`\`, `\\`, `[`, `\[`, `/`, "\x00")

// expandHome replaces a leading ~ by the home folder.
func expandHome(p, home string) string {
	if p == "~" || strings.HasPrefix(p, "~/") {
		return home + p[1:]
	}
	return p
}

func localUser() string {
	if u, err := user.Current(); err == nil {
		return u.Username
	}
	return os.Getenv("USER")
}
