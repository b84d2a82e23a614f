package remote

import (
	"path/filepath"
	"testing"
	"time"

	"github.com/calroll/calroll/tasks/journal"
)

func TestATaskCostsOneFrameEachWay(t *testing.T) {
	c := pipe(t, ServeOptions{})
	if err := c.Begin(t.Context(), "run1", journal.Holder{}); err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	var opened int
	ref, _, blobs := blob(InlineLimit, &opened)
	before := c.Stats()
	const n = 100
	for i := range n {
		task := one("echo", map[string]any{"value": i})
		if i%2 == 0 {
			task = one("put", map[string]any{"dest": filepath.Join(dir, "f"), "content": ref})
			task.Blobs = blobs
		}
		mustRun(t, c, task)
	}
	after := c.Stats()
	if out, in := after.FramesOut-before.FramesOut, after.FramesIn-before.FramesIn; out != n || in != n {
		t.Errorf("%d tasks took %d frames to the host and %d back", n, out, in)
	}
	if sent := after.BytesOut - before.BytesOut; sent > InlineLimit*4/3+n*300 {
		t.Errorf("%d tasks sent %d bytes", n, sent)
	}
}

// TestTasksSentAheadWaitForNothing sends a hundred tasks while the first one still works: no round trip is between them.
func TestTasksSentAheadWaitForNothing(t *testing.T) {
	c := pipe(t, ServeOptions{})
	gate := filepath.Join(t.TempDir(), "begun")
	ctx, cancel := onSignal(t)
	first := one("hang", map[string]any{"touch": gate})
	first.GoOn = true
	window := send(t, c, first)
	eventually(t, "the first task to begin", func() bool { return exists(gate) })
	for i := range 100 {
		window = append(window, send(t, c, one("echo", map[string]any{"value": i}))...)
	}
	cancel()
	_, _ = window[0].Wait(ctx)
	for i, s := range window[1:] {
		rs, err := s.Wait(t.Context())
		if err != nil || rs[0].Values["value"] != i {
			t.Fatalf("task %d: %+v, %v", i, rs, err)
		}
	}
}

// BenchmarkTask is a trivial task through a helper process, one at a time and sent ahead.
func BenchmarkTask(b *testing.B) {
	for name, window := range map[string]int{"one at a time": 1, "32 ahead": 32} {
		b.Run(name, func(b *testing.B) {
			c, err := Pipe(b.Context(), "here", ServeOptions{Modules: testModules(), StateDir: b.TempDir()})
			if err != nil {
				b.Fatal(err)
			}
			defer c.Close()
			var sent []*Sent
			for i := 0; b.Loop(); i++ {
				s, err := c.Send(one("echo", map[string]any{"value": i}))
				if err != nil {
					b.Fatal(err)
				}
				if sent = append(sent, s); len(sent) < window {
					continue
				}
				if _, err := sent[0].Wait(b.Context()); err != nil {
					b.Fatal(err)
				}
				sent = sent[1:]
			}
			for _, s := range sent {
				_, _ = s.Wait(b.Context())
			}
		})
	}
}

// TestAWarmStartAndEachTaskAreOneRoundTrip counts over a real link: the command leaves, the hello comes back.
func TestAWarmStartAndEachTaskAreOneRoundTrip(t *testing.T) {
	s := newSite(t)
	_ = s.mustOpen("root", nil).Close()
	relay, err := s.host.Relay()
	if err != nil {
		t.Fatal(err)
	}
	s.via = relay.Addr()
	h := s.remote(s.dial("root"), nil)
	relay.Delay(50 * time.Millisecond) // what belongs to one turn stays together
	before := relay.Turns()
	turns := func(want int, what string) {
		t.Helper()
		now := relay.Turns()
		if now-before != want {
			t.Errorf("%s took %d round trips, not %d", what, now-before, want)
		}
		before = now
	}
	c, err := Open(t.Context(), h, s.options())
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	turns(2, "the start") // opening the channel is a round trip of SSH's own, before the command's
	for range 3 {
		mustRun(t, c, one("echo", nil))
	}
	turns(3, "3 tasks")
	relay.Freeze()
	all := send(t, c, one("echo", nil), one("echo", nil), one("echo", nil)) // without an answer
	relay.Thaw()
	for _, sent := range all {
		if _, err := sent.Wait(t.Context()); err != nil {
			t.Fatal(err)
		}
	}
	relay.Delay(0)
}
