package remote

import (
	"context"
	"errors"
	"fmt"

	"github.com/calroll/calroll/tasks"
)

// task runs the items of a task in order and answers each as soon as it is done.
func (s *server) task(ctx context.Context, payload []byte) error {
	t := taskCall{}
	if err := decode(payload, &t); err != nil {
		return fmt.Errorf("%w: %w", errProtocol, err)
	}
	if !t.Ahead {
		s.fails = false // the controller knows all results and goes on all the same
	}
	err := errors.Join(s.keepInline(t.Inline), s.book.current())
	switch {
	case s.fails:
		err = &tasks.Error{Kind: tasks.Canceled, Op: "run the task", Detail: "an earlier task failed"}
	case ctx.Err() != nil:
		err = canceled("run the task", context.Cause(ctx))
	}
	if err != nil {
		s.fails = s.fails || !t.GoOn
		return s.end(t, err)
	}
	makeModule, ok := s.o.Modules.Lookup(t.Module)
	if !ok {
		s.fails = s.fails || !t.GoOn
		return s.end(t, &tasks.Error{Kind: tasks.Internal, Op: "run the task", Detail: "this helper has no module " + t.Module})
	}
	return s.items(ctx, t, makeModule)
}

func (s *server) keepInline(inline map[string][]byte) error {
	for hash, content := range inline {
		if err := s.spool.add(hash, content); err != nil {
			return &tasks.Error{Kind: tasks.Failed, Op: "take the task's content", Err: err}
		}
	}
	return nil
}

// end answers for all items that have not answered.
func (s *server) end(t taskCall, err error) error {
	return s.answer(answer{ID: t.ID, Last: true, Err: wireError(err)})
}

func (s *server) items(ctx context.Context, t taskCall, makeModule func() tasks.Module) error {
	if len(t.Items) == 0 {
		return s.answer(answer{ID: t.ID, Last: true})
	}
	for i := range t.Items {
		r := s.item(ctx, t, makeModule(), natural(t.Items[i].Args))
		s.fails = s.fails || !t.GoOn && (r.Failed || ctx.Err() != nil)
		a := answer{ID: t.ID, Item: i, Last: i == len(t.Items)-1, Result: &r, Armed: s.armed.Swap(false), Kept: s.book.kept()}
		if stop := r.Failed && t.FirstFailureEnds || ctx.Err() != nil; stop && !a.Last || r.Kind == tasks.Canceled {
			a.Last, a.Err = true, wireError(s.whyNot(ctx))
		}
		if err := s.answer(a); err != nil || a.Last {
			return err
		}
	}
	return nil
}

// whyNot says why the task ended early.
func (s *server) whyNot(ctx context.Context) error {
	if cause := context.Cause(ctx); cause != nil {
		return canceled("finish the task", cause)
	}
	return &tasks.Error{Kind: tasks.Canceled, Op: "run the rest of the items", Detail: "an earlier one failed"}
}

// item runs a module once.
func (s *server) item(ctx context.Context, t taskCall, blank tasks.Module, args any) tasks.Result {
	given, _ := args.(map[string]any)
	m, mistakes := tasks.SpecOf(blank).Decode(given)
	if len(mistakes) > 0 {
		return tasks.Failure(tasks.JoinArgErrors(t.Module, mistakes))
	}
	if t.Timeout > 0 {
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeoutCause(ctx, t.Timeout, fmt.Errorf("%w of %v", errTimeout, t.Timeout))
		defer cancel()
	}
	sys := tasks.NewSys(s.sysOptions(t, given))
	r := tasks.Run(ctx, m, sys)
	if err := sys.Close(); err != nil {
		r.Warnings = append(r.Warnings, fmt.Sprintf("cannot remove temporary files: %v", err))
	}
	if r.Failed && ctx.Err() != nil { // however deep it was wrapped
		r.Kind = tasks.Canceled
		if errors.Is(context.Cause(ctx), errTimeout) {
			r.Kind = tasks.Failed // nobody asked for it
		}
	}
	r.Values, r.Facts = pointedMap(r.Values), pointedMap(r.Facts)
	return r
}

func (s *server) sysOptions(t taskCall, args map[string]any) tasks.Options {
	o := tasks.Options{Recorder: s.recorder(t), Task: t.Number, For: t.For, Check: t.Check, Diff: t.Diff, Env: t.Env, Undo: t.Undo,
		Blobs: blobs{s, t.ID}, Scratch: s.o.Scratch, Dial: s.o.Dial, HostFile: s.o.HostFile, As: t.As, Step: s.o.step}
	if t.Handler {
		o.Handler = &tasks.Invocation{Module: t.Module, Args: args, Env: t.Env, NoLog: t.NoLog}
	}
	for i := range o.Undo {
		natural(o.Undo[i].Args)
	}
	return o
}
