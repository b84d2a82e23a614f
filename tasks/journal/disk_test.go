package journal_test

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/calroll/calroll/tasks"
	"github.com/calroll/calroll/tasks/journal"
)

// mount needs root, as the modules on a host mostly do.
func mount(t *testing.T, source, target, kind string, flags uintptr, data string) {
	t.Helper()
	if err := unix.Mount(source, target, kind, flags, data); err != nil {
		t.Fatalf("cannot mount %s (this test has to run as root): %v", target, err)
	}
	t.Cleanup(func() { _ = unix.Unmount(target, unix.MNT_DETACH) })
}

// TestMountedFile writes a file that is a mount point, as /etc/hosts is in a container.
func TestMountedFile(t *testing.T) {
	dir := t.TempDir()
	runs, path, source := filepath.Join(dir, "runs"), filepath.Join(dir, "hosts"), filepath.Join(dir, "source")
	must(t, os.WriteFile(path, nil, 0o644))
	must(t, os.WriteFile(source, []byte("old"), 0o640))
	mount(t, source, path, "", unix.MS_BIND, "")
	j := open(t, runs, "r")
	sys := tasks.NewSys(tasks.Options{Recorder: j})
	_, err := sys.WriteFile(ctx, path, tasks.Text([]byte("new")), tasks.Attrs{}, tasks.WriteOptions{})
	if err == nil || !strings.Contains(err.Error(), "unsafe_writes") || text(path) != "old" {
		t.Fatalf("have %v, %q", err, text(path))
	}
	changed, err := sys.WriteFile(ctx, path, tasks.Text([]byte("new")), tasks.Attrs{Mode: tasks.Octal(0o600)}, tasks.WriteOptions{Unsafe: true})
	if err != nil || !changed || text(source) != "new" {
		t.Fatalf("have %v %v, %q", changed, err, text(source))
	}
	if _, err := sys.Remove(ctx, dir); tasks.KindOf(err) != tasks.Refused || !strings.Contains(err.Error(), "mounted on "+path) {
		t.Errorf("removing the folder with the mount in it: %v", err)
	}
	report := undo(t, runs, "r", journal.UndoOptions{})
	st, err := os.Stat(source)
	must(t, err)
	if !report.OK() || text(path) != "old" || st.Mode().Perm() != 0o640 {
		t.Errorf("have %q %v, %+v", text(path), st.Mode(), report.Items)
	}
}

// TestHardLinkAfterABoot: the file system is mounted anew, and its device has another number. A hard link that the run made is known all the same.
func TestHardLinkAfterABoot(t *testing.T) {
	base := t.TempDir()
	at := func(name string) string { return filepath.Join(base, name) }
	for _, name := range []string{"lower", "upper", "work", "disk"} {
		must(t, os.Mkdir(at(name), 0o755))
	}
	overlay := func() {
		mount(t, "overlay", at("disk"), "overlay", 0, "lowerdir="+at("lower")+",upperdir="+at("upper")+",workdir="+at("work"))
	}
	device := func(name string) uint64 {
		var st unix.Stat_t
		must(t, unix.Stat(at(name), &st))
		return st.Dev
	}
	overlay()
	must(t, os.WriteFile(at("disk/f"), []byte("x"), 0o644))
	sys := tasks.NewSys(tasks.Options{Recorder: open(t, at("runs"), "r")})
	if changed, err := sys.Hardlink(ctx, at("disk/twin"), at("disk/f")); err != nil || !changed {
		t.Fatalf("have %v, %v", changed, err)
	}
	was := device("disk")
	must(t, unix.Unmount(at("disk"), 0))
	for last, i := uint64(0), 0; last < was; i++ { // the lowest free number is given, so one of these takes it
		other := fmt.Sprint("other", i)
		must(t, os.Mkdir(at(other), 0o755))
		mount(t, "tmpfs", at(other), "tmpfs", 0, "")
		last = device(other)
	}
	overlay()
	if device("disk") == was {
		t.Fatalf("the device has its number still: %d", was)
	}
	if report := undo(t, at("runs"), "r", journal.UndoOptions{}); !report.OK() || text(at("disk/twin")) == "x" || text(at("disk/f")) != "x" {
		t.Errorf("have %+v", report.Items)
	}
}

