package expr

import (
	"bytes"
	"crypto/rand"
	"math/big"
	"os"
	"os/exec"
	"path/filepath"
	"strings"

	"github.com/calroll/calroll/playbooks/source"
)

func addFileLookups(r *registry) {
	r.addLookup("file", "rstrip=true, lstrip=false", func(a args, terms []any) []any {
		out := []any{}
		for _, name := range texts(terms) {
			text, _ := a.f.r.readFile("files", name)
			if a.bool(1) {
				text = strings.TrimLeft(text, " \t\r\n\v\f")
			}
			if a.bool(0) {
				text = strings.TrimRight(text, " \t\r\n\v\f")
			}
			out = append(out, text)
		}
		return out
	})
	r.addLookup("unvault", "", func(a args, terms []any) []any {
		out := []any{}
		for _, name := range texts(terms) {
			text, _ := a.f.r.readFile("files", name)
			out = append(out, text)
		}
		return out
	})
	r.addLookup("template", "**options", templateLookup)
	r.addLookup("fileglob", "", fileglobLookup)
	r.addLookup("first_found", "files=None, paths=None, skip=false", firstFoundLookup)
	r.addLookup("pipe", "", func(a args, terms []any) []any {
		out := []any{}
		for _, cmd := range texts(terms) {
			out = append(out, strings.TrimRight(shell(a, "pipe", cmd), " \t\r\n\v\f"))
		}
		return out
	})
	r.addLookup("lines", "", func(a args, terms []any) []any {
		out := []any{}
		for _, cmd := range texts(terms) {
			out = append(out, strings2any(splitLines(shell(a, "lines", cmd), false))...)
		}
		return out
	})
	r.addLookup("password", "**options", passwordLookup)
}

// shell runs cmd on the controller and gives what it prints.
func shell(a args, name, cmd string) string {
	c := exec.Command("/bin/sh", "-c", cmd)
	c.Dir = a.f.r.env.opts.BaseDir
	c.Stderr = os.Stderr
	var out bytes.Buffer
	c.Stdout = &out
	if err := c.Run(); err != nil {
		fail("lookup_plugin.%s(%s) failed: %w", name, cmd, err)
	}
	return out.String()
}

// templateLookup renders files with the variables of this rendering.
func templateLookup(a args, terms []any) []any {
	r := a.f.r
	defer r.enter()()
	syn := TemplateModule().syntax()
	convert := truthy(a.opt("convert_data", true))
	for _, name := range []string{"variable_start_string", "variable_end_string", "comment_start_string", "comment_end_string", "trim_blocks", "lstrip_blocks"} {
		if v := a.opt(name, nil); v != nil {
			if err := syn.set(name, v); err != nil {
				failErr(err)
			}
		}
	}
	a.onlyOpts("lookup 'template'", "variable_start_string", "variable_end_string", "comment_start_string", "comment_end_string", "trim_blocks", "lstrip_blocks", "convert_data", "template_vars", "jinja2_native")
	vars := r.vars
	if extra, ok := asDict(a.opt("template_vars", nil)); ok {
		vars = &layered{extra, r.vars}
	}
	out := []any{}
	for _, name := range texts(terms) {
		text, path := r.readFile("templates", name)
		out = append(out, r.renderText(text, path, syn, vars, convert))
	}
	return out
}

// layered is a Vars with some names set before the rest.
type layered struct {
	first *Dict
	rest  Vars
}

func (l *layered) Lookup(name string) (any, bool, error) {
	if v, ok := l.first.Get(name); ok {
		return v, true, nil
	}
	return l.rest.Lookup(name)
}

func (r *render) renderText(text, path string, syn syntax, vars Vars, convert bool) any {
	pos := source.Pos{File: path}
	syn, body, err := overrides(text, syn)
	if err != nil {
		failErr(err)
	}
	p := r.env.parse(body, syn)
	if err := p.problem(filepath.Base(path), pos, 0); err != nil {
		failErr(err)
	}
	sub := r.env.render(p.tpl, vars)
	sub.syn, sub.convert, sub.depth = &syn, convert, r.depth
	out := &output{}
	if err := attempt(func() { sub.root(&frame{r: sub}, out) }); err != nil {
		failErr(sub.problem("template", path, pos, err))
	}
	v := out.value(convert)
	if s, ok := v.(string); ok {
		v = s + strings.Repeat("\n", max(0, trailingNewlines(body)-trailingNewlines(s)))
	}
	return v
}

func fileglobLookup(a args, terms []any) []any {
	out := []any{}
	for _, pattern := range texts(terms) {
		for _, path := range a.f.r.candidates("files", pattern) {
			if found := globFiles(path); len(found) > 0 {
				out = append(out, strings2any(found)...)
				break
			}
		}
	}
	return out
}

