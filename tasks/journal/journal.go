// Package journal keeps on a host what a run is about to alter, so that the run can be taken back after any crash.
//
// A *run* is a folder below the journal's folder (DefaultDir): a file of JSON lines and a folder of before-images, all readable
// by their owner alone. The lines are, in order of what happened:
//
//	begin   who runs; written with the first record, so a run that alters nothing leaves nothing
//	before  one record of package tasks, written and synced before its alteration
//	done    the alteration of a record is complete; only for those that are not one atomic step
//	undoing an undo begins to restore
//	undone  a record was undone, with its outcome; synced before the next older one is begun
//	armed   the host goes back by itself to before a task, unless the run is confirmed in time; see Switch
//	confirmed, disarmed, fired
//	        what became of that: it stays, the controller has taken it back, the host begins to go back by itself
//	commit  the run will not be undone by itself any more; it still can be, by hand, until it is pruned
//	ended   everything was undone
//
// A last line without its end was never finished: it is ignored, and cut off by the next writer. Several processes may write the
// same run (two connections to one host): they take turns by a lock on the file. A second run is kept out of the host by
// the lock beside the runs, which names its holder; see Journal.Lock. Its files (gate, lock) are all that a run which alters
// nothing leaves. The file switch is there while a run waits to be confirmed. Times that decide anything are those of the host's clock since boot, which nobody can set.
package journal

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"regexp"
	"strconv"
	"sync"
	"time"

	"golang.org/x/sys/unix"

	"github.com/calroll/calroll/tasks"
)

// DefaultDir is where the runs of this user are kept: /var/lib/calroll/runs for root, else ~/.local/state/calroll/runs.
func DefaultDir() (string, error) {
	if os.Geteuid() == 0 {
		return "/var/lib/calroll/runs", nil
	}
	if dir := os.Getenv("XDG_STATE_HOME"); filepath.IsAbs(dir) {
		return filepath.Join(dir, "calroll", "runs"), nil
	}
	home, err := os.UserHomeDir()
	if err != nil {
		return "", fmt.Errorf("cannot find the folder of the journal: %w", err)
	}
	return filepath.Join(home, ".local", "state", "calroll", "runs"), nil
}

// line is one line of a journal.
type line struct {
	What    string        `json:"what"`
	At      time.Time     `json:"at,omitzero"`
	Holder  *Holder       `json:"holder,omitempty"`
	Before  *tasks.Before `json:"before,omitempty"`
	Seq     int64         `json:"seq,omitempty"`
	Outcome tasks.Outcome `json:"outcome,omitempty"`
	// ByItself says of an undone that the host did it without a controller.
	ByItself bool          `json:"by_itself,omitempty"`
	Within   time.Duration `json:"within,omitempty"` // of an armed
	Since    int64         `json:"since,omitempty"`  // likewise, the number of the first task
}

const (
	linesName = "journal"
	blobsName = "images"
)

// Journal is one run's record, open for writing. It may be used by several goroutines.
type Journal struct {
	dir, run string
	dead     int64 // the token of a holder that is known to have ended

	mu     sync.Mutex // guards all below
	holder Holder
	lock   *os.File // held: the host is ours
	took   bool     // it was free before, or another controller's
	file   *os.File
	size   int64       // of the file, as far as it was read
	seq    int64       // the highest number in it
	state  SwitchState // of the run's last switch, as the lines have it
	room   int64       // how long it may get on the room that was reserved for it
}

var runName = regexp.MustCompile(`^[A-Za-z0-9][A-Za-z0-9._-]*$`)

// Open makes ready to write the run's journal below dir. It touches nothing: Lock or the first record does.
func Open(dir, run string, h Holder) (*Journal, error) {
	if !runName.MatchString(run) {
		return nil, fmt.Errorf("cannot open the journal of the run %q: a run's name has letters, digits, dots, dashes", run)
	}
	h.Run = run
	return &Journal{dir: dir, run: run, holder: h}, nil
}

// Close ends this process's part of the lock. The host stays the controller's until it expires, unless Release came before.
func (j *Journal) Close() error {
	j.mu.Lock()
	defer j.mu.Unlock()
	var errs []error
	for _, f := range []*os.File{j.file, j.lock} {
		if f != nil {
			errs = append(errs, f.Close())
		}
	}
	j.file, j.lock = nil, nil
	return errors.Join(errs...)
}

// Begun tells whether this process has written something of the run.
func (j *Journal) Begun() bool {
	j.mu.Lock()
	defer j.mu.Unlock()
	return j.file != nil
}

