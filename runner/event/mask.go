package event

import (
	"bytes"
	"encoding/json"
	"sort"
	"strings"
	"sync"
)

// Masked stands for a secret in everything that is shown or stored.
const Masked = "********"

// minSecret is the shortest string that is masked: shorter ones would blot out ordinary text.
const minSecret = 3

// Mask keeps secrets out of text. It is safe for concurrent use; the zero value knows no secrets.
type Mask struct {
	mu       sync.RWMutex // guards secrets and replacer
	secrets  map[string]bool
	replacer *strings.Replacer
}

// Add registers secrets. Empty and very short strings are passed over.
func (m *Mask) Add(secrets ...string) {
	m.mu.Lock()
	defer m.mu.Unlock()
	for _, s := range secrets {
		if len(s) < minSecret || m.secrets[s] {
			continue
		}
		if m.secrets == nil {
			m.secrets = map[string]bool{}
		}
		m.secrets[s] = true
		m.replacer = nil
	}
}

// Text is s with every secret replaced.
func (m *Mask) Text(s string) string {
	m.mu.RLock()
	none, r := len(m.secrets) == 0, m.replacer
	m.mu.RUnlock()
	if none {
		return s
	}
	if r == nil {
		r = m.build()
	}
	return r.Replace(s)
}

// InJSON tells that a secret stands in a JSON text, as it is or as JSON writes it.
func (m *Mask) InJSON(text []byte) bool {
	m.mu.RLock()
	defer m.mu.RUnlock()
	for s := range m.secrets {
		var written bytes.Buffer
		enc := json.NewEncoder(&written)
		enc.SetEscapeHTML(false)
		_ = enc.Encode(s) // a string always can be
		if bytes.Contains(text, bytes.Trim(written.Bytes(), "\"\n")) || bytes.Contains(text, []byte(s)) {
			return true
		}
	}
	return false
}

// build makes the replacer, longest secrets first so that one inside another does not leave a rest.
func (m *Mask) build() *strings.Replacer {
	m.mu.Lock()
	defer m.mu.Unlock()
	all := make([]string, 0, len(m.secrets))
	for s := range m.secrets {
		all = append(all, s)
	}
	sort.Slice(all, func(i, j int) bool { return len(all[i]) > len(all[j]) || len(all[i]) == len(all[j]) && all[i] < all[j] })
	var pairs []string
	for _, s := range all {
		pairs = append(pairs, s, Masked)
	}
	m.replacer = strings.NewReplacer(pairs...)
	return m.replacer
}

// Value is v, as encoding/json would decode it, with every string masked; v itself is not altered.
func (m *Mask) Value(v any) any {
	switch v := v.(type) {
	case string:
		return m.Text(v)
	case map[string]any:
		out := make(map[string]any, len(v))
		for k, e := range v {
			out[k] = m.Value(e)
		}
		return out
	case []any:
		out := make([]any, len(v))
		for i := range v {
			out[i] = m.Value(v[i])
		}
		return out
	case []string:
		out := make([]string, len(v))
		for i := range v {
			out[i] = m.Text(v[i])
		}
		return out
	}
	return v
}

// Sink is a sink that masks events before it hands them on.
func (m *Mask) Sink(to Sink) Sink { return masking{m, to} }

type masking struct {
	mask *Mask
	to   Sink
}

func (s masking) Emit(e Event) {
	e.Message, e.Hint, e.Task, e.Play = s.mask.Text(e.Message), s.mask.Text(e.Hint), s.mask.Text(e.Task), s.mask.Text(e.Play)
	e.Label = s.mask.Value(e.Label)
	if e.Result != nil {
		e.Result, _ = s.mask.Value(e.Result).(map[string]any)
	}
	diffs := make([]Diff, len(e.Diff))
	for i, d := range e.Diff {
		d.Before, d.After, d.Prepared = s.mask.Text(d.Before), s.mask.Text(d.After), s.mask.Text(d.Prepared)
		diffs[i] = d
	}
	e.Diff = diffs
	e.Table, e.Vars, e.Login = s.mask.table(e.Table), s.mask.vars(e.Vars), s.mask.Text(e.Login)
	s.to.Emit(e)
}

func (m *Mask) vars(vs []Var) []Var {
	var out []Var
	for _, v := range vs {
		v.Value = m.Text(v.Value)
		out = append(out, v)
	}
	return out
}

// table is t with every cell masked.
func (m *Mask) table(t *Table) *Table {
	if t == nil {
		return nil
	}
	out := &Table{Head: t.Head, Text: m.Text(t.Text)}
	for _, row := range t.Rows {
		masked, _ := m.Value(row).([]string)
		out.Rows = append(out.Rows, masked)
	}
	return out
}
