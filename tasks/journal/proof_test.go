package journal_test

import (
	"context"
	"crypto/sha256"
	"encoding/binary"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"
	"pgregory.net/rapid"

	"github.com/calroll/calroll/tasks"
	"github.com/calroll/calroll/tasks/journal"
)

// names are few, so that the operations of a run meet each other.
var names = []string{"a", "b", "d", "d/x", "d/y", "d/e", "d/e/z", "l", "n/o/p", "n"}

// TestUndoAfterCutAnywhere is the promise of the package: whatever a run did to a tree and wherever it was cut, in doing and
// in undoing, undoing it gives the tree that was there at the start.
func TestUndoAfterCutAnywhere(t *testing.T) {
	dirs := []string{"/dev/shm", "/dev/shm", "/dev/shm", t.TempDir()} // a disk is slow to sync
	rapid.Check(t, func(t *rapid.T) {
		w := newWorld(t, rapid.SampledFrom(dirs).Draw(t, "disk"))
		defer os.RemoveAll(w.dir)
		w.plant(t)
		start := w.fingerprint(t)

		w.work(t, rapid.IntRange(0, 60).Draw(t, "cut of the run"))
		for range rapid.IntRange(0, 2).Draw(t, "cut undos") {
			w.undo(t, rapid.IntRange(1, 12).Draw(t, "cut of the undo"))
		}
		report := w.undo(t, 0)
		if !report.OK() {
			t.Fatalf("not undone: %+v\nlog: %s", report.Problems(), w.log())
		}
		if end := w.fingerprint(t); end != start {
			t.Fatalf("the tree is not what it was\nstart:\n%s\nend:\n%s\nlog: %s\nreport: %+v", start, end, w.log(), report.Items)
		}
		if again := w.undo(t, 0); !again.OK() {
			t.Fatalf("undoing again: %+v", again.Problems())
		}
		if end := w.fingerprint(t); end != start {
			t.Fatal("undoing again altered the tree")
		}
	})
}

// world is a tree and a journal in a folder of their own.
type world struct {
	dir, root, runs string
	did             []string
}

func newWorld(t *rapid.T, base string) *world {
	dir, err := os.MkdirTemp(base, "calroll-proof-")
	must(t, err)
	w := &world{dir: dir, root: filepath.Join(dir, "root"), runs: filepath.Join(dir, "runs")}
	must(t, os.Mkdir(w.root, 0o755))
	return w
}

func (w *world) log() string { return strings.Join(w.did, "\n     ") }

type fataler interface{ Fatalf(string, ...any) }

func must(t fataler, err error) {
	if err != nil {
		t.Fatalf("%v", err)
	}
}

// plant makes a random tree with everything that is to come back: modes with set-id bits, owners, times, links, attributes.
func (w *world) plant(t *rapid.T) {
	for _, name := range names {
		path := filepath.Join(w.root, name)
		if st, err := os.Stat(filepath.Dir(path)); err != nil || !st.IsDir() {
			continue
		}
		switch rapid.SampledFrom([]string{"", "file", "file", "dir", "link", "hard", "fifo"}).Draw(t, "plant "+name) {
		case "file":
			must(t, os.WriteFile(path, []byte(content(t)), 0o644))
			w.dress(t, path)
		case "dir":
			must(t, os.Mkdir(path, 0o755))
			w.dress(t, path)
		case "link":
			must(t, os.Symlink(rapid.SampledFrom(names).Draw(t, "target"), path))
			must(t, os.Lchown(path, 7, 7))
		case "hard":
			_ = os.Link(filepath.Join(w.root, "a"), path)
		case "fifo":
			must(t, unix.Mkfifo(path, 0o640))
		}
	}
}

