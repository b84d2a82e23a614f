package action

import (
	"context"
	"fmt"

	"github.com/calroll/calroll/playbooks/value"
	"github.com/calroll/calroll/tasks"
)

type debugArgs struct {
	onController
	Msg       any    `arg:"msg" doc:"what to print"`
	Var       string `arg:"var" doc:"the variable or expression to print"`
	Verbosity int    `arg:"verbosity,default=0" doc:"print only at this number of -v or more"`
}

// Rules are constraints between the arguments.
func (*debugArgs) Rules() tasks.Rules {
	return tasks.Rules{MutuallyExclusive: [][]string{{"msg", "var"}}}
}

func debug(_ context.Context, c *Call) (Answer, error) {
	args, err := decode(c, &debugArgs{})
	if err != nil {
		return Answer{}, err
	}
	if args.Verbosity > c.Verbosity {
		r := tasks.Result{Skipped: true}
		r.Set("skipped_reason", "Verbosity threshold not met.")
		return Answer{Result: r}, nil
	}
	var r tasks.Result
	msg, given := c.Args["msg"]
	switch {
	case args.Var != "":
		r.Set(args.Var, c.show(args.Var))
	case given:
		r.Set("msg", msg)
	default:
		r.Set("msg", "Hello world!")
	}
	return Answer{Result: r, Verbose: true}, nil
}

// show is the value of an expression, or what debug says when it has none.
func (c *Call) show(text string) any {
	v, err := c.Scope.Evaluate(text, c.Task.Args.Pos("var"))
	if err != nil {
		if c.Verbosity > 0 {
			return "VARIABLE IS NOT DEFINED!: " + err.Error()
		}
		return "VARIABLE IS NOT DEFINED!"
	}
	return value.ToGo(v)
}

type failArgs struct {
	onController
	Msg any `arg:"msg,default=Failed as requested from task" doc:"why"`
}

func fail(_ context.Context, c *Call) (Answer, error) {
	args, err := decode(c, &failArgs{})
	if err != nil {
		return Answer{}, err
	}
	r := tasks.Result{Failed: true}
	r.Set("msg", args.Msg)
	return Answer{Result: r}, nil
}

type assertArgs struct {
	onController
	That       []any `arg:"that,required" doc:"conditions that must hold"`
	FailMsg    any   `arg:"fail_msg,alias=msg" doc:"what to say when one does not"`
	SuccessMsg any   `arg:"success_msg" doc:"what to say when all do"`
	Quiet      bool  `arg:"quiet,default=false" doc:"say nothing when all hold"`
}

func assert(_ context.Context, c *Call) (Answer, error) {
	args, err := decode(c, &assertArgs{})
	if err != nil {
		return Answer{}, err
	}
	for _, that := range conditions(c.Args["that"]) {
		holds, err := c.holds(that)
		if err != nil {
			return Answer{}, err
		}
		if !holds {
			return Answer{Result: assertFailed(args, that)}, nil
		}
	}
	r := tasks.Result{}
	r.Set("msg", orDefault(args.SuccessMsg, "All assertions passed"))
	return Answer{Result: r, Verbose: !args.Quiet}, nil
}

// conditions are the elements of that, which may be a single one.
func conditions(that any) []any {
	if list, ok := that.([]any); ok {
		return list
	}
	return []any{that}
}

func (c *Call) holds(that any) (bool, error) {
	switch t := that.(type) {
	case bool:
		return t, nil
	case string:
		return c.Scope.Condition(t, c.Task.Args.Pos("that"))
	}
	return false, fmt.Errorf("cannot use %v in that: a condition is a text or a boolean", that)
}

func assertFailed(args *assertArgs, that any) tasks.Result {
	r := tasks.Result{Failed: true}
	r.Set("msg", orDefault(args.FailMsg, "Assertion failed"))
	r.Set("assertion", that)
	r.Set("evaluated_to", false)
	return r
}

func orDefault(v any, otherwise string) any {
	if v == nil {
		return otherwise
	}
	return v
}
