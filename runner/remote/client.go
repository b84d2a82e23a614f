package remote

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"sync"
	"sync/atomic"
	"time"

	"github.com/calroll/calroll/tasks"
)

// Client is the controller's end: one helper on one host, working as one identity. Its methods may be called from several
// goroutines; tasks run in the order of their Send.
type Client struct {
	name  string // of the host, for messages
	hello Hello
	link  link
	in    *frameReader
	out   *frameWriter
	up    *uploader

	patience time.Duration // how long Close waits for the alteration in hand
	token    int64         // given by Begin

	armed atomic.Bool        // something was altered that waits to be confirmed
	kept  atomic.Bool        // the run has a journal there
	pace  chan time.Duration // how long the host waits to be confirmed while it hears nothing
	paced atomic.Int64       // what pace was told last

	done   chan struct{} // closed when the link is over and every call has its answer
	closed sync.Once

	sendMu sync.Mutex // held while a call gets its number and its frame leaves; taken before mu
	next   uint64     // guarded by sendMu

	mu      sync.Mutex // guards what follows; never held while writing
	calls   map[uint64]*pendingCall
	unseen  int   // tasks whose results their sender has not seen
	over    error // why the link is over; nil while it is not
	closing bool  // Close was called
}

// link is the stream to a helper and what is known of its end.
type link interface {
	io.ReadWriteCloser // Close ends it at once, and may be called twice
	// CloseWrite tells the helper that there will be no more.
	CloseWrite() error
	// why explains the end of the stream after err.
	why(err error) string
}

// pendingCall collects the answers of one call, as many as come, so that the reader never waits for whoever takes them.
type pendingCall struct {
	id     uint64
	items  int
	isTask bool
	more   chan struct{} // told, without waiting, that there is something new

	answers []answer // not taken yet; guarded by the client's mu
	lost    bool     // there will be no more; guarded likewise
}

// tell wakes whoever waits for the call.
func (p *pendingCall) tell() {
	select {
	case p.more <- struct{}{}:
	default:
	}
}

// closePatience is the usual patience of a client. A command that is killed is given three seconds of it.
const closePatience = 10 * time.Second

// pingEvery is how often an idle controller says that it is still there. See quietLimit.
const pingEvery = 30 * time.Second

// newClient reads Hello and takes the stream over.
func newClient(name string, l link, in *frameReader) (*Client, error) {
	c := &Client{name: name, link: l, in: in, out: &frameWriter{w: l}, patience: closePatience, pace: make(chan time.Duration, 8), done: make(chan struct{}), calls: map[uint64]*pendingCall{}}
	c.up = &uploader{c: c}
	kind, payload, err := in.read()
	if err != nil {
		return nil, c.unreachable(l.why(err))
	}
	if kind != frameHello {
		return nil, c.internal(fmt.Sprintf("its first frame is %q", kind))
	}
	if err := json.Unmarshal(payload, &c.hello); err != nil {
		return nil, c.internal("cannot understand its first message: " + err.Error())
	}
	if c.hello.Protocol != Protocol {
		return nil, &tasks.Error{Kind: tasks.Internal, Op: "talk to the helper on " + name,
			Detail: fmt.Sprintf("it speaks protocol %d (build %s) and this calroll speaks %d; remove calroll's folder from the host's cache",
				c.hello.Protocol, c.hello.Build, Protocol)}
	}
	go c.read()
	go c.ping()
	return c, nil
}

// Hello is what the helper said of itself and its host.
func (c *Client) Hello() Hello { return c.hello }

// Stats counts what crossed the wire since the helper's hello.
type Stats struct {
	FramesOut, FramesIn int64
	BytesOut, BytesIn   int64 // headers included
	Blobs, BlobBytes    int64 // sent, in frames of their own or with a task
}

// Add adds what crossed another wire.
func (s *Stats) Add(o Stats) {
	s.FramesOut, s.FramesIn = s.FramesOut+o.FramesOut, s.FramesIn+o.FramesIn
	s.BytesOut, s.BytesIn = s.BytesOut+o.BytesOut, s.BytesIn+o.BytesIn
	s.Blobs, s.BlobBytes = s.Blobs+o.Blobs, s.BlobBytes+o.BlobBytes
}

