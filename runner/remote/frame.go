package remote

import (
	"bufio"
	"bytes"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"strings"
	"sync"
	"sync/atomic"
)

// The types of frames. Upper case goes to the helper, lower case comes from it.
const (
	frameTask    = 'T' // task
	frameBlob    = 'B' // chunk: an answer to frameNeed
	frameBegin   = 'G' // begin
	frameUndo    = 'U' // undo
	frameCommit  = 'K' // commit
	frameConfirm = 'F' // beginCall: what the run did stays
	frameRuns    = 'L' // call
	frameLock    = 'O' // call: how things stand with the host's lock
	frameUnlock  = 'V' // unlockCall
	frameReset   = 'R' // no payload, no answer
	frameCancel  = 'C' // cancel; the canceled call answers
	framePing    = 'P' // no payload; answered by framePong
	frameBye     = 'X' // no payload, no answer: the helper gives the host back and ends
	frameLeave   = 'Y' // no payload, no answer: the helper ends, and its controller comes back

	frameHello  = 'h' // Hello
	frameAnswer = 'a' // answer
	frameNeed   = 'n' // need
	framePong   = 'p' // no payload
)

const (
	headerSize = 5
	// messageLimit bounds a frame of JSON. A command may answer with 16 MiB of each output, written twice (as text and as lines).
	messageLimit = 128 << 20
	// chunkLimit bounds a frame of blob data.
	chunkLimit = 64<<10 + chunkHeader
	// noiseLimit is how much may be printed before the marker.
	noiseLimit = 1 << 20
)

// frameLimit is the largest payload of a frame of this type, or an error when there is no such type.
func frameLimit(kind byte) (int, error) {
	switch kind {
	case frameBlob:
		return chunkLimit, nil
	case frameReset, framePing, frameBye, frameLeave, framePong:
		return 0, nil
	case frameTask, frameBegin, frameUndo, frameCommit, frameConfirm, frameRuns, frameLock, frameUnlock, frameCancel, frameHello, frameAnswer, frameNeed:
		return messageLimit, nil
	}
	return 0, fmt.Errorf("there is no frame of type %q", kind)
}

// counters counts whole frames and their bytes, headers included.
type counters struct{ frames, bytes atomic.Int64 }

func (c *counters) add(payload int) {
	c.frames.Add(1)
	c.bytes.Add(int64(payload) + headerSize)
}

// frameReader reads frames. It is used by one goroutine.
type frameReader struct {
	r *bufio.Reader
	counters
}

func newFrameReader(r io.Reader) *frameReader { return &frameReader{r: bufio.NewReaderSize(r, 16<<10)} }

// read returns the next frame. io.EOF means that the stream ended between two frames.
func (f *frameReader) read() (kind byte, payload []byte, err error) {
	var h [headerSize]byte
	if _, err := io.ReadFull(f.r, h[:1]); err != nil {
		return 0, nil, err
	}
	limit, err := frameLimit(h[0])
	if err != nil {
		return 0, nil, fmt.Errorf("%w: %s", err, f.around(h[0]))
	}
	if _, err := io.ReadFull(f.r, h[1:]); err != nil {
		return 0, nil, cutShort(err)
	}
	size := binary.BigEndian.Uint32(h[1:])
	if int64(size) > int64(limit) {
		return 0, nil, fmt.Errorf("a frame of type %q says that it has %d bytes, and %d are allowed", h[0], size, limit)
	}
	payload, err = readPayload(f.r, int(size))
	if err != nil {
		return 0, nil, cutShort(err)
	}
	f.add(len(payload))
	return h[0], payload, nil
}

// readPayload does not trust size with memory: it grows as the bytes arrive.
func readPayload(r io.Reader, size int) ([]byte, error) {
	if size <= 64<<10 {
		payload := make([]byte, size)
		_, err := io.ReadFull(r, payload)
		return payload, err
	}
	var b bytes.Buffer
	if _, err := io.CopyN(&b, r, int64(size)); err != nil {
		return nil, err
	}
	return b.Bytes(), nil
}

// around quotes what stands where a frame should begin: mostly the text of some program that wrote into the stream.
func (f *frameReader) around(first byte) string {
	rest, _ := f.r.Peek(min(f.r.Buffered(), 200))
	return fmt.Sprintf("something else wrote %q", string(first)+string(rest))
}

