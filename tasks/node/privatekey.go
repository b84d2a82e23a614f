package node

import (
	"context"
	"crypto"

	"github.com/calroll/calroll/tasks"
	"github.com/calroll/calroll/tasks/pki"
)

var _ = register("openssl_privatekey", func() tasks.Module { return &PrivateKey{} })

// PrivateKey makes a private key without a passphrase. It needs no openssl. Of the types RSA, ECC on NIST's curves and Ed25519 can be made.
type PrivateKey struct {
	pemArgs
	Type           string `arg:"type,choices=DSA|ECC|Ed25519|Ed448|RSA|X25519|X448,default=RSA" doc:"RSA, ECC or Ed25519"`
	Size           int    `arg:"size,default=4096" doc:"bits of an RSA key"`
	Curve          string `arg:"curve" doc:"of an ECC key: secp224r1, secp256r1, secp384r1 or secp521r1"`
	Format         string `arg:"format,choices=pkcs1|pkcs8|raw|auto|auto_ignore,default=auto_ignore" doc:"how it is written; auto_ignore leaves an existing key as it is"`
	FormatMismatch string `arg:"format_mismatch,choices=regenerate|convert,default=regenerate" doc:"what happens to a key in another format"`
	Regenerate     string `arg:"regenerate,choices=never|fail|partial_idempotence|full_idempotence|always,default=full_idempotence" doc:"when an existing key may be replaced"`

	key crypto.Signer // the existing one, then the new one
}

// Rules are Ansible's.
func (*PrivateKey) Rules() tasks.Rules {
	return tasks.Rules{RequiredIf: []tasks.RequiredIf{{Arg: "type", Value: "ECC", Need: []string{"curve"}}}}
}

// Run makes the key unless the one that is there may stay.
func (m *PrivateKey) Run(ctx context.Context, sys *tasks.Sys) (r tasks.Result, err error) {
	if err := m.open(sys); err != nil {
		return r, err
	}
	if m.State == "absent" {
		if err := m.remove(ctx, sys, &r); err != nil {
			return r, err
		}
		m.describe(&r, nil)
		return r, nil
	}
	if m.old != nil {
		m.key, err = pki.ParseKey(m.old)
	}
	before := m.info()
	content, err := m.present(ctx, sys, &r, err == nil)
	if err != nil {
		return r, err
	}
	if r.Changed {
		sys.AddDiff(tasks.Diff{Before: before, After: m.info(), BeforeHeader: m.path, AfterHeader: m.path})
	}
	m.describe(&r, content)
	return r, nil
}

// attributes are those asked for; a key is its owner's alone by default.
func (m *PrivateKey) attributes() tasks.Attrs {
	a := m.Attrs()
	if a.Mode.IsZero() {
		a.Mode = tasks.Octal(0o600)
	}
	return a
}

func (m *PrivateKey) present(ctx context.Context, sys *tasks.Sys, r *tasks.Result, readable bool) ([]byte, error) {
	renew, err := m.needsKey(readable)
	if err != nil {
		return nil, err
	}
	convert := !renew && m.FormatMismatch == "convert" && !m.formatFits()
	if !renew && !convert {
		return m.old, m.keep(ctx, sys, r, m.attributes())
	}
	if sys.Check() {
		return m.old, m.write(ctx, sys, r, nil, m.attributes())
	}
	if renew {
		if m.key, err = m.spec().Generate(); err != nil {
			return nil, fail("cannot make the private key %s: %v", m.path, err)
		}
	}
	content, err := pki.EncodeKey(m.key, m.format())
	if err != nil {
		return nil, fail("cannot write the private key %s: %v", m.path, err)
	}
	return content, m.write(ctx, sys, r, content, m.attributes())
}

func (m *PrivateKey) spec() pki.KeySpec {
	return pki.KeySpec{Type: m.Type, Size: m.Size, Curve: m.Curve}
}

func (m *PrivateKey) format() string {
	if m.Format == "auto" || m.Format == "auto_ignore" {
		return m.spec().DefaultFormat()
	}
	return m.Format
}

func (m *PrivateKey) formatFits() bool {
	return m.Format == "auto_ignore" || pki.FormatOf(m.old) == m.format()
}

// needsKey tells whether a new key has to be made, by the rules of the argument regenerate.
func (m *PrivateKey) needsKey(readable bool) (bool, error) {
	may := m.Regenerate == "partial_idempotence" || m.Regenerate == "full_idempotence"
	switch {
	case m.Force || m.Regenerate == "always" || m.old == nil:
		return true, nil
	case !readable && m.Regenerate == "full_idempotence":
		return true, nil
	case !readable:
		return false, fail("cannot read the key %s: a passphrase protects it or it is broken; regenerate: full_idempotence replaces it", m.path)
	case m.Regenerate == "never":
		return false, nil
	case !m.spec().Fits(m.key) && !may:
		return false, fail("the key %s is of another type or size; regenerate: partial_idempotence replaces it", m.path)
	case m.FormatMismatch == "regenerate" && !m.formatFits() && !may:
		return false, fail("the key %s is written in another format; format_mismatch: convert keeps the key", m.path)
	}
	return !m.spec().Fits(m.key) || m.FormatMismatch == "regenerate" && !m.formatFits(), nil
}

// info is what a diff may say of the key.
func (m *PrivateKey) info() map[string]any {
	if m.key == nil {
		return map[string]any{"can_parse_key": false}
	}
	kind, _, public, _, err := pki.PublicKey(m.key.Public())
	if err != nil {
		return map[string]any{"can_parse_key": false}
	}
	return map[string]any{"can_parse_key": true, "type": kind, "public_key": public}
}

func (m *PrivateKey) describe(r *tasks.Result, content []byte) {
	r.Set("type", m.Type)
	r.Set("size", m.Size)
	r.Set("fingerprint", nil)
	if m.key != nil {
		if _, _, _, prints, err := pki.PublicKey(m.key.Public()); err == nil {
			r.Set("fingerprint", prints)
		}
	}
	if m.Type == "ECC" {
		r.Set("curve", m.Curve)
	}
	m.answer(r, "privatekey", content)
}

var _ = register("openssl_privatekey_info", func() tasks.Module { return &PrivateKeyInfo{} })

// PrivateKeyInfo tells what a private key is.
type PrivateKeyInfo struct {
	Path    tasks.Path `arg:"path" doc:"the file of the key"`
	Content string     `arg:"content,secret" doc:"the key itself"`
}

// Rules are Ansible's.
func (*PrivateKeyInfo) Rules() tasks.Rules { return oneOfPathAndContent }

var oneOfPathAndContent = tasks.Rules{RequiredOneOf: [][]string{{"path", "content"}}, MutuallyExclusive: [][]string{{"path", "content"}}}

// Run answers the type of the key and its public half.
func (m *PrivateKeyInfo) Run(context.Context, *tasks.Sys) (r tasks.Result, err error) {
	r.Set("can_load_key", false)
	r.Set("can_parse_key", false)
	r.Set("key_is_consistent", nil)
	raw, err := source(m.Path, m.Content, "private key")
	if err != nil {
		return r, err
	}
	r.Set("can_load_key", true)
	key, err := pki.ParseKey(raw)
	if err != nil {
		return r, fail("cannot use the private key%s: %v", inFile(m.Path), err)
	}
	r.Set("can_parse_key", true)
	kind, data, text, prints, err := pki.PublicKey(key.Public())
	r.Set("type", kind)
	r.Set("public_data", data)
	r.Set("public_key", text)
	r.Set("public_key_fingerprints", prints)
	return r, err
}
