package expr

// addResultTests adds the tests of what a task registered.
func addResultTests(r *registry) {
	result := func(names, key string, want bool) {
		r.addTest(names, "result", func(a args) bool { return resultFlag(a.v[0], key) == want })
	}
	result("failed failure", "failed", true)
	result("success succeeded successful", "failed", false)
	result("skipped skip", "skipped", true)
	result("started", "started", true)
	result("finished", "finished", true)
	result("timedout", "timedout", true)
	r.addTest("unreachable", "result", func(a args) bool { return resultFlag(a.v[0], "unreachable") })
	r.addTest("reachable", "result", func(a args) bool { return !resultFlag(a.v[0], "unreachable") })
	r.addTest("changed change", "result", func(a args) bool {
		d := resultOf(a.v[0], "changed")
		if v, ok := d.Get("changed"); ok {
			return truthy(v)
		}
		return anyChanged(d)
	})
}

func resultOf(v any, test string) *Dict {
	d, ok := asDict(v)
	if !ok {
		fail("The '%s' test expects a dictionary", test)
	}
	return d
}

func resultFlag(v any, key string) bool {
	flag, _ := resultOf(v, key).Get(key)
	return truthy(flag)
}

// anyChanged looks into the results of a loop.
func anyChanged(d *Dict) bool {
	results, _ := d.Get("results")
	items, _ := asList(results)
	for _, item := range items {
		if one, ok := asDict(item); ok {
			if v, ok := one.Get("changed"); ok && truthy(v) {
				return true
			}
		}
	}
	return false
}
