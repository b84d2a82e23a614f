package node_test

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"encoding/pem"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/calroll/calroll/tasks/node"
	"github.com/calroll/calroll/tasks/pki"
)

func crypt(module string, a args) step { return do("community.crypto."+module, a) }

func key(a ...any) step      { return crypt("openssl_privatekey", pairs(a)) }
func csr(a ...any) step      { return crypt("openssl_csr", pairs(a)) }
func cert(a ...any) step     { return crypt("x509_certificate", pairs(a)) }
func certInfo(a ...any) step { return crypt("x509_certificate_info", pairs(a)) }
func pairs(a []any) (out args) {
	out = args{}
	for i := 0; i < len(a); i += 2 {
		out[a[i].(string)] = a[i+1]
	}
	return out
}

// keyFiles are keys that both sides have: what differs after that is not the keys' doing.
func keyFiles(t *testing.T) string {
	t.Helper()
	r, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		t.Fatal(err)
	}
	e, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	script := "umask 077\n"
	for name, k := range map[string]any{"rsa.key": r, "ca.key": e} {
		der, err := x509.MarshalPKCS8PrivateKey(k)
		if err != nil {
			t.Fatal(err)
		}
		script += "cat > " + name + " <<'EOT'\n" + string(pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: der})) + "EOT\n"
	}
	return script + "echo broken > broken.pem\n"
}

var keySteps = []step{
	key("path", "@/a.key", "size", 2048), key("path", "@/a.key", "size", 2048), key("path", "@/a.key", "size", 2048, "mode", "0640"), key("path", "@/a.key", "size", 2048),
	key("path", "@/a.key", "size", 1024, "regenerate", "fail"), key("path", "@/a.key", "size", 1024, "regenerate", "never"), key("path", "@/a.key", "type", "ECC", "curve", "secp256r1", "backup", true),
	key("path", "@/a.key", "type", "ECC", "curve", "secp384r1"), key("path", "@/a.key", "type", "ECC", "curve", "secp384r1", "format", "pkcs8"), key("path", "@/a.key", "type", "ECC", "curve", "secp384r1", "format", "auto", "format_mismatch", "convert"),
	key("path", "@/a.key", "type", "ECC", "curve", "secp384r1", "format", "pkcs8", "regenerate", "fail"),
	key("path", "@/a.key", "type", "ECC"), key("path", "@/b.key", "type", "Ed25519"), key("path", "@/b.key", "type", "Ed25519", "return_content", true), key("path", "@/b.key", "type", "Ed25519", "force", true),
	key("path", "@/b.key", "type", "Ed25519", "regenerate", "always"), checked(key("path", "@/c.key", "size", 2048)), checked(key("path", "@/a.key", "size", 2048)), checked(key("path", "@/b.key", "state", "absent")), key("path", "@/none/a.key"),
	key("path", "@/broken.pem", "size", 2048, "regenerate", "partial_idempotence"), key("path", "@/broken.pem", "size", 2048), key("path", "@/b.key", "state", "absent", "return_content", true), key("path", "@/b.key", "state", "absent"),
	crypt("openssl_privatekey_info", args{"path": "@/a.key"}), crypt("openssl_privatekey_info", args{"path": "@/rsa.key"}), crypt("openssl_privatekey_info", args{"path": "@/none"}),
	key("path", "@/rsa.key", "size", 2048), key("path", "@/ca.key", "type", "ECC", "curve", "secp256r1"),
}