// Stats counts what crossed the wire so far.
func (c *Client) Stats() Stats {
	return Stats{
		FramesOut: c.out.frames.Load(), BytesOut: c.out.bytes.Load(),
		FramesIn: c.in.frames.Load(), BytesIn: c.in.bytes.Load(),
		Blobs: c.up.blobs.Load(), BlobBytes: c.up.bytes.Load(),
	}
}

// Sent is a task on its way.
type Sent struct {
	c    *Client
	call *pendingCall
	task Task
	seen sync.Once
}

// Send sends a task without waiting for its answer, so that the next one can follow at once: it counts as sent ahead until
// Wait of all earlier ones has returned, so each Sent must be waited for. The error is a *tasks.Error; after one of kind
// Unreachable the client is of no further use.
func (c *Client) Send(t Task) (*Sent, error) {
	if t.Confirm != nil {
		c.speakFor(t.Confirm.Within)
	}
	m := taskCall{Task: t}
	m.Items = make([]Item, len(t.Items))
	for i, it := range t.Items {
		m.Items[i].Args = pointedMap(it.Args)
	}
	call, err := c.begin(frameTask, len(t.Items), func(id uint64) (any, error) {
		m.ID, m.Ahead = id, c.ahead()
		var err error
		m.Inline, err = c.up.announce(id, t.Blobs)
		return m, err
	})
	if err != nil {
		return nil, err
	}
	return &Sent{c: c, call: call, task: t}, nil
}

// Run sends a task and waits for its results: one for every item, in their order.
func (c *Client) Run(ctx context.Context, t Task) ([]tasks.Result, error) {
	s, err := c.Send(t)
	if err != nil {
		return nil, err
	}
	return s.Wait(ctx)
}

// Wait waits for the task's results: one for every item, in their order, also for those that did not run: they are Failed
// with the kind of the reason. The error is nil unless the task as a whole did not come to its end: Unreachable, Canceled,
// Refused or Internal, always a *tasks.Error.
//
// When ctx ends, the helper is told to cancel the task, once, and Wait goes on until it has answered: the alteration in hand is
// then complete or did not begin. To abandon it, Close the client. Wait is called once.
func (s *Sent) Wait(ctx context.Context) ([]tasks.Result, error) {
	defer s.seen.Do(s.c.seen)
	results := make([]tasks.Result, 0, s.call.items)
	err := s.c.wait(ctx, s.call, func(a answer) {
		if a.Result == nil {
			return
		}
		r := a.Result
		natural(r.Values)
		natural(r.Facts)
		for i := range r.Diff {
			r.Diff[i].Before, r.Diff[i].After = natural(r.Diff[i].Before), natural(r.Diff[i].After)
		}
		results = append(results, *r)
		if s.task.Each != nil {
			s.task.Each(len(results)-1, *r)
		}
	})
	if s.task.Confirm != nil && tasks.KindOf(err) == tasks.Unreachable {
		s.c.armed.Store(true) // what was lost may have said so
	}
	for err != nil && len(results) < s.call.items {
		results = append(results, tasks.Failure(err))
	}
	if len(results) != s.call.items {
		return results, s.c.internal(fmt.Sprintf("a task of %d items came back with %d results", s.call.items, len(results)))
	}
	return results, err
}

// begin registers a call and sends its frame in one step, so that frames leave in the order of their numbers.
func (c *Client) begin(kind byte, items int, message func(id uint64) (any, error)) (*pendingCall, error) {
	c.sendMu.Lock()
	defer c.sendMu.Unlock()
	c.next++
	m, err := message(c.next)
	if err != nil {
		return nil, err
	}
	call := &pendingCall{id: c.next, items: items, isTask: kind == frameTask, more: make(chan struct{}, 1)}
	if err := c.expect(call); err != nil {
		return nil, err
	}
	if err := c.out.send(kind, m); err != nil {
		c.mu.Lock()
		c.forget(call)
		if call.isTask {
			c.unseen--
		}
		c.mu.Unlock()
		return nil, c.sendError(err)
	}
	return call, nil
}

