package runner

import (
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/calroll/calroll/playbooks"
	"github.com/calroll/calroll/playbooks/expr"
	"github.com/calroll/calroll/playbooks/vars"
	"github.com/calroll/calroll/runner/conn"
)

// Login are the command line's choices about connecting; a host's variables win over them, as under Ansible.
type Login struct {
	User           string
	KeyFiles       []string
	Password       conn.Secret
	Args           string // further ssh arguments, as ansible_ssh_common_args
	HostKeys       conn.HostKeyPolicy
	Connection     string // "ssh" or "local"
	TimeoutSeconds int
	Retries        int

	Become         bool
	BecomeMethod   string
	BecomeUser     string
	BecomePassword conn.Secret
}

// connectionVars are the variables that conn.Options.SetVar knows, in the order in which later ones win.
var connectionVars = []string{"ansible_ssh_host", "ansible_host", "ansible_ssh_port", "ansible_port", "ansible_ssh_user", "ansible_user", "ansible_ssh_pass",
	"ansible_ssh_password", "ansible_password", "ansible_private_key_file", "ansible_ssh_private_key_file", "ansible_ssh_private_key_passphrase",
	"ansible_ssh_common_args", "ansible_ssh_extra_args", "ansible_host_key_checking", "ansible_ssh_host_key_checking", "ansible_ssh_timeout", "ansible_ssh_retries"}

// becomeVars are those that conn.Become.SetVar knows.
var becomeVars = []string{"ansible_become_method", "ansible_become_user", "ansible_become_exe", "ansible_become_flags", "ansible_sudo_pass",
	"ansible_su_pass", "ansible_become_pass", "ansible_become_password"}

// secretVars are the connection variables whose values never leave the program.
var secretVars = []string{"ansible_ssh_pass", "ansible_ssh_password", "ansible_password", "ansible_ssh_private_key_passphrase", "ansible_sudo_pass",
	"ansible_su_pass", "ansible_become_pass", "ansible_become_password"}

// way is how the task reaches the host it works on, and that host's name when it is not the task's own.
func (c *call) way(scope *vars.Scope) (way, string, error) {
	target, err := c.task.DelegateTo.Get(render(scope), "")
	if err != nil {
		return way{}, "", err
	}
	if target == "" {
		w, err := c.wayTo(c.host.name, &c.task.Keywords, scope, scope)
		return w, "", err
	}
	there := c.world.Host(target).Scope()
	w, err := c.wayTo(target, &c.task.Keywords, scope, there)
	return w, target, err
}

// wayTo is the way to a host: keywords are rendered in the task's scope, connection variables come from the host's.
func (r *run) wayTo(name string, k *playbooks.Keywords, scope, there *vars.Scope) (way, error) {
	w := way{Host: name}
	if a := r.absence(name); a != nil {
		return w, fmt.Errorf("cannot connect to %s: it is absent: %s", name, a)
	}
	get := settingsIn(scope)
	w.connection, w.login = get(k.Connection, r.o.Login.Connection), get(k.RemoteUser, r.o.Login.User)
	connection, err := r.word(there, "ansible_connection", or(w.connection, "ssh"))
	if err != nil {
		return w, err
	}
	switch connection {
	case "local":
		w.Local = true
	case "ssh", "smart", "paramiko", "paramiko_ssh", "ansible.builtin.ssh":
		if w.SSH, err = r.sshOptions(name, k, get, there); err != nil {
			return w, err
		}
	default:
		return w, fmt.Errorf("cannot connect to %s: connection %q is not supported (ssh and local are)", name, connection)
	}
	w.Become, err = r.become(k, scope, there)
	return w, err
}

// settingsIn renders keywords in a scope; one that cannot be rendered counts as unset here, and fails the task where it is used.
func settingsIn(scope *vars.Scope) func(playbooks.Setting[string], string) string {
	return func(s playbooks.Setting[string], unset string) string {
		v, err := s.Get(render(scope), unset)
		if err != nil {
			return unset
		}
		return v
	}
}

func or(s, otherwise string) string {
	if s == "" {
		return otherwise
	}
	return s
}

// word is a variable as text, or otherwise when there is none.
func (r *run) word(scope *vars.Scope, name, otherwise string) (string, error) {
	v, ok, err := scope.Lookup(name)
	if err != nil || !ok || v == nil {
		return otherwise, err
	}
	s := expr.String(v)
	if slices.Contains(secretVars, name) {
		r.mask.Add(s)
	}
	return s, nil
}

func (r *run) sshOptions(name string, k *playbooks.Keywords, get func(playbooks.Setting[string], string) string, there *vars.Scope) (conn.Options, error) {
	l := r.o.Login
	o := conn.Options{Name: name, Host: name, User: get(k.RemoteUser, l.User), KeyFiles: l.KeyFiles, Password: l.Password, HostKeys: l.HostKeys, Retries: l.Retries}
	if l.TimeoutSeconds > 0 {
		_, _ = o.SetVar("ansible_ssh_timeout", fmt.Sprint(l.TimeoutSeconds)) // a number is always taken
	}
	if l.Args != "" {
		if err := o.AddArgs(l.Args); err != nil {
			return o, err
		}
	}
	port, err := k.Port.Get(render(there), 0)
	if err != nil {
		return o, err
	}
	if port > 0 {
		o.Port = port
	}
	var errs []error
	for _, v := range connectionVars {
		val, err := r.word(there, v, "")
		if err == nil && val != "" {
			_, err = o.SetVar(v, val)
		}
		errs = append(errs, err)
	}
	return o, errors.Join(errs...)
}

// become is the other user that a task works as, nil for the login user.
func (r *run) become(k *playbooks.Keywords, scope, there *vars.Scope) (*conn.Become, error) {
	wanted, err := k.Become.Get(render(scope), r.o.Login.Become)
	if err != nil {
		return nil, err
	}
	if v, ok, err := there.Lookup("ansible_become"); err != nil {
		return nil, err
	} else if ok {
		wanted = expr.Truthy(v) && !strings.EqualFold(expr.String(v), "no") && !strings.EqualFold(expr.String(v), "false")
	}
	if !wanted {
		return nil, nil
	}
	l, get := r.o.Login, settingsIn(scope)
	b := &conn.Become{Method: get(k.BecomeMethod, l.BecomeMethod), User: get(k.BecomeUser, l.BecomeUser), Flags: get(k.BecomeFlags, ""),
		Exe: get(k.BecomeExe, ""), Password: l.BecomePassword}
	for _, v := range becomeVars {
		val, err := r.word(there, v, "")
		if err != nil {
			return nil, err
		}
		if val != "" {
			b.SetVar(v, val)
		}
	}
	return b, nil
}

// plainWay is the way to a host as the play has it, for what is no task: undo, commit, resets.
func (p *play) plainWay(host string) (way, *vars.Scope, error) {
	scope := p.world.Host(host).Scope()
	w, err := p.wayTo(host, &p.def.Keywords, scope, scope)
	return w, scope, err
}
