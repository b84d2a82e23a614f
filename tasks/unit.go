package tasks

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"

	"github.com/coreos/go-systemd/v22/dbus"
)

// UnitState is what a systemd unit shall be; nil parts stay as they are.
type UnitState struct {
	Enabled, Active, Masked *bool
	Force                   bool // enabling and masking replace links that are in the way
	NoBlock                 bool // do not wait until it has started or stopped
}

// UnitInfo is what systemd says of a unit.
type UnitInfo struct {
	Name          string // with its suffix
	LoadState     string // loaded, not-found, masked, bad-setting, error
	ActiveState   string // active, reloading, inactive, failed, activating, deactivating
	SubState      string
	UnitFileState string // enabled, disabled, static, masked, ...; "" when there is no file
	FragmentPath  string
	Properties    map[string]any // all that org.freedesktop.systemd1.Unit has
}

// Exists tells whether systemd knows the unit: by a file, or because it made it itself.
func (u UnitInfo) Exists() bool { return u.LoadState != "not-found" }

// Enabled tells whether `systemctl is-enabled` would say yes.
func (u UnitInfo) Enabled() bool {
	switch u.UnitFileState {
	case "enabled", "enabled-runtime", "static", "alias", "indirect", "generated", "transient":
		return true
	}
	return false
}

// Active tells whether the unit is running or about to.
func (u UnitInfo) Active() bool {
	switch u.ActiveState {
	case "active", "reloading", "activating", "refreshing":
		return true
	}
	return false
}

// Masked tells whether the unit is linked to /dev/null.
func (u UnitInfo) Masked() bool {
	return u.LoadState == "masked" || strings.HasPrefix(u.UnitFileState, "masked")
}

// Words of unit records; yes first.
var unitWords = map[string][2]string{"enable": {"enabled", "disabled"}, "active": {"active", "inactive"}, "mask": {"masked", "not masked"}}

func (u UnitInfo) word(aspect string) string {
	is := map[string]bool{"enable": u.Enabled(), "active": u.Active(), "mask": u.Masked()}[aspect]
	return unitWord(aspect, is)
}

func unitWord(aspect string, yes bool) string {
	if yes {
		return unitWords[aspect][0]
	}
	return unitWords[aspect][1]
}

// UnitName adds .service to a name without a suffix that systemd knows.
func UnitName(name string) string {
	switch filepath.Ext(name) {
	case ".service", ".socket", ".device", ".mount", ".automount", ".swap", ".target", ".path", ".timer", ".slice", ".scope":
		return name
	}
	return name + ".service"
}

// withSystemd calls f with a connection: systemd's own socket as root, which needs no bus daemon; else the system bus.
func withSystemd(ctx context.Context, op string, f func(*dbus.Conn) error) error {
	dial := dbus.NewSystemConnectionContext
	if os.Geteuid() == 0 {
		dial = dbus.NewSystemdConnectionContext
	}
	c, err := dial(ctx)
	if err != nil && os.Geteuid() == 0 {
		c, err = dbus.NewSystemConnectionContext(ctx)
	}
	if err != nil {
		return &Error{Kind: Failed, Op: op, Detail: "systemd does not answer", Err: err}
	}
	defer c.Close()
	return failed(op, f(c))
}

// Unit is what systemd says of a unit. A unit that it does not know is no error: see Exists.
func (s *Sys) Unit(ctx context.Context, name string) (UnitInfo, error) { return readUnit(ctx, name) }

func readUnit(ctx context.Context, name string) (u UnitInfo, err error) {
	err = withSystemd(ctx, "ask for the unit "+name, func(c *dbus.Conn) error {
		u, err = unitOf(ctx, c, name)
		return err
	})
	return u, err
}

func unitOf(ctx context.Context, c *dbus.Conn, name string) (UnitInfo, error) {
	u := UnitInfo{Name: UnitName(name)}
	var err error
	if u.Properties, err = c.GetUnitPropertiesContext(ctx, u.Name); err != nil {
		return u, err
	}
	text := func(key string) string { s, _ := u.Properties[key].(string); return s }
	u.LoadState, u.ActiveState, u.SubState = text("LoadState"), text("ActiveState"), text("SubState")
	u.UnitFileState, u.FragmentPath = text("UnitFileState"), text("FragmentPath")
	return u, nil
}

// unitMeta is the Meta of a unit record.
type unitMeta struct {
	Failed bool              `json:"failed,omitempty"` // it had failed before
	Aspect string            `json:"aspect"`           // enable, active, mask
	Links  map[string]string `json:"links,omitempty"`  // the links below /etc/systemd/system that concern the unit, and where they lead
	Dirs   []string          `json:"dirs,omitempty"`   // the folders of such links that exist
	Names  []string          `json:"names,omitempty"`  // the unit and those that are enabled with it
}