func (j *Journal) path(name ...string) string {
	return filepath.Join(append([]string{j.dir, j.run}, name...)...)
}

// Record implements tasks.Recorder: it returns once the image and the record are on stable storage.
func (j *Journal) Record(ctx context.Context, b tasks.Before, image *tasks.Image) (int64, error) {
	j.mu.Lock()
	defer j.mu.Unlock()
	err := j.turn(ctx, func() error {
		b.Seq = j.seq + 1
		if err := j.keep(ctx, &b, image); err != nil {
			return fmt.Errorf("the before-image: %w", err)
		}
		return j.append(line{What: "before", At: time.Now().UTC(), Before: &b}, true)
	})
	if err != nil {
		return 0, &tasks.Error{Kind: tasks.Failed, Op: "record the state before of " + b.String(), Err: err}
	}
	return b.Seq, nil
}

// MovePath implements tasks.Mover: trees are kept by moving them here.
func (j *Journal) MovePath(seq int64) string {
	return j.path(blobsName, strconv.FormatInt(seq, 10))
}

// Done implements tasks.Recorder. It is not synced: what it tells is only that a state in between is somebody else's.
func (j *Journal) Done(ctx context.Context, seq int64) error {
	return j.write(ctx, line{What: "done", Seq: seq}, false)
}

func (j *Journal) write(ctx context.Context, l line, sync bool) error {
	j.mu.Lock()
	defer j.mu.Unlock()
	return j.turn(ctx, func() error { return j.append(l, sync) })
}

// turn takes the host's lock and the file's, catches up with what other processes wrote, and calls f.
func (j *Journal) turn(ctx context.Context, f func() error) error {
	if err := j.acquire(ctx); err != nil {
		return err
	}
	if err := j.current(); err != nil {
		return err
	}
	if err := j.begin(); err != nil {
		return err
	}
	if err := unix.Flock(int(j.file.Fd()), unix.LOCK_EX); err != nil {
		return err
	}
	defer func() { _ = unix.Flock(int(j.file.Fd()), unix.LOCK_UN) }() // closing the file lets go of it too
	if err := j.catchUp(); err != nil {
		return err
	}
	if j.size == 0 {
		if err := j.append(line{What: "begin", At: time.Now().UTC(), Holder: &j.holder}, false); err != nil {
			return err
		}
	}
	return f()
}

// begin makes the run's folder on first use.
func (j *Journal) begin() error {
	if j.file != nil {
		return nil
	}
	if err := os.MkdirAll(j.path(blobsName), 0o700); err != nil {
		return err
	}
	f, err := os.OpenFile(j.path(linesName), os.O_RDWR|os.O_CREATE|os.O_APPEND, 0o600)
	if err != nil {
		return err
	}
	for _, dir := range []string{j.path(), j.dir, filepath.Dir(j.dir)} {
		if err := syncDir(dir); err != nil {
			_ = f.Close()
			return err
		}
	}
	j.file, j.size, j.seq, j.room = f, 0, 0, 0
	return nil
}

// catchUp reads the lines that came since, and cuts off a last one without its end.
func (j *Journal) catchUp() error {
	st, err := j.file.Stat()
	if err != nil || st.Size() == j.size {
		return err
	}
	if st.Size() < j.size {
		return fmt.Errorf("%s has become shorter: somebody else wrote it", j.path(linesName))
	}
	raw := make([]byte, st.Size()-j.size)
	if _, err := j.file.ReadAt(raw, j.size); err != nil {
		return err
	}
	whole := bytes.LastIndexByte(raw, '\n') + 1
	lines, err := parse(raw[:whole])
	if err != nil {
		return err
	}
	for _, l := range lines {
		if l.Before != nil {
			j.seq = max(j.seq, l.Before.Seq)
		}
		j.follow(l)
	}
	j.size += int64(whole)
	if whole < len(raw) {
		return j.cut()
	}
	return nil
}

// cut takes off what is behind the last whole line, and with it the room that was reserved.
func (j *Journal) cut() error {
	j.room = 0
	return j.file.Truncate(j.size)
}

// What is reserved grows by roomStep bytes at a time; beginUndo is what an undo writes beside a line a record.
const (
	roomStep  = 16 << 10
	beginUndo = 4 << 10
)

