package expr

import (
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/calroll/calroll/playbooks/value"
)

// dateTime is a Python datetime, or a date of YAML.
type dateTime struct{ t time.Time }

func (d *dateTime) String() string {
	if d.t.Location() != naive {
		return value.TimeString(d.t)
	}
	return d.t.Format("2006-01-02 15:04:05.999999")
}

func (d *dateTime) iso() string {
	if d.t.Location() != naive {
		return value.TimeISO(d.t)
	}
	return d.t.Format("2006-01-02T15:04:05.999999")
}

// naive marks a time without a zone, which is how Python prints most of them.
var naive = time.FixedZone("", 0)

// timeDelta is the difference between two times.
type timeDelta struct{ d time.Duration }

func (d *timeDelta) days() int { return floorDiv(int(d.d), int(24*time.Hour)) }

func (d *timeDelta) seconds() int {
	return floorMod(int(d.d), int(24*time.Hour)) / int(time.Second)
}

func (d *timeDelta) String() string {
	s := d.seconds()
	text := fmt.Sprintf("%d:%02d:%02d", s/3600, s/60%60, s%60)
	if us := floorMod(int(d.d), int(time.Second)) / 1000; us != 0 {
		text += fmt.Sprintf(".%06d", us)
	}
	switch n := d.days(); n {
	case 0:
		return text
	case 1, -1:
		return fmt.Sprintf("%d day, %s", n, text)
	default:
		return fmt.Sprintf("%d days, %s", n, text)
	}
}

func (d *timeDelta) attr(name string) (any, bool) {
	switch name {
	case "days":
		return d.days(), true
	case "seconds":
		return d.seconds(), true
	case "microseconds":
		return floorMod(int(d.d), int(time.Second)) / 1000, true
	case "total_seconds":
		return &funcValue{name, func(*frame, callValues) any { return d.d.Seconds() }}, true
	}
	return nil, false
}

func (d *dateTime) attr(name string) (any, bool) {
	parts := map[string]int{
		"year": d.t.Year(), "month": int(d.t.Month()), "day": d.t.Day(), "hour": d.t.Hour(), "minute": d.t.Minute(),
		"second": d.t.Second(), "microsecond": d.t.Nanosecond() / 1000,
	}
	if n, ok := parts[name]; ok {
		return n, true
	}
	simple := map[string]func(a args) any{
		"isoformat": func(args) any { return d.iso() },
		"timestamp": func(args) any { return float64(d.t.UnixNano()) / 1e9 },
		"weekday":   func(args) any { return (int(d.t.Weekday()) + 6) % 7 },
		"date":      func(args) any { return d.t.Format("2006-01-02") },
	}
	if fn, ok := simple[name]; ok {
		return global(name, "", fn), true
	}
	if name == "strftime" {
		return global(name, "format", func(a args) any { return strftime(a.str(0), d.t) }), true
	}
	return nil, false
}

// timeOp is + and - of times and differences.
func timeOp(op string, a, b any) (any, bool) {
	x, okx := a.(*dateTime)
	y, oky := b.(*dateTime)
	dx, okdx := a.(*timeDelta)
	dy, okdy := b.(*timeDelta)
	switch {
	case op == "-" && okx && oky:
		return &timeDelta{x.t.Sub(y.t)}, true
	case op == "-" && okx && okdy:
		return &dateTime{x.t.Add(-dy.d)}, true
	case op == "+" && okx && okdy:
		return &dateTime{x.t.Add(dy.d)}, true
	case op == "+" && okdx && okdy:
		return &timeDelta{dx.d + dy.d}, true
	case op == "-" && okdx && okdy:
		return &timeDelta{dx.d - dy.d}, true
	}
	return nil, false
}

