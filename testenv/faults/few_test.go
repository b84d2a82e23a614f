//go:build !faults

package faults

// rigs is how many trials go on at the same time.
const rigs = 1

// trials are few, and none of them waits long: make test has minutes for all tests.
func trials() []trial {
	return []trial{
		{fault: controllerKilled, point: boundary(20), batch: 2, resume: true},
		{fault: helperKilled, point: hanging(inside("a command", "command")), batch: 1, resume: true},
		{fault: sshdKilled, point: boundary(12), batch: 1, which: 1},
		{fault: diskFull, point: boundary(8), batch: 1, which: 1},
	}
}
