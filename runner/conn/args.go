package conn

import (
	"fmt"
	"slices"
	"strings"
)

// understoodOptions are the ssh_config keywords this package acts on.
var understoodOptions = []string{
	"AddressFamily", "CertificateFile", "ConnectionAttempts", "ConnectTimeout", "GlobalKnownHostsFile", "HashKnownHosts",
	"HostKeyAlias", "HostName", "IdentitiesOnly", "IdentityAgent", "IdentityFile", "KbdInteractiveAuthentication",
	"PasswordAuthentication", "Port", "PreferredAuthentications", "ProxyCommand", "ProxyJump", "PubkeyAuthentication",
	"ServerAliveCountMax", "ServerAliveInterval", "StrictHostKeyChecking", "User", "UserKnownHostsFile",
}

// harmlessOptions change nothing about where a connection goes or who may make it, and
// stand in many inventories because of OpenSSH's own multiplexing or output.
var harmlessOptions = []string{
	"BatchMode", "CheckHostIP", "Compression", "ControlMaster", "ControlPath", "ControlPersist", "GSSAPIAuthentication",
	"GSSAPIDelegateCredentials", "LogLevel", "NumberOfPasswordPrompts", "RequestTTY", "TCPKeepAlive", "UpdateHostKeys",
	"VerifyHostKeyDNS", "VisualHostKey",
}

// AddArgs understands the part of the ssh command line that Ansible's
// ansible_ssh_common_args and ansible_ssh_extra_args are used for: -o Keyword=value, -J,
// -F, -i, -p, -l, and the flags -4, -6, -C, -q, -T, -x, -v. Anything else is an error, since
// ignoring it could connect to the wrong place. What other fields of Options say wins over it.
func (o *Options) AddArgs(line string) error {
	words, err := splitArgs(line)
	if err != nil {
		return fmt.Errorf("cannot understand the ssh arguments %q: %w", line, err)
	}
	for len(words) > 0 {
		if words, err = o.addArg(words); err != nil {
			return fmt.Errorf("cannot understand the ssh arguments %q: %w", line, err)
		}
	}
	return nil
}

// addArg handles the first of the words and returns the rest.
func (o *Options) addArg(words []string) ([]string, error) {
	word, rest := words[0], words[1:]
	if len(word) < 2 || word[0] != '-' {
		return nil, fmt.Errorf("%q is not an option", word)
	}
	flag, value := word[1], word[2:]
	if strings.IndexByte("CqTxv", flag) >= 0 {
		return bundled(value, rest)
	}
	if flag == '4' || flag == '6' {
		o.addOption("addressfamily", map[byte]string{'4': "inet", '6': "inet6"}[flag])
		return bundled(value, rest)
	}
	if strings.IndexByte("oJFipl", flag) < 0 {
		return nil, fmt.Errorf("-%c is not supported; -o, -J, -F, -i, -p and -l are", flag)
	}
	if value == "" {
		if len(rest) == 0 {
			return nil, fmt.Errorf("-%c has no value", flag)
		}
		value, rest = rest[0], rest[1:]
	}
	switch flag {
	case 'o':
		return rest, o.addKeyword(value)
	case 'F':
		o.argsConfig = value
	default:
		o.addOption(map[byte]string{'J': "proxyjump", 'i': "identityfile", 'p': "port", 'l': "user"}[flag], value)
	}
	return rest, nil
}

// bundled puts the flags that follow in the same word (-Cq) back as a word of their own.
func bundled(flags string, rest []string) ([]string, error) {
	if flags == "" {
		return rest, nil
	}
	return append([]string{"-" + flags}, rest...), nil
}

// addKeyword handles the value of -o.
func (o *Options) addKeyword(text string) error {
	keyword, value := cutKeyword(text)
	same := func(name string) bool { return strings.EqualFold(name, keyword) }
	if slices.ContainsFunc(harmlessOptions, same) {
		return nil
	}
	if !slices.ContainsFunc(understoodOptions, same) {
		return fmt.Errorf("-o %s is not supported; the options that are: %s", text, strings.Join(understoodOptions, ", "))
	}
	if value == "" {
		return fmt.Errorf("-o %s has no value", text)
	}
	if keyword == "proxycommand" {
		o.addOption(keyword, value)
		return nil
	}
	values, err := splitArgs(value)
	if err != nil {
		return err
	}
	o.addOption(keyword, values...)
	return nil
}

func (o *Options) addOption(keyword string, values ...string) {
	o.args = append(o.args, argument{keyword, values})
}

// argument is one ssh_config option given on a command line.
type argument struct {
	keyword string
	values  []string
}
