package node

import (
	"context"
	"crypto/x509"
	"fmt"
	"os"
	"time"

	"github.com/calroll/calroll/tasks"
	"github.com/calroll/calroll/tasks/pki"
)

var _ = register("x509_certificate", func() tasks.Module { return &X509Certificate{} })

// X509Certificate makes a certificate, signed by its own key or by an authority whose key lies on the same machine.
type X509Certificate struct {
	pemArgs
	Provider          string     `arg:"provider,choices=ownca|selfsigned" doc:"who signs: an authority of our own, or the key itself"`
	CSRPath           tasks.Path `arg:"csr_path" doc:"the file of the signing request"`
	CSRContent        string     `arg:"csr_content" doc:"the signing request"`
	PrivatekeyPath    tasks.Path `arg:"privatekey_path" doc:"the file of the certificate's key; signs with selfsigned, is compared with ownca"`
	PrivatekeyContent string     `arg:"privatekey_content,secret" doc:"the certificate's key"`
	IgnoreTimestamps  bool       `arg:"ignore_timestamps,default=yes" doc:"an existing certificate may have other times"`

	SelfDigest    string `arg:"selfsigned_digest,default=sha256" doc:"sha256, sha384, sha512 or sha1"`
	SelfNotBefore string `arg:"selfsigned_not_before,alias=selfsigned_notBefore,default=+0s" doc:"valid from: relative, such as -5m, or 20301231235959Z"`
	SelfNotAfter  string `arg:"selfsigned_not_after,alias=selfsigned_notAfter,default=+3650d" doc:"valid until, likewise"`
	SelfKeyID     string `arg:"selfsigned_create_subject_key_identifier,choices=create_if_not_provided|always_create|never_create,default=create_if_not_provided" doc:"name the key by its hash"`

	CAPath       tasks.Path `arg:"ownca_path" doc:"the file of the authority's certificate"`
	CAContent    string     `arg:"ownca_content" doc:"the authority's certificate"`
	CAKeyPath    tasks.Path `arg:"ownca_privatekey_path" doc:"the file of the authority's key"`
	CAKeyContent string     `arg:"ownca_privatekey_content,secret" doc:"the authority's key"`
	CADigest     string     `arg:"ownca_digest,default=sha256" doc:"sha256, sha384, sha512 or sha1"`
	CANotBefore  string     `arg:"ownca_not_before,default=+0s" doc:"valid from: relative, such as -5m, or 20301231235959Z"`
	CANotAfter   string     `arg:"ownca_not_after,default=+3650d" doc:"valid until, likewise"`
	CAKeyID      string     `arg:"ownca_create_subject_key_identifier,choices=create_if_not_provided|always_create|never_create,default=create_if_not_provided" doc:"name the key by its hash"`
	CAAuthority  bool       `arg:"ownca_create_authority_key_identifier,default=yes" doc:"name the authority's key by its hash"`
}

// Rules are Ansible's.
func (*X509Certificate) Rules() tasks.Rules {
	return tasks.Rules{
		MutuallyExclusive: [][]string{{"csr_path", "csr_content"}, {"privatekey_path", "privatekey_content"}, {"ownca_path", "ownca_content"}, {"ownca_privatekey_path", "ownca_privatekey_content"}},
		RequiredIf: []tasks.RequiredIf{
			{Arg: "state", Value: "present", Need: []string{"provider"}},
			{Arg: "provider", Value: "ownca", Need: []string{"csr_path", "csr_content"}, AnyOf: true},
			{Arg: "provider", Value: "ownca", Need: []string{"ownca_path", "ownca_content"}, AnyOf: true},
			{Arg: "provider", Value: "ownca", Need: []string{"ownca_privatekey_path", "ownca_privatekey_content"}, AnyOf: true},
			{Arg: "provider", Value: "selfsigned", Need: []string{"privatekey_path", "privatekey_content"}, AnyOf: true},
		},
	}
}

// Run makes the certificate unless the one that is there is it.
func (m *X509Certificate) Run(ctx context.Context, sys *tasks.Sys) (r tasks.Result, err error) {
	if err := m.open(sys); err != nil {
		if m.State == "absent" { // where there is no folder there is no certificate
			m.answer(&r, "certificate", nil)
			m.describe(&r)
			return r, nil
		}
		return r, err
	}
	m.describe(&r)
	if m.State == "absent" {
		err := m.remove(ctx, sys, &r)
		m.answer(&r, "certificate", nil)
		return r, err
	}
	want, err := m.want()
	if err != nil {
		return r, err
	}
	made, err := m.made(want)
	if err != nil {
		return r, err
	}
	content := m.old
	switch {
	case made:
		err = m.keep(ctx, sys, &r, m.Attrs())
	case sys.Check():
		err = m.write(ctx, sys, &r, nil, m.Attrs())
	default:
		if content, err = want.Sign(); err != nil {
			return r, fail("cannot make the certificate %s: %v", m.path, err)
		}
		err = m.write(ctx, sys, &r, content, m.Attrs())
	}
	m.answer(&r, "certificate", content)
	m.describeTimes(sys, &r, want, content)
	return r, err
}

