package node

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/dlclark/regexp2"

	"github.com/calroll/calroll/tasks"
)

var _ = register("wait_for", func() tasks.Module { return &WaitFor{} })

// WaitFor waits for a port, a file, or a text in what either says; or just for a time.
type WaitFor struct {
	Host           string     `arg:"host,default=127.0.0.1" doc:"name or address that has the port"`
	Port           *int       `arg:"port" doc:"TCP port"`
	Path           tasks.Path `arg:"path" doc:"file; links are followed"`
	SearchRegex    string     `arg:"search_regex" doc:"regular expression that the file, or what the port says, has to match somewhere"`
	State          string     `arg:"state,choices=absent|drained|present|started|stopped,default=started" doc:"started and present: there; stopped and absent: not there; drained: without connections"`
	Timeout        int        `arg:"timeout,default=300" doc:"seconds until it fails, or seconds to wait when there is nothing to wait for"`
	Delay          int        `arg:"delay,default=0" doc:"seconds before the first look"`
	Sleep          int        `arg:"sleep,default=1" doc:"seconds between looks"`
	ConnectTimeout int        `arg:"connect_timeout,default=5" doc:"seconds that one attempt to connect may take"`
	Msg            string     `arg:"msg" doc:"what to say when it fails"`
	ExcludeHosts   []string   `arg:"exclude_hosts" doc:"peers whose connections do not count, for drained"`
	ActiveStates   []string   `arg:"active_connection_states,default=ESTABLISHED,FIN_WAIT1,FIN_WAIT2,SYN_RECV,SYN_SENT,TIME_WAIT" doc:"states of connections that count, for drained"`

	end   time.Time
	regex *regexp2.Regexp
	names []string // of the groups of regex, "" for those that have none
	found waitMatch
}

// waitMatch is what a regular expression matched in a file.
type waitMatch struct {
	groups []any
	named  map[string]any
}

// Run looks until it is so.
func (m *WaitFor) Run(ctx context.Context, sys *tasks.Sys) (tasks.Result, error) {
	var r tasks.Result
	if sys.Check() {
		r.Skipped = true
		r.Set("msg", "remote module (wait_for) does not support check mode")
		return r, nil
	}
	start := time.Now()
	elapsed := func() { r.Set("elapsed", int(time.Since(start)/time.Second)) }
	elapsed()
	if err := m.complete(); err != nil {
		return r, err
	}
	met, err := m.wait(ctx, start)
	elapsed()
	if err != nil {
		return r, err
	}
	if !met {
		if m.Msg != "" {
			return r, fail("%s", m.Msg)
		}
		return r, fail("%s", m.timeoutText())
	}
	m.answer(&r)
	return r, nil
}

// complete finds what does not go together, in Ansible's words.
func (m *WaitFor) complete() error {
	onlyPort := m.State == "stopped" || m.State == "drained"
	switch {
	case m.Port != nil && m.Path != "":
		return fail("port and path parameter can not both be passed to wait_for")
	case m.Path != "" && onlyPort:
		return fail("state=%s should only be used for checking a port in the wait_for module", m.State)
	case len(m.ExcludeHosts) > 0 && m.State != "drained":
		return fail("exclude_hosts should only be with state=drained")
	}
	for _, s := range m.ActiveStates {
		if !slices.Contains(tcpStates[:], strings.ToUpper(s)) {
			return fail("unknown active_connection_state (%s) defined", s)
		}
	}
	if m.SearchRegex == "" {
		return nil
	}
	var err error
	expr, names := numberGroups(m.SearchRegex)
	m.names = names
	m.regex, err = compile("(?m)" + expr)
	return err
}

// wait tells whether it came true before the timeout.
func (m *WaitFor) wait(ctx context.Context, start time.Time) (bool, error) {
	if m.Delay > 0 {
		if err := pause(ctx, time.Duration(m.Delay)*time.Second); err != nil {
			return false, err
		}
	}
	m.end = start.Add(time.Duration(m.Timeout) * time.Second)
	if m.Port == nil && m.Path == "" && m.State != "drained" {
		return true, pause(ctx, time.Until(m.end))
	}
	for {
		met, err := m.look(ctx)
		if met || err != nil {
			return met, err
		}
		left := time.Until(m.end)
		if left <= 0 {
			return false, nil
		}
		if err := pause(ctx, min(left, max(time.Duration(m.Sleep)*time.Second, 10*time.Millisecond))); err != nil {
			return false, err
		}
	}
}

// look is one look.
func (m *WaitFor) look(ctx context.Context) (bool, error) {
	if err := ctx.Err(); err != nil {
		return false, &tasks.Error{Kind: tasks.Canceled, Op: "finish the task", Err: context.Cause(ctx)}
	}
	gone := m.State == "absent" || m.State == "stopped"
	switch {
	case m.State == "drained":
		n, err := m.connections(ctx)
		return n == 0, err
	case m.Path != "" && gone:
		_, err := os.Stat(m.Path.Expand())
		return errors.Is(err, os.ErrNotExist), nil
	case m.Path != "":
		return m.inFile(), nil
	}
	c, err := m.dial(ctx)
	if err != nil {
		return gone, nil //nolint:nilerr // that is the answer
	}
	defer c.Close()
	return !gone && (m.regex == nil || m.heard(ctx, c)), nil
}