// TestHardLinkFromACopy removes a hard link that the run has made, and keeps it as a copy because the journal is on another disk: the undo knows it again.
func TestHardLinkFromACopy(t *testing.T) {
	base := t.TempDir()
	disk := filepath.Join(base, "disk")
	must(t, os.Mkdir(disk, 0o755))
	for _, other := range []bool{false, true} {
		if other {
			mount(t, "tmpfs", disk, "tmpfs", 0, "")
		}
		runs, file, twin := filepath.Join(disk, "runs"), filepath.Join(base, "file"), filepath.Join(base, "twin")
		must(t, os.WriteFile(file, []byte("x"), 0o644))
		sys := tasks.NewSys(tasks.Options{Recorder: open(t, runs, "r")})
		_, err := sys.Hardlink(ctx, twin, file)
		must(t, err)
		_, err = sys.SetAttrs(ctx, file, tasks.Attrs{Mode: tasks.Octal(0o600)})
		must(t, err)
		_, err = sys.Remove(ctx, twin)
		must(t, err)
		if got := preview(t, runs, "r", journal.UndoOptions{}); got != "twin=restored file=restored twin=restored" {
			t.Errorf("on another disk %v: the preview is %s", other, got)
		}
		report := undo(t, runs, "r", journal.UndoOptions{})
		st, err := os.Stat(file)
		must(t, err)
		if _, err := os.Stat(twin); !report.OK() || !os.IsNotExist(err) || st.Mode().Perm() != 0o644 {
			t.Errorf("on another disk %v: %v, %v, %+v", other, st.Mode(), err, report.Items)
		}
	}
}

// TestFullDisk fills the disk of the target, then that of the journal.
func TestFullDisk(t *testing.T) {
	base := t.TempDir()
	small := filepath.Join(base, "small")
	must(t, os.Mkdir(small, 0o755))
	mount(t, "tmpfs", small, "tmpfs", 0, "size=128k")
	path := filepath.Join(small, "f")
	must(t, os.WriteFile(path, []byte("old"), 0o644))
	big := tasks.Text([]byte(strings.Repeat("x", 1<<20)))

	runs := filepath.Join(base, "runs")
	sys := tasks.NewSys(tasks.Options{Recorder: open(t, runs, "r")})
	if _, err := sys.WriteFile(ctx, path, big, tasks.Attrs{}, tasks.WriteOptions{}); err == nil || !strings.Contains(err.Error(), "no space") {
		t.Errorf("the target's disk is full: %v", err)
	}
	names, err := os.ReadDir(small)
	if err != nil || len(names) != 1 || text(path) != "old" {
		t.Errorf("left behind: %v %v", names, err)
	}
	if report := undo(t, runs, "r", journal.UndoOptions{}); !report.OK() {
		t.Errorf("have %+v", report.Items)
	}

	other := filepath.Join(base, "other")
	must(t, os.WriteFile(other, []byte(strings.Repeat("y", 1<<20)), 0o644))
	full := tasks.NewSys(tasks.Options{Recorder: open(t, filepath.Join(small, "runs"), "r")})
	if _, err := full.WriteFile(ctx, other, tasks.Text([]byte("new")), tasks.Attrs{}, tasks.WriteOptions{}); err == nil || !strings.Contains(err.Error(), "before-image") {
		t.Errorf("the journal's disk is full: %v", err)
	}
	if len(text(other)) != 1<<20 {
		t.Error("the file was altered though its before-image was not kept")
	}
	_, err = full.WriteFile(ctx, filepath.Join(base, "new"), tasks.Text([]byte("new")), tasks.Attrs{}, tasks.WriteOptions{})
	must(t, err) // what needs no image still fits
	if report := undo(t, filepath.Join(small, "runs"), "r", journal.UndoOptions{}); !report.OK() || len(report.Items) != 1 {
		t.Errorf("have %+v", report.Items)
	}
}

