package node

import (
	"context"
	"crypto/sha1" //nolint:gosec // a returned value that Ansible's find has
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"time"

	"github.com/dlclark/regexp2"
	"golang.org/x/sys/unix"

	"github.com/calroll/calroll/tasks"
)

var _ = register("find", func() tasks.Module { return &Find{} })

// Find lists files in folders.
type Find struct {
	Paths         []string `arg:"paths,alias=name|path,required" doc:"the folders"`
	Patterns      []string `arg:"patterns,alias=pattern" doc:"globs for names, or regular expressions; default is all"`
	Excludes      []string `arg:"excludes,alias=exclude" doc:"names that are left out, likewise"`
	Contains      string   `arg:"contains" doc:"regular expression that a line of the file must begin with"`
	ReadWholeFile bool     `arg:"read_whole_file" doc:"contains may match anywhere in the file"`
	FileType      string   `arg:"file_type,choices=any|directory|file|link,default=file" doc:"what is listed"`
	Age           string   `arg:"age" doc:"at least so old, such as 2d; -2d for at most"`
	AgeStamp      string   `arg:"age_stamp,choices=atime|ctime|mtime,default=mtime" doc:"which time is the age"`
	Size          string   `arg:"size" doc:"at least so large, such as 10m; -10m for at most"`
	Recurse       bool     `arg:"recurse" doc:"folders below, too"`
	Hidden        bool     `arg:"hidden" doc:"names that begin with a dot, too"`
	Follow        bool     `arg:"follow" doc:"go into folders that are links"`
	GetChecksum   bool     `arg:"get_checksum" doc:"answer the SHA-1 of each file"`
	UseRegex      bool     `arg:"use_regex" doc:"patterns and excludes are regular expressions"`
	Depth         int      `arg:"depth" doc:"how many folders deep; 0 is no limit"`

	age, size  *int64
	names, not []*regexp2.Regexp
	contains   *regexp2.Regexp
	files      []any
	looked     int
	skipped    map[string]any
}

// Run answers files, matched, examined and skipped_paths.
func (m *Find) Run(_ context.Context, sys *tasks.Sys) (r tasks.Result, err error) {
	if err := m.prepare(); err != nil {
		return r, err
	}
	m.files, m.skipped = []any{}, map[string]any{}
	for _, p := range m.Paths {
		path := expandHome(expandVars(p, nil), nil)
		why := fmt.Errorf("'%s' is not a directory", path)
		if isDir(path) {
			why = m.walk(path, path)
		}
		if why != nil {
			m.skipped[path] = why.Error()
			sys.Warn("Skipped '%s' path due to this access issue: %v\n", path, why)
		}
	}
	msg := "All paths examined"
	if len(m.skipped) > 0 {
		msg = "Not all paths examined, check warnings for details"
	}
	r.Msg = msg
	r.Set("files", m.files)
	r.Set("matched", len(m.files))
	r.Set("examined", m.looked)
	r.Set("skipped_paths", m.skipped)
	return r, nil
}

func (m *Find) prepare() (err error) {
	if m.age, err = amount(m.Age, "s", map[string]int64{"s": 1, "m": 60, "h": 3600, "d": 86400, "w": 604800}); err != nil {
		return fail("failed to process age")
	}
	if m.size, err = amount(m.Size, "b", map[string]int64{"b": 1, "k": 1 << 10, "m": 1 << 20, "g": 1 << 30, "t": 1 << 40}); err != nil {
		return fail("failed to process size")
	}
	if m.names, err = m.compileNames(m.Patterns); err != nil {
		return err
	}
	if m.not, err = m.compileNames(m.Excludes); err != nil {
		return err
	}
	if m.Contains == "" {
		return nil
	}
	expr := `\A(?:` + m.Contains + ")"
	if m.ReadWholeFile {
		expr = m.Contains
	}
	m.contains, err = compile(expr)
	return err
}

var amountText = regexp.MustCompile(`^(-?\d+)([a-z])?$`)

// amount reads a number with a unit; nil for none.
func amount(text, unit string, units map[string]int64) (*int64, error) {
	if text == "" {
		return nil, nil
	}
	found := amountText.FindStringSubmatch(strings.ToLower(text))
	if found == nil {
		return nil, strconv.ErrSyntax
	}
	if found[2] != "" {
		unit = found[2]
	}
	n, err := strconv.ParseInt(found[1], 10, 64)
	if err != nil || units[unit] == 0 {
		return nil, strconv.ErrSyntax
	}
	n *= units[unit]
	return &n, nil
}

func (m *Find) compileNames(patterns []string) ([]*regexp2.Regexp, error) {
	var out []*regexp2.Regexp
	for _, p := range patterns {
		expr := `\A(?:` + p + ")"
		if !m.UseRegex {
			expr = globExpr(p)
		}
		re, err := compile(expr)
		if err != nil {
			return nil, err
		}
		out = append(out, re)
	}
	return out, nil
}

