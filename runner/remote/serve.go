package remote

import (
	"context"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"runtime"
	"sync"
	"sync/atomic"
	"time"

	"github.com/calroll/calroll/tasks"
	"github.com/calroll/calroll/tasks/journal"
)

// ServeOptions set up a helper.
type ServeOptions struct {
	Modules  tasks.Set
	Kinds    tasks.Kinds    // finds who restores what the modules altered
	StateDir string         // where the journals are; "" is the identity's own place
	SpoolDir string         // where large blobs are kept during the session; "" finds one
	Scratch  string         // for the modules' temporary files; "" is the system's
	Dial     tasks.Dial     // for modules that work here in a host's place; nil dials from here
	HostFile tasks.HostFile // likewise, for files of that host; nil reads here
	Marker   string         // the random word that the controller chose

	// QuietLimit ends the helper when the controller said nothing for so long, by this machine's clock since boot: its host may have
	// vanished without the link noticing, and a journal's lock must not be held for ever. Zero waits for ever.
	QuietLimit time.Duration

	step func(point string)                    // for proofs by cutting
	keep func(r tasks.Recorder) tasks.Recorder // likewise
}

// Serve is the helper's end: it says hello on rw and works until the controller says goodbye or the link ends, both of which
// return nil. When ctx ends it stops as if the link had ended. It does not close rw; a Read of rw may be left waiting.
func Serve(ctx context.Context, rw io.ReadWriter, o ServeOptions) error {
	if o.StateDir == "" {
		dir, err := journal.DefaultDir()
		if err != nil {
			return err
		}
		o.StateDir = dir
	}
	s := &server{o: o, in: newFrameReader(rw), out: &frameWriter{w: rw}, queue: make(chan work, WindowLimit), faster: make(chan time.Duration, 8), canceled: map[uint64]bool{}}
	s.ctx, s.stop = context.WithCancelCause(ctx)
	defer s.stop(nil)
	s.spool = newSpool(spoolFolders(os.Getuid())...)
	if o.SpoolDir != "" {
		s.spool = newSpool(o.SpoolDir)
	}
	defer s.spool.close()
	if _, err := fmt.Fprintf(rw, "\n%s %s\n", wordHello, o.Marker); err != nil {
		return nil // nobody listens any more
	}
	if err := s.out.send(frameHello, s.hello()); err != nil {
		return nil
	}
	go s.read()
	go s.listen()
	s.work()
	s.closeBook(s.farewell.Load())
	if cause := context.Cause(s.ctx); errors.Is(cause, errProtocol) {
		return cause
	}
	return nil
}

// server is one Serve. The reader goroutine fills the queue and lives as long as the link; the worker, which is Serve's own
// goroutine, empties it.
type server struct {
	o     ServeOptions
	in    *frameReader
	out   *frameWriter
	spool *spool
	queue chan work // never full: the controller sends no more than WindowLimit
	ctx   context.Context
	stop  context.CancelCauseFunc // ends everything after the alteration in hand
	book  book                    // the worker's
	fails bool                    // a task failed, so those sent ahead do not run; the worker's

	frames   atomic.Int64       // that have come
	farewell atomic.Bool        // the controller has said that it is done
	armed    atomic.Bool        // the task in hand has altered something that waits to be confirmed
	faster   chan time.Duration // how often it has to be noted that the controller was heard; never more seldom than before

	mu       sync.Mutex // guards what follows
	current  uint64     // the call in hand
	cancel   context.CancelCauseFunc
	finished uint64           // the last call that answered
	canceled map[uint64]bool  // calls in the queue that were canceled before their turn
	wanted   *wanted          // the blob that the worker waits for
	needs    uint32           // numbers given to needs
	watched  *journal.Journal // whose lock lasts while the controller is heard
}

// work is a frame for the worker.
type work struct {
	kind    byte
	payload []byte
}

var (
	errProtocol = errors.New("the controller broke the protocol")
	errGone     = errors.New("the link to the controller ended")
	errAsked    = errors.New("it was canceled")
	errTimeout  = errors.New("it took longer than its timeout")
)

func (s *server) hello() Hello {
	h := Hello{Protocol: Protocol, Build: build(), Platform: runtime.GOOS + "/" + runtime.GOARCH, Modules: s.o.Modules.Names(),
		PID: os.Getpid(), UID: os.Getuid(), Clock: time.Now()}
	h.Hostname, _ = os.Hostname() // empty is an honest answer
	var err error
	if h.Runs, err = journal.OpenRuns(s.o.StateDir); err != nil {
		h.RunsErr = err.Error()
	}
	return h
}