// ahead tells whether a task that is sent now is sent ahead. An answer that arrived is not enough: whoever sends must have seen
// it, or a task would run that its sender would not have sent after the failure.
func (c *Client) ahead() bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.unseen > 0
}

// expect makes the reader hand the call its answers.
func (c *Client) expect(call *pendingCall) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.over != nil {
		return c.over
	}
	if len(c.calls) >= WindowLimit {
		return c.internal(fmt.Sprintf("%d calls wait for their answers already", len(c.calls)))
	}
	c.calls[call.id] = call
	if call.isTask {
		c.unseen++
	}
	return nil
}

// seen says that the sender of a task knows its results.
func (c *Client) seen() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.unseen--
}

// forget takes the call off the list; c.mu is held.
func (c *Client) forget(call *pendingCall) {
	if c.calls[call.id] != call {
		return
	}
	delete(c.calls, call.id)
	c.up.drop(call.id)
}

// sendError explains why a frame did not leave. The reader finds out more about a broken link than a writer can.
func (c *Client) sendError(err error) error {
	if !c.out.broken() {
		return &tasks.Error{Kind: tasks.Failed, Op: "send the task to " + c.name, Err: err}
	}
	_ = c.link.Close()
	return c.unreachable(c.link.why(err))
}

// wait hands the call's answers to take and returns the error of the call as a whole.
func (c *Client) wait(ctx context.Context, call *pendingCall, take func(answer)) error {
	canceled := ctx.Done()
	for {
		answers, lost := c.collect(call)
		for _, a := range answers {
			take(a)
			if a.Last && a.Err != nil {
				return a.Err
			}
			if a.Last {
				return nil
			}
		}
		if lost {
			return c.lost()
		}
		select {
		case <-call.more:
		case <-canceled:
			canceled = nil
			_ = c.out.send(frameCancel, cancelCall{ID: call.id}) // a lost link ends the wait anyway
		}
	}
}

// collect takes what has come for the call.
func (c *Client) collect(call *pendingCall) (answers []answer, lost bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	answers, call.answers = call.answers, nil
	return answers, call.lost
}

type cancelCall struct {
	ID uint64 `json:"id"`
}

// ask makes a call with one answer and reads its value into v, unless v is nil.
func (c *Client) ask(ctx context.Context, kind byte, message func(call) any, v any) error {
	p, err := c.begin(kind, 0, func(id uint64) (any, error) { return message(call{ID: id}), nil })
	if err != nil {
		return err
	}
	var value json.RawMessage
	if err := c.wait(ctx, p, func(a answer) { value = a.Value }); err != nil {
		return err
	}
	if v == nil {
		return nil
	}
	return c.value(value, v)
}

func (c *Client) value(raw json.RawMessage, v any) error {
	if err := json.Unmarshal(raw, v); err != nil {
		return c.internal("cannot understand the answer: " + err.Error())
	}
	return nil
}

// read owns the incoming stream until it ends; then every waiting call is told.
func (c *Client) read() {
	err := c.readFrames()
	c.up.close()
	why := c.link.why(err)
	_ = c.link.Close()
	c.mu.Lock()
	c.over = c.unreachable(why)
	if c.closing {
		c.over = &tasks.Error{Kind: tasks.Canceled, Op: "work on " + c.name, Detail: "the connection to its helper was closed"}
	}
	for _, call := range c.calls {
		call.lost = true
		call.tell()
	}
	c.calls = nil
	c.mu.Unlock()
	close(c.done)
}

func (c *Client) readFrames() error {
	for {
		kind, payload, err := c.in.read()
		if err != nil {
			return err
		}
		switch kind {
		case frameAnswer:
			err = c.takeAnswer(payload)
		case frameNeed:
			err = c.takeNeed(payload)
		case framePong:
		default:
			err = fmt.Errorf("it sent a frame of type %q, which only a controller sends", kind)
		}
		if err != nil {
			return err
		}
	}
}

