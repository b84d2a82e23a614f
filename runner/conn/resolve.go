package conn

import (
	"cmp"
	"fmt"
	"net"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"

	"golang.org/x/crypto/ssh/knownhosts"
)

// target is one resolved stop of a route: Options and ssh_config put together.
type target struct {
	opts Options // for the callbacks and secrets

	host, user string
	port       int
	network    string // tcp, tcp4 or tcp6

	keyFiles       []string
	namedKeys      bool // the key files were asked for; otherwise they are the usual ones
	certFiles      []string
	identitiesOnly bool
	agent          string // socket, or ""
	methods        []string

	policy     HostKeyPolicy
	knownName  string   // as it stands in known_hosts
	knownFiles []string // all that exist or may; the first is written to
	hashNames  bool

	jumps        []string
	proxyCommand string

	connectTimeout, keepalive, backoff time.Duration
	keepaliveCount, retries            int
}

func (t *target) name() string { return t.opts.name() }
func (t *target) addr() string { return net.JoinHostPort(t.host, strconv.Itoa(t.port)) }

// maxHops bounds the number of jump hosts, so that a loop in ssh_config ends.
const maxHops = 16

// route resolves o and its jump hosts; the last target is the host itself.
func route(o Options) ([]*target, error) {
	if o.Host == "" {
		return nil, fmt.Errorf("cannot connect to %q: no host to connect to is given", o.Name)
	}
	return routeTo(o, 0)
}

func routeTo(o Options, hops int) ([]*target, error) {
	t, err := resolve(o)
	if err != nil {
		return nil, &Error{Kind: Failed, Op: "connect to", Host: o.name(), Detail: err.Error(), Err: err}
	}
	var before []*target
	for i, jump := range t.jumps {
		hop, err := hopOptions(o, jump)
		if err != nil {
			return nil, &Error{Kind: Failed, Op: "connect to", Host: o.name(), Detail: err.Error(), Err: err}
		}
		if i > 0 { // only the first hop is reached from here, so only its own jumps count
			hop.ProxyJump = "none"
		}
		if hops+len(before) >= maxHops {
			return nil, &Error{Kind: Failed, Op: "connect to", Host: o.name(),
				Detail: fmt.Sprintf("more than %d jump hosts: ProxyJump of %s leads round in a circle", maxHops, hop.Host),
				Hint:   "exclude the jump host itself: \"Host * !" + hop.Host + "\""}
		}
		stops, err := routeTo(hop, hops+len(before)+1)
		if err != nil {
			return nil, err
		}
		before = append(before, stops...)
	}
	return append(before, t), nil
}

// hopOptions are the options for a jump host on the way to o. It has its own address,
// login and keys from ssh_config; the policy, the ways to ask the user, and the keys and
// known hosts given explicitly are the same for the whole way.
func hopOptions(o Options, jump string) (Options, error) {
	user, host, port, err := splitJump(jump)
	if err != nil {
		return Options{}, err
	}
	hop := o
	hop.Name, hop.Host, hop.User, hop.Port = "", host, user, port
	hop.Password, hop.HostKeyAlias, hop.ProxyJump, hop.ProxyCommand, hop.args = "", "", "", "", nil
	return hop, nil
}

// splitJump reads "[user@]host[:port]" and the same after ssh://.
func splitJump(jump string) (user, host string, port int, err error) {
	u, err := url.Parse("ssh://" + strings.TrimPrefix(jump, "ssh://"))
	if err != nil || u.Hostname() == "" {
		return "", "", 0, fmt.Errorf("the jump host %q is not of the form user@host:port", jump)
	}
	if u.User != nil {
		user = u.User.Username()
	}
	if u.Port() != "" {
		if port, err = parsePort(u.Port()); err != nil {
			return "", "", 0, fmt.Errorf("the jump host %q: %w", jump, err)
		}
	}
	return user, u.Hostname(), port, nil
}

func parsePort(s string) (int, error) {
	port, err := strconv.Atoi(s)
	if err != nil || port < 1 || port > 65535 {
		return 0, fmt.Errorf("%q is not a port (1 to 65535)", s)
	}
	return port, nil
}

