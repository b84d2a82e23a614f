package tasks

import (
	"context"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"slices"

	"golang.org/x/sys/unix"
)

// attrsMeta is the Meta of an attrs record. The alteration takes several system calls, so after a cut each attribute may have
// its old or its new value: the state is judged attribute by attribute, and of those only that differ between the two.
type attrsMeta struct {
	Before object `json:"before"`
	Want   object `json:"want"`
}

func (m attrsMeta) owner() bool { return m.Before.UID != m.Want.UID || m.Before.GID != m.Want.GID }
func (m attrsMeta) times() bool {
	return m.Before.Mtime != m.Want.Mtime || m.Before.Atime != m.Want.Atime
}

// mtime tells whether the time of change is part of the state; a folder's changes with whatever happens in it.
func (m attrsMeta) mtime() bool { return m.Before.Mtime != m.Want.Mtime && m.Before.Type != typeDir }

func (m attrsMeta) same() bool {
	return !m.mode() && !m.owner() && !m.times() && len(m.xattrs()) == 0
}

// mode and xattrs count set-id bits and capabilities as touched by a change of owner even if they end as they were:
// the kernel drops them on the way.
func (m attrsMeta) mode() bool {
	return m.Before.Mode != m.Want.Mode || m.owner() && (m.Before.Mode|m.Want.Mode)&(unix.S_ISUID|unix.S_ISGID) != 0
}

func (m attrsMeta) xattrs() []string {
	names := m.Before.xattrsThatDiffer(m.Want)
	if _, ok := m.Before.Xattrs[capabilityXattr]; ok && m.owner() && !slices.Contains(names, capabilityXattr) {
		names = append(names, capabilityXattr)
	}
	return names
}

// word is the state of an attrs record: what o has of the attributes that the record is about. The time of access is not
// part of it, because reading changes it.
func (m attrsMeta) word(o object) string {
	w := o.Type
	if m.mode() {
		w += fmt.Sprintf(" mode=%04o", o.Mode)
	}
	if m.owner() {
		w += fmt.Sprintf(" owner=%d:%d", o.UID, o.GID)
	}
	if m.mtime() {
		w += fmt.Sprintf(" mtime=%d", o.Mtime)
	}
	for _, n := range m.xattrs() {
		w += fmt.Sprintf(" %s=%s", n, hex.EncodeToString(o.Xattrs[n]))
	}
	return w
}

// between tells whether o is what a cut on the way from Before to Want, or back, can leave.
func (m attrsMeta) between(o object) bool {
	b, w := m.Before, m.Want
	switch {
	case o.Type != b.Type,
		m.mode() && !slices.Contains(m.modesBetween(), o.Mode),
		m.owner() && (o.UID != b.UID && o.UID != w.UID || o.GID != b.GID && o.GID != w.GID),
		m.mtime() && o.Mtime != b.Mtime && o.Mtime != w.Mtime:
		return false
	}
	for _, n := range m.xattrs() {
		v := string(o.Xattrs[n])
		if v != string(b.Xattrs[n]) && v != string(w.Xattrs[n]) && (v != "" || n != capabilityXattr) {
			return false
		}
	}
	return true
}

// modesBetween are the modes on the way: a change of owner drops set-id bits, an access list brings its own nine bits.
func (m attrsMeta) modesBetween() []uint32 {
	var modes []uint32
	for _, from := range []uint32{m.Before.Mode, m.Want.Mode} {
		for _, special := range []uint32{from, from &^ unix.S_ISUID, from &^ unix.S_ISGID, from &^ (unix.S_ISUID | unix.S_ISGID)} {
			modes = append(modes, special, special&^0o777|m.Before.Mode&0o777, special&^0o777|m.Want.Mode&0o777)
		}
	}
	return modes
}

// back is now with the attributes that the record is about as they were.
func (m attrsMeta) back(now object) object {
	o := now
	if m.mode() {
		o.Mode = m.Before.Mode
	}
	if m.owner() {
		o.UID, o.GID, o.Mode = m.Before.UID, m.Before.GID, m.Before.Mode
	}
	o.Xattrs = map[string][]byte{}
	for n, v := range now.Xattrs {
		o.Xattrs[n] = v
	}
	for _, n := range m.xattrs() {
		if v, ok := m.Before.Xattrs[n]; ok {
			o.Xattrs[n] = v
		} else {
			delete(o.Xattrs, n)
		}
	}
	o.Atime, o.Mtime = m.Before.Atime, m.Before.Mtime
	return o
}

