package conn

import (
	"context"
	"errors"
	"fmt"
	"io"
	"regexp"
	"strconv"
	"strings"
	"time"
)

// errNeedsTTY is the cause when sudo, su or doas wants a terminal and has none.
var errNeedsTTY = errors.New("a terminal is needed")

// watched is a Process whose standard error can be waited for.
type watched interface{ stderrTail() *tail }

// quietTime is how long a line that ends in a colon must stand still to be taken for a
// password prompt in a language we do not know.
const quietTime = time.Second

// conversation is the talk with sudo, su or doas before the command starts.
type conversation struct {
	b      Become
	host   string
	prompt string
	script string // what the command line runs; not for error messages
	p      Process
	out    tail  // standard output so far
	errs   *tail // standard error so far
	sent   bool  // the password
	// What had been said when the password was sent: prompts in it are answered.
	seenErr, seenOut int
}

// arrival is the end of the conversation: the marker came, or the output ended.
type arrival struct {
	line string
	rest []byte
	err  error
}

// converse answers the password prompt and returns the Process once the marker has come.
func (b Become) converse(ctx context.Context, c Conn, p Process, m marker, prompt, script string) (Process, error) {
	w, ok := p.(watched)
	if !ok {
		return nil, &Error{Kind: Failed, Op: b.op(), Host: nameOf(c), Detail: "this connection does not support become"}
	}
	talk := &conversation{b: b, host: nameOf(c), prompt: prompt, script: script, p: p, errs: w.stderrTail()}
	arrived := make(chan arrival, 1)
	go func() { arrived <- talk.listen(m) }()
	end, err := talk.run(ctx, arrived)
	if err != nil {
		return nil, err
	}
	group, _ := strconv.Atoi(end.line)
	started := &became{Process: p, b: b, c: c, group: group, rest: end.rest}
	started.stop = context.AfterFunc(ctx, started.killAsUser)
	return started, nil
}

// listen reads the output up to the marker's line. What it reads is in t.out too.
func (t *conversation) listen(m marker) arrival {
	before, line, rest, found := m.scan(io.TeeReader(t.p, &t.out))
	switch {
	case found:
		return arrival{line: line, rest: rest}
	case len(before) >= noiseKept:
		return arrival{err: errors.New("it prints without end")}
	}
	return arrival{err: io.EOF}
}

// run goes on until the marker has come, the program has ended, or there is no hope.
func (t *conversation) run(ctx context.Context, arrived <-chan arrival) (arrival, error) {
	timeout := time.NewTimer(t.b.timeout())
	defer timeout.Stop()
	for {
		said, errMore := t.errs.watch()
		printed, outMore := t.out.watch()
		var wait <-chan time.Time // fires when what looks like a prompt has stood still
		switch t.isPrompt(said[min(t.seenErr, len(said)):], printed[min(t.seenOut, len(printed)):]) {
		case certainly:
			if err := t.sendPassword(said, printed); err != nil {
				return arrival{}, err
			}
		case maybe:
			wait = time.After(quietTime)
		}
		select {
		case end := <-arrived:
			if end.err == nil {
				return end, nil
			}
			return arrival{}, t.ended(end.err)
		case <-errMore:
		case <-outMore:
		case <-wait:
			if err := t.sendPassword(said, printed); err != nil {
				return arrival{}, err
			}
		case <-ctx.Done():
			return arrival{}, ctx.Err()
		case <-timeout.C:
			return arrival{}, t.fail(Failed, fmt.Sprintf("%s says nothing for %s%s", t.b.method(), seconds(t.b.timeout()), t.lastWords(said+"\n"+printed)), "")
		}
		timeout.Reset(t.b.timeout())
	}
}

type certainty int

const (
	no certainty = iota
	maybe
	certainly
)