var csrSteps = []step{
	csr("path", "@/a.csr", "privatekey_path", "@/rsa.key", "common_name", "calico-node"), csr("path", "@/a.csr", "privatekey_path", "@/rsa.key", "common_name", "calico-node"),
	csr("path", "@/a.csr", "privatekey_path", "@/rsa.key", "common_name", "calico-node", "use_common_name_for_san", false, "return_content", true), csr("path", "@/a.csr", "privatekey_path", "@/rsa.key", "CN", "calico-node", "useCommonNameForSAN", false),
	csr("path", "@/a.csr", "privatekey_path", "@/ca.key", "common_name", "calico-node", "use_common_name_for_san", false, "backup", true),
	csr("path", "@/b.csr", "privatekey_path", "@/rsa.key", "C", "DE", "ST", "Berlin", "L", "Berlin", "O", "system:nodes", "OU", "ou", "CN", "näme", "email_address", "a§b.example", "mode", "0640",
		"subject_alt_name", []any{"DNS:a.example", "DNS:*.b.example", "IP:10.0.0.1", "IP:2001:DB8::1", "email:x§y.example", "URI:https://a.example/x", "RID:1.2.3.4"}, "subject_alt_name_critical", true,
		"key_usage", []any{"digitalSignature", "Key Encipherment", "keyCertSign", "cRLSign"}, "key_usage_critical", true, "extended_key_usage", []any{"clientAuth", "serverAuth", "1.2.3.4"}, "extended_key_usage_critical", true,
		"basic_constraints", []any{"CA:TRUE", "pathlen:0"}, "basic_constraints_critical", true, "ocsp_must_staple", true, "create_subject_key_identifier", true),
	csr("path", "@/b.csr", "privatekey_path", "@/rsa.key", "C", "DE", "ST", "Berlin", "L", "Berlin", "O", "system:nodes", "OU", "ou", "CN", "näme", "email_address", "a§b.example", "mode", "0640",
		"subject_alt_name", []any{"IP:10.0.0.1", "DNS:*.b.example", "DNS:a.example", "IP:2001:db8:0::1", "email:x§y.example", "URI:https://a.example/x", "RID:1.2.3.4"}, "subject_alt_name_critical", true,
		"key_usage", []any{"Digital Signature", "keyCertSign", "Key Encipherment", "CRL Sign"}, "key_usage_critical", true, "extended_key_usage", []any{"1.2.3.4", "TLS Web Server Authentication", "clientAuth"}, "extended_key_usage_critical", true,
		"basic_constraints", []any{"pathlen:0", "CA:TRUE"}, "basic_constraints_critical", true, "ocsp_must_staple", true, "create_subject_key_identifier", true),
	csr("path", "@/c.csr", "privatekey_path", "@/rsa.key", "subject", args{"O": []any{"a", "b"}}), csr("path", "@/c.csr", "privatekey_path", "@/rsa.key", "subject", args{"O": []any{"b", "a"}}),
	csr("path", "@/c.csr", "privatekey_path", "@/rsa.key", "subject_ordered", []any{args{"CN": "x"}, args{"O": "y"}}), csr("path", "@/c.csr", "privatekey_path", "@/rsa.key", "subject_ordered", []any{args{"O": "y"}, args{"CN": "x"}}),
	csr("path", "@/c.csr", "privatekey_path", "@/rsa.key", "subject_ordered", []any{args{"O": "y"}}, "CN", "x"), csr("path", "@/c.csr", "privatekey_path", "@/rsa.key", "CN", "x", "basic_constraints", "CA:FALSE"),
	csr("path", "@/c.csr", "privatekey_path", "@/rsa.key", "CN", "x", "basic_constraints", "CA:MAYBE"), csr("path", "@/c.csr", "privatekey_path", "@/rsa.key", "CN", "x", "key_usage", "anything"), csr("path", "@/c.csr", "privatekey_path", "@/rsa.key", "CN", "x", "subject_alt_name", "nothing"),
	csr("path", "@/c.csr", "privatekey_path", "@/rsa.key", "CN", "x", "extended_key_usage", "anything"), csr("path", "@/d.csr", "privatekey_path", "@/none.key", "CN", "x"), checked(csr("path", "@/d.csr", "privatekey_path", "@/none.key", "CN", "x")),
	csr("path", "@/d.csr", "CN", "x"), csr("path", "@/d.csr", "privatekey_path", "@/rsa.key", "CN", "x", "digest", "sha3"), csr("path", "@/none/d.csr", "privatekey_path", "@/rsa.key", "CN", "x"), csr("path", "@/broken.pem", "privatekey_path", "@/rsa.key", "CN", "x", "digest", "sha512"),
	checked(csr("path", "@/a.csr", "privatekey_path", "@/rsa.key", "CN", "other")), csr("path", "@/a.csr", "state", "absent", "privatekey_path", "@/rsa.key"), csr("path", "@/a.csr", "state", "absent"),
}

