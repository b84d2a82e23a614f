package expr

import (
	"math"

	"github.com/calroll/calroll/playbooks/value"
)

// Dict is the mapping that values of this package use: it keeps the order of insertion, as Python's does, because
// loops over a mapping, and text made of one, show that order.
type Dict = value.Dict

// NewDict makes a Dict from alternating keys and values.
func NewDict(pairs ...any) *Dict { return value.NewDict(pairs...) }

// tupleKey stands for a tuple as a key, which a Go map cannot hold.
type tupleKey struct{ text string }

func (k tupleKey) String() string { return k.text }

// keyOf is key as a Dict holds it: 1.0 is the same key as 1. Lists and mappings cannot be keys.
func keyOf(key any) any {
	switch k := norm(key).(type) {
	case float64:
		if k == math.Trunc(k) && math.Abs(k) < 1<<53 {
			return int(k)
		}
		return k
	case Tuple:
		return tupleKey{pyRepr(k)}
	case []any, *List, *Dict, Mapping:
		fail("unhashable type: '%s'", typeName(key))
		return nil
	default:
		return k
	}
}

// dictGet finds a key; true and false find 1 and 0 as well, and the other way round.
func dictGet(d *Dict, key any) (any, bool) {
	k := keyOf(key)
	if v, ok := d.Get(k); ok {
		return v, true
	}
	switch k {
	case true:
		return d.Get(1)
	case false:
		return d.Get(0)
	case 1:
		return d.Get(true)
	case 0:
		return d.Get(false)
	}
	return nil, false
}

// dictSet sets a key; one that equals a key already there takes that one's place.
func dictSet(d *Dict, key, v any) {
	k := keyOf(key)
	for _, same := range [][2]any{{true, 1}, {false, 0}, {1, true}, {0, false}} {
		if k == same[0] {
			if _, ok := d.Get(same[1]); ok {
				k = same[1]
				break
			}
		}
	}
	d.Set(k, v)
}

func dictVals(d *Dict) []any {
	out := make([]any, 0, d.Len())
	for _, v := range d.All() {
		out = append(out, v)
	}
	return out
}

func stringKeys(d *Dict) []string {
	out := make([]string, 0, d.Len())
	for k := range d.All() {
		out = append(out, value.KeyString(k))
	}
	return out
}