// globExpr is a pattern of Python's fnmatch as a regular expression.
func globExpr(glob string) string {
	var b strings.Builder
	b.WriteString(`(?s)\A`)
	for i := 0; i < len(glob); i++ {
		switch c := glob[i]; c {
		case '*':
			b.WriteString(".*")
		case '?':
			b.WriteString(".")
		case '[':
			j := i + 1
			if j < len(glob) && glob[j] == '!' {
				j++
			}
			if j < len(glob) && glob[j] == ']' {
				j++
			}
			end := strings.IndexByte(glob[min(j, len(glob)):], ']')
			if end < 0 {
				b.WriteString(`\[`)
				continue
			}
			set := strings.ReplaceAll(glob[i+1:j+end], `\`, `\\`)
			if rest, no := strings.CutPrefix(set, "!"); no {
				set = "^" + rest
			} else if strings.HasPrefix(set, "^") {
				set = `\` + set
			}
			b.WriteString("[" + set + "]")
			i = j + end
		default:
			b.WriteString(regexp.QuoteMeta(string(c)))
		}
	}
	return b.String() + `\z`
}

// walk looks at a folder, and with recurse at those below. Of one folder files come before folders, as Python's os.walk has it.
func (m *Find) walk(root, dir string) error {
	entries, err := namesIn(dir)
	if err != nil {
		return err
	}
	var files, dirs []string
	for _, e := range entries {
		if isDir(filepath.Join(dir, e)) {
			dirs = append(dirs, e)
		} else {
			files = append(files, e)
		}
	}
	m.looked += len(entries)
	deep := false
	for _, name := range append(files, dirs...) {
		path := filepath.Join(dir, name)
		if m.Depth > 0 && strings.Count(path, "/")-strings.Count(strings.TrimRight(root, "/")+"/", "/")+1 > m.Depth {
			deep = true
			continue
		}
		if m.Hidden || !strings.HasPrefix(name, ".") {
			m.look(path, name)
		}
	}
	if !m.Recurse || deep {
		return nil
	}
	for _, name := range dirs {
		path := filepath.Join(dir, name)
		if isLink(path) && !m.Follow {
			continue
		}
		if err := m.walk(root, path); err != nil {
			return err
		}
	}
	return nil
}

// namesIn are the names in a folder in the order of the folder, which is Python's.
func namesIn(dir string) ([]string, error) {
	f, err := os.Open(dir)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	return f.Readdirnames(-1)
}

func (m *Find) look(path, name string) {
	var st unix.Stat_t
	if err := unix.Lstat(path, &st); err != nil {
		m.skipped[path] = err.Error()
		return
	}
	kind := st.Mode & unix.S_IFMT
	wanted := map[string]bool{"any": true, "directory": kind == unix.S_IFDIR, "file": kind == unix.S_IFREG, "link": kind == unix.S_IFLNK}
	regular := kind == unix.S_IFREG
	switch {
	case !wanted[m.FileType] || !m.named(name) || !m.aged(st):
		return
	case regular && !m.sized(st):
		return
	case m.FileType == "file" && !m.holds(path):
		return
	}
	r := fileInfo(st)
	r["path"] = path
	if regular && m.GetChecksum {
		h := sha1.New() //nolint:gosec // not for security
		if sums(path, h) == nil {
			r["checksum"] = hexOf(h)
		}
	}
	m.files = append(m.files, r)
}

func (m *Find) named(name string) bool {
	matches := func(list []*regexp2.Regexp) bool {
		for _, re := range list {
			if ok, _ := re.MatchString(name); ok { // an error is a time-out, which is not set
				return true
			}
		}
		return false
	}
	return (len(m.names) == 0 || matches(m.names)) && !matches(m.not)
}

func (m *Find) aged(st unix.Stat_t) bool {
	if m.age == nil {
		return true
	}
	stamp := map[string]unix.Timespec{"atime": st.Atim, "ctime": st.Ctim, "mtime": st.Mtim}[m.AgeStamp]
	old := time.Since(time.Unix(stamp.Unix()))
	return atLeast(int64(old/time.Second), *m.age)
}

func (m *Find) sized(st unix.Stat_t) bool { return m.size == nil || atLeast(st.Size, *m.size) }

// atLeast compares with a limit, which is the largest that may be if it is negative.
func atLeast(n, limit int64) bool {
	if limit < 0 {
		return n <= -limit
	}
	return n >= limit
}

func (m *Find) holds(path string) bool {
	if m.contains == nil {
		return true
	}
	raw, err := os.ReadFile(path)
	if err != nil {
		return false
	}
	parts := strings.SplitAfter(string(raw), "\n")
	if m.ReadWholeFile {
		parts = []string{string(raw)}
	}
	for _, p := range parts {
		if ok, _ := m.contains.MatchString(p); ok {
			return true
		}
	}
	return false
}

// fileInfo is what Ansible's find says of a file.
func fileInfo(st unix.Stat_t) map[string]any {
	kind := st.Mode & unix.S_IFMT
	seconds := func(t unix.Timespec) float64 { return float64(t.Sec) + float64(t.Nsec)/1e9 }
	out := map[string]any{
		"mode": fmt.Sprintf("%04o", st.Mode&0o7777), "uid": int(st.Uid), "gid": int(st.Gid), "size": st.Size, "inode": st.Ino, "dev": st.Dev, "nlink": st.Nlink,
		"atime": seconds(st.Atim), "mtime": seconds(st.Mtim), "ctime": seconds(st.Ctim), "pw_name": userName(st.Uid), "gr_name": groupName(st.Gid),
	}
	for name, is := range map[string]uint32{"isdir": unix.S_IFDIR, "ischr": unix.S_IFCHR, "isblk": unix.S_IFBLK, "isreg": unix.S_IFREG, "isfifo": unix.S_IFIFO, "islnk": unix.S_IFLNK, "issock": unix.S_IFSOCK} {
		out[name] = kind == is
	}
	for name, bit := range map[string]uint32{"wusr": 0o200, "rusr": 0o400, "xusr": 0o100, "wgrp": 0o20, "rgrp": 0o40, "xgrp": 0o10, "woth": 0o2, "roth": 0o4, "xoth": 0o1, "isuid": unix.S_ISUID, "isgid": unix.S_ISGID} {
		out[name] = st.Mode&bit != 0
	}
	return out
}