// SetUnit brings a unit to the state: unmasks, enables and starts it, or stops, disables and masks it, each step recorded. Starting and
// stopping wait for the end of the job and fail when it failed, unless NoBlock.
func (s *Sys) SetUnit(ctx context.Context, name string, want UnitState) (bool, error) {
	name = UnitName(name)
	changed := false
	err := withSystemd(ctx, "set the unit "+name, func(c *dbus.Conn) error {
		for _, step := range want.steps() {
			did, err := s.setUnitAspect(ctx, c, name, step.aspect, step.yes, want)
			changed = changed || did
			if err != nil {
				return err
			}
		}
		return nil
	})
	return changed, err
}

type unitStep struct {
	aspect string
	yes    bool
}

// steps are in the order that is safe: what allows comes first, what forbids last.
func (u UnitState) steps() []unitStep {
	var steps []unitStep
	add := func(aspect string, is *bool, when bool) {
		if is != nil && *is == when {
			steps = append(steps, unitStep{aspect, when})
		}
	}
	add("mask", u.Masked, false)
	add("enable", u.Enabled, true)
	add("active", u.Active, true)
	add("active", u.Active, false)
	add("enable", u.Enabled, false)
	add("mask", u.Masked, true)
	return steps
}

func (s *Sys) setUnitAspect(ctx context.Context, c *dbus.Conn, name, aspect string, yes bool, want UnitState) (bool, error) {
	u, err := unitOf(ctx, c, name)
	if err != nil {
		return false, err
	}
	was, after := u.word(aspect), unitWord(aspect, yes)
	if was == after {
		return false, nil
	}
	s.AddDiff(Diff{Before: map[string]any{aspect: was}, After: map[string]any{aspect: after}, BeforeHeader: name, AfterHeader: name})
	if s.Check() {
		return true, nil
	}
	meta := unitMeta{Aspect: aspect, Failed: u.ActiveState == "failed"}
	if aspect != "active" {
		if err := meta.readLinks(u); err != nil {
			return false, err
		}
	}
	if err := s.record(ctx, Before{Kind: "unit", Key: name, Was: was, After: after}, meta, nil); err != nil {
		return false, err
	}
	if err := alterUnit(ctx, c, name, aspect, yes, want); err != nil {
		return true, err
	}
	s.step("unit " + after)
	if aspect == "active" {
		return true, nil
	}
	return true, s.DaemonReload(ctx) // as systemctl does, so that the new links count
}

func alterUnit(ctx context.Context, c *dbus.Conn, name, aspect string, yes bool, want UnitState) error {
	var err error
	switch {
	case aspect == "active" && yes:
		return unitJob(ctx, "start", name, want.NoBlock, c.StartUnitContext)
	case aspect == "active":
		return unitJob(ctx, "stop", name, want.NoBlock, c.StopUnitContext)
	case aspect == "enable" && yes:
		_, _, err = c.EnableUnitFilesContext(ctx, []string{name}, false, want.Force)
	case aspect == "enable":
		_, err = c.DisableUnitFilesContext(ctx, []string{name}, false)
	case yes:
		_, err = c.MaskUnitFilesContext(ctx, []string{name}, false, want.Force)
	default:
		_, err = c.UnmaskUnitFilesContext(ctx, []string{name}, false)
	}
	return err
}

// unitJob starts a job and waits for its result.
func unitJob(ctx context.Context, what, name string, noBlock bool, start func(context.Context, string, string, chan<- string) (int, error)) error {
	if noBlock {
		_, err := start(ctx, name, "replace", nil)
		return err
	}
	result := make(chan string, 1)
	if _, err := start(ctx, name, "replace", result); err != nil {
		return err
	}
	select {
	case r := <-result:
		if r == "done" || r == "skipped" {
			return nil
		}
		return &Error{Kind: Failed, Op: what + " " + name, Detail: "the job ended with " + r + "; journalctl -u " + name + " says more"}
	case <-ctx.Done():
		return &Error{Kind: Canceled, Op: what + " " + name, Err: context.Cause(ctx)}
	}
}

// RestartUnit restarts a unit, and records the restart to be fired again when the run is undone. A unit that is not
// active is started, which is a change of state and undone as such.
func (s *Sys) RestartUnit(ctx context.Context, name string, noBlock bool) error {
	return s.refresh(ctx, "restart", UnitName(name), noBlock)
}

