// Package expr evaluates Jinja2 templates and conditions as Ansible does.
//
// An Env holds what templates may reach (filters, tests, lookups, directories) and caches what it has parsed. It
// gives the value of a task argument (Template), of a condition (Condition) and the text of a template file
// (RenderFile), and finds mistakes before anything runs (Check). Variables come from a Vars, which is asked only for
// names that a rendering really uses.
//
// # Its own parser
//
// The language is Jinja2 3.1 as ansible-core 2.14 sets it up, non-native types. gonja v2 was tried first and left:
// its parser has no conditional expression inside parentheses, lists or calls, takes filters and + behind "in" for
// the rest of the expression, does not chain comparisons, and knows neither named arguments of tests nor line ends
// between operators, and its tree cannot hold them. Of 19 expressions that playbooks use, 9 did not parse and 3
// gave another value. So the text is read by lexer.go, parse.go and parse_expr.go, which follow Jinja2's grammar
// rule by rule, into the tree of ast.go, whose nodes evaluate themselves.
//
// # Values
//
// Values are plain Go: nil, bool, int, float64, string, []any, *Dict (a mapping in order; the one of package value)
// and Omit. Any other Go data given is seen as one of these. Tuples and lists that a template alters exist only while
// it runs. Values that are given and values that come out are shared and never altered: a template that calls an
// altering method (append, update) works on copies of its own. Text prints as Python prints it.
//
// Ansible turns every result into text and reads lists, mappings and booleans back; "{{ x }}" alone keeps a number a
// number. The same comes out here without the detour (output, collection, literalEval). Only text that the caller
// gives is ever a template: what Vars, lookups and results of modules hold is data (Ansible calls it unsafe).
//
// # Failures
//
// Inside an evaluation a failure travels as a panic (see failure); the exported functions turn it into a
// source.Problem at its line and column. A use of something undefined has an *Undefined as its cause.
//
// # Where it differs on purpose
//
// Filters, tests and lookups that do not exist are found by Check, not in the branch that happens to run. Whole
// numbers end at 64 bits. Random filters with a seed give other numbers than Python. Objects that appear twice are
// written twice by to_yaml, without anchors. The tags do, break and continue always work. Strings are 'str' to
// type_debug, whatever file they came from. Text marked by escape or safe is text like any other. pprint writes one
// line.
//
// To add a filter, a test or a lookup, write one func and add it in the table of its file: filters_*.go, tests*.go,
// lookups*.go. The signature that stands beside it is Python's, and binds and checks the arguments.
package expr
