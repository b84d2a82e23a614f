package value

import (
	"math"
	"reflect"
	"testing"
	"time"
)

func TestExactReadsBackTheSame(t *testing.T) {
	for _, v := range []any{
		nil, true, "", "a <b> & \"c\"\n", 0, -5, 1 << 40, 0.5, 5.0, 1e300, 2.5e-8, []any{}, NewDict(),
		[]any{1, 1.0, "1", nil, []any{NewDict("z", 1, "a", NewDict("k", []any{false}))}},
	} {
		raw, err := Exact(v)
		if err != nil {
			t.Errorf("%#v: %v", v, err)
			continue
		}
		if got, err := FromJSON(raw); err != nil || !same(got, v) {
			t.Errorf("%#v became %s and then %#v (%v)", v, raw, got, err)
		}
	}
}

func same(a, b any) bool {
	d, isDict := a.(*Dict)
	e, both := b.(*Dict)
	if isDict && both && d.Len() == 0 {
		return e.Len() == 0
	}
	return reflect.DeepEqual(a, b)
}

func TestExactRefusesWhatJSONCannotSay(t *testing.T) {
	for _, v := range []any{time.Now(), Template{Text: "{{ x }}"}, NewDict(1, "one"), math.NaN(), math.Inf(1), []any{NewDict("a", time.Now())}} {
		if raw, err := Exact(v); err == nil {
			t.Errorf("%#v was written as %s", v, raw)
		}
	}
}