// ReloadUnit tells a unit to read its configuration again (systemctl reload); an inactive one is started, as Ansible does.
func (s *Sys) ReloadUnit(ctx context.Context, name string, noBlock bool) error {
	return s.refresh(ctx, "reload", UnitName(name), noBlock)
}

func (s *Sys) refresh(ctx context.Context, do, name string, noBlock bool) error {
	u, err := readUnit(ctx, name)
	if err != nil {
		return err
	}
	if !u.Active() {
		yes := true
		_, err := s.SetUnit(ctx, name, UnitState{Active: &yes, NoBlock: noBlock})
		return err
	}
	if s.Check() {
		return nil
	}
	if err := s.recordRefresh(ctx, do, name); err != nil {
		return err
	}
	return redo(ctx, do, name, noBlock)
}

func redo(ctx context.Context, do, name string, noBlock bool) error {
	return withSystemd(ctx, do+" "+name, func(c *dbus.Conn) error {
		start := c.RestartUnitContext
		if do == "reload" {
			start = c.ReloadUnitContext
		}
		return unitJob(ctx, do, name, noBlock, start)
	})
}

func refreshUnit(ctx context.Context, do, name string) (bool, error) {
	u, err := readUnit(ctx, name)
	if err != nil || !u.Active() {
		return false, err
	}
	return true, redo(ctx, do, name, false)
}

// DaemonReload makes systemd read its unit files again. It is a refresh: undo fires it once more.
func (s *Sys) DaemonReload(ctx context.Context) error {
	if s.Check() {
		return nil
	}
	if err := s.recordRefresh(ctx, "daemon-reload", ""); err != nil {
		return err
	}
	return daemonReload(ctx)
}

func daemonReload(ctx context.Context) error {
	return withSystemd(ctx, "reload systemd's units", func(c *dbus.Conn) error { return c.ReloadContext(ctx) })
}

// DaemonReexec makes systemd start itself anew. Nothing about it can be undone.
func (s *Sys) DaemonReexec(ctx context.Context) error {
	if s.Check() {
		return nil
	}
	out, err := run(ctx, Cmd{Argv: []string{"systemctl", "daemon-reexec"}})
	if err == nil && out.Code != 0 {
		err = &Error{Kind: Failed, Op: "start systemd anew", Detail: strings.TrimSpace(string(out.Stderr))}
	}
	return err
}

// unitLinks is where enabling and masking leave their links.
const unitLinks = "/etc/systemd/system"

// readLinks notes the links that concern the unit and those that its file says are enabled with it.
func (m *unitMeta) readLinks(u UnitInfo) error {
	m.Names = append([]string{u.Name}, alsoOf(u.FragmentPath)...)
	links, dirs, err := linksOf(m.Names)
	m.Links, m.Dirs = links, dirs
	return err
}

// alsoOf are the units that a unit file's [Install] section names with Also=.
func alsoOf(path string) []string {
	f, err := os.Open(path)
	if err != nil {
		return nil
	}
	defer f.Close()
	var names []string
	for lines := bufio.NewScanner(f); lines.Scan(); {
		if v, ok := strings.CutPrefix(strings.ReplaceAll(lines.Text(), " ", ""), "Also="); ok && v != "" {
			_, words, _ := strings.Cut(lines.Text(), "=")
			names = append(names, strings.Fields(words)...)
		}
	}
	return names
}

func linksOf(names []string) (links map[string]string, dirs []string, err error) {
	links = map[string]string{}
	err = filepath.WalkDir(unitLinks, func(path string, e os.DirEntry, err error) error {
		switch {
		case errors.Is(err, os.ErrNotExist):
			return nil
		case err != nil:
			return err
		case e.IsDir() && path != unitLinks:
			dirs = append(dirs, path)
		case e.Type()&os.ModeSymlink != 0:
			target, err := os.Readlink(path)
			if err == nil && (slices.Contains(names, filepath.Base(path)) || slices.Contains(names, filepath.Base(target))) {
				links[path] = target
			}
		}
		return nil
	})
	return links, dirs, err
}

// putLinks makes the links those that were noted.
func (m unitMeta) putLinks() error {
	now, _, err := linksOf(m.Names)
	if err != nil {
		return err
	}
	for path, target := range now {
		if m.Links[path] == target {
			continue
		}
		if err := os.Remove(path); err != nil {
			return err
		}
		if dir := filepath.Dir(path); dir != unitLinks && !slices.Contains(m.Dirs, dir) {
			_ = os.Remove(dir) // stays when something else is in it
		}
	}
	for _, path := range slices.Sorted(maps.Keys(m.Links)) {
		if now[path] == m.Links[path] {
			continue
		}
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			return err
		}
		if err := os.Symlink(m.Links[path], path); err != nil {
			return err
		}
		if err := syncDir(filepath.Dir(path)); err != nil {
			return err
		}
	}
	for _, dir := range m.Dirs { // systemd takes away folders that it empties
		if err := os.MkdirAll(dir, 0o755); err != nil {
			return err
		}
	}
	return syncDir(unitLinks)
}

