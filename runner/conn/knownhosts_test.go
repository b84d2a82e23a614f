package conn

import (
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"golang.org/x/crypto/ssh"
	"golang.org/x/crypto/ssh/knownhosts"
)

func TestHostKeyUnknown(t *testing.T) {
	server := startSSHD(t)
	o := server.options()
	o.KnownHosts = []string{filepath.Join(t.TempDir(), "known_hosts")}
	text := refusedDial(t, o, HostKey)
	public, _, _, _, err := ssh.ParseAuthorizedKey([]byte(server.hostKey("ed25519")))
	if err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{"web1", "unknown", "ED25519 " + ssh.FingerprintSHA256(public), o.KnownHosts[0], "ssh-keyscan -t ed25519 -p", "--host-key-checking accept-new"} {
		if !strings.Contains(text, want) {
			t.Errorf("no %q in: %s", want, text)
		}
	}
	if _, err := os.Stat(o.KnownHosts[0]); err == nil {
		t.Error("the file was written")
	}
	t.Log(text)
}

// TestHostKeyScanned does what the message for an unknown key tells.
func TestHostKeyScanned(t *testing.T) {
	server := startSSHD(t)
	o := server.options()
	o.KnownHosts = []string{filepath.Join(t.TempDir(), "known_hosts")}
	for line := range strings.Lines(refusedDial(t, o, HostKey)) {
		if strings.HasPrefix(strings.TrimSpace(line), "ssh-keyscan") {
			run(t, "sh", "-c", line)
		}
	}
	dial(t, o)
}

func TestHostKeyChanged(t *testing.T) {
	server, other := startSSHD(t), prepareSSHD(t)
	server.write("known_hosts", "# a comment\n"+server.address()+" "+other.hostKey("ed25519")+"\n")
	for _, policy := range []HostKeyPolicy{Strict, AcceptNew} {
		o := server.options()
		o.HostKeys = policy
		text := refusedDial(t, o, HostKey)
		for _, want := range []string{"HAS CHANGED", server.knownHosts() + ":2", "ssh-keygen -R", "shown: ED25519 SHA256:", "known: ED25519 SHA256:"} {
			if !strings.Contains(text, want) {
				t.Errorf("no %q in: %s", want, text)
			}
		}
	}
	o := server.options()
	o.HostKeys = Off
	dial(t, o)
	o.HostKeys = ""
	if err := o.AddArgs("-o StrictHostKeyChecking=no"); err != nil {
		t.Fatal(err)
	}
	dial(t, o)
}

func TestHostKeyAcceptNew(t *testing.T) {
	server := startSSHD(t)
	o := server.options()
	o.HostKeys, o.KnownHosts = AcceptNew, []string{filepath.Join(t.TempDir(), ".ssh", "known_hosts")}
	var dialer Dialer
	var all sync.WaitGroup
	for range 4 {
		all.Go(func() {
			c, err := dialer.Dial(testContext(t), o)
			if err != nil {
				t.Error(err)
				return
			}
			c.Close()
		})
	}
	all.Wait()
	text, err := os.ReadFile(o.KnownHosts[0])
	if err != nil || strings.Count(string(text), "\n") != 1 || !strings.HasPrefix(server.knownLine("ed25519"), strings.TrimSpace(string(text))) {
		t.Errorf("recorded %q, %v", text, err)
	}
	for path, want := range map[string]os.FileMode{o.KnownHosts[0]: 0o600, filepath.Dir(o.KnownHosts[0]): os.ModeDir | 0o700} {
		if info, err := os.Stat(path); err != nil || info.Mode() != want {
			t.Errorf("%s: %v %v", path, info.Mode(), err)
		}
	}
	o.HostKeys = Strict
	dial(t, o)
	run(t, "ssh-keygen", "-F", server.address(), "-f", o.KnownHosts[0])
}