// resolve puts options, arguments and configuration files together.
func resolve(o Options) (*target, error) {
	home, err := os.UserHomeDir()
	if err != nil {
		return nil, fmt.Errorf("the home folder is unknown: %w", err)
	}
	s, err := gather(o, home)
	if err != nil {
		return nil, err
	}
	t := &target{opts: o, user: cmp.Or(s.get("user"), localUser()), retries: o.Retries, backoff: cmp.Or(o.Backoff, DefaultBackoff)}
	t.host = strings.ToLower(strings.ReplaceAll(cmp.Or(s.get("hostname"), o.Host), "%h", o.Host))
	if t.port, err = parsePort(cmp.Or(s.get("port"), "22")); err != nil {
		return nil, fmt.Errorf("%s: %w", s.from("port"), err)
	}
	t.network = map[string]string{"inet": "tcp4", "inet6": "tcp6"}[strings.ToLower(s.get("addressfamily"))]
	t.network = cmp.Or(t.network, "tcp")
	expand := tokens(home, t, o.Host)
	t.resolveLogin(s, home, expand)
	t.resolveHostKeys(s, home, expand)
	if err := t.resolveTimes(s); err != nil {
		return nil, err
	}
	if jump := s.get("proxyjump"); jump != "" && !strings.EqualFold(jump, "none") {
		t.jumps = strings.Split(jump, ",")
	}
	if command := s.get("proxycommand"); !strings.EqualFold(command, "none") {
		t.proxyCommand = expand(command)
	}
	return t, nil
}

// gather collects the settings that hold for o, in order of precedence.
func gather(o Options, home string) (settings, error) {
	s := settings{}
	if o.Port != 0 {
		s.add("port", []string{strconv.Itoa(o.Port)}, "port")
	}
	explicit := []struct{ keyword, value string }{
		{"user", o.User}, {"identityagent", o.AgentSocket}, {"hostkeyalias", o.HostKeyAlias},
		{"proxycommand", o.ProxyCommand}, {"proxyjump", o.ProxyJump},
	}
	for _, e := range explicit {
		if e.value != "" {
			s.add(e.keyword, []string{e.value}, e.keyword)
		}
	}
	for _, key := range o.KeyFiles {
		s.add("identityfile", []string{key}, "private key")
	}
	for _, a := range o.args {
		s.add(a.keyword, a.values, "-o "+a.keyword)
	}
	r := configReader{alias: o.Host, user: s.get("user"), home: home, into: s}
	switch file := cmp.Or(o.ConfigFile, o.argsConfig); {
	case strings.EqualFold(file, "none"):
		return s, nil
	case file != "":
		return s, r.read(expandHome(file, home), true)
	}
	if err := r.read(filepath.Join(home, ".ssh", "config"), false); err != nil {
		return nil, err
	}
	return s, r.read("/etc/ssh/ssh_config", false)
}

// tokens returns a function that replaces the % tokens of ssh_config(5).
func tokens(home string, t *target, alias string) func(string) string {
	host, _ := os.Hostname()
	short, _, _ := strings.Cut(host, ".")
	replacer := strings.NewReplacer("%%", "%", "%h", t.host, "%n", alias, "%p", strconv.Itoa(t.port), "%r", t.user,
		"%u", localUser(), "%d", home, "%l", host, "%L", short, "%i", strconv.Itoa(os.Getuid()))
	return replacer.Replace
}

// usualKeys are the key files tried when none is named, in OpenSSH's order.
var usualKeys = []string{"id_rsa", "id_ecdsa", "id_ed25519"}

func (t *target) resolveLogin(s settings, home string, expand func(string) string) {
	for _, file := range s.list("identityfile") {
		if !strings.EqualFold(file, "none") {
			t.keyFiles = append(t.keyFiles, expandHome(expand(file), home))
		}
	}
	t.namedKeys = len(s["identityfile"]) > 0
	if !t.namedKeys {
		for _, name := range usualKeys {
			t.keyFiles = append(t.keyFiles, filepath.Join(home, ".ssh", name))
		}
	}
	for _, file := range s.list("certificatefile") {
		t.certFiles = append(t.certFiles, expandHome(expand(file), home))
	}
	t.identitiesOnly = isYes(s.get("identitiesonly"))
	t.agent = agentSocket(s.get("identityagent"), home, expand)
	t.methods = loginMethods(s)
}