const from, until = "20250101000000Z", "20350101000000Z"

func owned(a ...any) step {
	return cert(append([]any{"provider", "ownca", "ownca_path", "@/ca.pem", "ownca_privatekey_path", "@/ca.key", "ownca_not_before", from, "ownca_not_after", until}, a...)...)
}

func selfSigned(a ...any) step {
	return cert(append([]any{"provider", "selfsigned", "selfsigned_not_before", from, "selfsigned_not_after", until}, a...)...)
}

var certSteps = []step{
	csr("path", "@/ca.csr", "privatekey_path", "@/ca.key", "common_name", "Calico CA", "use_common_name_for_san", false, "basic_constraints", "CA:TRUE", "basic_constraints_critical", true, "key_usage", []any{"keyCertSign", "cRLSign"}, "key_usage_critical", true),
	selfSigned("path", "@/ca.pem", "privatekey_path", "@/ca.key", "csr_path", "@/ca.csr"), selfSigned("path", "@/ca.pem", "privatekey_path", "@/ca.key", "csr_path", "@/ca.csr"), certInfo("path", "@/ca.pem", "valid_at", args{"now": "+0s", "then": until, "before": "20240101000000Z"}),
	csr("path", "@/n.csr", "privatekey_path", "@/rsa.key", "common_name", "calico-node", "organization_name", "system:nodes", "use_common_name_for_san", false, "extended_key_usage", []any{"serverAuth", "clientAuth"}, "key_usage", []any{"digitalSignature", "keyEncipherment"},
		"subject_alt_name", []any{"DNS:a.example", "IP:10.0.0.1", "IP:2001:DB8::1", "email:x§y.example", "URI:https://a.example/x", "RID:1.2.3.4"}, "ocsp_must_staple", true),
	owned("path", "@/n.pem", "csr_path", "@/n.csr"), owned("path", "@/n.pem", "csr_path", "@/n.csr", "privatekey_path", "@/rsa.key", "return_content", true), certInfo("path", "@/n.pem"), owned("path", "@/n.pem", "csr_path", "@/n.csr", "mode", "0600"),
	owned("path", "@/n.pem", "csr_path", "@/n.csr", "ownca_not_after", "20360101000000Z"), owned("path", "@/n.pem", "csr_path", "@/n.csr", "ownca_not_after", "20360101000000Z", "ignore_timestamps", false, "backup", true), certInfo("path", "@/n.pem"),
	owned("path", "@/n.pem", "csr_path", "@/n.csr", "ownca_create_authority_key_identifier", false), owned("path", "@/n.pem", "csr_path", "@/n.csr", "ownca_create_authority_key_identifier", false, "ownca_create_subject_key_identifier", "never_create"), certInfo("path", "@/n.pem"),
	owned("path", "@/n.pem", "csr_path", "@/n.csr", "ownca_create_subject_key_identifier", "always_create", "ownca_digest", "sha512"), certInfo("path", "@/n.pem"), owned("path", "@/n.pem", "csr_path", "@/n.csr", "force", true), owned("path", "@/n.pem", "csr_path", "@/n.csr", "privatekey_path", "@/ca.key"),
	csr("path", "@/n.csr", "privatekey_path", "@/rsa.key", "common_name", "other", "use_common_name_for_san", false), checked(owned("path", "@/n.pem", "csr_path", "@/n.csr")), owned("path", "@/n.pem", "csr_path", "@/n.csr"), owned("path", "@/n.pem", "csr_path", "@/n.csr"),
	selfSigned("path", "@/s.pem", "privatekey_path", "@/rsa.key"), selfSigned("path", "@/s.pem", "privatekey_path", "@/rsa.key"), certInfo("path", "@/s.pem"), selfSigned("path", "@/s.pem", "privatekey_path", "@/rsa.key", "csr_path", "@/n.csr", "selfsigned_digest", "sha384"), certInfo("path", "@/s.pem"),
	owned("path", "@/x.pem", "csr_path", "@/none.csr"), owned("path", "@/x.pem"), cert("path", "@/x.pem", "provider", "ownca", "csr_path", "@/n.csr"), cert("path", "@/x.pem"), cert("path", "@/x.pem", "provider", "selfsigned"), owned("path", "@/x.pem", "csr_path", "@/n.csr", "ownca_not_after", "tomorrow"),
	owned("path", "@/x.pem", "csr_path", "@/n.csr", "ownca_privatekey_path", "@/rsa.key"), owned("path", "@/none/x.pem", "csr_path", "@/n.csr"), owned("path", "@/broken.pem", "csr_path", "@/n.csr"), certInfo("path", "@/rsa.key"), certInfo("path", "@/none"),
	checked(cert("path", "@/s.pem", "state", "absent")), cert("path", "@/s.pem", "state", "absent"), cert("path", "@/s.pem", "state", "absent", "return_content", true), cert("path", "@/none/s.pem", "state", "absent"),
}