// TestHostKeyAppend adds to a file whose last line is not ended, hashed as the configuration asks.
func TestHostKeyAppend(t *testing.T) {
	server := startSSHD(t)
	o := server.options()
	o.HostKeys, o.KnownHosts = AcceptNew, []string{server.write("half", "example.com "+server.hostKey("ecdsa"))}
	if err := o.AddArgs("-o HashKnownHosts=yes"); err != nil {
		t.Fatal(err)
	}
	dial(t, o)
	text, err := os.ReadFile(o.KnownHosts[0])
	if err != nil || !strings.HasPrefix(string(text), "example.com "+server.hostKey("ecdsa")+"\n|1|") {
		t.Errorf("%q, %v", text, err)
	}
	o.HostKeys = Strict
	dial(t, o)
}

func TestKnownHostsForms(t *testing.T) {
	server := startSSHD(t)
	key := server.hostKey("ed25519")
	ecdsa := server.hostKey("ecdsa")
	for name, content := range map[string]string{
		"hashed":              knownhosts.HashHostname(server.address()) + " " + key,
		"ecdsa only":          server.address() + " " + ecdsa, // the server prefers ed25519
		"pattern":             "[127.0.0.*]:*,!*.example.com " + key,
		"without port":        "127.0.0.1 " + key,
		"several":             "example.com,10.0.0.1 " + ecdsa + "\n" + server.address() + " " + key,
		"odd lines":           "rubbish\n" + server.address() + " ssh-strange AAAA\n" + server.address() + " " + key,
		"both key types":      server.address() + " " + ecdsa + "\n" + server.address() + " " + key,
		"port wins over none": "127.0.0.1 " + ecdsa + "\n" + server.address() + " " + key,
	} {
		t.Run(name, func(t *testing.T) {
			o := server.options()
			o.KnownHosts = []string{server.write("known", content+"\n")}
			dial(t, o)
		})
	}
	for name, content := range map[string]string{
		"negated":    "127.0.0.*,!127.0.0.1 " + key,
		"other port": "[127.0.0.1]:1 " + key,
		"revoked":    "@revoked * " + key + "\n@revoked * " + ecdsa + "\n" + server.address() + " " + key,
		"authority":  "@cert-authority * " + key, // not the host's own key
	} {
		t.Run(name, func(t *testing.T) {
			o := server.options()
			o.KnownHosts = []string{server.write("known", content+"\n")}
			t.Log(refusedDial(t, o, HostKey))
		})
	}
}

func TestHostKeyAlias(t *testing.T) {
	server := startSSHD(t)
	o := server.options()
	o.HostKeyAlias, o.KnownHosts = "web", []string{server.write("known", "web "+server.hostKey("ed25519")+"\n")}
	dial(t, o)
}

func TestHostCertificate(t *testing.T) {
	folder := t.TempDir()
	ca := filepath.Join(folder, "ca")
	public := strings.TrimSpace(string(ssh.MarshalAuthorizedKey(writeKey(t, ca, ""))))
	server := prepareSSHD(t)
	run(t, "ssh-keygen", "-q", "-s", ca, "-I", "host", "-h", "-n", "127.0.0.1", filepath.Join(server.folder, "host_ed25519.pub"))
	server.config = append(server.config, "HostCertificate "+filepath.Join(server.folder, "host_ed25519-cert.pub"))
	server.start()
	o := server.options()
	o.KnownHosts = []string{server.write("known", "@cert-authority * "+public+"\n")}
	dial(t, o)

	o.HostKeyAlias = "somebody.else" // the certificate is not for that name
	if text := refusedDial(t, o, HostKey); !strings.Contains(text, "certificate") {
		t.Error(text)
	}
	o.HostKeyAlias = ""
	o.KnownHosts = []string{server.write("known", "@revoked * "+public+"\n@cert-authority * "+public+"\n")}
	refusedDial(t, o, HostKey)
	o.KnownHosts = []string{server.write("known", server.knownLine("ed25519"))} // no authority: the plain key counts
	dial(t, o)
}