// build is the hash under which this program was pushed; "unknown" when it was started from elsewhere.
func build() string {
	exe, _ := os.Executable()
	if name := filepath.Base(filepath.Dir(exe)); hashName.MatchString(name) {
		return name
	}
	return "unknown"
}

// read is the reader goroutine: it never waits for the worker, so that what cannot wait gets through.
func (s *server) read() {
	defer close(s.queue)
	for {
		kind, payload, err := s.in.read()
		if err == nil {
			s.frames.Add(1)
			err = s.take(kind, payload)
		}
		switch {
		case err == nil:
		case errors.Is(err, errProtocol):
			s.stop(err)
			return
		default:
			s.stop(errGone)
			return
		}
	}
}

// listenEvery is how often a helper notes that its controller was heard.
const listenEvery = 10 * time.Second

// listen notes when the controller is heard, and ends the helper when it has been silent for too long. After a pause of the whole machine what
// had come meanwhile is read first: it takes two looks to find it silent. A controller without a limit is this very process.
func (s *server) listen() {
	every := listenEvery
	if s.o.QuietLimit > 0 {
		every = min(every, s.o.QuietLimit/4)
	}
	tick := time.NewTicker(every)
	defer tick.Stop()
	known, heard, silent := int64(-1), journal.Boottime(), false
	for {
		if now := s.frames.Load(); now != known || s.o.QuietLimit == 0 {
			known, heard, silent = now, journal.Boottime(), false
			s.noteHeard()
		} else if journal.Boottime()-heard > s.o.QuietLimit {
			if silent {
				s.stop(errGone)
				return
			}
			silent = true
		}
		select {
		case <-tick.C:
		case faster := <-s.faster:
			if faster < every {
				every = faster
				tick.Reset(every)
			}
		case <-s.ctx.Done():
			return
		}
	}
}

// watch has the lock of j last while the controller is heard; nil ends that.
func (s *server) watch(j *journal.Journal) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.watched = j
}

func (s *server) noteHeard() {
	s.mu.Lock()
	j := s.watched
	s.mu.Unlock()
	if j != nil {
		_ = j.Heard() // a disk that takes nothing lets the lock expire, and no other run begin
	}
}

// take handles a frame at once or puts it into the queue.
func (s *server) take(kind byte, payload []byte) error {
	switch kind {
	case frameTask, frameBegin, frameUndo, frameCommit, frameConfirm, frameRuns, frameLock, frameUnlock, frameReset:
		select {
		case s.queue <- work{kind, payload}:
			return nil
		default:
			return fmt.Errorf("%w: more than %d calls at a time", errProtocol, WindowLimit)
		}
	case frameCancel:
		return s.takeCancel(payload)
	case frameBlob:
		return s.takeChunk(payload)
	case framePing:
		return s.out.write(framePong, nil)
	case frameBye:
		s.farewell.Store(true)
		return io.EOF
	case frameLeave:
		s.noteHeard() // the lock lasts from now on
		return io.EOF
	}
	return fmt.Errorf("%w: a frame of type %q", errProtocol, kind)
}

func (s *server) takeCancel(payload []byte) error {
	var c cancelCall
	if err := json.Unmarshal(payload, &c); err != nil {
		return fmt.Errorf("%w: %w", errProtocol, err)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	switch {
	case c.ID <= s.finished: // it crossed the answer
	case c.ID == s.current:
		s.cancel(errAsked)
	case len(s.canceled) < WindowLimit:
		s.canceled[c.ID] = true
	}
	return nil
}

// work is the worker. What is in the queue when the link ends does not begin.
func (s *server) work() {
	for {
		select {
		case <-s.ctx.Done():
			return
		case w, ok := <-s.queue:
			if !ok || s.ctx.Err() != nil {
				return
			}
			if err := s.do(w); err != nil {
				s.stop(err)
			}
		}
	}
}

// do carries one frame out. Its error ends the session.
func (s *server) do(w work) error {
	if w.kind == frameReset {
		s.fails = false
		return nil
	}
	var c call
	if err := json.Unmarshal(w.payload, &c); err != nil {
		return fmt.Errorf("%w: %w", errProtocol, err)
	}
	ctx := s.enter(c.ID)
	defer s.leave(c.ID)
	switch w.kind {
	case frameTask:
		return s.task(ctx, w.payload)
	case frameBegin:
		return s.reply(c, func() (any, error) { return s.begin(ctx, w.payload) })
	case frameUndo:
		return s.reply(c, func() (any, error) { return s.undo(ctx, w.payload) })
	case frameCommit:
		return s.reply(c, func() (any, error) { return nil, s.commit(ctx, w.payload) })
	case frameConfirm:
		return s.reply(c, func() (any, error) { return nil, s.confirm(ctx, w.payload) })
	case frameLock:
		return s.reply(c, func() (any, error) { return journal.LockOf(s.o.StateDir) })
	case frameUnlock:
		return s.reply(c, func() (any, error) { return s.unlock(ctx, w.payload) })
	default:
		return s.reply(c, func() (any, error) { return journal.Runs(s.o.StateDir) })
	}
}

// enter begins a call and gives it a context that Cancel ends.
func (s *server) enter(id uint64) context.Context {
	ctx, cancel := context.WithCancelCause(s.ctx)
	s.mu.Lock()
	defer s.mu.Unlock()
	s.current, s.cancel = id, cancel
	if s.canceled[id] {
		cancel(errAsked)
	}
	return ctx
}

func (s *server) leave(id uint64) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.cancel(nil)
	delete(s.canceled, id)
	s.current, s.finished = 0, id
}