// chance holds values that differ from one making to the next: keys that were just made, signatures, serial numbers.
var chance = []string{"fingerprint", "fingerprints", "serial_number", "certificate", "csr", "privatekey"}

// ofKey are further ones of a key that was made in the case.
var ofKey = []string{"public_key", "public_key_fingerprints", "public_data"}

// TestCryptoSameAsAnsible runs keys, requests and certificates through community.crypto and through the modules: the same answers, the
// same files (their chance parts aside), and each side is content with what the other made.
func TestCryptoSameAsAnsible(t *testing.T) {
	keys := keyFiles(t)
	cases := []sameAs{{name: "keys", setup: keys, steps: keySteps}, {name: "requests", setup: keys, steps: csrSteps}, {name: "certificates", setup: keys, steps: certSteps}, chainCase(t)}
	theirs := runAnsible(t, cases).runs(t, cases)
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			root := filepath.Join(t.TempDir(), "calroll")
			shell(t, c.setup, newDir(t, root))
			start, runs := tree(t, root), t.TempDir()
			ours, their := runModulesFor(t, c, root, runs), theirs[c.name]
			for i, s := range c.steps {
				sameShape(t, s, ours[i], their.results[i])
				compare(t, s.module+" "+strings.TrimSpace(strings.Join(slices.Sorted(maps.Keys(s.args)), " "))+fmt.Sprintf(" #%d", i+1), ours[i], their.results[i], root, their.root)
			}
			if our, their := pemTree(t, root), pemTree(t, their.root); !reflect.DeepEqual(our, their) {
				t.Errorf("the files differ:\nours:\n%v\nAnsible's:\n%v", our, their)
			}
			undoAll(t, runs, root, start)
		})
	}
}

