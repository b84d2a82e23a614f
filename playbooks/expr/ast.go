package expr

// expr is a parsed expression. eval panics with a failure when it cannot give a value.
type expr interface {
	eval(f *frame) any
}

// stmt is a parsed piece of template outside expressions. exec appends what it prints to out.
type stmt interface {
	exec(f *frame, out *output)
}

type (
	constExpr struct{ val any }
	nameExpr  struct {
		at   int
		name string
	}
	listExpr  struct{ items []expr }
	tupleExpr struct{ items []expr }
	dictExpr  struct {
		at         int
		keys, vals []expr
	}
	condExpr struct{ test, yes, no expr } // no may be nil
	orExpr   struct{ left, right expr }
	andExpr  struct{ left, right expr }
	notExpr  struct{ x expr }
	cmpExpr  struct {
		at   int
		left expr
		ops  []cmpOperand
	}
	cmpOperand struct {
		op string // ==, !=, <, <=, >, >=, in, not in
		x  expr
	}
	concatExpr struct{ items []expr }
	binExpr    struct {
		at          int
		op          string // + - * / // % **
		left, right expr
	}
	unaryExpr struct {
		at       int
		negative bool
		x        expr
	}
	attrExpr struct {
		at   int
		x    expr
		name string
	}
	itemExpr struct {
		at  int
		x   expr
		key expr
	}
	sliceExpr struct{ start, stop, step expr } // only as the key of an itemExpr; each may be nil
	callExpr  struct {
		at   int
		fn   expr
		args callArgs
	}
	filterExpr struct {
		at   int
		name string
		x    expr // nil in a filter block until the body is known
		args callArgs
		fn   *filter // nil when the name is unknown
	}
	testExpr struct {
		at   int
		name string
		x    expr
		args callArgs
		fn   *test // nil when the name is unknown
	}
	callArgs struct {
		pos     []expr
		names   []string
		named   []expr
		star    expr // *args
		twoStar expr // **kwargs
	}
)

type (
	dataStmt  struct{ text string }
	printStmt struct{ x expr }
	ifBranch  struct {
		test expr
		body []stmt
	}
	ifStmt struct {
		branches []ifBranch
		other    []stmt
	}
	forStmt struct {
		at        int
		target    expr
		iter      expr
		cond      expr
		recursive bool
		body      []stmt
		empty     []stmt
	}
	setStmt struct {
		at     int
		target expr
		x      expr
	}
	setBlockStmt struct {
		at     int
		target expr
		filter *filterExpr
		body   []stmt
	}
	macroStmt struct {
		at       int
		name     string
		params   []string
		defaults []expr // of the last len(defaults) params
		body     []stmt
		catches  struct{ varargs, kwargs, caller bool }
	}
	callStmt struct {
		call  *callExpr
		macro *macroStmt // the body as a macro without a name
	}
	filterStmt struct {
		filter *filterExpr
		body   []stmt
	}
	withStmt struct {
		targets, vals []expr
		body          []stmt
	}
	blockStmt struct {
		at   int
		name string
		body []stmt
	}
	extendsStmt struct {
		at int
		x  expr
	}
	includeStmt struct {
		at            int
		x             expr
		ignoreMissing bool
		bare          bool // without context
	}
	importStmt struct {
		at          int
		x           expr
		as          string      // {% import x as y %}
		names       [][2]string // {% from x import a as b %}
		withContext bool
	}
	doStmt       struct{ x expr }
	breakStmt    struct{}
	continueStmt struct{}
)

// nsTarget is "ns.name" on the left of a set.
type nsTarget struct {
	at       int
	ns, name string
}

func (nsTarget) eval(*frame) any { panic("a set target has no value") }

// template is a parsed text. It is never altered once parsed and may be used by many at a time.
type template struct {
	text    string // newlines normalised: offsets count in it
	body    []stmt
	blocks  map[string]*blockStmt
	mutates bool           // calls methods that alter lists or dicts, so values must be private copies
	unknown []*syntaxError // names of filters, tests and lookups that do not exist
}
