package tasks

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"net"
	"os"
	"path/filepath"
)

// Options is what the task frame says about one run of a module.
type Options struct {
	Recorder Recorder // keeps the before-images; without one nothing can be altered
	Task     int64    // the controller's number of the task, put into every record
	For      string   // the host that the task is done for, if that is another one, likewise
	Check    bool     // alter nothing
	Diff     bool     // gather diffs
	Env      map[string]string
	Undo     []Invocation       // what undoes the commands that the task runs
	Handler  *Invocation        // set for a handler: what to fire again when it is undone
	Blobs    BlobSource         // gives content that the controller has
	Dial     Dial               // the way to a cluster's addresses; nil dials from here
	HostFile HostFile           // reads a file of the host that a cluster module works for; nil reads here
	As       string             // as whom HostFile reads; "" is the login user
	Scratch  string             // a folder of calroll's own for temporary files; "" is the system's
	Step     func(point string) // called where a cut would leave a state of its own; for proofs by cutting
}

// Dial opens a connection; for modules that work on the controller in a host's place it goes out from that host.
type Dial func(ctx context.Context, network, addr string) (net.Conn, error)

// HostFile reads a small file of the host that a module on the controller works for, as the user that as names ("sudo:root"; "" is the login user). Path
// may begin with ~. What it gives may be secret: it goes into no log, no record and no result.
type HostFile func(ctx context.Context, as, path string) ([]byte, error)

// Reach is how modules on the controller get at what their host gets at, and how their Restorers do.
type Reach struct {
	Dial Dial     // nil dials from here
	File HostFile // nil reads here
}

// Sys is the machine that a module works on, and the only way to alter it. It is used by one module run at a time; several
// runs may use several Sys with the same Recorder. Close it after the run.
type Sys struct {
	o         Options
	scratch   string // made on first use
	warnings  []string
	outdated  []string
	diffs     []Diff
	refreshed bool   // the handler was recorded
	undoKept  bool   // the declared undo was recorded
	undoSeq   int64  // the number of that record
	mark      string // in the environment of the commands that it undoes
}

// NewSys is the machine for one module run.
func NewSys(o Options) *Sys { return &Sys{o: o} }

// Close removes the run's temporary files.
func (s *Sys) Close() error {
	if s.scratch == "" {
		return nil
	}
	dir := s.scratch
	s.scratch = ""
	return os.RemoveAll(dir)
}

// Dial is the way to a cluster's addresses.
func (s *Sys) Dial() Dial {
	if s.o.Dial == nil {
		return (&net.Dialer{}).DialContext
	}
	return s.o.Dial
}

// Reach is how a module on the controller gets at what its host gets at.
func (s *Sys) Reach() Reach { return Reach{Dial: s.o.Dial, File: s.o.HostFile} }

// As names the user as whom files of the host are read, for Reach and for records; "" is the login user.
func (s *Sys) As() string { return s.o.As }

// Check tells whether the run is to alter nothing. Primitives see to that themselves; a module needs it only where Ansible
// answers differently in check mode.
func (s *Sys) Check() bool { return s.o.Check }

// WantDiff tells whether somebody will look at diffs.
func (s *Sys) WantDiff() bool { return s.o.Diff }

// Env is the task's environment.
func (s *Sys) Env() map[string]string { return maps.Clone(s.o.Env) }

// Warn adds a warning to the result.
func (s *Sys) Warn(format string, args ...any) {
	s.warnings = append(s.warnings, fmt.Sprintf(format, args...))
}

// Deprecate adds a deprecation to the result.
func (s *Sys) Deprecate(format string, args ...any) {
	s.outdated = append(s.outdated, fmt.Sprintf(format, args...))
}

// AddDiff adds a diff to the result if somebody will look. WriteFile and SetAttrs add theirs themselves.
func (s *Sys) AddDiff(d Diff) {
	if s.o.Diff {
		s.diffs = append(s.diffs, d)
	}
}

func (s *Sys) finish(r *Result) {
	r.Warnings = append(r.Warnings, s.warnings...)
	r.Deprecations = append(r.Deprecations, s.outdated...)
	if len(r.Diff) == 0 {
		r.Diff = s.diffs
	}
	s.warnings, s.outdated, s.diffs = nil, nil, nil
}

