package remote

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"sort"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/calroll/calroll/tasks"
)

// cutter cuts a link after its n-th frame, or in the middle of it, counted over both directions or one.
type cutter struct {
	after int  // frames in the direction; zero never cuts
	half  bool // the frame after them arrives by half
	toUs  bool // the direction
	cut   func()

	mu       sync.Mutex // guards what follows
	out, in  int        // frames that passed
	isCut    bool
	left     int    // bytes of the incoming frame that are still to come
	head     []byte // of the incoming frame, while it is incomplete
	framing  bool   // the marker line has passed
	lineText []byte
}

func (c *cutter) now() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.sever()
}

func (c *cutter) sever() {
	if !c.isCut {
		c.isCut = true
		c.cut()
	}
}

// write passes a frame on: the client writes each with one call.
func (c *cutter) write(to io.Writer, b []byte) (int, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.isCut {
		return 0, syscall.EPIPE
	}
	if !c.toUs && c.after > 0 && c.out == c.after-1 && c.half {
		n, _ := to.Write(b[:len(b)/2])
		c.sever()
		return n, syscall.EPIPE
	}
	n, err := to.Write(b)
	c.out++
	if !c.toUs && c.after > 0 && c.out == c.after && !c.half {
		c.sever()
	}
	return n, err
}

// read passes bytes on one by one, so that it knows where a frame ends.
func (c *cutter) read(from io.Reader, b []byte) (int, error) {
	n, err := from.Read(b[:1])
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.isCut {
		return 0, io.EOF
	}
	if n == 1 && c.passed(b[0]) {
		c.sever()
	}
	return n, err
}

// passed counts a byte and tells whether the link is to be cut behind it.
func (c *cutter) passed(b byte) bool {
	if !c.framing {
		c.lineText = append(c.lineText, b)
		c.framing = b == '\n' && strings.Contains(string(c.lineText), wordHello)
		return false
	}
	if c.left == 0 {
		if c.head = append(c.head, b); len(c.head) < headerSize {
			return false
		}
		c.left = int(c.head[1])<<24 | int(c.head[2])<<16 | int(c.head[3])<<8 | int(c.head[4])
		c.head = c.head[:0]
		if c.left > 0 {
			return c.toUs && c.half && c.after > 0 && c.in == c.after-1
		}
	} else if c.left--; c.left > 0 {
		return false
	}
	c.in++
	return c.toUs && !c.half && c.in == c.after
}

// alter makes one of every kind of alteration of files.
type alter struct {
	Do      string        `arg:"do,required,choices=write|mode|folder|link|hardlink|remove|times" doc:"what"`
	Path    string        `arg:"path,required" doc:"where"`
	Content tasks.Content `arg:"content" doc:"of a file"`
	To      string        `arg:"to" doc:"of a link"`
	Mode    tasks.Mode    `arg:"mode" doc:"of whatever it is"`
}

func (m *alter) Run(ctx context.Context, sys *tasks.Sys) (tasks.Result, error) {
	var changed bool
	var err error
	attrs := tasks.Attrs{Mode: m.Mode}
	switch m.Do {
	case "write":
		changed, err = sys.WriteFile(ctx, m.Path, m.Content, attrs, tasks.WriteOptions{})
	case "mode":
		changed, err = sys.SetAttrs(ctx, m.Path, attrs)
	case "times":
		changed, err = sys.SetAttrs(ctx, m.Path, tasks.Attrs{Mtime: time.Unix(1e9, 5)})
	case "folder":
		changed, err = sys.Mkdir(ctx, m.Path, attrs)
	case "link":
		changed, err = sys.Symlink(ctx, m.Path, m.To)
	case "hardlink":
		changed, err = sys.Hardlink(ctx, m.Path, m.To)
	case "remove":
		changed, err = sys.Remove(ctx, m.Path)
	}
	return tasks.Result{Changed: changed}, err
}