func addTimeFilters(r *registry) {
	r.addFilter("strftime", "string_format, second=None, utc=false", func(a args) any {
		t := a.f.r.env.opts.Now()
		if !a.nil(1) {
			f, ok := toFloat(a.v[1], nil).(float64)
			if !ok {
				fail("Invalid value for epoch value (%s)", pyStr(a.v[1]))
			}
			t = time.Unix(0, int64(f*1e9))
		}
		if a.bool(2) {
			t = t.UTC()
		}
		return strftime(a.str(0), t)
	})
	r.addFilter("to_datetime", "string, format='%Y-%m-%d %H:%M:%S'", func(a args) any {
		if d, ok := a.v[0].(*dateTime); ok {
			return d
		}
		t, err := strptime(a.str(0), a.str(1))
		if err != nil {
			failErr(err)
		}
		return &dateTime{t}
	})
}

var strftimeLayouts = map[byte]string{
	'Y': "2006", 'y': "06", 'm': "01", 'd': "02", 'H': "15", 'I': "03", 'M': "04", 'S': "05", 'p': "PM", 'B': "January", 'b': "Jan", 'h': "Jan",
	'A': "Monday", 'a': "Mon", 'z': "-0700", 'Z': "MST", 'j': "002", 'e': "_2", 'F': "2006-01-02", 'T': "15:04:05", 'D': "01/02/06", 'R': "15:04",
	'c': "Mon Jan _2 15:04:05 2006", 'x': "01/02/06", 'X': "15:04:05", 'r': "03:04:05 PM",
}

// strftime writes t as C's function of that name does.
func strftime(format string, t time.Time) string {
	var b strings.Builder
	for i := 0; i < len(format); i++ {
		if format[i] != '%' || i+1 == len(format) {
			b.WriteByte(format[i])
			continue
		}
		i++
		if layout, ok := strftimeLayouts[format[i]]; ok {
			b.WriteString(t.Format(layout))
			continue
		}
		b.WriteString(strftimeOther(format[i], t))
	}
	return b.String()
}

func strftimeOther(c byte, t time.Time) string {
	year, week := t.ISOWeek()
	switch c {
	case 's':
		return strconv.FormatInt(t.Unix(), 10)
	case 'f':
		return fmt.Sprintf("%06d", t.Nanosecond()/1000)
	case 'u':
		return strconv.Itoa((int(t.Weekday())+6)%7 + 1)
	case 'w':
		return strconv.Itoa(int(t.Weekday()))
	case 'C':
		return fmt.Sprintf("%02d", t.Year()/100)
	case 'G':
		return strconv.Itoa(year)
	case 'V':
		return fmt.Sprintf("%02d", week)
	case 'U':
		return fmt.Sprintf("%02d", (t.YearDay()+6-int(t.Weekday()))/7)
	case 'W':
		return fmt.Sprintf("%02d", (t.YearDay()+6-(int(t.Weekday())+6)%7)/7)
	case 'n':
		return "\n"
	case 't':
		return "\t"
	case '%':
		return "%"
	}
	return "%" + string(c)
}

// strptime reads a time by a format of strftime's letters.
func strptime(s, format string) (time.Time, error) {
	var layout strings.Builder
	for i := 0; i < len(format); i++ {
		if format[i] != '%' || i+1 == len(format) {
			layout.WriteByte(format[i])
			continue
		}
		i++
		switch l, ok := strptimeLayouts[format[i]]; {
		case ok:
			layout.WriteString(l)
		case format[i] == '%':
			layout.WriteByte('%')
		default:
			return time.Time{}, fmt.Errorf("'%c' is a bad directive in format '%s'", format[i], format)
		}
	}
	t, err := time.ParseInLocation(layout.String(), s, naive)
	if err != nil {
		return t, fmt.Errorf("time data '%s' does not match format '%s'", s, format)
	}
	return t, nil
}

// strptimeLayouts take one digit where strftime writes two.
var strptimeLayouts = map[byte]string{
	'Y': "2006", 'y': "06", 'm': "1", 'd': "2", 'H': "15", 'I': "3", 'M': "4", 'S': "5", 'f': "999999", 'p': "PM", 'B': "January", 'b': "Jan", 'A': "Monday",
	'a': "Mon", 'z': "-0700", 'Z': "MST", 'j': "002", 'T': "15:04:05", 'F': "2006-01-02",
}
