package expr

import (
	"slices"
	"strings"
	"sync"
)

// registry holds the plugins that templates name.
type registry struct {
	filters map[string]*filter
	tests   map[string]*test
	lookups map[string]*lookup
}

// builtins is the registry of all there is. Each file of plugins adds its own.
var builtins = sync.OnceValue(func() *registry {
	r := &registry{filters: map[string]*filter{}, tests: map[string]*test{}, lookups: map[string]*lookup{}}
	for _, add := range []func(*registry){
		addTextFilters, addNumberFilters, addSequenceFilters, addMapFilters, addSelectFilters, addDataFilters, addSetFilters, addRegexFilters,
		addPathFilters, addHashFilters, addTimeFilters, addURLFilters, addNetFilters, addQueryFilters,
		addTests, addResultTests, addLookups, addFileLookups, addListLookups,
	} {
		add(r)
	}
	return r
})

// collections whose plugins are known without their names.
var collections = []string{
	"ansible.builtin.", "ansible.legacy.", "ansible.utils.", "ansible.netcommon.", "ansible.posix.", "community.general.", "community.crypto.", "kubernetes.core.",
}

// shortName is name without a known collection's.
func shortName(name string) string {
	for _, c := range collections {
		if rest, ok := strings.CutPrefix(name, c); ok {
			return rest
		}
	}
	return name
}

func (r *registry) filter(name string) *filter { return r.filters[shortName(name)] }
func (r *registry) test(name string) *test     { return r.tests[shortName(name)] }
func (r *registry) lookup(name string) *lookup { return r.lookups[shortName(name)] }

func (r *registry) filterNames() []string { return sortedKeys(r.filters) }
func (r *registry) testNames() []string   { return sortedKeys(r.tests) }
func (r *registry) lookupNames() []string { return sortedKeys(r.lookups) }

func sortedKeys[V any](m map[string]V) []string {
	out := make([]string, 0, len(m))
	for k := range m {
		out = append(out, k)
	}
	slices.Sort(out)
	return out
}

// addFilter adds fn under names, which are separated by blanks. The signature names the filtered value, too.
func (r *registry) addFilter(names, sig string, fn func(a args) any) {
	for _, name := range strings.Fields(names) {
		r.filters[name] = &filter{name: name, sig: sign(sig), fn: fn}
	}
}

// addLenientFilter adds a filter that takes undefined values.
func (r *registry) addLenientFilter(names, sig string, fn func(a args) any) {
	for _, name := range strings.Fields(names) {
		r.filters[name] = &filter{name: name, sig: sign(sig), fn: fn, lenient: true}
	}
}

func (r *registry) addTest(names, sig string, fn func(a args) bool) {
	for _, name := range strings.Fields(names) {
		r.tests[name] = &test{name: name, sig: sign(sig), fn: fn}
	}
}

func (r *registry) addLenientTest(names, sig string, fn func(a args) bool) {
	for _, name := range strings.Fields(names) {
		r.tests[name] = &test{name: name, sig: sign(sig), fn: fn, lenient: true}
	}
}

func (r *registry) addLookup(name, sig string, fn func(a args, terms []any) []any) {
	r.lookups[name] = &lookup{name: name, sig: sign(sig), fn: fn}
}