func firstFoundLookup(a args, terms []any) []any {
	skip := a.bool(2)
	var names []string
	add := func(files, paths any) {
		dirs := listOrText(paths, ":,;")
		for _, file := range listOrText(files, ",;") {
			if len(dirs) == 0 {
				names = append(names, file)
			}
			for _, dir := range dirs {
				names = append(names, filepath.Join(dir, file))
			}
		}
	}
	for _, t := range flatten2(terms, -1, true) {
		if d, ok := asDict(t); ok {
			files, _ := d.Get("files")
			paths, _ := d.Get("paths")
			add(files, paths)
			if v, ok := d.Get("skip"); ok {
				skip = toBool(norm(v)) == true
			}
			continue
		}
		add([]any{t}, a.v[1])
	}
	if len(terms) == 0 {
		add(a.v[0], a.v[1])
	}
	for _, name := range names {
		for _, sub := range []string{"files", "templates", "vars"} {
			if path := a.f.r.findFile(sub, name); path != "" {
				return []any{path}
			}
		}
	}
	if !skip {
		fail("No file was found when using first_found.")
	}
	return []any{}
}

// listOrText is a list of texts, or one text split at the separators.
func listOrText(v any, separators string) []string {
	v = norm(v)
	if items, ok := asList(v); ok {
		return texts(items)
	}
	if v == nil {
		return nil
	}
	return strings.FieldsFunc(pyStr(v), func(r rune) bool { return strings.ContainsRune(separators, r) })
}

const (
	asciiLower = "abcdefghijklmnopqrstuvwxyz"
	asciiUpper = "ABCDEFGHIJKLMNOPQRSTUVWXYZ"
	digits10   = "0123456789"
)

var charSets = map[string]string{
	"ascii_letters": asciiLower + asciiUpper, "ascii_lowercase": asciiLower, "ascii_uppercase": asciiUpper, "digits": digits10,
	"hexdigits": digits10 + "abcdefABCDEF", "octdigits": "01234567", "punctuation": "!\"#$%&'()*+,-./:;<=>?@[\\]^_`{|}~",
}

// passwordLookup reads a password from a file and makes the file when it is not there.
func passwordLookup(a args, terms []any) []any {
	out := []any{}
	for _, term := range texts(terms) {
		path, length, chars, encrypt := passwordTerm(a, term)
		out = append(out, password(path, length, chars, encrypt))
	}
	return out
}

// passwordTerm takes "path length=20 chars=ascii_letters,digits" apart.
func passwordTerm(a args, term string) (path string, length int, chars, encrypt string) {
	a.onlyOpts("lookup 'password'", "length", "chars", "encrypt", "ident", "seed")
	opts := map[string]string{"length": pyStr(a.opt("length", 20)), "chars": "", "encrypt": pyStr(a.opt("encrypt", ""))}
	if c := a.opt("chars", nil); c != nil {
		opts["chars"] = strings.Join(listOrText(c, ","), ",")
	}
	var words []string
	for _, word := range strings.Split(term, " ") {
		if k, v, ok := strings.Cut(word, "="); ok {
			if _, known := opts[k]; known || k == "seed" || k == "ident" {
				opts[k] = v
				continue
			}
		}
		words = append(words, word)
	}
	n, ok := parsePyInt(opts["length"], 10)
	if !ok || n < 1 {
		fail("the length of a password must be a number, not %s", opts["length"])
	}
	return strings.Join(words, " "), n, passwordChars(opts["chars"]), opts["encrypt"]
}

func passwordChars(names string) string {
	if names == "" {
		return charSets["ascii_letters"] + charSets["digits"] + ".,:-_"
	}
	var b strings.Builder
	for _, name := range strings.Split(strings.ReplaceAll(names, ",,", "\x00"), ",") {
		if set, ok := charSets[name]; ok {
			b.WriteString(set)
		} else {
			b.WriteString(strings.ReplaceAll(name, "\x00", ","))
		}
	}
	return b.String()
}

func password(path string, length int, chars, encrypt string) string {
	text, salt := "", ""
	if path != "/dev/null" {
		raw, err := os.ReadFile(path)
		if err != nil && !os.IsNotExist(err) {
			fail("cannot read the password file %s: %w", path, err)
		}
		text, salt, _ = strings.Cut(strings.TrimRight(string(raw), "\n"), " salt=")
	}
	if text == "" || encrypt != "" && salt == "" {
		if text == "" {
			text = randomPassword(chars, length)
		}
		if encrypt != "" {
			salt = randomText(saltLetters, 8)
		}
		savePassword(path, text, salt)
	}
	if encrypt == "" {
		return text
	}
	if _, ok := shaSchemes[encrypt]; !ok {
		fail("the password lookup cannot make a %s hash: it knows sha512 and sha256", encrypt)
	}
	return shaCrypt(encrypt, text, salt, 0)
}

func randomPassword(chars string, n int) string {
	rs := []rune(chars)
	out := make([]rune, n)
	for i := range out {
		k, err := rand.Int(rand.Reader, big.NewInt(int64(len(rs))))
		if err != nil {
			fail("cannot get random numbers: %w", err)
		}
		out[i] = rs[k.Int64()]
	}
	return string(out)
}

func savePassword(path, text, salt string) {
	if path == "/dev/null" {
		return
	}
	if salt != "" {
		text += " salt=" + salt
	}
	if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
		fail("cannot make the directory of the password file: %w", err)
	}
	tmp := path + ".new"
	if err := os.WriteFile(tmp, []byte(text+"\n"), 0o600); err != nil {
		fail("cannot write the password file: %w", err)
	}
	if err := os.Rename(tmp, path); err != nil {
		fail("cannot write the password file: %w", err)
	}
}