// SetAttrs gives what is at path the attributes that are asked for. A link is not followed: resolve it first where that is meant.
// Nothing at path is an error, except in check mode, where it counts as a change.
func (s *Sys) SetAttrs(ctx context.Context, path string, a Attrs) (bool, error) {
	op := "set the attributes of " + path
	p, err := openPlace(path)
	if absent(err) && s.Check() {
		return true, nil
	}
	if err != nil {
		return false, failed(op, err)
	}
	defer p.close()
	old, err := p.look()
	if err != nil {
		return false, failed(op, err)
	}
	if old.Type == typeAbsent {
		if s.Check() {
			return true, nil
		}
		return false, failed(op, unix.ENOENT)
	}
	return s.setAttrs(ctx, p, old, a)
}

func (s *Sys) setAttrs(ctx context.Context, p *place, old object, a Attrs) (bool, error) {
	op := "set the attributes of " + p.path
	want, err := a.want(old)
	if err != nil {
		return false, failed(op, err)
	}
	m := attrsMeta{Before: old, Want: want}
	if m.same() {
		return false, nil
	}
	s.addAttrsDiff(p.path, m)
	if s.Check() {
		return true, nil
	}
	if err := s.record(ctx, Before{Kind: "attrs", Key: p.path, Was: m.word(old), After: m.word(want)}, m, nil); err != nil {
		return false, err
	}
	if err := p.setAttrs(want, m.times(), s.step); err != nil {
		return false, failed(op, err)
	}
	return true, failed(op, p.syncObject(want))
}

// syncObject makes the attributes of a file or folder last; others are synced with their folder.
func (p *place) syncObject(o object) error {
	if o.Type != typeFile && o.Type != typeDir {
		return p.fsync()
	}
	f, err := p.open(unix.O_RDONLY|unix.O_NONBLOCK, 0)
	if err != nil {
		return nil //nolint:nilerr // not readable for us, so not ours to sync; the attributes are set
	}
	defer f.Close()
	return f.Sync()
}

func (s *Sys) addAttrsDiff(path string, m attrsMeta) {
	before, after := map[string]any{"path": path}, map[string]any{"path": path}
	put := func(name string, old, want any) {
		if old != want {
			before[name], after[name] = old, want
		}
	}
	put("mode", fmt.Sprintf("%04o", m.Before.Mode), fmt.Sprintf("%04o", m.Want.Mode))
	put("owner", m.Before.UID, m.Want.UID)
	put("group", m.Before.GID, m.Want.GID)
	put("mtime", float64(m.Before.Mtime)/1e9, float64(m.Want.Mtime)/1e9)
	put("atime", float64(m.Before.Atime)/1e9, float64(m.Want.Atime)/1e9)
	for _, n := range m.xattrs() {
		put(n, fmt.Sprintf("%q", m.Before.Xattrs[n]), fmt.Sprintf("%q", m.Want.Xattrs[n]))
	}
	s.AddDiff(Diff{Before: before, After: after})
}

// attrsKind restores attributes.
type attrsKind struct{ kindOptions }

// State is the attributes that the record is about; a mixture of old and new counts as the new, because only a cut makes it.
func (k attrsKind) State(_ context.Context, b Before) (string, error) {
	op := "look at " + b.Key
	var m attrsMeta
	if err := json.Unmarshal(b.Meta, &m); err != nil {
		return "", failed(op, err)
	}
	p, err := openPlace(b.Key)
	if absent(err) {
		return typeAbsent, nil
	}
	if err != nil {
		return "", failed(op, err)
	}
	defer p.close()
	o, err := p.look()
	if err != nil {
		return "", failed(op, err)
	}
	if w := m.word(o); w != b.Was && m.between(o) {
		return b.After, nil
	}
	return m.word(o), nil
}

// Restore sets the attributes back that the record is about.
func (k attrsKind) Restore(_ context.Context, b Before, _ Kept, _ bool) error {
	op := "restore the attributes of " + b.Key
	var m attrsMeta
	if err := json.Unmarshal(b.Meta, &m); err != nil {
		return failed(op, err)
	}
	p, err := openPlace(b.Key)
	if err != nil {
		return failed(op, err)
	}
	defer p.close()
	now, err := p.look()
	if err != nil {
		return failed(op, err)
	}
	if now.Type != m.Before.Type {
		return refused(op, fmt.Sprintf("it is %s now, and was %s", now.Type, m.Before.Type))
	}
	if err := p.setAttrs(m.back(now), m.times(), k.Step); err != nil {
		return failed(op, err)
	}
	return failed(op, p.syncObject(m.Before))
}
