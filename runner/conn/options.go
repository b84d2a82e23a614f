package conn

import (
	"cmp"
	"fmt"
	"strconv"
	"strings"
	"time"
)

// Secret is a password or passphrase. It prints as stars; string(s) is its value.
type Secret string

func (s Secret) String() string {
	if s == "" {
		return ""
	}
	return "***"
}

// GoString keeps %#v from showing the value.
func (s Secret) GoString() string { return strconv.Quote(s.String()) }

// MarshalText keeps encoders from writing the value.
func (s Secret) MarshalText() ([]byte, error) { return []byte(s.String()), nil }

// HostKeyPolicy says what happens when a host shows its key.
type HostKeyPolicy string

// The host key policies. The empty policy leaves it to ssh_config's
// StrictHostKeyChecking, and means Strict when that is silent or says ask.
const (
	Strict    HostKeyPolicy = "strict"     // an unknown or changed key is an error
	AcceptNew HostKeyPolicy = "accept-new" // an unknown key is recorded and trusted; a changed one is an error
	Off       HostKeyPolicy = "off"        // any key will do
)

// ParseHostKeyPolicy reads the value of a --host-key-checking flag.
func ParseHostKeyPolicy(s string) (HostKeyPolicy, error) {
	switch p := HostKeyPolicy(s); p {
	case Strict, AcceptNew, Off:
		return p, nil
	}
	return "", fmt.Errorf("cannot use %q for host key checking: it is strict, accept-new or off", s)
}

// Defaults of Options fields left at zero, when ssh_config does not say otherwise either.
const (
	DefaultConnectTimeout = 10 * time.Second
	DefaultKeepalive      = 15 * time.Second
	DefaultKeepaliveCount = 3
	DefaultBackoff        = 500 * time.Millisecond
)

// Options say how to reach one host over SSH. Only Host is needed; what is zero comes
// from AddArgs, then from ~/.ssh/config, then from /etc/ssh/ssh_config, then from the default.
type Options struct {
	Name string // what the user calls the host, for errors; Host if empty
	Host string // name or address to connect to; Host blocks of ssh_config are matched against it
	Port int
	User string

	KeyFiles    []string // private keys, tried in this order; a KEY-cert.pub beside one is used too
	Passphrase  func(keyFile string) (Secret, error)
	AgentSocket string // "none" for no agent; default IdentityAgent, then $SSH_AUTH_SOCK
	Password    Secret // for the password and keyboard-interactive methods
	Answer      func(instruction string, questions []string, echo []bool) ([]string, error)

	HostKeys     HostKeyPolicy
	HostKeyAlias string   // looked up in known_hosts instead of host and port
	KnownHosts   []string // default UserKnownHostsFile and GlobalKnownHostsFile; the first one is written to

	ProxyJump    string // jump hosts "[user@]host[:port],..." in order, or "none"
	ProxyCommand string // a local command whose input and output are the connection; %h %p %r as in ssh_config

	ConnectTimeout time.Duration // for connection and handshake together, each time and for each hop
	Retries        int           // how often to try again after a network error
	Backoff        time.Duration // before the first retry; doubles each time, and is randomised by half
	Keepalive      time.Duration // a silent link is asked for a sign of life this often; negative: never
	KeepaliveCount int           // this many questions without an answer mean that the link is dead

	ConfigFile string // instead of ~/.ssh/config and the system's; "none" for no file at all

	args       []argument // from AddArgs
	argsConfig string     // from AddArgs: -F
}

// SetVar sets the field that an Ansible variable stands for. known is false for a
// variable that has nothing to do with SSH connections.
func (o *Options) SetVar(name, value string) (known bool, err error) {
	switch name {
	case "ansible_host", "ansible_ssh_host":
		o.Host = value
	case "ansible_port", "ansible_ssh_port":
		o.Port, err = strconv.Atoi(value)
	case "ansible_user", "ansible_ssh_user":
		o.User = value
	case "ansible_password", "ansible_ssh_pass", "ansible_ssh_password":
		o.Password = Secret(value)
	case "ansible_private_key_file", "ansible_ssh_private_key_file":
		o.KeyFiles = []string{value}
	case "ansible_ssh_private_key_passphrase":
		o.Passphrase = func(string) (Secret, error) { return Secret(value), nil }
	case "ansible_ssh_common_args", "ansible_ssh_extra_args":
		return true, o.AddArgs(value)
	case "ansible_host_key_checking", "ansible_ssh_host_key_checking":
		err = o.setChecking(value)
	case "ansible_ssh_timeout":
		var seconds int
		seconds, err = strconv.Atoi(value)
		o.ConnectTimeout = time.Duration(seconds) * time.Second
	case "ansible_ssh_retries":
		o.Retries, err = strconv.Atoi(value)
	default:
		return false, nil
	}
	if err != nil {
		return true, fmt.Errorf("cannot use %q as %s: %w", value, name, err)
	}
	return true, nil
}

// setChecking takes calroll's words beside Ansible's booleans.
func (o *Options) setChecking(value string) (err error) {
	switch strings.ToLower(value) {
	case "true", "yes", "on", "1", "y", "t":
		o.HostKeys = Strict
	case "false", "no", "0", "n", "f":
		o.HostKeys = Off
	default:
		o.HostKeys, err = ParseHostKeyPolicy(strings.ToLower(value))
	}
	return err
}

func (o Options) name() string { return cmp.Or(o.Name, o.Host) }
