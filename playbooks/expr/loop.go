package expr

func (s *forStmt) exec(f *frame, out *output) {
	v := s.iter.eval(f)
	f.r.at = s.at
	if _, ok := v.(*Undefined); ok {
		f.r.point(s.iter)
	}
	depth := 0
	s.loop(f, v, out, depth)
}

func (s *forStmt) loop(f *frame, v any, out *output, depth int) {
	lv := &loopValue{items: iterate(v), depth: depth}
	if s.cond != nil {
		lv.items, lv.rest, lv.takes = nil, lv.items, s.condition(f)
	}
	if !lv.has(0) {
		f.r.run(s.empty, f.inner(), out)
		return
	}
	if s.recursive {
		lv.again = func(v any) any {
			defer f.r.enter()()
			sub := &output{}
			s.loop(f, v, sub, depth+1)
			return sub.value(f.r.convert)
		}
	}
	for ; lv.has(lv.i); lv.i++ {
		inner := f.inner()
		inner.names = map[string]any{"loop": lv}
		assign(inner, s.target, norm(lv.items[lv.i]))
		if s.once(inner, out) {
			return
		}
	}
}

// once runs the body for one item and tells whether it broke out of the loop.
func (s *forStmt) once(f *frame, out *output) (stop bool) {
	defer func() {
		switch r := recover().(type) {
		case nil:
		case loopSignal:
			stop = r.stop
		default:
			panic(r)
		}
	}()
	f.r.run(s.body, f, out)
	return false
}

// condition tells of an item whether the loop's if holds for it.
func (s *forStmt) condition(f *frame) func(item any) bool {
	return func(item any) bool {
		inner := f.inner()
		assign(inner, s.target, norm(item))
		return truthy(s.cond.eval(inner))
	}
}

// loopValue is the variable loop, and the loop itself. As in Jinja2 an item is not looked at before it is needed: the body may alter what the loop's if
// depends on.
type loopValue struct {
	items []any               // those that the loop takes, as far as is known
	rest  []any               // those that were not looked at
	takes func(item any) bool // whether one of those is taken
	i     int
	depth int
	again func(v any) any // of a recursive loop
	last  *any            // what changed() saw before
}

func (l *loopValue) call(f *frame, a callValues) any {
	if l.again == nil {
		fail("The loop must have the 'recursive' marker to be called recursively.")
	}
	if len(a.pos) != 1 {
		fail("loop() takes one argument")
	}
	return l.again(a.pos[0])
}

// has tells whether the loop takes an i-th item, and looks no further.
func (l *loopValue) has(i int) bool {
	for len(l.items) <= i && len(l.rest) > 0 {
		item := l.rest[0]
		l.rest = l.rest[1:]
		if l.takes(item) {
			l.items = append(l.items, item)
		}
	}
	return i < len(l.items)
}

// length is how many items the loop takes.
func (l *loopValue) length() int {
	for l.has(len(l.items)) {
	}
	return len(l.items)
}

func (l *loopValue) attr(name string) (any, bool) {
	switch name {
	case "index":
		return l.i + 1, true
	case "index0":
		return l.i, true
	case "revindex":
		return l.length() - l.i, true
	case "revindex0":
		return l.length() - l.i - 1, true
	case "first":
		return l.i == 0, true
	case "last":
		return !l.has(l.i + 1), true
	case "length":
		return l.length(), true
	case "depth":
		return l.depth + 1, true
	case "depth0":
		return l.depth, true
	}
	return l.neighbour(name)
}

func (l *loopValue) neighbour(name string) (any, bool) {
	switch name {
	case "previtem":
		if l.i == 0 {
			return &Undefined{Name: name, Message: "there is no previous item"}, true
		}
		return norm(l.items[l.i-1]), true
	case "nextitem":
		if !l.has(l.i + 1) {
			return &Undefined{Name: name, Message: "there is no next item"}, true
		}
		return norm(l.items[l.i+1]), true
	case "cycle":
		return &funcValue{name, func(_ *frame, a callValues) any {
			if len(a.pos) == 0 {
				fail("no items for cycling given")
			}
			return a.pos[l.i%len(a.pos)]
		}}, true
	case "changed":
		return &funcValue{name, func(_ *frame, a callValues) any {
			var v any = Tuple(a.pos)
			changed := l.last == nil || !equal(*l.last, v)
			l.last = &v
			return changed
		}}, true
	}
	return nil, false
}
