package conn

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"
)

const sampleConfig = `
# a comment
Host web1 web2 !web3
	HostName %h.example.com
	Port=2222
	User "deploy"
	IdentityFile ~/.ssh/first
	IdentityFile "/keys/with blank"   # trailing words
Host *.lan
    HostName 10.0.0.1
    ProxyJump bastion,other:2200
    ConnectTimeout 7
    ServerAliveInterval 30
    ServerAliveCountMax 5
Match host *.example.com user deploy
	ProxyCommand nc -X 5 "%h" %p
	UserKnownHostsFile /etc/known1 /etc/known2
	StrictHostKeyChecking accept-new
Match originalhost web2
	HashKnownHosts yes
	HostKeyAlias alias
Match !host web* all
	AddressFamily inet6
Host db
	ProxyJump none
	IdentityAgent ~/agent.sock
	IdentitiesOnly yes
	CertificateFile ~/cert.pub
	PreferredAuthentications publickey,password
Include more/*.conf
Host *
	IdentityFile ~/.ssh/last
	ProxyJump late
	User everybody
	Unheard-Of option
`

// writeConfig puts configuration files into a home of their own.
func writeConfig(t *testing.T, main, included string) (file string) {
	t.Helper()
	home := t.TempDir()
	t.Setenv("HOME", home)
	os.MkdirAll(filepath.Join(home, ".ssh", "more"), 0o700)
	file = filepath.Join(home, ".ssh", "config")
	for name, text := range map[string]string{file: main, filepath.Join(home, ".ssh", "more", "a.conf"): included} {
		if err := os.WriteFile(name, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	return file
}

// TestConfigLikeOpenSSH asks ssh -G what it makes of the same file.
func TestConfigLikeOpenSSH(t *testing.T) {
	file := writeConfig(t, strings.ReplaceAll(sampleConfig, "\tUnheard-Of option\n", ""), "Host included\n HostName 10.9.9.9\nHost *\n Port 2022\n")
	// OpenSSH takes the home folder from the password database, and - as its own file is named -
	// relative includes from there, too.
	text, _ := os.ReadFile(file)
	home := os.Getenv("HOME")
	absolute := strings.NewReplacer("~", home, "Include more", "Include "+home+"/.ssh/more").Replace(string(text))
	if err := os.WriteFile(file, []byte(absolute), 0o600); err != nil {
		t.Fatal(err)
	}
	for _, host := range []string{"web1", "web2", "web3", "a.lan", "db", "included", "other", "WEB1"} {
		t.Run(host, func(t *testing.T) {
			want := map[string][]string{}
			for line := range strings.Lines(run(t, "ssh", "-G", "-F", file, host)) {
				keyword, value, _ := strings.Cut(strings.TrimSpace(line), " ")
				want[keyword] = append(want[keyword], value)
			}
			got, err := resolve(Options{Host: host, ConfigFile: file})
			if err != nil {
				t.Fatal(err)
			}
			compare := func(keyword string, ours ...string) {
				if ours[0] == "" {
					ours = nil
				}
				if !slices.Equal(ours, want[keyword]) {
					t.Errorf("%s: %q; ssh says %q", keyword, ours, want[keyword])
				}
			}
			compare("hostname", got.host)
			compare("port", fmt.Sprint(got.port))
			compare("user", got.user)
			compare("identityfile", got.keyFiles...)
			compare("proxyjump", strings.Join(got.jumps, ","))
			if len(want["proxycommand"]) > 0 { // ssh -G leaves the tokens in it
				want["proxycommand"][0] = strings.NewReplacer("%h", got.host, "%p", fmt.Sprint(got.port)).Replace(want["proxycommand"][0])
			}
			compare("proxycommand", got.proxyCommand)
			compare("addressfamily", map[string]string{"tcp": "any", "tcp6": "inet6"}[got.network])
			compare("certificatefile", strings.Join(got.certFiles, " "))
			compare("identitiesonly", map[bool]string{true: "yes", false: "no"}[got.identitiesOnly])
			if want["stricthostkeychecking"][0] == "ask" {
				want["stricthostkeychecking"][0] = "strict"
			}
			compare("stricthostkeychecking", string(got.policy))
			compare("hashknownhosts", map[bool]string{true: "yes", false: "no"}[got.hashNames])
			if want["userknownhostsfile"][0] == "/etc/known1 /etc/known2" {
				compare("userknownhostsfile", strings.Join(got.knownFiles[:2], " "))
			}
			if seconds := want["connecttimeout"][0]; seconds != "none" {
				compare("connecttimeout", fmt.Sprint(int(got.connectTimeout/time.Second)))
			}
			if want["serveraliveinterval"][0] != "0" {
				compare("serveraliveinterval", fmt.Sprint(int(got.keepalive/time.Second)))
			}
			compare("serveralivecountmax", fmt.Sprint(got.keepaliveCount))
		})
	}
}

func TestConfigPrecedence(t *testing.T) {
	writeConfig(t, sampleConfig, "")
	o := Options{Host: "web1"}
	if err := o.AddArgs("-o Port=33 -p 44 -l someone"); err != nil {
		t.Fatal(err)
	}
	got, err := resolve(o)
	if err != nil {
		t.Fatal(err)
	}
	if got.port != 33 || got.user != "someone" || got.host != "web1.example.com" {
		t.Errorf("arguments: %s@%s", got.user, got.addr())
	}
	o.Port, o.User, o.HostKeys, o.KnownHosts = 55, "root", Strict, []string{"/mine"}
	if got, err = resolve(o); err != nil {
		t.Fatal(err)
	}
	if got.port != 55 || got.user != "root" || got.policy != Strict || !slices.Equal(got.knownFiles, []string{"/mine"}) {
		t.Errorf("options: %s@%s %s %s", got.user, got.addr(), got.policy, got.knownFiles)
	}
	o.ConfigFile = "none"
	if got, _ = resolve(o); got.host != "web1" {
		t.Errorf("no file: %s", got.host)
	}
	got, err = resolve(Options{Host: "2001:db8::1", ConfigFile: "none"})
	if err != nil || got.addr() != "[2001:db8::1]:22" || got.knownName != "2001:db8::1" {
		t.Errorf("%s %s %v", got.addr(), got.knownName, err)
	}
}

func TestConfigMistakes(t *testing.T) {
	for text, want := range map[string]string{
		"Host a\nPort\n":                     "config:2: port has no value",
		"Port 99999999\n":                    "config:1: \"99999999\" is not a port",
		"Port x\n":                           "\"x\" is not a port",
		"User \"open\n":                      "config:1: a \" is not closed",
		"Match exec true\n":                  "config:1: Match exec is not supported",
		"Match host\n":                       "Match host has no value",
		"ServerAliveCountMax 0\n":            "\"0\" is not a number above zero",
		"ConnectTimeout soon\n":              "\"soon\" is not a time",
		"Include more/*.conf\n":              "a.conf:1: port has no value",
		"Include ~/.ssh/config\n":            "include each other",
		"ProxyJump user@:22\n":               "not of the form",
		"Match final host *\n Port x\n":      "",
		"Host other\n Port x\nMatch exec ls": "config:3",
	} {
		writeConfig(t, text, "Port\n")
		_, err := route(Options{Host: "web1"})
		if want == "" && err != nil || want != "" && (err == nil || !strings.Contains(err.Error(), want)) {
			t.Errorf("%q: %v; want %q", text, err, want)
		}
	}
}

func TestAddArgs(t *testing.T) {
	for line, want := range map[string][]argument{
		"":             nil,
		"-C -q -T -4":  {{"addressfamily", []string{"inet"}}},
		"-Cqp2222":     {{"port", []string{"2222"}}},
		"-o Port=2222": {{"port", []string{"2222"}}},
		`-oPort=2222 -o "User deploy" -o 'IdentityFile = "/a b"'`: {
			{"port", []string{"2222"}}, {"user", []string{"deploy"}}, {"identityfile", []string{"/a b"}}},
		`-o ProxyCommand="ssh -W %h:%p -q 'a b'"`:                      {{"proxycommand", []string{"ssh -W %h:%p -q 'a b'"}}},
		"-J a,b:22 -i ~/key -l root":                                   {{"proxyjump", []string{"a,b:22"}}, {"identityfile", []string{"~/key"}}, {"user", []string{"root"}}},
		"-o ControlMaster=auto -o ControlPersist=60s -o BatchMode=yes": nil,
		"-o UserKnownHostsFile=/a -o StrictHostKeyChecking=no -o IdentitiesOnly=yes": {
			{"userknownhostsfile", []string{"/a"}}, {"stricthostkeychecking", []string{"no"}}, {"identitiesonly", []string{"yes"}}},
	} {
		var o Options
		if err := o.AddArgs(line); err != nil || fmt.Sprint(o.args) != fmt.Sprint(want) {
			t.Errorf("%s: %q, %v", line, o.args, err)
		}
	}
	for line, want := range map[string]string{
		"-A":                  "-A is not supported",
		"-o ForwardAgent=yes": "ForwardAgent=yes is not supported",
		"-p":                  "-p has no value",
		"-o Port":             "has no value",
		"host":                `"host" is not an option`,
		`-o "User`:            "not closed",
		"-":                   "not an option",
	} {
		var o Options
		if err := o.AddArgs(line); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v", line, err)
		}
	}
}

func TestSetVar(t *testing.T) {
	var o Options
	for name, value := range map[string]string{
		"ansible_host": "10.0.0.1", "ansible_port": "2222", "ansible_user": "ops", "ansible_password": "geheim",
		"ansible_ssh_private_key_file": "/key", "ansible_ssh_common_args": "-J bastion", "ansible_host_key_checking": "False",
		"ansible_ssh_timeout": "30", "ansible_ssh_retries": "3",
	} {
		if known, err := o.SetVar(name, value); !known || err != nil {
			t.Errorf("%s: %v, %v", name, known, err)
		}
	}
	if o.Host != "10.0.0.1" || o.Port != 2222 || o.User != "ops" || o.Password != "geheim" || o.KeyFiles[0] != "/key" || len(o.args) != 1 ||
		o.HostKeys != Off || o.ConnectTimeout != 30*time.Second || o.Retries != 3 {
		t.Errorf("%+v", o)
	}
	if known, err := o.SetVar("ansible_python_interpreter", "x"); known || err != nil {
		t.Error(known, err)
	}
	for name, value := range map[string]string{"ansible_port": "ssh", "ansible_host_key_checking": "perhaps", "ansible_ssh_extra_args": "-Z"} {
		if _, err := o.SetVar(name, value); err == nil || !strings.Contains(err.Error(), value) {
			t.Errorf("%s: %v", name, err)
		}
	}
	var b Become
	for name, value := range map[string]string{"ansible_become_method": "su", "ansible_become_user": "db", "ansible_become_exe": "/su",
		"ansible_become_flags": "-l", "ansible_become_password": "geheim"} {
		if !b.SetVar(name, value) {
			t.Error(name)
		}
	}
	if (b != Become{Method: "su", User: "db", Exe: "/su", Flags: "-l", Password: "geheim"}) || b.SetVar("ansible_become", "true") {
		t.Errorf("%+v", b)
	}
}

func TestQuote(t *testing.T) {
	c := Local()
	defer c.Close()
	for _, s := range []string{"", "plain", "two words", "it's", `"$HOME" \ $(x) *`, "tab\tline\nend", "'''", "-n", "!x", `a\\b\1\'\`} {
		if got := output(t, c, "printf %s "+Quote(s)); got != s {
			t.Errorf("%q became %q", s, got)
		}
		if got := output(t, c, Sh("printf %s "+Quote(s))); got != s {
			t.Errorf("%q became %q in a second shell", s, got)
		}
	}
}