// reserve sees to it that there is room for a record of n bytes, and behind it for an undo of all records: its lines are shorter than theirs. So a run
// that fails because the disk is full can be undone on that disk.
func (j *Journal) reserve(n int) error {
	want := 2*(j.size+int64(n)) + beginUndo
	if want <= j.room {
		return nil
	}
	want = (want + roomStep - 1) / roomStep * roomStep
	var err error = unix.EINTR
	for errors.Is(err, unix.EINTR) {
		err = unix.Fallocate(int(j.file.Fd()), unix.FALLOC_FL_KEEP_SIZE, 0, want)
	}
	if errors.Is(err, unix.ENOSPC) || errors.Is(err, unix.EDQUOT) {
		return &os.PathError{Op: "write", Path: j.path(linesName), Err: err}
	}
	j.room = want // also where the file system cannot reserve anything
	return nil
}

func (j *Journal) append(l line, sync bool) error {
	raw, err := json.Marshal(l)
	if err != nil {
		return err
	}
	raw = append(raw, '\n')
	if l.Before != nil {
		if err := j.reserve(len(raw)); err != nil {
			return err
		}
	}
	if _, err := j.file.Write(raw); err != nil {
		_ = j.cut() // a torn line would be cut off by the next turn anyhow
		return err
	}
	if sync {
		if err := unix.Fdatasync(int(j.file.Fd())); err != nil {
			return err
		}
	}
	j.size += int64(len(raw))
	if l.Before != nil {
		j.seq = l.Before.Seq
	}
	j.follow(l)
	return nil
}

// follow keeps what a line tells of the run's switch.
func (j *Journal) follow(l line) {
	if state, tells := switchStates[l.What]; tells {
		j.state = state
	}
}

// keep puts the image on stable storage, as a hard link to the old file where that is allowed, and notes its name in b.
func (j *Journal) keep(ctx context.Context, b *tasks.Before, image *tasks.Image) error {
	if image == nil && !b.Moved {
		return nil
	}
	name := strconv.FormatInt(b.Seq, 10)
	to := j.path(blobsName, name)
	// A record that was cut may have left this name, even as a link to somebody's file: never open it, replace it.
	if err := os.RemoveAll(to); err != nil {
		return err
	}
	b.Blob = name
	if b.Moved { // the alteration brings it
		return nil
	}
	linked, err := link(image.LinkFrom, to)
	if err != nil {
		return err
	}
	b.Linked = linked
	if !linked && image.Open == nil {
		b.Blob = ""
		return nil
	}
	if !linked {
		if err := copyImage(ctx, image, to); err != nil {
			_ = os.Remove(to) // the record will not be written
			return err
		}
	}
	return syncDir(j.path(blobsName))
}

// link makes to a hard link to from and syncs the file; false where links are not possible.
func link(from, to string) (bool, error) {
	if from == "" || os.Link(from, to) != nil {
		return false, nil
	}
	if st, err := os.Lstat(to); err != nil || !st.Mode().IsRegular() {
		return err == nil, err
	}
	f, err := os.Open(to)
	if err != nil { // ours to link but not to read: the copy will tell why
		_ = os.Remove(to)
		return false, nil //nolint:nilerr // the copy that follows reports it
	}
	defer f.Close()
	return true, f.Sync()
}

func copyImage(ctx context.Context, image *tasks.Image, to string) error {
	in, err := image.Open()
	if err != nil {
		return err
	}
	defer in.Close()
	out, err := os.OpenFile(to, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil {
		return err
	}
	defer out.Close()
	if _, err := io.Copy(out, &untilDone{ctx, in}); err != nil {
		return err
	}
	return out.Sync()
}

// untilDone is a reader that ends with its context.
type untilDone struct {
	ctx context.Context
	r   io.Reader
}

// Read reads, or fails when the context has ended.
func (u *untilDone) Read(p []byte) (int, error) {
	if err := u.ctx.Err(); err != nil {
		return 0, err
	}
	return u.r.Read(p)
}

func syncDir(path string) error {
	f, err := os.Open(path)
	if err != nil {
		return err
	}
	defer f.Close()
	return f.Sync()
}

// parse reads whole lines.
func parse(raw []byte) ([]line, error) {
	var lines []line
	for i, text := range bytes.Split(bytes.TrimSuffix(raw, []byte("\n")), []byte("\n")) {
		if len(text) == 0 {
			continue
		}
		var l line
		if err := json.Unmarshal(text, &l); err != nil {
			return nil, fmt.Errorf("line %d of the journal is damaged: %w", i+1, err)
		}
		lines = append(lines, l)
	}
	return lines, nil
}