// want is the certificate that the arguments ask for.
func (m *X509Certificate) want() (c pki.Certificate, err error) {
	now := time.Now()
	before, after := m.SelfNotBefore, m.SelfNotAfter
	if m.Provider == "ownca" {
		before, after = m.CANotBefore, m.CANotAfter
	}
	if c.NotBefore, err = pki.When(before, now); err != nil {
		return c, fail("cannot use %s_not_before: %v", m.Provider, err)
	}
	if c.NotAfter, err = pki.When(after, now); err != nil {
		return c, fail("cannot use %s_not_after: %v", m.Provider, err)
	}
	if m.Provider == "ownca" {
		return m.byAuthority(c)
	}
	return m.byItself(c)
}

func (m *X509Certificate) byItself(c pki.Certificate) (_ pki.Certificate, err error) {
	c.Digest, c.SubjectKeyID = m.SelfDigest, m.SelfKeyID
	if c.Key, err = loadKey(m.PrivatekeyPath, m.PrivatekeyContent, "private key"); err != nil {
		return c, err
	}
	if m.CSRPath == "" && m.CSRContent == "" {
		if c.Request, err = pki.Unsigned(c.Key, c.Digest); err != nil {
			return c, fail("cannot make the certificate %s: %v", m.path, err)
		}
		return c, nil
	}
	c.Request, err = m.loadRequest()
	if err == nil && !pki.SamePublic(c.Request.PublicKey, c.Key.Public()) {
		return c, fail("the signing request is not of the private key, so a certificate of it cannot be signed by itself")
	}
	return c, err
}

func (m *X509Certificate) byAuthority(c pki.Certificate) (_ pki.Certificate, err error) {
	c.Digest, c.SubjectKeyID, c.AuthorityKey = m.CADigest, m.CAKeyID, m.CAAuthority
	if c.Request, err = m.loadRequest(); err != nil {
		return c, err
	}
	raw, err := source(m.CAPath, m.CAContent, "certificate of the authority")
	if err != nil {
		return c, err
	}
	if c.CA, err = pki.ParseCertificate(raw); err != nil {
		return c, fail("cannot use the certificate of the authority%s: %v", inFile(m.CAPath), err)
	}
	if c.Key, err = loadKey(m.CAKeyPath, m.CAKeyContent, "key of the authority"); err != nil {
		return c, err
	}
	if err := pki.Pair(c.CA, c.Key); err != nil {
		return c, fail("cannot sign with the authority%s: %v", inFile(m.CAPath), err)
	}
	return c, nil
}

func (m *X509Certificate) loadRequest() (*x509.CertificateRequest, error) {
	raw, err := source(m.CSRPath, m.CSRContent, "signing request")
	if err != nil {
		return nil, err
	}
	request, err := pki.ParseRequest(raw)
	if err != nil {
		return nil, fail("cannot use the signing request%s: %v", inFile(m.CSRPath), err)
	}
	return request, nil
}

// made tells whether the file holds the certificate already.
func (m *X509Certificate) made(want pki.Certificate) (bool, error) {
	if m.Force || m.old == nil {
		return false, nil
	}
	have, err := pki.ParseCertificate(m.old)
	if err != nil {
		return false, nil //nolint:nilerr // what cannot be read is made anew
	}
	if m.PrivatekeyPath != "" || m.PrivatekeyContent != "" {
		key, err := loadKey(m.PrivatekeyPath, m.PrivatekeyContent, "private key")
		if err != nil {
			return false, err
		}
		if pki.Pair(have, key) != nil {
			return false, nil
		}
	}
	if !m.IgnoreTimestamps && (!have.NotBefore.Equal(want.NotBefore) || !have.NotAfter.Equal(want.NotAfter)) {
		return false, nil
	}
	made, err := want.Made(have)
	if err != nil {
		return false, fail("cannot compare the certificate %s: %v", m.path, err)
	}
	return made, nil
}

func (m *X509Certificate) describe(r *tasks.Result) {
	r.Set("privatekey", pathOrNil(m.PrivatekeyPath))
	r.Set("csr", pathOrNil(m.CSRPath))
	if m.Provider == "ownca" && m.State == "present" {
		r.Set("ca_cert", pathOrNil(m.CAPath))
		r.Set("ca_privatekey", pathOrNil(m.CAKeyPath))
	}
}

