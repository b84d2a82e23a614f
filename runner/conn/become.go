package conn

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"sync"
	"time"
)

// Become says how commands are started as another user. Its fields are Ansible's become
// variables. The password goes over standard input or a terminal, when asked for, and
// nowhere else.
type Become struct {
	Method   string // sudo (the default), su or doas
	User     string // default root
	Exe      string // default the method's name
	Flags    string // shell words; default "-H -S -n" for sudo (-n only without a password), else none
	Password Secret
	Timeout  time.Duration // how long the program may keep silent before it starts the command; default 20 s
}

// DefaultBecomeTimeout is longer than PAM's pause after a wrong password.
const DefaultBecomeTimeout = 20 * time.Second

// SetVar sets the field that an Ansible variable stands for. known is false for other
// variables, and for ansible_become itself: whether to become is not said here.
func (b *Become) SetVar(name, value string) (known bool) {
	switch name {
	case "ansible_become_method":
		b.Method = value
	case "ansible_become_user":
		b.User = value
	case "ansible_become_exe", "ansible_sudo_exe", "ansible_su_exe", "ansible_doas_exe":
		b.Exe = value
	case "ansible_become_flags", "ansible_sudo_flags", "ansible_su_flags", "ansible_doas_flags":
		b.Flags = value
	case "ansible_become_password", "ansible_become_pass", "ansible_sudo_pass", "ansible_su_pass", "ansible_doas_pass":
		b.Password = Secret(value)
	default:
		return false
	}
	return true
}

func (b Become) method() string { return cmp.Or(b.Method, "sudo") }
func (b Become) user() string   { return cmp.Or(b.User, "root") }
func (b Become) op() string     { return "become " + b.user() + " on" }

// Start runs cmd, a line for sh, as b's user. The Process's streams begin after everything
// that sudo and login shells printed; nothing of it is in the way. It tries without a
// terminal first and with one where the host insists, which changes no byte of the streams
// but mixes standard error into the output.
func (b Become) Start(ctx context.Context, c Conn, cmd string) (Process, error) {
	if err := b.check(); err != nil {
		return nil, err
	}
	tty := b.method() == "doas" && b.Password != "" // doas reads passwords from a terminal only
	if _, can := c.(ttyStarter); tty && !can {
		tty = false
	}
	p, err := b.start(ctx, c, cmd, tty)
	if errors.Is(err, errNeedsTTY) && !tty {
		p, err = b.start(ctx, c, cmd, true)
	}
	return p, err
}

func (b Become) check() error {
	fail := func(detail string) error {
		return &Error{Kind: Failed, Op: "become", Host: b.user(), Detail: detail}
	}
	switch {
	case b.method() != "sudo" && b.method() != "su" && b.method() != "doas":
		return fail(fmt.Sprintf("the become method %q is not supported; sudo, su and doas are", b.Method))
	case strings.ContainsAny(string(b.Password), "\n\r\x00"):
		return fail("the become password contains a line break")
	}
	return nil
}

// start makes one attempt.
func (b Become) start(ctx context.Context, c Conn, cmd string, tty bool) (Process, error) {
	m, prompt := newMarker(), "[calroll "+randomHex(6)+"] password:"
	script := startScript(m, cmd, tty)
	line := b.line(prompt, script)
	begin := c.Start
	if tty {
		with, ok := c.(ttyStarter)
		if !ok {
			return nil, &Error{Kind: Failed, Op: b.op(), Host: nameOf(c), Err: errNeedsTTY,
				Detail: b.method() + " wants a terminal, which this connection has none of"}
		}
		begin = with.startTTY
	}
	p, err := begin(ctx, line)
	if err != nil {
		return nil, err
	}
	started, err := b.converse(ctx, c, p, m, prompt, script)
	if err != nil {
		_ = p.Kill()
		return nil, err
	}
	return started, nil
}

// line is the command line that runs the script as b's user.
func (b Become) line(prompt, script string) string {
	exe, flags := cmp.Or(b.Exe, b.method()), b.Flags
	switch b.method() {
	case "su":
		return fmt.Sprintf("exec %s %s %s -c %s", exe, flags, Quote(b.user()), Quote(Sh(script)))
	case "doas":
		if b.Password == "" {
			flags += " -n"
		}
	default:
		flags = cmp.Or(flags, "-H -S -n")
		if b.Password != "" {
			flags = withoutN(flags) + " -p " + Quote(prompt)
		}
	}
	return fmt.Sprintf("exec %s %s -u %s /bin/sh -c %s", exe, flags, Quote(b.user()), Quote(script))
}

// withoutN removes -n, which forbids sudo to ask, from its flags.
func withoutN(flags string) string {
	var kept []string
	for _, flag := range strings.Fields(flags) {
		if flag != "-n" && flag != "--non-interactive" {
			kept = append(kept, flag)
		}
	}
	return strings.Join(kept, " ")
}

// startScript prints the marker with the number of the process group, by which the command
// can be killed later, and becomes the command.
func startScript(m marker, cmd string, tty bool) string {
	script := "read -r _ _ _ _ g _ 2>/dev/null </proc/$$/stat; " + m.print(`"$g"`) + "; " + cmd
	if tty { // sudo with use_pty makes a terminal of its own
		script = "stty raw -echo 2>/dev/null; " + script
	}
	return script
}

// nameOf returns what errors call the host of c.
func nameOf(c Conn) string {
	if s, ok := c.(*sshConn); ok {
		return s.t.name()
	}
	return localName
}

// became is a Process of another user.
type became struct {
	Process
	b     Become
	c     Conn
	group int         // process group on the host, or 0
	rest  []byte      // what came right after the marker
	stop  func() bool // ends watching the context
	once  sync.Once   // for killing as the user
}

func (p *became) Read(buf []byte) (int, error) {
	if len(p.rest) > 0 {
		n := copy(buf, p.rest)
		p.rest = p.rest[n:]
		return n, nil
	}
	return p.Process.Read(buf)
}

func (p *became) Wait() (int, error) {
	exit, err := p.Process.Wait()
	if err == nil {
		p.stop() // it ended by itself: there is nothing to kill
	}
	return exit, err
}

func (p *became) stderrTail() *tail { return p.Process.(watched).stderrTail() }

// Kill kills the command, then once more as its own user: the login may not signal the
// processes of others.
func (p *became) Kill() error {
	err := p.Process.Kill()
	p.killAsUser()
	return err
}

func (p *became) killAsUser() {
	if p.group <= 1 {
		return
	}
	p.once.Do(func() {
		ctx, cancel := context.WithTimeout(context.Background(), p.b.timeout())
		go func() {
			defer cancel()
			killer, err := p.b.Start(ctx, p.c, "kill -9 -"+strconv.Itoa(p.group))
			if err == nil { // an error leaves the command to notice that its input has ended
				_, _ = killer.Wait()
			}
		}()
	})
}

func (b Become) timeout() time.Duration { return cmp.Or(b.Timeout, DefaultBecomeTimeout) }