// TestUndoOnAFullDisk fills the disk of the journal in the middle of a run: no further record fits, and what was done is taken back all the same.
func TestUndoOnAFullDisk(t *testing.T) {
	base := t.TempDir()
	small, files := filepath.Join(base, "small"), filepath.Join(base, "files")
	must(t, os.Mkdir(small, 0o755))
	must(t, os.Mkdir(files, 0o755))
	mount(t, "tmpfs", small, "tmpfs", 0, "size=1m")
	runs := filepath.Join(small, "runs")
	sys := tasks.NewSys(tasks.Options{Recorder: open(t, runs, "r")})
	write := func() error {
		f, err := os.CreateTemp(files, "")
		must(t, err)
		must(t, f.Close())
		must(t, os.Remove(f.Name()))
		_, err = sys.WriteFile(ctx, f.Name(), tasks.Text([]byte("new")), tasks.Attrs{}, tasks.WriteOptions{})
		return err
	}
	for range 100 {
		must(t, write())
	}
	fill, err := os.Create(filepath.Join(small, "fill"))
	must(t, err)
	for err == nil {
		_, err = fill.Write(make([]byte, 4096))
	}
	must(t, fill.Close())
	n := 100
	for err = write(); err == nil; err = write() {
		n++
	}
	if !errors.Is(err, unix.ENOSPC) {
		t.Errorf("the disk of the journal is full: %v", err)
	}
	report := undo(t, runs, "r", journal.UndoOptions{})
	if left, err := os.ReadDir(files); !report.OK() || len(report.Items) != n || err != nil || len(left) > 0 {
		t.Errorf("%d of %d are taken back, %d left: %+v", len(report.Items), n, len(left), report.Problems())
	}
}

// TestTreeOnAnotherDisk removes a tree that cannot be moved into the journal.
func TestTreeOnAnotherDisk(t *testing.T) {
	base := t.TempDir()
	disk := filepath.Join(base, "disk")
	must(t, os.Mkdir(disk, 0o755))
	mount(t, "tmpfs", disk, "tmpfs", 0, "")
	w := &world{root: filepath.Join(disk, "tree"), runs: filepath.Join(base, "runs"), dir: base}
	for _, d := range []string{"", "d", "d/e"} {
		must(t, os.Mkdir(filepath.Join(w.root, d), 0o755))
	}
	must(t, os.WriteFile(filepath.Join(w.root, "d/f"), []byte("f"), 0o600))
	must(t, os.Link(filepath.Join(w.root, "d/f"), filepath.Join(w.root, "d/hard")))
	must(t, os.Symlink("nowhere", filepath.Join(w.root, "l")))
	must(t, unix.Mkfifo(filepath.Join(w.root, "p"), 0o600))
	must(t, unix.Mknod(filepath.Join(w.root, "null"), unix.S_IFCHR|0o666, int(unix.Mkdev(1, 3))))
	must(t, unix.Setxattr(filepath.Join(w.root, "d/f"), "security.capability", xattrValue("security.capability"), 0))
	must(t, unix.Setxattr(filepath.Join(w.root, "d/f"), "user.bytes", []byte("a\x00b=\n"), 0))
	must(t, os.Lchown(filepath.Join(w.root, "d/e"), 3, 4))
	must(t, unix.Chmod(filepath.Join(w.root, "d/e"), 0o2500))
	start := w.fingerprint(t)
	sys := tasks.NewSys(tasks.Options{Recorder: open(t, w.runs, "r1")})
	changed, err := sys.Remove(ctx, w.root)
	if err != nil || !changed {
		t.Fatal(changed, err)
	}
	if _, err := os.Lstat(w.root); err == nil {
		t.Fatal("it is there still")
	}
	if report := undo(t, w.runs, "r1", journal.UndoOptions{}); !report.OK() {
		t.Fatalf("have %+v", report.Items)
	}
	if end := w.fingerprint(t); end != start {
		t.Errorf("start:\n%s\nend:\n%s", start, end)
	}
	if inodeOf(t, filepath.Join(w.root, "d/f")) != inodeOf(t, filepath.Join(w.root, "d/hard")) {
		t.Error("the two names are two files now")
	}
}