func (c *Client) takeAnswer(payload []byte) error {
	var a answer
	if err := decode(payload, &a); err != nil {
		return fmt.Errorf("cannot understand an answer: %w", err)
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	call := c.calls[a.ID]
	if call == nil {
		return fmt.Errorf("it answered call %d, which does not wait for that", a.ID)
	}
	if a.Armed {
		c.armed.Store(true)
	}
	if a.Kept {
		c.kept.Store(true)
	}
	call.answers = append(call.answers, a)
	call.tell()
	if a.Last {
		c.forget(call)
	}
	return nil
}

func (c *Client) takeNeed(payload []byte) error {
	var n need
	if err := json.Unmarshal(payload, &n); err != nil {
		return fmt.Errorf("cannot understand what it needs: %w", err)
	}
	c.up.start(n)
	return nil
}

// ping tells an idle helper that its controller lives.
func (c *Client) ping() {
	t := time.NewTicker(pingEvery)
	defer t.Stop()
	sent := c.out.frames.Load()
	for {
		select {
		case <-c.done:
			return
		case within := <-c.pace:
			t.Reset(min(max(within/4, minListen), pingEvery))
		case <-t.C:
			if now := c.out.frames.Load(); now != sent {
				sent = now
				continue
			}
			_ = c.out.write(framePing, nil) // the reader notices a lost link
			sent = c.out.frames.Load()
		}
	}
}

// speakFor has the helper hear something at least twice within so long.
func (c *Client) speakFor(within time.Duration) {
	if c.paced.Swap(int64(within)) == int64(within) {
		return
	}
	select {
	case c.pace <- within:
	case <-c.done:
	}
}

// awaits notes that the run waits to be confirmed on the host.
func (c *Client) awaits(within time.Duration) {
	if within > 0 {
		c.armed.Store(true)
		c.speakFor(within)
	}
}

// Armed tells whether the run has, or may have, altered something there as this identity that waits to be confirmed.
func (c *Client) Armed() bool { return c.armed.Load() }

// Kept tells whether the run has a journal there as this identity, as far as this client's tasks have written it.
func (c *Client) Kept() bool { return c.kept.Load() }

// Confirmed notes that nothing waits any more: it was confirmed, by another client, or has been taken back.
func (c *Client) Confirmed() { c.armed.Store(false) }

// Reset lets the helper take tasks again after a failure canceled those that were sent ahead. It needs no answer. A task that
// is sent when all earlier ones have answered needs none.
func (c *Client) Reset() error {
	if err := c.out.write(frameReset, nil); err != nil {
		return c.sendError(err)
	}
	return nil
}

// Done is closed when the helper is gone.
func (c *Client) Done() <-chan struct{} { return c.done }

// Abandon ends the link and leaves the host locked for this controller, who comes back before the lock expires.
func (c *Client) Abandon() {
	c.closed.Do(func() { _ = c.link.Close() })
	<-c.done
}

// Close ends the helper and gives the host back: a command that is running is killed with its process group, the alteration in hand is completed, and
// nothing further starts. It waits for that some seconds at most. It may be called twice.
func (c *Client) Close() error {
	c.end(frameBye)
	return nil
}

// Leave is Close by a controller who comes back, before the lock expires: the host stays locked for it.
func (c *Client) Leave() { c.end(frameLeave) }

// end says a last word and waits for the helper's end.
func (c *Client) end(word byte) {
	c.closed.Do(func() {
		c.mu.Lock()
		c.closing = true
		c.mu.Unlock()
		go func() { // a frozen link takes nothing until it is closed below; one that is gone needs no farewell
			_ = c.out.write(word, nil)
			_ = c.link.CloseWrite()
		}()
		select {
		case <-c.done:
		case <-time.After(c.patience):
			_ = c.link.Close()
		}
	})
	<-c.done
}

func (c *Client) lost() error {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.over
}

func (c *Client) unreachable(why string) error {
	return &tasks.Error{Kind: tasks.Unreachable, Op: "work on " + c.name, Detail: why}
}

func (c *Client) internal(why string) error {
	return &tasks.Error{Kind: tasks.Internal, Op: "talk to the helper on " + c.name, Detail: why}
}