func (w *world) dress(t *rapid.T, path string) {
	must(t, os.Chown(path, rapid.IntRange(0, 2).Draw(t, "uid"), rapid.IntRange(0, 2).Draw(t, "gid")))
	for _, name := range []string{"user.one", "user.two", "security.capability", "system.posix_acl_access"} {
		if !rapid.Bool().Draw(t, name) {
			continue
		}
		if st, err := os.Stat(path); name == "security.capability" && (err != nil || st.IsDir()) {
			continue
		}
		must(t, unix.Setxattr(path, name, xattrValue(name), 0))
	}
	must(t, unix.Chmod(path, uint32(rapid.SampledFrom([]int{0o644, 0o600, 0o755, 0o4755, 0o2755, 0o1777}).Draw(t, "mode"))))
	at := time.Unix(1_600_000_000+int64(rapid.IntRange(0, 1000).Draw(t, "mtime")), 123456789)
	must(t, os.Chtimes(path, at, at))
}

// xattrValue is a valid value: net_raw as a capability, an access list that lets user 5 read.
func xattrValue(name string) []byte {
	le := binary.LittleEndian
	switch name {
	case "security.capability":
		b := le.AppendUint32(nil, 0x02000000|1)
		b = le.AppendUint32(b, 1<<13)
		return append(b, make([]byte, 12)...)
	case "system.posix_acl_access":
		b := le.AppendUint32(nil, 2)
		for _, e := range [][3]uint32{{0x01, 6, 0xffffffff}, {0x02, 4, 5}, {0x04, 4, 0xffffffff}, {0x10, 4, 0xffffffff}, {0x20, 4, 0xffffffff}} {
			b = le.AppendUint16(le.AppendUint16(b, uint16(e[0])), uint16(e[1]))
			b = le.AppendUint32(b, e[2])
		}
		return b
	}
	return []byte("value of " + name)
}

func content(t *rapid.T) string {
	text := rapid.SampledFrom([]string{"", "one\n", "two\n", "long"}).Draw(t, "content")
	if text == "long" {
		return strings.Repeat("long ", 50_000)
	}
	return text
}

// work does random alterations through one Sys after the other, until done or cut at the given point (0: never).
func (w *world) work(t *rapid.T, cut int) {
	j, err := journal.Open(w.runs, "r1", journal.Holder{User: "test"})
	must(t, err)
	defer j.Close()
	step := cutter(cut)
	for task := range rapid.IntRange(1, 8).Draw(t, "operations") {
		op, name := w.draw(t)
		if crashed := w.attempt(func() {
			sys := tasks.NewSys(tasks.Options{Recorder: j, Task: int64(task), Step: step})
			defer sys.Close()
			changed, err := op(sys)
			w.did = append(w.did, fmt.Sprintf("%s: %v %v", name, changed, err))
		}); crashed != "" {
			w.did = append(w.did, name+": cut at "+crashed)
			w.tear(t, crashed)
			return
		}
	}
}

// tear leaves half a line, as a crash while a record is written does.
func (w *world) tear(t *rapid.T, point string) {
	if point != "before record" || !rapid.Bool().Draw(t, "torn") {
		return
	}
	f, err := os.OpenFile(filepath.Join(w.runs, "r1", "journal"), os.O_WRONLY|os.O_APPEND, 0)
	if os.IsNotExist(err) {
		return
	}
	must(t, err)
	defer f.Close()
	_, err = f.WriteString(`{"what":"before","before":{"seq":99,"kind":"path","ke`)
	must(t, err)
}

// attempt runs f and says at which point it was cut.
func (w *world) attempt(f func()) (point string) {
	defer func() {
		if p := recover(); p != nil {
			c, ok := p.(tasks.Cut)
			if !ok {
				panic(p)
			}
			point = c.Point
		}
	}()
	f()
	return ""
}

func cutter(n int) func(string) {
	return func(point string) {
		if n--; n == 0 {
			panic(tasks.Cut{Point: point})
		}
	}
}