// isPrompt tells whether the last line waits for a password. sudo is told what to ask; su
// and doas ask in the user's language.
func (t *conversation) isPrompt(said, printed string) certainty {
	answer := no
	for _, text := range []string{said, printed} {
		if strings.Contains(text, t.prompt) {
			return certainly
		}
		last := strings.TrimRight(text[strings.LastIndexByte(text, '\n')+1:], " ")
		if !strings.HasSuffix(last, ":") && !strings.HasSuffix(last, "：") {
			continue
		}
		named := strings.Contains(strings.ToLower(last), "password")
		switch {
		case named && t.b.method() != "sudo":
			return certainly
		case named || t.b.method() != "sudo":
			answer = maybe
		}
	}
	return answer
}

// sendPassword answers a prompt; a second one means that the first answer was wrong.
func (t *conversation) sendPassword(said, printed string) error {
	switch {
	case t.b.Password == "":
		return t.required()
	case t.sent:
		return t.incorrect()
	}
	t.sent, t.seenErr, t.seenOut = true, len(said), len(printed)
	_, _ = t.p.Write([]byte(string(t.b.Password) + "\n")) // if it fails, the output ends, too
	return nil
}

func (t *conversation) required() error {
	return t.fail(Denied, "become password required: "+t.b.method()+" asks for one and none is given",
		"give it with --ask-become-pass (-K) or ansible_become_password")
}

func (t *conversation) incorrect() error {
	return t.fail(Denied, "incorrect become password", "")
}

func (t *conversation) fail(kind Kind, detail, hint string) error {
	return &Error{Kind: kind, Op: t.b.op(), Host: t.host, Detail: detail, Hint: hint}
}

// The messages of sudo 1.8 and 1.9, of util-linux's, shadow's and busybox's su, and of doas.
var (
	wantsTTY = regexp.MustCompile(`(?i)must have a tty|must be run from a terminal|standard in must be a tty|a tty is required|no tty present|a terminal is required`)
	wrong    = regexp.MustCompile(`(?i)incorrect password|try again|authentication failure|authentication failed|permission denied \(`)
	required = regexp.MustCompile(`(?i)a password is required|(authentication|authorization) required`)
	refused  = regexp.MustCompile(`(?i)not in the sudoers file|is not allowed to|may not run|operation not permitted|doas is not enabled|not enabled`)
	missing  = regexp.MustCompile(`(?i)not found|no such file or directory`)
)

// ended explains why the program ended without starting the command.
func (t *conversation) ended(readErr error) error {
	if !errors.Is(readErr, io.EOF) {
		return t.fail(Failed, fmt.Sprintf("%s: %v", t.b.method(), readErr), "")
	}
	exit, err := t.p.Wait()
	if err != nil {
		return err
	}
	text := t.errs.String() + "\n" + t.out.String()
	last := t.lastWords(text)
	switch {
	case wantsTTY.MatchString(text):
		return &Error{Kind: Failed, Op: t.b.op(), Host: t.host, Detail: t.b.method() + " wants a terminal", Err: errNeedsTTY}
	case required.MatchString(text) && !t.sent:
		return t.required()
	case refused.MatchString(text):
		return t.fail(Denied, "the login may not do that"+last, "")
	case wrong.MatchString(text) && t.sent:
		return t.incorrect()
	case wrong.MatchString(text):
		return t.required()
	case exit == 127 && missing.MatchString(text):
		return t.fail(Failed, t.b.method()+" is not installed there"+last, "")
	}
	return t.fail(Failed, fmt.Sprintf("%s ended with exit status %d%s", t.b.method(), exit, last), "")
}

// lastWords quotes what the program said of itself, else the last line that was printed,
// without the password.
func (t *conversation) lastWords(text string) string {
	text = strings.NewReplacer(t.prompt, "", t.script, "...").Replace(text)
	var words []string
	for line := range strings.Lines(text) {
		if strings.HasPrefix(line, t.b.method()+": ") {
			words = append(words, strings.TrimSpace(line))
		}
	}
	last := strings.Join(words, "; ")
	if last == "" {
		last = lastLine(text, "")
	}
	if t.b.Password != "" {
		last = strings.ReplaceAll(last, string(t.b.Password), "***")
	}
	if last == "" {
		return ""
	}
	return ": " + last
}