// proofTree makes the tree that the proof's play alters.
func proofTree(t *testing.T, dir string) {
	t.Helper()
	write := func(name, text string, mode fs.FileMode) {
		path := filepath.Join(dir, name)
		if err := errors.Join(os.MkdirAll(filepath.Dir(path), 0o755), os.WriteFile(path, []byte(text), 0o600), os.Chmod(path, mode),
			os.Chtimes(path, time.Time{}, time.Unix(1700000000, 123456789))); err != nil {
			t.Fatal(err)
		}
	}
	write("conf", "old = 1\n", 0o640)
	write("script", "#!/bin/sh\n", 0o4755)
	write("gone", "to be removed\n", 0o644)
	write("tree/a/deep", "x", 0o400)
	write("tree/b", strings.Repeat("b", 10000), 0o644)
	write("target", "shared", 0o644)
	for link, to := range map[string]string{"link": "conf", "tree/link": "../target"} {
		if err := os.Symlink(to, filepath.Join(dir, link)); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.Link(filepath.Join(dir, "target"), filepath.Join(dir, "twin")); err != nil {
		t.Fatal(err)
	}
	_ = syscall.Setxattr(filepath.Join(dir, "conf"), "user.calroll", []byte("kept"), 0) // not every file system has them
}

// proofPlay is a play with every way to alter files, loops, inline content and content that is asked for.
func proofPlay(dir string) []Task {
	at := func(name string) string { return filepath.Join(dir, name) }
	item := func(do, name string, more ...any) Item {
		args := map[string]any{"do": do, "path": at(name)}
		for i := 0; i < len(more); i += 2 {
			args[more[i].(string)] = more[i+1]
		}
		return Item{args}
	}
	var opened int
	large, _, blobs := blob(InlineLimit+5000, &opened)
	small, _, few := blob(3000, &opened)
	for hash, s := range few {
		blobs[hash] = s
	}
	return []Task{
		{Items: []Item{item("write", "new", "content", "new\n")}},
		{Items: []Item{item("write", "conf", "content", "old = 2\n", "mode", "0600")}},
		{Items: []Item{item("mode", "script", "mode", "0700")}},
		{Items: []Item{item("folder", "dir", "mode", "0750"), item("folder", "dir/sub"), item("write", "dir/sub/file", "content", small)}, Blobs: blobs},
		{Items: []Item{item("link", "newlink", "to", "conf")}},
		{Items: []Item{item("link", "link", "to", "target")}},
		{Items: []Item{item("remove", "gone")}},
		{Items: []Item{item("remove", "tree")}},
		{Items: []Item{item("hardlink", "third", "to", at("target"))}},
		{Items: []Item{item("write", "large", "content", large)}, Blobs: blobs},
		{Items: []Item{item("write", "conf", "content", "old = 3\n"), item("write", "new", "content", "newer\n"), item("write", "conf", "content", "old = 2\n")}},
		{Items: []Item{item("times", "target")}},
		{Items: []Item{item("write", "conf", "content", large, "mode", "0644"), item("write", "twin", "content", "alone\n")}, Blobs: blobs},
		{Items: []Item{item("remove", "dir")}},
	}
}

// play begins the run and runs the tasks until one fails.
func play(ctx context.Context, c *Client, run string, list []Task) error {
	if err := c.Begin(ctx, run, me); err != nil {
		return err
	}
	for i, t := range list {
		t.Module, t.Number = "alter", int64(i+1)
		rs, err := c.Run(ctx, t)
		if err != nil {
			return err
		}
		for _, r := range rs {
			if r.Failed {
				return fmt.Errorf("task %d failed: %s", i+1, r.Msg)
			}
		}
	}
	return nil
}

// treeHash covers names, kinds, modes, owners, contents, link targets, hard links, extended attributes and files' times.
func treeHash(t *testing.T, dir string) string {
	t.Helper()
	var lines []string
	err := filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		fi, err := d.Info()
		if err != nil {
			return err
		}
		st := fi.Sys().(*syscall.Stat_t)
		rel, _ := filepath.Rel(dir, path)
		line := fmt.Sprintf("%s %v %d:%d", rel, fi.Mode(), st.Uid, st.Gid)
		switch {
		case fi.Mode().IsRegular():
			raw, err := os.ReadFile(path)
			if err != nil {
				return err
			}
			var x [64]byte
			n, _ := syscall.Getxattr(path, "user.calroll", x[:])
			line += fmt.Sprintf(" links=%d at=%d %x x=%q", st.Nlink, fi.ModTime().UnixNano(), sha256.Sum256(raw), x[:max(n, 0)])
		case fi.Mode()&fs.ModeSymlink != 0:
			to, _ := os.Readlink(path)
			line += " -> " + to
		}
		lines = append(lines, line)
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	sort.Strings(lines)
	sum := sha256.Sum256([]byte(strings.Join(lines, "\n")))
	return hex.EncodeToString(sum[:4]) + "\n" + strings.Join(lines, "\n")
}

// undoAll opens a helper and takes the run back.
func undoAll(t *testing.T, state string, c *cutter, env ...string) error {
	client, err := openChild(t, state, c, env...)
	if err != nil {
		return err
	}
	defer client.Close()
	report, err := client.Undo(t.Context(), "run1", me, UndoOptions{})
	if err == nil && !report.OK() {
		err = fmt.Errorf("not undone: %+v", report.Problems())
	}
	return err
}

// proof is a tree, a journal and the state to come back to.
type proof struct {
	dir, state, start string
}

func newProof(t *testing.T) proof {
	base := t.TempDir()
	p := proof{dir: filepath.Join(base, "tree"), state: filepath.Join(base, "state")}
	proofTree(t, p.dir)
	p.start = treeHash(t, p.dir)
	return p
}

// check compares the tree with the one at the start.
func (p proof) check(t *testing.T, what string) {
	t.Helper()
	if now := treeHash(t, p.dir); now != p.start {
		t.Errorf("%s: the tree is\n%s\nand was\n%s", what, now, p.start)
	}
}

// measure plays once without cuts and returns the frames that passed each way and the helper's points.
func measure(t *testing.T) (out, in int, playPoints, undoPoints []string) {
	p := newProof(t)
	c := &cutter{}
	count := p.dir + ".points"
	client, err := openChild(t, p.state, c, envCount+"="+count)
	if err != nil {
		t.Fatal(err)
	}
	if err := play(t.Context(), client, "run1", proofPlay(p.dir)); err != nil {
		t.Fatal(err)
	}
	if now := treeHash(t, p.dir); now == p.start {
		t.Fatal("the play alters nothing")
	}
	_ = client.Close()
	playPoints = points(t, count)
	if err := undoAll(t, p.state, nil, envCount+"="+count); err != nil {
		t.Fatal(err)
	}
	p.check(t, "without a cut")
	return c.out - 1, c.in, playPoints, points(t, count) // but for the farewell
}

// points reads and removes the list of points that a helper passed.
func points(t *testing.T, path string) []string {
	raw, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	_ = os.Remove(path)
	return strings.Split(strings.TrimSpace(string(raw)), "\n")
}

// TestEveryCutCanBeTakenBack is the proof behind the promise: wherever the work is cut, the run can be undone, and the tree is
// then what it was.
func TestEveryCutCanBeTakenBack(t *testing.T) {
	out, in, playPoints, undoPoints := measure(t)
	table := []struct {
		what  string
		count int
		cut   func(t *testing.T, p proof, k int) error // nil if the cut happened as planned
	}{
		{"link cut after a frame to the host", out, cutLink(false, false)},
		{"link cut inside a frame to the host", out, cutLink(false, true)},
		{"link cut after a frame from the host", in, cutLink(true, false)},
		{"link cut inside a frame from the host", in, cutLink(true, true)},
		{"helper killed at a point of the play", len(playPoints), killInPlay},
		{"helper killed at a point of the undo", len(undoPoints), killInUndo},
		{"link cut inside the undo", len(undoPoints) / 2, cutInUndo},
	}
	for _, row := range table {
		t.Run(strings.ReplaceAll(row.what, " ", "_"), func(t *testing.T) {
			t.Parallel()
			for k := 1; k <= row.count; k++ {
				p := newProof(t)
				what := fmt.Sprintf("%s (%d of %d)", row.what, k, row.count)
				if err := row.cut(t, p, k); err != nil {
					t.Fatalf("%s: %v", what, err)
				}
				if err := undoAll(t, p.state, nil); err != nil {
					t.Errorf("%s: cannot undo: %v", what, err)
				}
				p.check(t, what)
				if t.Failed() {
					return
				}
			}
			t.Logf("%-40s %3d proven", row.what, row.count)
		})
	}
}

func cutLink(toUs, half bool) func(*testing.T, proof, int) error {
	return func(t *testing.T, p proof, k int) error {
		client, err := openChild(t, p.state, &cutter{after: k, toUs: toUs, half: half})
		if err == nil {
			err = play(t.Context(), client, "run1", proofPlay(p.dir))
			if toUs && err == nil { // behind the last answer there is nothing to be lost
				<-client.Done()
				return nil
			}
		}
		return mustBe(tasks.Unreachable, err)
	}
}

func killInPlay(t *testing.T, p proof, k int) error {
	client, err := openChild(t, p.state, nil, envDieAt+"="+fmt.Sprint(k))
	if err == nil {
		err = play(t.Context(), client, "run1", proofPlay(p.dir))
	}
	return mustBe(tasks.Unreachable, err)
}

// playAll plays without a cut.
func playAll(t *testing.T, p proof) error {
	client, err := openChild(t, p.state, nil)
	if err != nil {
		return err
	}
	defer client.Close()
	return play(t.Context(), client, "run1", proofPlay(p.dir))
}

func killInUndo(t *testing.T, p proof, k int) error {
	if err := playAll(t, p); err != nil {
		return err
	}
	return mustBe(tasks.Unreachable, undoAll(t, p.state, nil, envDieAt+"="+fmt.Sprint(k)))
}

// cutInUndo cuts after the k-th item was told, and lets the next undo begin at once.
func cutInUndo(t *testing.T, p proof, k int) error {
	if err := playAll(t, p); err != nil {
		return err
	}
	err := undoAll(t, p.state, &cutter{after: k + 1, toUs: true}) // the first is Hello
	if err == nil {
		return nil // fewer items than that
	}
	return mustBe(tasks.Unreachable, err)
}

func mustBe(kind tasks.Kind, err error) error {
	switch got := tasks.KindOf(err); {
	case err == nil:
		return errors.New("the cut did not happen")
	case got != kind:
		return fmt.Errorf("not what a cut looks like: %w", err)
	}
	return nil
}
