package remote

import (
	"bytes"
	"errors"
	"io"
	"reflect"
	"strings"
	"testing"

	"pgregory.net/rapid"
)

func TestFramesArriveAsTheyWereSent(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		var stream bytes.Buffer
		w := &frameWriter{w: &stream}
		kinds := []byte{frameTask, frameBlob, frameAnswer, frameReset}
		var sent [][]byte
		for range rapid.IntRange(0, 10).Draw(t, "frames") {
			kind := rapid.SampledFrom(kinds).Draw(t, "kind")
			limit, _ := frameLimit(kind)
			payload := bytes.Repeat([]byte{'x'}, rapid.IntRange(0, min(limit, 200<<10)).Draw(t, "size"))
			if err := w.write(kind, payload); err != nil {
				t.Fatal(err)
			}
			sent = append(sent, append([]byte{kind}, payload...))
		}
		size := stream.Len()
		cut := rapid.IntRange(0, size).Draw(t, "cut")
		r := newFrameReader(bytes.NewReader(stream.Bytes()[:cut]))
		at := 0
		for _, want := range sent {
			kind, payload, err := r.read()
			if at += headerSize + len(want) - 1; at > cut {
				if err == nil {
					t.Fatal("a frame that was cut arrived")
				}
				if begun := cut > at-headerSize-len(want)+1; begun != errors.Is(err, io.ErrUnexpectedEOF) {
					t.Fatalf("cut inside the frame: %v, error %v", begun, err)
				}
				return
			}
			if err != nil || kind != want[0] || !bytes.Equal(payload, want[1:]) {
				t.Fatalf("got %q, %d bytes, %v", kind, len(payload), err)
			}
		}
		if _, _, err := r.read(); !errors.Is(err, io.EOF) {
			t.Fatalf("at the end: %v", err)
		}
		if r.bytes.Load() != w.bytes.Load() || r.frames.Load() != w.frames.Load() || int64(size) != w.bytes.Load() {
			t.Fatalf("counted %d and %d of %d bytes", w.bytes.Load(), r.bytes.Load(), size)
		}
	})
}

func TestLimitsAreCheckedBeforeReading(t *testing.T) {
	for name, stream := range map[string]string{
		"an answer of 4 GB":    "a\xff\xff\xff\xff",
		"a ping with contents": "P\x00\x00\x00\x01x",
		"there is no frame of type 'H': something else wrote \"Hello, world\"": "Hello, world",
	} {
		r := newFrameReader(io.MultiReader(strings.NewReader(stream), never{t}))
		if _, _, err := r.read(); err == nil || errors.Is(err, io.ErrUnexpectedEOF) || strings.HasPrefix(name, "there") && err.Error() != name {
			t.Errorf("%s: %v", name, err)
		}
	}
	var stream bytes.Buffer
	w := &frameWriter{w: &stream}
	var large *tooLarge
	if err := w.write(frameBlob, make([]byte, chunkLimit+1)); !errors.As(err, &large) || stream.Len() != 0 || w.broken() {
		t.Errorf("writing too much: %v", err)
	}
}

// never is a stream that must not be read.
type never struct{ t *testing.T }

func (n never) Read([]byte) (int, error) {
	n.t.Error("the payload was read")
	return 0, io.EOF
}

func TestMarkerIsFoundInWhateverTheHostPrints(t *testing.T) {
	long := strings.Repeat("x", 100<<10)
	for name, stream := range map[string]string{
		"nothing":            "",
		"a banner":           "Welcome!\nLast login: yesterday\n",
		"no newline":         "$ ",
		"other nonce":        "calroll-hello other\n",
		"carriage returns":   "hello\r\n",
		"bytes":              "\x00\xff\x1b[2J\n",
		"a very long line":   long,
		"many lines":         strings.Repeat("line\n", 10000),
		"its own command":    "sh -c n=0a1b; echo calroll-hello $n\n",
		"marker with a tail": "calroll-hello 0a1bcd\n",
	} {
		r := newFrameReader(strings.NewReader(stream + "\ncalroll-hello 0a1b\nP\x00\x00\x00\x00"))
		l, err := r.readLine("0a1b", new(tail))
		if err != nil || l.word != wordHello {
			t.Errorf("%s: %+v, %v", name, l, err)
			continue
		}
		if kind, _, err := r.read(); kind != framePing || err != nil {
			t.Errorf("%s: the frame behind it: %q, %v", name, kind, err)
		}
	}
	for stream, want := range map[string]line{
		"calroll-cold 0a1b Linux x86_64 0\n":             {wordCold, "Linux x86_64 0"},
		"bashcalroll-cold 0a1b Linux x86_64 0\r\n":       {wordCold, "Linux x86_64 0"},
		"calroll-note 0a1b /a b: it is: x\n":             {wordNote, "/a b: it is: x"},
		"noise 0a1b\n\ncalroll-start 0a1b x86_64 /var\n": {wordStart, "x86_64 /var"},
	} {
		if l, err := newFrameReader(strings.NewReader(stream)).readLine("0a1b", new(tail)); err != nil || l != want {
			t.Errorf("%q: %+v, %v", stream, l, err)
		}
	}
	var noise tail
	if _, err := newFrameReader(strings.NewReader(strings.Repeat("y\n", noiseLimit))).readLine("0a1b", &noise); err == nil || errors.Is(err, io.EOF) {
		t.Errorf("endless noise: %v", err)
	}
	if len(noise.kept) > tailKept {
		t.Errorf("kept %d bytes of it", len(noise.kept))
	}
	if _, err := newFrameReader(strings.NewReader("calroll-hello 0a1b")).readLine("0a1b", new(tail)); !errors.Is(err, io.EOF) {
		t.Errorf("a marker without its newline: %v", err)
	}
}

func TestNumbersKeepTheirKind(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		v := anyValue(3).Draw(t, "value")
		raw, err := marshal(map[string]any{"v": pointed(v)})
		if err != nil {
			t.Fatal(err)
		}
		var back map[string]any
		if err := decode(raw, &back); err != nil {
			t.Fatal(err)
		}
		natural(back)
		if !reflect.DeepEqual(back["v"], v) {
			t.Fatalf("%#v came back as %#v in %s", v, back["v"], raw)
		}
	})
}

func anyValue(depth int) *rapid.Generator[any] {
	plain := []*rapid.Generator[any]{
		rapid.Int().AsAny(), rapid.Bool().AsAny(), rapid.String().AsAny(), rapid.Just[any](nil),
		rapid.Float64().Filter(func(f float64) bool { return f != 0 && f == f && f-f == 0 }).AsAny(), // -0 is 0 in JSON
		rapid.Custom(func(t *rapid.T) float64 { return float64(rapid.IntRange(-1000, 1000).Draw(t, "whole")) }).AsAny(),
	}
	if depth > 0 {
		inner := anyValue(depth - 1)
		plain = append(plain, rapid.SliceOfN(inner, 0, 4).AsAny(), rapid.MapOfN(rapid.String(), inner, 0, 4).AsAny())
	}
	return rapid.OneOf(plain...)
}