func syncDir(path string) error {
	f, err := os.Open(path)
	if err != nil {
		return err
	}
	defer f.Close()
	return f.Sync()
}

// unitState remembers that unit files were restored, so that systemd reads them before it is asked about units.
type unitState struct {
	mu    sync.Mutex // guards all below
	stale bool       // a unit file was restored since systemd read them
	fresh bool       // systemd has read them in this undo, so an earlier undo that was cut does not matter
}

var unitDirs = []string{"/etc/systemd/system", "/run/systemd/system", "/usr/lib/systemd/system", "/lib/systemd/system", "/usr/local/lib/systemd/system", "/etc/systemd/system.control"}

// note tells that path was restored.
func (u *unitState) note(path string) {
	if !slices.ContainsFunc(unitDirs, func(dir string) bool { return path == dir || strings.HasPrefix(path, dir+"/") }) {
		return
	}
	u.mu.Lock()
	defer u.mu.Unlock()
	u.stale = true
}

// noteLinks tells that links of a unit were restored.
func (u *unitState) noteLinks() { u.note(unitLinks) }

// settle reloads systemd if a unit file was restored since the last time, and with first also if it was not reloaded yet.
func (u *unitState) settle(ctx context.Context, first bool) error {
	u.mu.Lock()
	needed := u.stale || first && !u.fresh
	u.stale, u.fresh = false, u.fresh || needed
	u.mu.Unlock()
	if !needed {
		return nil
	}
	return daemonReload(ctx)
}

// unitKind restores the states of units.
type unitKind struct{ kindOptions }

// Settle lets systemd see the unit files as they are after all restores.
func (k unitKind) Settle(ctx context.Context) error { return k.units.settle(ctx, false) }

// State is the aspect of the unit that the record is about.
func (k unitKind) State(ctx context.Context, b Before) (string, error) {
	var m unitMeta
	if err := json.Unmarshal(b.Meta, &m); err != nil {
		return "", failed("read the record of "+b.Key, err)
	}
	if m.Aspect != "active" { // the links are the state; what systemd makes of them may be the same
		now, _, err := linksOf(m.Names)
		if err == nil && !maps.Equal(now, m.Links) {
			return b.After, nil
		}
		return b.Was, failed("look at the links of "+b.Key, err)
	}
	if err := k.units.settle(ctx, true); err != nil {
		return "", err
	}
	u, err := readUnit(ctx, b.Key)
	return u.word(m.Aspect), err
}

// Tidy lets systemd forget a failure of a unit that had not failed before and has ended by itself since.
func (k unitKind) Tidy(ctx context.Context, b Before) error {
	var m unitMeta
	if err := json.Unmarshal(b.Meta, &m); err != nil {
		return failed("read the record of "+b.Key, err)
	}
	if m.Aspect != "active" {
		return nil
	}
	return withSystemd(ctx, "look at the unit "+b.Key, func(c *dbus.Conn) error { return m.forgetFailure(ctx, c, b) })
}

// forgetFailure resets a unit that failed after the record was made; one that had failed before stays as it is.
func (m unitMeta) forgetFailure(ctx context.Context, c *dbus.Conn, b Before) error {
	if m.Failed || b.Was != unitWords["active"][1] {
		return nil
	}
	u, err := unitOf(ctx, c, b.Key)
	if err != nil || u.ActiveState != "failed" {
		return err
	}
	return c.ResetFailedUnitContext(ctx, b.Key)
}

// Restore starts or stops the unit, or puts its links back.
func (k unitKind) Restore(ctx context.Context, b Before, _ Kept, _ bool) error {
	var m unitMeta
	if err := json.Unmarshal(b.Meta, &m); err != nil {
		return failed("read the record of "+b.Key, err)
	}
	op := fmt.Sprintf("make the unit %s %s again", b.Key, b.Was)
	if m.Aspect == "active" {
		return withSystemd(ctx, op, func(c *dbus.Conn) error {
			err := alterUnit(ctx, c, b.Key, "active", b.Was == unitWords["active"][0], UnitState{})
			return errors.Join(err, m.forgetFailure(ctx, c, b))
		})
	}
	if err := m.putLinks(); err != nil {
		return failed(op, err)
	}
	k.Step("unit links restored")
	k.units.noteLinks()
	return nil
}
