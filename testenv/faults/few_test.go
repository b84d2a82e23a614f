package faults

// few are the trials of make test, which has minutes for all tests: none of them waits long.
func few() []trial {
	return []trial{
		{fault: controllerKilled, point: boundary(20), batch: 2, resume: true},
		{fault: helperKilled, point: hanging(inside("a command", "command")), batch: 1, resume: true},
		{fault: sshdKilled, point: boundary(12), batch: 1, which: 1},
		{fault: diskFull, point: boundary(8), batch: 1, which: 1},
		{fault: journalFull, point: boundary(25), batch: 2, resume: true},
		{fault: controllerKilled, point: undoing("the undo of a command", "undo"), batch: 1, which: 1, resume: true},
	}
}
