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
	items := s.filtered(f, iterate(v))
	if len(items) == 0 {
		f.r.run(s.empty, f.inner(), out)
		return
	}
	lv := &loopValue{items: items, depth: depth}
	if s.recursive {
		lv.again = func(v any) any {
			defer f.r.enter()()
			sub := &output{}
			s.loop(f, v, sub, depth+1)
			return sub.value(f.r.convert)
		}
	}
	for i, item := range items {
		lv.i = i
		inner := f.inner()
		inner.names = map[string]any{"loop": lv}
		assign(inner, s.target, norm(item))
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

// filtered are the items for which the loop's if holds.
func (s *forStmt) filtered(f *frame, items []any) []any {
	if s.cond == nil {
		return items
	}
	var out []any
	for _, item := range items {
		inner := f.inner()
		assign(inner, s.target, norm(item))
		if truthy(s.cond.eval(inner)) {
			out = append(out, item)
		}
	}
	return out
}

// loopValue is the variable loop.
type loopValue struct {
	items []any
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

func (l *loopValue) attr(name string) (any, bool) {
	n := len(l.items)
	switch name {
	case "index":
		return l.i + 1, true
	case "index0":
		return l.i, true
	case "revindex":
		return n - l.i, true
	case "revindex0":
		return n - l.i - 1, true
	case "first":
		return l.i == 0, true
	case "last":
		return l.i == n-1, true
	case "length":
		return n, true
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
		if l.i == len(l.items)-1 {
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
