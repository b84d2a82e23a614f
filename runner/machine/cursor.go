package machine

import "slices"

// part is the section of a block that a host is in.
type part int

const (
	list   part = iota // a plain list: a section, or what an include brought
	main               // block:
	rescue             // rescue:
	always             // always:
)

// frame is one level of nesting of a host's place in the play.
type frame struct {
	nodes  []*Node
	next   int
	block  *Node // nil for a list
	part   part
	entry  int  // which block it is, counted as the host enters them, from 1
	failed bool // in always: the host leaves the block as failed
	flush  bool // a list that a handler included: it runs before the next handler
}

// cursor is a host's place in its batch.
type cursor struct {
	host        string
	stack       []*frame
	entries     int  // blocks that it has entered
	failed      bool // for good
	unreachable bool
	ended       bool // meta: end_host
	asked       bool // its Done is awaited
	flushing    bool // between two handlers of a flush
	handler     int  // the next handler of the flush
	notified    map[int]bool
}

// gone tells that the host gets no further task.
func (c *cursor) gone() bool { return c.failed || c.unreachable || c.ended }

// settled tells that the host has failed and no rescue or always section is left to run for it.
func (c *cursor) settled() bool { return c.failed || c.unreachable }

// peek is the task the host stands before, nil at the end. Entering and leaving blocks happens here; asking again gives the same answer.
func (c *cursor) peek() *Node { return c.peekAbove(0) }

// peekAbove is peek that leaves the frames below base alone.
func (c *cursor) peekAbove(base int) *Node {
	for !c.gone() && len(c.stack) > base {
		f := c.stack[len(c.stack)-1]
		if f.next == len(f.nodes) {
			c.leave(f)
			continue
		}
		n := f.nodes[f.next]
		if n.Kind != Block {
			return n
		}
		f.next++
		c.entries++
		c.push(&frame{nodes: n.Main, block: n, part: main, entry: c.entries})
	}
	return nil
}

// advance moves past the task that peek gave.
func (c *cursor) advance() { c.stack[len(c.stack)-1].next++ }

func (c *cursor) push(f *frame) { c.stack = append(c.stack, f) }

func (c *cursor) pop() { c.stack = c.stack[:len(c.stack)-1] }

// leave ends a frame whose tasks are all done.
func (c *cursor) leave(f *frame) {
	c.pop()
	switch {
	case (f.part == main || f.part == rescue) && len(f.block.Always) > 0:
		c.push(&frame{nodes: f.block.Always, block: f.block, part: always, entry: f.entry})
	case f.failed:
		c.fail()
	}
}

// fail moves the host to the rescue or always section that takes the failure of its task, or fails it for good.
func (c *cursor) fail() {
	c.flushing = false
	for len(c.stack) > 0 {
		f := c.stack[len(c.stack)-1]
		c.pop()
		if f.part == main && len(f.block.Rescue) > 0 {
			c.push(&frame{nodes: f.block.Rescue, block: f.block, part: rescue, entry: f.entry})
			return
		}
		if (f.part == main || f.part == rescue) && len(f.block.Always) > 0 {
			c.push(&frame{nodes: f.block.Always, block: f.block, part: always, entry: f.entry, failed: true})
			return
		}
	}
	c.failed = true
}

// busyRescuing tells that a rescue or always section is at work for the host.
func (c *cursor) busyRescuing() bool {
	for _, f := range c.stack {
		if f.part == rescue || f.part == always {
			return true
		}
	}
	return false
}

// nextHandler is the first notified handler at or after the host's place in the flush, -1 when there is none.
func (c *cursor) nextHandler(total int) int {
	for i := c.handler; i < total; i++ {
		if c.notified[i] {
			return i
		}
	}
	return -1
}

// inFlush tells that the host stands before a task that a handler included.
func (c *cursor) inFlush() bool {
	base := slices.IndexFunc(c.stack, func(f *frame) bool { return f.flush })
	return base >= 0 && c.peekAbove(base) != nil
}

// rescuable tells that a block round the host's place has a rescue section for a failure now.
func (c *cursor) rescuable() bool {
	return slices.ContainsFunc(c.stack, func(f *frame) bool { return f.part == main && len(f.block.Rescue) > 0 })
}

// rescues are the blocks with a rescue section round the host's place, outermost first, and the outermost one whose rescue section is at work; 0 is none.
func (c *cursor) rescues() (around []int, atWork int) {
	for _, f := range c.stack {
		if f.block == nil || len(f.block.Rescue) == 0 {
			continue
		}
		around = append(around, f.entry)
		if f.part == rescue && atWork == 0 {
			atWork = f.entry
		}
	}
	return around, atWork
}

// leavingFailed tells that an always section runs for the host after a failure.
func (c *cursor) leavingFailed() bool {
	return slices.ContainsFunc(c.stack, func(f *frame) bool { return f.failed })
}
