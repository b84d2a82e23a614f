package pki

import (
	"fmt"
	"regexp"
	"strconv"
	"time"
)

var relative = regexp.MustCompile(`^([+-])(?:(\d+)[wW])?(?:(\d+)[dD])?(?:(\d+)[hH])?(?:(\d+)[mM])?(?:(\d+)[sS]?)?$`)

// When is the moment that a text means: relative to now (+365d, -5m, +1w2d3h4m5s) or absolute (20301231235959Z), to the second.
func When(text string, now time.Time) (time.Time, error) {
	if m := relative.FindStringSubmatch(text); m != nil && len(text) > 1 {
		var by time.Duration
		for i, unit := range []time.Duration{7 * 24 * time.Hour, 24 * time.Hour, time.Hour, time.Minute, time.Second} {
			if n, err := strconv.Atoi(m[i+2]); err == nil {
				by += time.Duration(n) * unit
			}
		}
		if m[1] == "-" {
			by = -by
		}
		return now.UTC().Add(by).Truncate(time.Second), nil
	}
	for _, layout := range []string{"20060102150405Z", "200601021504Z", "20060102150405-0700", "200601021504-0700"} {
		if t, err := time.Parse(layout, text); err == nil {
			return t.UTC(), nil
		}
	}
	return time.Time{}, fmt.Errorf("the time %q is neither relative, such as +365d, nor absolute, such as 20301231235959Z", text)
}

// Stamp is a moment in the words of ASN.1.
func Stamp(t time.Time) string { return t.UTC().Format("20060102150405Z") }