// reply answers a call that is not a task.
func (s *server) reply(c call, work func() (any, error)) error {
	a := answer{ID: c.ID, Last: true}
	v, err := work()
	raw, cannot := marshal(v) // a call that failed may have come to something before
	a.Value = raw
	if err == nil {
		err = cannot
	}
	if err != nil {
		a.Err = wireError(err)
	}
	return s.answer(a)
}

func wireError(err error) *tasks.Error {
	var e *tasks.Error
	if errors.As(err, &e) && e.Error() == err.Error() {
		return e
	}
	return &tasks.Error{Kind: tasks.KindOf(err), Err: err}
}

func canceled(op string, cause error) error {
	return &tasks.Error{Kind: tasks.Canceled, Op: op, Err: cause}
}

// answer sends an answer, or what can be sent instead of one that is too large or cannot be written as JSON.
func (s *server) answer(a answer) error {
	err := s.out.send(frameAnswer, a)
	if err == nil || s.out.broken() {
		return err
	}
	why := &tasks.Error{Kind: tasks.Failed, Op: "send the result to the controller", Err: err}
	if a.Result != nil {
		r := tasks.Failure(why)
		r.Changed = a.Result.Changed
		a.Result = &r
	} else {
		a.Value, a.Err = nil, why
	}
	return s.out.send(frameAnswer, a)
}

// wanted is a blob on its way. The reader hands its chunks to the worker.
type wanted struct {
	number uint32
	chunks chan []byte
	done   chan struct{} // closed when the worker does not want it any more
}

func (s *server) takeChunk(payload []byte) error {
	if len(payload) < chunkHeader {
		return fmt.Errorf("%w: a blob frame of %d bytes", errProtocol, len(payload))
	}
	s.mu.Lock()
	w := s.wanted
	s.mu.Unlock()
	if w == nil || w.number != binary.BigEndian.Uint32(payload) {
		return nil // of a transfer that was given up
	}
	select {
	case w.chunks <- payload[chunkHeader-1:]:
	case <-w.done:
	case <-s.ctx.Done():
	}
	return nil
}

// blobs gives the modules of one call what the controller has.
type blobs struct {
	s    *server
	call uint64
}

// OpenBlob returns the content, which crosses the wire now unless it did before.
func (b blobs) OpenBlob(ctx context.Context, hash string) (io.ReadCloser, error) {
	if r, ok := b.s.spool.open(hash); ok {
		return r, nil
	}
	if err := b.fetch(ctx, hash); err != nil {
		if cause := context.Cause(ctx); cause != nil {
			return nil, canceled("get content from the controller", cause)
		}
		return nil, &tasks.Error{Kind: tasks.Failed, Op: "get content from the controller", Err: err}
	}
	r, _ := b.s.spool.open(hash)
	return r, nil
}

func (b blobs) fetch(ctx context.Context, hash string) error {
	dst, err := b.s.spool.create(hash)
	if err != nil {
		return err
	}
	w := b.s.want()
	defer b.s.unwant(w)
	if err := b.s.out.send(frameNeed, need{Number: w.number, Call: b.call, Hash: hash}); err != nil {
		return err
	}
	for {
		select {
		case <-ctx.Done():
			return context.Cause(ctx)
		case c := <-w.chunks:
			if c[0] == chunkError {
				return errors.New(string(c[1:]))
			}
			if _, err := dst.Write(c[1:]); err != nil {
				return err
			}
			if c[0] == chunkLast {
				return dst.keep()
			}
		}
	}
}

func (s *server) want() *wanted {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.needs++
	s.wanted = &wanted{number: s.needs, chunks: make(chan []byte, 4), done: make(chan struct{})}
	return s.wanted
}

func (s *server) unwant(w *wanted) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.wanted = nil
	close(w.done)
}