// Open reads content wherever it is.
func (s *Sys) Open(ctx context.Context, c Content) (io.ReadCloser, error) {
	switch {
	case c.inline:
		return io.NopCloser(bytes.NewReader(c.text)), nil
	case c.file != "":
		f, err := os.Open(c.file)
		return f, failed("read "+c.file, err)
	case c.open != nil:
		return c.open()
	case c.IsZero():
		return nil, &Error{Kind: Internal, Op: "read content", Detail: "there is none"}
	case s.o.Blobs == nil:
		return nil, &Error{Kind: Internal, Op: "read blob " + c.SHA256, Detail: "there is nobody to ask for it"}
	}
	return s.o.Blobs.OpenBlob(ctx, c.SHA256)
}

// TempFile is a new file that only this user can read, outside of what is recorded. Close of the Sys removes it.
func (s *Sys) TempFile(pattern string) (*os.File, error) {
	dir, err := s.TempDir()
	if err != nil {
		return nil, err
	}
	f, err := os.CreateTemp(dir, pattern)
	return f, failed("make a temporary file", err)
}

// TempDir is the folder of TempFile.
func (s *Sys) TempDir() (string, error) {
	if s.scratch != "" {
		return s.scratch, nil
	}
	base := s.o.Scratch
	if base == "" {
		base = os.TempDir()
	}
	if err := os.MkdirAll(base, 0o700); err != nil {
		return "", failed("make the folder "+base, err)
	}
	dir, err := os.MkdirTemp(base, "calroll-")
	if err != nil {
		return "", failed("make a temporary folder in "+base, err)
	}
	s.scratch = filepath.Clean(dir)
	return s.scratch, nil
}

func (s *Sys) step(point string) {
	if s.o.Step != nil {
		s.o.Step(point)
	}
}

// Record is for kinds of state outside of this package (etcd keys, Kubernetes objects): it puts b, with meta as JSON and the image (nil: none), on
// stable storage. Call it exactly before one atomic alteration, never in check mode and never when nothing will change.
func (s *Sys) Record(ctx context.Context, b Before, meta any, image *Image) error {
	return s.record(ctx, b, meta, image)
}

// record puts b on stable storage. It is called exactly before the alteration, and only when there will be one.
func (s *Sys) record(ctx context.Context, b Before, meta any, image *Image) error {
	_, err := s.recordSeq(ctx, b, meta, image)
	return err
}

func (s *Sys) recordSeq(ctx context.Context, b Before, meta any, image *Image) (int64, error) {
	if s.Check() {
		return 0, &Error{Kind: Internal, Op: "alter " + b.String(), Detail: "this is check mode"}
	}
	if s.o.Recorder == nil {
		return 0, &Error{Kind: Internal, Op: "alter " + b.String(), Detail: "there is no recorder for the state before"}
	}
	if err := ctx.Err(); err != nil { // nothing new begins after a cancel
		return 0, &Error{Kind: Canceled, Op: "alter " + b.String(), Err: context.Cause(ctx)}
	}
	b.Task, b.For = s.o.Task, s.o.For
	if meta != nil {
		raw, err := json.Marshal(meta)
		if err != nil {
			return 0, &Error{Kind: Internal, Op: "record " + b.String(), Err: err}
		}
		b.Meta = raw
	}
	s.step("before record")
	seq, err := s.o.Recorder.Record(ctx, b, image)
	if err != nil {
		var e *Error
		if errors.As(err, &e) {
			return 0, err
		}
		return 0, failed("record the state of "+b.String()+" before altering it", err)
	}
	s.step("after record")
	return seq, nil
}

// kindOptions is what Restorers share.
type kindOptions struct{ *KindOptions }

// KindOptions sets up the Restorers of this package.
type KindOptions struct {
	Modules Set                // for declared undo steps and handlers
	Step    func(point string) // as Options.Step
	units   *unitState
}

// NodeKinds are the Restorers of the alterations that Sys makes.
func NodeKinds(o KindOptions) Kinds {
	if o.Step == nil {
		o.Step = func(string) {}
	}
	o.units = &unitState{}
	k := kindOptions{&o}
	return Kinds{
		"path": pathKind{k}, "attrs": attrsKind{k}, "tree": treeKind{k},
		"unit": unitKind{k}, "sysctl": sysctlKind{k}, "kmod": kmodKind{k},
		"exec": execKind{k}, "refresh": refreshKind{k}, "guard": guardKind{k},
	}
}

// Merge adds further kinds; a later table wins.
func (k Kinds) Merge(others ...Kinds) Kinds {
	out := maps.Clone(k)
	for _, o := range others {
		maps.Copy(out, o)
	}
	return out
}