func (w *world) draw(t *rapid.T) (op func(*tasks.Sys) (bool, error), name string) {
	ctx := context.Background()
	path := filepath.Join(w.root, rapid.SampledFrom(names).Draw(t, "path"))
	other := rapid.SampledFrom(names).Draw(t, "other")
	a := w.drawAttrs(t)
	kind := rapid.SampledFrom([]string{"write", "write", "attrs", "mkdir", "symlink", "hardlink", "remove", "overwrite"}).Draw(t, "operation")
	name = fmt.Sprintf("%s %s %s %+v", kind, path, other, a)
	switch kind {
	case "write":
		text, follow := content(t), rapid.Bool().Draw(t, "follow")
		return func(s *tasks.Sys) (bool, error) {
			return s.WriteFile(ctx, path, tasks.Text([]byte(text)), a, tasks.WriteOptions{Follow: follow})
		}, name
	case "overwrite":
		return func(s *tasks.Sys) (bool, error) { return true, s.Overwrite(ctx, path, tasks.Text([]byte("in place"))) }, name
	case "attrs":
		return func(s *tasks.Sys) (bool, error) { return s.SetAttrs(ctx, path, a) }, name
	case "mkdir":
		return func(s *tasks.Sys) (bool, error) { return s.Mkdir(ctx, path, a) }, name
	case "symlink":
		return func(s *tasks.Sys) (bool, error) { return s.Symlink(ctx, path, other) }, name
	case "hardlink":
		return func(s *tasks.Sys) (bool, error) { return s.Hardlink(ctx, path, filepath.Join(w.root, other)) }, name
	}
	return func(s *tasks.Sys) (bool, error) { return s.Remove(ctx, path) }, name
}

func (w *world) drawAttrs(t *rapid.T) tasks.Attrs {
	mode, err := tasks.ParseMode(rapid.SampledFrom([]string{"", "0600", "0755", "4711", "u+s,g-w", "a+rX"}).Draw(t, "new mode"))
	must(t, err)
	a := tasks.Attrs{Mode: mode}
	a.Owner = rapid.SampledFrom([]string{"", "", "0", "3"}).Draw(t, "new owner")
	a.Group = rapid.SampledFrom([]string{"", "", "0", "3"}).Draw(t, "new group")
	if rapid.IntRange(0, 4).Draw(t, "times") == 0 {
		a.Mtime = time.Unix(1_700_000_000, 5)
	}
	return a
}

func (w *world) undo(t *rapid.T, cut int) (report journal.Report) {
	step := cutter(cut)
	point := w.attempt(func() {
		kinds := tasks.NodeKinds(tasks.KindOptions{Step: step})
		var err error
		report, err = journal.Undo(context.Background(), w.runs, "r1", journal.UndoOptions{Step: step}, kinds)
		must(t, err)
	})
	w.did = append(w.did, "undo, cut at "+point)
	return report
}

// fingerprint is everything about the tree that is promised to come back. Times of folders are not: their entries did change.
func (w *world) fingerprint(t fataler) string {
	var lines []string
	must(t, filepath.WalkDir(w.root, func(path string, _ fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		lines = append(lines, describe(t, path, strings.TrimPrefix(path, w.root)))
		return nil
	}))
	return strings.Join(lines, "\n")
}

func describe(t fataler, path, name string) string {
	var st unix.Stat_t
	must(t, unix.Lstat(path, &st))
	line := fmt.Sprintf("%s %o %d:%d", name, st.Mode, st.Uid, st.Gid)
	switch st.Mode & unix.S_IFMT {
	case unix.S_IFREG:
		raw, err := os.ReadFile(path)
		must(t, err)
		line += fmt.Sprintf(" %d %x", st.Mtim.Nano(), sha256.Sum256(raw))
	case unix.S_IFLNK:
		target, err := os.Readlink(path)
		must(t, err)
		line += fmt.Sprintf(" %d %s", st.Mtim.Nano(), target)
	}
	buf := make([]byte, 4096)
	n, err := unix.Llistxattr(path, buf)
	must(t, err)
	attrs := strings.Split(strings.Trim(string(buf[:n]), "\x00"), "\x00")
	slices.Sort(attrs)
	for _, a := range attrs {
		if a != "" {
			val := make([]byte, 4096)
			n, err := unix.Lgetxattr(path, a, val)
			must(t, err)
			line += fmt.Sprintf(" %s=%x", a, val[:n])
		}
	}
	return line
}
