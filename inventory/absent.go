package inventory

import (
	"fmt"
	"slices"
	"time"

	"github.com/calroll/calroll/playbooks/source"
	"github.com/calroll/calroll/playbooks/value"
)

// absentVar is the variable that says that a host is away: absent: {until: 2027-01-31, why: the disk is being replaced}. A host's own wins over
// that of its groups, and absent: false takes one back.
const absentVar = "absent"

// Absence says that a host is known to be away: no run connects to it.
type Absence struct {
	Until time.Time // the last day, at its beginning, in local time
	Why   string
	Pos   source.Pos // where it is written
}

// String reads on from "absent: ".
func (a *Absence) String() string {
	return fmt.Sprintf("%s (until %s)", a.Why, a.Until.Format(time.DateOnly))
}

// Absence is why and until when the host called name is away, nil for one that is there. It is settled when the inventory is loaded.
func (inv *Inventory) Absence(name string) *Absence { return inv.absent[name] }

// absences finds the hosts that are away on the day of now. One that should be back counts as present, with a warning.
func (l *loader) absences(now time.Time) {
	l.inv.absent = map[string]*Absence{}
	var warned []source.Pos
	for _, h := range l.inv.hosts {
		a := l.absence(h)
		switch {
		case a == nil:
		case now.Before(a.Until.AddDate(0, 0, 1)):
			l.inv.absent[h.Name] = a
		case !slices.Contains(warned, a.Pos):
			warned = append(warned, a.Pos)
			l.inv.Warnings.Addf(a.Pos, "%s was absent until %s, which has passed: it counts as present again", h.Name, a.Until.Format(time.DateOnly)).
				WithHint("take the line out, or give it a later day")
		}
	}
}

// absence is what the variables of h say, the nearest of them.
func (l *loader) absence(h *Host) *Absence {
	layers, err := l.inv.Layers(h, nil)
	if err != nil {
		return nil // it was reported when the files were read
	}
	var nearest *Absence
	for _, layer := range layers {
		v, ok := layer.Vars.Var(absentVar)
		if !ok {
			continue
		}
		a, problem := readAbsence(v, layer.Vars.Pos(absentVar))
		if problem != nil && !slices.ContainsFunc(l.problems, func(p *source.Problem) bool { return p.Pos == problem.Pos && p.Msg == problem.Msg }) {
			l.problems = append(l.problems, problem)
		}
		nearest = a
	}
	return nearest
}

const absentHint = "write absent: {until: 2027-01-31, why: the disk is being replaced}, or absent: false"

func readAbsence(v any, pos source.Pos) (*Absence, *source.Problem) {
	switch v := v.(type) {
	case bool:
		if !v {
			return nil, nil
		}
		return nil, source.Errorf(pos, "cannot use %q: it does not say why, and until when", absentVar).WithHint(absentHint)
	case *value.Dict:
		return readAbsentDict(v, pos)
	}
	return nil, source.Errorf(pos, "cannot use %q: it is %s, and a mapping with until and why is needed", absentVar, kindOf(v)).WithHint(absentHint)
}

func readAbsentDict(d *value.Dict, pos source.Pos) (*Absence, *source.Problem) {
	a := &Absence{Pos: pos}
	for key, v := range d.All() {
		switch name := value.KeyString(key); name {
		case "until":
			day, ok := dayOf(v)
			if !ok {
				return nil, source.Errorf(pos, "cannot use %q of %q: %v is no day", name, absentVar, v).WithHint("write it as 2027-01-31")
			}
			a.Until = day
		case "why":
			text, ok := v.(string)
			if !ok {
				return nil, source.Errorf(pos, "cannot use %q of %q: it is %s, and a text is needed", name, absentVar, kindOf(v))
			}
			a.Why = text
		default:
			return nil, source.Errorf(pos, "cannot use %q in %q: its keys are until and why", name, absentVar).WithHint("%s", nearest(name, []string{"until", "why"}))
		}
	}
	if a.Until.IsZero() || a.Why == "" {
		return nil, source.Errorf(pos, "cannot use %q: it needs both until and why, or a host is away for ever and nobody knows the reason", absentVar).WithHint(absentHint)
	}
	return a, nil
}

// dayOf reads a day as YAML reads it, or as a text.
func dayOf(v any) (time.Time, bool) {
	if t, ok := v.(time.Time); ok {
		v = t.Format(time.DateOnly)
	}
	text, ok := v.(string)
	if !ok {
		return time.Time{}, false
	}
	day, err := time.ParseInLocation(time.DateOnly, text, time.Local)
	return day, err == nil
}

// kindOf names a value for a message.
func kindOf(v any) string {
	switch v := v.(type) {
	case nil:
		return "empty"
	case []any:
		return "a list"
	case value.Template:
		return "a template, which is read before there are hosts"
	case value.Vault:
		return "an encrypted value"
	case string:
		return fmt.Sprintf("%q", v)
	}
	return fmt.Sprint(v)
}