func (m *WaitFor) dial(ctx context.Context) (net.Conn, error) {
	left := max(time.Until(m.end), time.Second)
	d := net.Dialer{Timeout: min(left, time.Duration(m.ConnectTimeout)*time.Second)}
	return d.DialContext(ctx, "tcp", net.JoinHostPort(m.Host, strconv.Itoa(m.port())))
}

// inFile tells whether the file is there and has the text.
func (m *WaitFor) inFile() bool {
	path := m.Path.Expand()
	if m.regex == nil {
		return exists(path)
	}
	raw, err := os.ReadFile(path)
	if err != nil {
		return false
	}
	match, err := m.regex.FindStringMatch(string(raw))
	if err != nil || match == nil {
		return false
	}
	m.found = waitMatch{groups: []any{}, named: map[string]any{}}
	for i, g := range match.Groups()[1:] {
		var text any
		if len(g.Captures) > 0 {
			text = g.String()
		}
		m.found.groups = append(m.found.groups, text)
		if i < len(m.names) && m.names[i] != "" {
			m.found.named[m.names[i]] = text
		}
	}
	return true
}

// numberGroups takes the names off the groups of an expression, because Python numbers all groups in the order in which they open,
// and the engine here those with names after the others.
func numberGroups(expr string) (plain string, names []string) {
	var b strings.Builder
	class := false
	for i := 0; i < len(expr); i++ {
		rest := expr[i:]
		switch {
		case rest[0] == '\\' && len(rest) > 1:
			b.WriteByte(rest[0])
			i++
		case class:
			class = rest[0] != ']'
		case rest[0] == '[':
			class = true
		case strings.HasPrefix(rest, "(?P<") && strings.Contains(rest, ">"):
			end := strings.IndexByte(rest, '>')
			names = append(names, rest[4:end])
			b.WriteByte('(')
			i += end
			continue
		case strings.HasPrefix(rest, "(?P=") && strings.Contains(rest, ")"):
			end := strings.IndexByte(rest, ')')
			fmt.Fprintf(&b, `(?:\%d)`, slices.Index(names, rest[4:end])+1)
			i += end
			continue
		case rest[0] == '(' && !strings.HasPrefix(rest, "(?"):
			names = append(names, "")
		}
		b.WriteByte(expr[i])
	}
	return b.String(), names
}

// maxHeard bounds what of a port's words is searched, in bytes.
const maxHeard = 1 << 20

// heard reads what the port says until it has the text, for as long as one attempt to connect may take.
func (m *WaitFor) heard(ctx context.Context, c net.Conn) bool {
	stop := context.AfterFunc(ctx, func() { _ = c.SetDeadline(time.Now()) })
	defer stop()
	_ = c.SetReadDeadline(time.Now().Add(time.Duration(m.ConnectTimeout) * time.Second))
	var text []byte
	buf := make([]byte, 1024)
	for len(text) < maxHeard {
		n, err := c.Read(buf)
		text = append(text, buf[:n]...)
		if ok, _ := m.regex.MatchString(string(text)); ok { // an error is a pattern that takes too long
			return true
		}
		if err != nil {
			return false
		}
	}
	return false
}

func (m *WaitFor) port() int {
	if m.Port == nil {
		return 0
	}
	return *m.Port
}

func (m *WaitFor) timeoutText() string {
	at := fmt.Sprintf("%s:%d", m.Host, m.port())
	path := m.Path.Expand()
	switch {
	case m.State == "drained":
		return fmt.Sprintf("Timeout when waiting for %s to drain", at)
	case m.State == "absent" && path != "":
		return fmt.Sprintf("Timeout when waiting for %s to be absent.", path)
	case m.State == "absent" || m.State == "stopped":
		return fmt.Sprintf("Timeout when waiting for %s to stop.", at)
	case m.SearchRegex != "" && path != "":
		return fmt.Sprintf("Timeout when waiting for search string %s in %s", m.SearchRegex, path)
	case m.SearchRegex != "":
		return fmt.Sprintf("Timeout when waiting for search string %s in %s", m.SearchRegex, at)
	case path != "":
		return fmt.Sprintf("Timeout when waiting for file %s", path)
	}
	return fmt.Sprintf("Timeout when waiting for %s", at)
}

func (m *WaitFor) answer(r *tasks.Result) {
	for _, name := range []string{"port", "path", "search_regex"} {
		r.Set(name, nil)
	}
	r.Set("state", m.State)
	r.Set("match_groups", []any{})
	r.Set("match_groupdict", map[string]any{})
	if m.Port != nil {
		r.Set("port", *m.Port)
	}
	if m.SearchRegex != "" {
		r.Set("search_regex", m.SearchRegex)
	}
	if m.found.groups != nil {
		r.Set("match_groups", m.found.groups)
		r.Set("match_groupdict", m.found.named)
	}
	if path := m.Path.Expand(); path != "" {
		r.Set("path", path)
		addInfo(r, path)
	}
}