// describeTimes says from when to when it is valid: of the certificate itself, in check mode of the one that is wanted.
func (m *X509Certificate) describeTimes(sys *tasks.Sys, r *tasks.Result, want pki.Certificate, content []byte) {
	before, after := want.NotBefore, want.NotAfter
	if cert, err := pki.ParseCertificate(content); err == nil && !sys.Check() {
		before, after = cert.NotBefore, cert.NotAfter
		r.Set("serial_number", pki.Serial(cert))
	}
	r.Set("notBefore", pki.Stamp(before))
	r.Set("notAfter", pki.Stamp(after))
}

var _ = register("x509_certificate_info", func() tasks.Module { return &X509CertificateInfo{} })

// X509CertificateInfo tells what a certificate says.
type X509CertificateInfo struct {
	Path    tasks.Path     `arg:"path" doc:"the file of the certificate, PEM or DER"`
	Content string         `arg:"content" doc:"the certificate, PEM"`
	ValidAt map[string]any `arg:"valid_at" doc:"moments by a name of yours, such as {month: +30d}: the answer's valid_at says for each whether it is valid then"`
}

// Rules are Ansible's.
func (*X509CertificateInfo) Rules() tasks.Rules { return oneOfPathAndContent }

// Run answers all that is known of it.
func (m *X509CertificateInfo) Run(context.Context, *tasks.Sys) (r tasks.Result, err error) {
	cert, err := m.load()
	if err != nil {
		return r, err
	}
	now := time.Now()
	if r.Values, err = pki.Describe(cert, now); err != nil {
		return r, fail("cannot describe the certificate%s: %v", inFile(m.Path), err)
	}
	at := map[string]any{}
	for name, v := range m.ValidAt {
		text, ok := v.(string)
		if !ok {
			return r, fail("the value of valid_at.%s must be a text, not %v", name, v)
		}
		t, err := pki.When(text, now)
		if err != nil {
			return r, fail("cannot use valid_at.%s: %v", name, err)
		}
		at[name] = !t.Before(cert.NotBefore) && !t.After(cert.NotAfter)
	}
	r.Set("valid_at", at)
	return r, nil
}

func (m *X509CertificateInfo) load() (*x509.Certificate, error) {
	raw, err := source(m.Path, m.Content, "certificate")
	if err != nil {
		return nil, err
	}
	read := pki.LoadCertificate
	if m.Content != "" {
		read = pki.ParseCertificate
	}
	cert, err := read(raw)
	if err != nil {
		return nil, fail("cannot use the certificate%s: %v", inFile(m.Path), err)
	}
	return cert, nil
}

var _ = register("certificate_complete_chain", func() tasks.Module { return &CertificateChain{} })

// CertificateChain checks that a chain leads from a certificate up to a root, and answers what is missing in between.
type CertificateChain struct {
	InputChain    string       `arg:"input_chain,required" doc:"certificates, each signed by the one that follows"`
	Roots         []tasks.Path `arg:"root_certificates,required" doc:"files and folders of root certificates"`
	Intermediates []tasks.Path `arg:"intermediate_certificates" doc:"files and folders of certificates in between"`
}

// Run answers root, chain (what was added) and complete_chain.
func (m *CertificateChain) Run(_ context.Context, sys *tasks.Sys) (r tasks.Result, err error) {
	chain, err := pki.Certificates([]byte(m.InputChain))
	if err != nil {
		return r, fail("cannot use the input chain: %v", err)
	}
	added, err := pki.Complete(chain, loadCertificates(sys, m.Intermediates), loadCertificates(sys, m.Roots))
	if err != nil {
		return r, fail("cannot complete the chain: %v", err)
	}
	texts := func(list []*x509.Certificate) []string {
		out := []string{}
		for _, c := range list {
			out = append(out, string(pki.PEM("CERTIFICATE", c.Raw)))
		}
		return out
	}
	whole := texts(append(chain, added...))
	r.Set("root", whole[len(whole)-1])
	r.Set("chain", texts(added))
	r.Set("complete_chain", whole)
	return r, nil
}

// loadCertificates reads files and whole folders; a file that cannot be read is a warning.
func loadCertificates(sys *tasks.Sys, paths []tasks.Path) []*x509.Certificate {
	var out []*x509.Certificate
	for _, p := range paths {
		for _, file := range filesBelow(p.Expand()) {
			raw, err := os.ReadFile(file)
			if err == nil {
				var list []*x509.Certificate
				if list, err = pki.Certificates(raw); err == nil {
					out = append(out, list...)
					continue
				}
			}
			sys.Warn("%s", fmt.Sprintf("cannot use the certificates of %s: %v", file, err))
		}
	}
	return out
}
