package remote

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"sync"
	"sync/atomic"

	"github.com/calroll/calroll/tasks"
)

// uploader sends the blobs of a client's tasks: the small ones with the task, the others when the helper asks. The helper works on one
// task at a time, so there is one upload at a time; a new need means that the helper gave the one before up.
type uploader struct {
	c            *Client
	blobs, bytes atomic.Int64

	mu      sync.Mutex
	known   map[string]bool              // sent in this session, so never sent again with a task; guarded by mu, as is all below
	sources map[uint64]map[string]Source // by call
	current uint64                       // the call whose upload is going on
	stop    context.CancelFunc           // ends that upload
	idle    chan struct{}                // closed when that upload has ended
}

// announce notes a task's blobs and returns the small ones that the helper does not have yet.
func (u *uploader) announce(id uint64, blobs map[string]Source) (map[string][]byte, error) {
	if len(blobs) == 0 {
		return nil, nil
	}
	u.mu.Lock()
	defer u.mu.Unlock()
	inline := map[string][]byte{}
	for hash, s := range blobs {
		if s.Size > InlineLimit || u.known[hash] {
			continue
		}
		b, err := readAll(s)
		if err != nil {
			return nil, &tasks.Error{Kind: tasks.Failed, Op: "send content to " + u.c.name, Err: err}
		}
		inline[hash] = b
	}
	for hash, b := range inline {
		u.sent(hash, int64(len(b)))
	}
	if u.sources == nil {
		u.sources = map[uint64]map[string]Source{}
	}
	u.sources[id] = blobs
	return inline, nil
}

// sent counts a blob as known; u.mu is held.
func (u *uploader) sent(hash string, size int64) {
	if u.known == nil {
		u.known = map[string]bool{}
	}
	u.known[hash] = true
	u.blobs.Add(1)
	u.bytes.Add(size)
}

func readAll(s Source) ([]byte, error) {
	r, err := s.Open()
	if err != nil {
		return nil, err
	}
	defer r.Close()
	b, err := io.ReadAll(io.LimitReader(r, InlineLimit+1))
	if err == nil && int64(len(b)) != s.Size {
		err = errors.New("its size changed while the run was going on")
	}
	return b, err
}

// drop ends what the call had to do with blobs.
func (u *uploader) drop(id uint64) {
	u.mu.Lock()
	defer u.mu.Unlock()
	delete(u.sources, id)
	if u.stop != nil && u.current == id {
		u.stop()
	}
}

// start sends what the helper needs, from a goroutine of its own that ends with the blob, the next need or the link.
func (u *uploader) start(n need) {
	u.mu.Lock()
	defer u.mu.Unlock()
	if u.stop != nil {
		u.stop()
	}
	before := u.idle
	ctx, stop := context.WithCancel(context.Background())
	u.current, u.stop, u.idle = n.Call, stop, make(chan struct{})
	source, ok := u.sources[n.Call][n.Hash]
	go func(idle chan struct{}) {
		defer close(idle)
		defer stop()
		if before != nil {
			<-before
		}
		if !ok {
			u.refuse(n, fmt.Errorf("the task came without the content %s", n.Hash))
			return
		}
		if err := u.send(ctx, n, source); err != nil && ctx.Err() == nil {
			u.refuse(n, err)
		}
	}(u.idle)
}

func (u *uploader) close() {
	u.mu.Lock()
	defer u.mu.Unlock()
	if u.stop != nil {
		u.stop()
	}
}

// send sends the blob in chunks. Other frames get between them.
func (u *uploader) send(ctx context.Context, n need, s Source) error {
	r, err := s.Open()
	if err != nil {
		return err
	}
	defer r.Close()
	buf := newChunk(n, chunkLimit)
	var size int64
	for {
		if ctx.Err() != nil {
			return ctx.Err()
		}
		k, err := io.ReadFull(r, buf[chunkHeader:])
		size += int64(k)
		last := err == io.EOF || err == io.ErrUnexpectedEOF
		if err != nil && !last {
			return err
		}
		if last {
			buf[chunkHeader-1] = chunkLast
		}
		if err := u.c.out.write(frameBlob, buf[:chunkHeader+k]); err != nil {
			return err
		}
		if last {
			u.mu.Lock()
			u.sent(n.Hash, size)
			u.mu.Unlock()
			return nil
		}
	}
}

func newChunk(n need, size int) []byte {
	buf := make([]byte, size)
	binary.BigEndian.PutUint32(buf, n.Number)
	return buf
}

func (u *uploader) refuse(n need, why error) {
	text := why.Error()
	if len(text) > 1000 {
		text = text[:1000]
	}
	buf := append(newChunk(n, chunkHeader), text...)
	buf[chunkHeader-1] = chunkError
	_ = u.c.out.write(frameBlob, buf) // a lost link has ended the task anyway
}