// chainCase completes chains of a root, one below it and a leaf.
func chainCase(t *testing.T) sameAs {
	t.Helper()
	var texts []string
	var ca *x509.Certificate
	var caKey crypto.Signer
	for _, name := range []string{"root", "middle", "leaf"} {
		k, err := pki.KeySpec{Type: "ECC", Curve: "secp256r1"}.Generate()
		if err != nil {
			t.Fatal(err)
		}
		text, err := pki.Request{Subject: []pki.Attribute{{Name: "CN", Value: name}}}.Sign(k, "sha256")
		if err != nil {
			t.Fatal(err)
		}
		r, err := pki.ParseRequest(text)
		if err != nil {
			t.Fatal(err)
		}
		c := pki.Certificate{Request: r, Key: k, Digest: "sha256", NotBefore: time.Now(), NotAfter: time.Now().AddDate(1, 0, 0)}
		if ca != nil {
			c.Key, c.CA = caKey, ca
		}
		if text, err = c.Sign(); err != nil {
			t.Fatal(err)
		}
		if ca, err = pki.ParseCertificate(text); err != nil {
			t.Fatal(err)
		}
		texts, caKey = append(texts, string(text)), k
	}
	root, middle, leaf := texts[0], texts[1], texts[2]
	chain := func(input string, more ...any) step {
		return crypt("certificate_complete_chain", pairs(append([]any{"input_chain", input, "root_certificates", []any{"@/roots"}}, more...)))
	}
	return sameAs{name: "chains", setup: "mkdir -p roots/a\ncat > roots/a/root.pem <<EOT\n" + root + "EOT\ncat > middle.pem <<EOT\n" + middle + "EOT\n", steps: []step{
		chain(leaf, "intermediate_certificates", "@/middle.pem"), chain(leaf), chain(leaf + middle), chain(leaf + middle + root), chain(middle + leaf), chain(root), chain(""),
	}}
}

// sameShape compares that the values of chance are of the same kind, and takes them out.
func sameShape(t *testing.T, s step, ours, theirs map[string]any) {
	t.Helper()
	names := chance
	if strings.HasSuffix(s.module, "privatekey_info") {
		names = append(slices.Clone(names), ofKey...)
	}
	for _, name := range names {
		if name == "privatekey" && !strings.HasSuffix(s.module, "openssl_privatekey") {
			continue // a path
		}
		our, their := ours[name], theirs[name]
		delete(ours, name)
		delete(theirs, name)
		ourMap, _ := our.(map[string]any)
		theirMap, _ := their.(map[string]any)
		if ours["failed"] == true || reflect.TypeOf(our) == reflect.TypeOf(their) && slices.Equal(slices.Sorted(maps.Keys(ourMap)), slices.Sorted(maps.Keys(theirMap))) {
			continue
		}
		if s.check && name == "serial_number" { // of a certificate that is not made
			continue
		}
		t.Errorf("%s: %s is %v, Ansible's %v", s.module, name, our, their)
	}
}

// pemTree describes the files of a folder by what they say.
func pemTree(t *testing.T, root string) map[string]any {
	t.Helper()
	out := map[string]any{}
	entries, err := os.ReadDir(root)
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range entries {
		if e.IsDir() {
			continue
		}
		raw, err := os.ReadFile(filepath.Join(root, e.Name()))
		if err != nil {
			t.Fatal(err)
		}
		info, err := e.Info()
		if err != nil {
			t.Fatal(err)
		}
		name := e.Name()
		if head, _, is := strings.Cut(name, "~"); is { // a backup has the time in its name
			name, _, _ = strings.Cut(head, ".")
			name += " backup"
		}
		out[name] = info.Mode().String() + " " + pki.FormatOf(raw) + " " + saying(t, raw)
	}
	return out
}

// saying is a PEM file in words.
func saying(t *testing.T, raw []byte) string {
	t.Helper()
	b, _ := pem.Decode(raw)
	if b == nil {
		return string(raw)
	}
	var words []string
	switch {
	case strings.Contains(b.Type, "CERTIFICATE REQUEST"):
		r, err := x509.ParseCertificateRequest(b.Bytes)
		if err != nil {
			t.Fatal(err)
		}
		words = append(words, r.Subject.String(), r.SignatureAlgorithm.String(), string(r.RawSubject))
		for _, e := range r.Extensions {
			words = append(words, e.Id.String(), string(e.Value))
		}
	case b.Type == "CERTIFICATE":
		c, err := x509.ParseCertificate(b.Bytes)
		if err != nil {
			t.Fatal(err)
		}
		words = append(words, string(c.RawSubject), string(c.RawIssuer), c.SignatureAlgorithm.String(), c.NotBefore.String(), c.NotAfter.String())
		for _, e := range c.Extensions {
			words = append(words, e.Id.String(), string(e.Value))
		}
	}
	return b.Type + " " + strings.Join(words, " ")
}

