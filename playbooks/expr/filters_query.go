package expr

import (
	"github.com/jmespath/go-jmespath"
)

func addQueryFilters(r *registry) {
	r.addFilter("json_query", "data, expr", func(a args) any {
		out, err := jmespath.Search(a.str(1), forQuery(a.v[0]))
		if err != nil {
			fail("JMESPathError in json_query filter plugin: %w", err)
		}
		return fromQuery(out)
	})
}

// forQuery gives v the types that go-jmespath knows: all numbers are float64 there.
func forQuery(v any) any {
	switch v := Plain(v).(type) {
	case map[string]any:
		for k, item := range v {
			v[k] = forQuery(item)
		}
		return v
	case []any:
		for i, item := range v {
			v[i] = forQuery(item)
		}
		return v
	case int:
		return float64(v)
	default:
		return v
	}
}

func fromQuery(v any) any {
	switch v := v.(type) {
	case map[string]any:
		for k, item := range v {
			v[k] = fromQuery(item)
		}
		return dictOfMap(v)
	case []any:
		for i, item := range v {
			v[i] = fromQuery(item)
		}
		return v
	case float64:
		if v == float64(int(v)) {
			return int(v)
		}
		return v
	default:
		return v
	}
}