func cutShort(err error) error {
	if errors.Is(err, io.EOF) {
		return io.ErrUnexpectedEOF
	}
	return err
}

// frameWriter writes frames, from any goroutine.
type frameWriter struct {
	counters
	mu  sync.Mutex
	w   io.Writer // guarded by mu
	err error     // the first error; nothing is written after it; guarded by mu
}

// send writes v as JSON; nil sends no payload.
func (f *frameWriter) send(kind byte, v any) error {
	if v == nil {
		return f.write(kind, nil)
	}
	payload, err := marshal(v)
	if err != nil {
		return err
	}
	return f.write(kind, payload)
}

// write writes one frame with one Write, so that a frame is never cut by an error of an earlier one.
func (f *frameWriter) write(kind byte, payload []byte) error {
	if limit, err := frameLimit(kind); err != nil {
		return err
	} else if len(payload) > limit {
		return &tooLarge{size: len(payload), limit: limit}
	}
	frame := make([]byte, headerSize, headerSize+len(payload))
	frame[0] = kind
	binary.BigEndian.PutUint32(frame[1:], uint32(len(payload)))
	frame = append(frame, payload...)
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.err != nil {
		return f.err
	}
	if _, f.err = f.w.Write(frame); f.err != nil {
		return f.err
	}
	f.add(len(payload))
	return nil
}

// broken tells whether nothing can be written any more.
func (f *frameWriter) broken() bool {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.err != nil
}

// tooLarge is the error of a message that was not sent: the stream is still whole.
type tooLarge struct{ size, limit int }

func (e *tooLarge) Error() string {
	return fmt.Sprintf("it has %d bytes, and a message may have %d", e.size, e.limit)
}

func marshal(v any) ([]byte, error) {
	var b bytes.Buffer
	enc := json.NewEncoder(&b)
	enc.SetEscapeHTML(false)
	if err := enc.Encode(v); err != nil {
		return nil, err
	}
	return bytes.TrimSuffix(b.Bytes(), []byte("\n")), nil
}

// The words that begin the lines of the start: each is followed by the marker and the line's values.
const (
	wordHello  = "calroll-hello"  // frames follow
	wordStart  = "calroll-start"  // folder: the helper in it is executed now
	wordCold   = "calroll-cold"   // system, machine, uid: there is no helper for them
	wordNote   = "calroll-note"   // a reason why a folder was passed over
	wordFailed = "calroll-failed" // what kind of failure: see script.go
)

// line is one line of the start.
type line struct{ word, text string }

// readLine returns the next line that carries the marker. What stands before it is noise and goes to the tail.
func (f *frameReader) readLine(marker string, noise *tail) (line, error) {
	for read := 0; read < noiseLimit; {
		raw, err := f.r.ReadSlice('\n')
		read += len(raw)
		if l, ok := parseLine(string(raw), marker); ok {
			return l, nil
		}
		noise.add(raw)
		if err != nil && !errors.Is(err, bufio.ErrBufferFull) {
			return line{}, err
		}
	}
	return line{}, errNoise
}

var errNoise = fmt.Errorf("the host printed more than %d bytes before the helper's first word", noiseLimit)

// parseLine finds a word and the marker anywhere in raw, because noise need not end with a newline.
func parseLine(raw, marker string) (line, bool) {
	text, whole := strings.CutSuffix(raw, "\n")
	if !whole {
		return line{}, false
	}
	before, after, found := strings.Cut(strings.TrimSuffix(text, "\r"), " "+marker)
	if !found || after != "" && after[0] != ' ' {
		return line{}, false
	}
	for _, w := range []string{wordHello, wordStart, wordCold, wordNote, wordFailed} {
		if strings.HasSuffix(before, w) {
			return line{word: w, text: strings.TrimPrefix(after, " ")}, true
		}
	}
	return line{}, false
}

// tail keeps the last bytes of a text.
type tail struct{ kept []byte }

const tailKept = 2 << 10

func (t *tail) add(p []byte) {
	t.kept = append(t.kept, p...)
	if over := len(t.kept) - tailKept; over > 0 {
		t.kept = append(t.kept[:0], t.kept[over:]...)
	}
}

func (t *tail) String() string { return strings.TrimSpace(strings.ToValidUTF8(string(t.kept), "?")) }
