package playbooks

import (
	"errors"
	"fmt"
	"strconv"
	"strings"
	"time"
)

// duration is a length of time, unless it is a template.
func (r *reader) duration(f field) Setting[string] {
	s := setting[string](r, f)
	if text, ok := s.Constant(); ok {
		if _, err := ParseDuration(text); err != nil {
			r.problems.Addf(s.Pos, "cannot use %q: %w", f.key, err).WithHint("write 60s, 5m or 1h30m")
		}
	}
	return s
}

// ParseDuration reads a length of time: "60s", "5m", "1h30m", or a number of seconds. It is longer than nothing.
func ParseDuration(text string) (time.Duration, error) {
	text = strings.TrimSpace(text)
	d, err := time.ParseDuration(text)
	if seconds, numErr := strconv.ParseFloat(text, 64); numErr == nil {
		d, err = time.Duration(seconds*float64(time.Second)), nil
	}
	switch {
	case err != nil:
		return 0, fmt.Errorf("%s is no length of time", strconv.Quote(text))
	case d <= 0:
		return 0, errors.New("a length of time is more than nothing")
	}
	return d, nil
}