func agentSocket(setting, home string, expand func(string) string) string {
	switch {
	case setting == "", setting == "SSH_AUTH_SOCK":
		return os.Getenv("SSH_AUTH_SOCK")
	case strings.EqualFold(setting, "none"):
		return ""
	case setting[0] == '$':
		return os.Getenv(strings.Trim(setting[1:], "{}"))
	}
	return expandHome(expand(setting), home)
}

// loginMethods returns the SSH names of the methods that may be used, in order.
func loginMethods(s settings) []string {
	methods := []string{"publickey", "keyboard-interactive", "password"}
	if preferred := s.get("preferredauthentications"); preferred != "" {
		methods = strings.Split(preferred, ",")
	}
	switched := map[string]string{"publickey": "pubkeyauthentication", "password": "passwordauthentication",
		"keyboard-interactive": "kbdinteractiveauthentication"}
	return slices.DeleteFunc(methods, func(m string) bool {
		return switched[m] == "" || isNo(s.get(switched[m]))
	})
}

func (t *target) resolveHostKeys(s settings, home string, expand func(string) string) {
	t.policy = t.opts.HostKeys
	if t.policy == "" {
		t.policy = map[string]HostKeyPolicy{"accept-new": AcceptNew, "no": Off, "off": Off}[strings.ToLower(s.get("stricthostkeychecking"))]
	}
	t.policy = cmp.Or(t.policy, Strict)
	t.knownName = cmp.Or(s.get("hostkeyalias"), knownhosts.Normalize(t.addr()))
	t.hashNames = isYes(s.get("hashknownhosts"))
	t.knownFiles = t.opts.KnownHosts
	if len(t.knownFiles) > 0 {
		return
	}
	user, global := s.list("userknownhostsfile"), s.list("globalknownhostsfile")
	if len(user) == 0 {
		user = []string{"~/.ssh/known_hosts", "~/.ssh/known_hosts2"}
	}
	if len(global) == 0 {
		global = []string{"/etc/ssh/ssh_known_hosts", "/etc/ssh/ssh_known_hosts2"}
	}
	for _, file := range slices.Concat(user, global) {
		if !strings.EqualFold(file, "none") {
			t.knownFiles = append(t.knownFiles, expandHome(expand(file), home))
		}
	}
}

func (t *target) resolveTimes(s settings) (err error) {
	t.connectTimeout, err = pickTime(t.opts.ConnectTimeout, s, "connecttimeout", DefaultConnectTimeout)
	if err != nil {
		return err
	}
	if t.keepalive, err = pickTime(t.opts.Keepalive, s, "serveraliveinterval", DefaultKeepalive); err != nil {
		return err
	}
	if t.keepaliveCount, err = pickCount(t.opts.KeepaliveCount, s, "serveralivecountmax", DefaultKeepaliveCount); err != nil {
		return err
	}
	attempts, err := pickCount(0, s, "connectionattempts", 1)
	if t.retries == 0 {
		t.retries = attempts - 1
	}
	return err
}

// pickTime returns the option, else the setting (seconds, or with a unit), else the default.
func pickTime(option time.Duration, s settings, keyword string, usual time.Duration) (time.Duration, error) {
	value := s.get(keyword)
	if option != 0 || value == "" || strings.EqualFold(value, "none") {
		return cmp.Or(option, usual), nil
	}
	if seconds, err := strconv.Atoi(value); err == nil {
		if seconds == 0 {
			return -1, nil // switched off
		}
		return time.Duration(seconds) * time.Second, nil
	}
	d, err := time.ParseDuration(strings.ToLower(value))
	if err != nil {
		return 0, fmt.Errorf("%s: %q is not a time", s.from(keyword), value)
	}
	return d, nil
}

func pickCount(option int, s settings, keyword string, usual int) (int, error) {
	value := s.get(keyword)
	if option != 0 || value == "" {
		return cmp.Or(option, usual), nil
	}
	n, err := strconv.Atoi(value)
	if err != nil || n < 1 {
		return 0, fmt.Errorf("%s: %q is not a number above zero", s.from(keyword), value)
	}
	return n, nil
}

func isYes(s string) bool { return strings.EqualFold(s, "yes") || strings.EqualFold(s, "true") }
func isNo(s string) bool  { return strings.EqualFold(s, "no") || strings.EqualFold(s, "false") }