// TestEachTakesTheOthersWork: a certificate that Ansible made stays under our modules, and the other way round.
func TestEachTakesTheOthersWork(t *testing.T) {
	make := []step{
		csr("path", "@/ca.csr", "privatekey_path", "@/ca.key", "common_name", "Calico CA", "use_common_name_for_san", false, "basic_constraints", "CA:TRUE", "key_usage", []any{"keyCertSign"}),
		selfSigned("path", "@/ca.pem", "privatekey_path", "@/ca.key", "csr_path", "@/ca.csr"),
		key("path", "@/new.key", "type", "ECC", "curve", "secp256r1"),
		csr("path", "@/n.csr", "privatekey_path", "@/new.key", "common_name", "calico-node", "country_name", "DE", "email_address", "a§b.example", "extended_key_usage", []any{"serverAuth"}, "key_usage", []any{"digitalSignature"}, "subject_alt_name", []any{"DNS:a", "IP:10.0.0.1"}),
		owned("path", "@/n.pem", "csr_path", "@/n.csr", "privatekey_path", "@/new.key"),
	}
	c := sameAs{name: "both", setup: keyFiles(t), steps: make}
	theirs := runAnsible(t, []sameAs{c}).runs(t, []sameAs{c})[c.name]
	for i, r := range runModules(t, c, theirs.root) {
		if r["changed"] != false || r["failed"] != false {
			t.Errorf("over Ansible's work, step %d: %v", i+1, r)
		}
	}
	root := filepath.Join(t.TempDir(), "calroll")
	shell(t, c.setup, newDir(t, root))
	runModules(t, c, root)
	var list []map[string]any
	for _, s := range make {
		list = append(list, map[string]any{"name": "x", s.module: rooted(s.args, root)})
	}
	for i, r := range readReport(t, playbook(t, t.TempDir(), list)) {
		if r["changed"] != false {
			t.Errorf("Ansible over our work, step %d: %v", i+1, r)
		}
	}
}

// TestRelativeTimes: a certificate for a year of days is valid for just that.
func TestRelativeTimes(t *testing.T) {
	root := t.TempDir()
	c := sameAs{setup: keyFiles(t), steps: []step{
		selfCert("path", "@/a.pem", "privatekey_path", "@/rsa.key", "selfsigned_not_before", "-5m", "selfsigned_not_after", "+365d"),
		certInfo("path", "@/a.pem", "valid_at", args{"soon": "+364d", "late": "+1w365d", "early": "-6m", "while": "-4m"}),
	}}
	shell(t, c.setup, root)
	r := runModules(t, c, root)
	want := map[string]any{"soon": true, "late": false, "early": false, "while": true}
	if got := r[1]["valid_at"]; !reflect.DeepEqual(got, want) {
		t.Errorf("valid_at is %v, want %v", got, want)
	}
	after, err := time.Parse("20060102150405Z", r[0]["notAfter"].(string))
	if err != nil || time.Until(after) > 365*24*time.Hour || time.Until(after) < 365*24*time.Hour-time.Minute {
		t.Errorf("valid until %v (%v)", after, err)
	}
}

func selfCert(a ...any) step { return cert(append([]any{"provider", "selfsigned"}, a...)...) }

// TestCryptoNames: the modules are found under the names of their collection.
func TestCryptoNames(t *testing.T) {
	for _, name := range []string{"openssl_privatekey", "openssl_privatekey_info", "openssl_csr", "x509_certificate", "x509_certificate_info", "certificate_complete_chain"} {
		if _, ok := node.Modules().Lookup("community.crypto." + name); !ok {
			t.Errorf("community.crypto.%s is not found", name)
		}
	}
}
