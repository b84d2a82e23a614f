package node

import (
	"context"
	"maps"
	"slices"

	"github.com/calroll/calroll/tasks"
	"github.com/calroll/calroll/tasks/pki"
)

var _ = register("openssl_csr", func() tasks.Module { return &CSR{} })

// CSR makes a certificate signing request.
type CSR struct {
	pemArgs
	PrivatekeyPath    tasks.Path       `arg:"privatekey_path" doc:"the file of the key that signs"`
	PrivatekeyContent string           `arg:"privatekey_content,secret" doc:"the key that signs"`
	Digest            string           `arg:"digest,default=sha256" doc:"sha256, sha384, sha512 or sha1"`
	Subject           map[string]any   `arg:"subject" doc:"parts of the subject by name; a list gives a part several times"`
	SubjectOrdered    []map[string]any `arg:"subject_ordered" doc:"the parts of the subject in their order, each a dictionary of one"`
	Country           string           `arg:"country_name,alias=C|countryName" doc:"part of the subject"`
	Province          string           `arg:"state_or_province_name,alias=ST|stateOrProvinceName" doc:"part of the subject"`
	Locality          string           `arg:"locality_name,alias=L|localityName" doc:"part of the subject"`
	Organization      string           `arg:"organization_name,alias=O|organizationName" doc:"part of the subject; a Kubernetes group"`
	Unit              string           `arg:"organizational_unit_name,alias=OU|organizationalUnitName" doc:"part of the subject"`
	CommonName        string           `arg:"common_name,alias=CN|commonName" doc:"part of the subject; a Kubernetes user"`
	Email             string           `arg:"email_address,alias=E|emailAddress" doc:"part of the subject"`
	AltNames          []string         `arg:"subject_alt_name,alias=subjectAltName" doc:"alternative names: DNS:a, IP:10.0.0.1, email:a@b, URI:..., RID:..."`
	AltNamesCritical  bool             `arg:"subject_alt_name_critical,alias=subjectAltName_critical" doc:"mark it critical"`
	CommonNameForSAN  bool             `arg:"use_common_name_for_san,alias=useCommonNameForSAN,default=yes" doc:"without subject_alt_name the common name is one, as DNS"`
	KeyUsage          []string         `arg:"key_usage,alias=keyUsage" doc:"digitalSignature, keyEncipherment, keyCertSign, ..."`
	KeyUsageCritical  bool             `arg:"key_usage_critical,alias=keyUsage_critical" doc:"mark it critical"`
	ExtKeyUsage       []string         `arg:"extended_key_usage,alias=extKeyUsage|extendedKeyUsage" doc:"serverAuth, clientAuth, ..."`
	ExtUsageCritical  bool             `arg:"extended_key_usage_critical,alias=extKeyUsage_critical|extendedKeyUsage_critical" doc:"mark it critical"`
	Constraints       []string         `arg:"basic_constraints,alias=basicConstraints" doc:"CA:TRUE, pathlen:0"`
	ConstraintsCrit   bool             `arg:"basic_constraints_critical,alias=basicConstraints_critical" doc:"mark it critical"`
	MustStaple        bool             `arg:"ocsp_must_staple,alias=ocspMustStaple" doc:"ask for OCSP stapling"`
	MustStapleCrit    bool             `arg:"ocsp_must_staple_critical,alias=ocspMustStaple_critical" doc:"mark it critical"`
	SubjectKeyID      bool             `arg:"create_subject_key_identifier" doc:"name the key by its hash"`

	subject []pki.Attribute
}

// Rules are Ansible's.
func (*CSR) Rules() tasks.Rules {
	return tasks.Rules{
		MutuallyExclusive: [][]string{{"privatekey_path", "privatekey_content"}, {"subject", "subject_ordered"}},
		RequiredIf:        []tasks.RequiredIf{{Arg: "state", Value: "present", Need: []string{"privatekey_path", "privatekey_content"}, AnyOf: true}},
	}
}

// Run makes the request unless the one that is there says the same.
func (m *CSR) Run(ctx context.Context, sys *tasks.Sys) (r tasks.Result, err error) {
	if err := m.open(sys); err != nil {
		return r, err
	}
	if err := m.readSubject(); err != nil {
		return r, err
	}
	if m.State == "absent" {
		if err := m.remove(ctx, sys, &r); err != nil {
			return r, err
		}
		m.describe(&r, nil)
		return r, nil
	}
	content, err := m.present(ctx, sys, &r)
	if err != nil {
		return r, err
	}
	m.describe(&r, content)
	return r, nil
}

func (m *CSR) present(ctx context.Context, sys *tasks.Sys, r *tasks.Result) ([]byte, error) {
	if made, err := m.made(); err != nil || made {
		if err != nil {
			return nil, err
		}
		return m.old, m.keep(ctx, sys, r, m.Attrs())
	}
	if sys.Check() {
		return m.old, m.write(ctx, sys, r, nil, m.Attrs())
	}
	key, err := loadKey(m.PrivatekeyPath, m.PrivatekeyContent, "private key")
	if err != nil {
		return nil, err
	}
	content, err := m.request().Sign(key, m.Digest)
	if err != nil {
		return nil, fail("cannot make the signing request %s: %v", m.path, err)
	}
	return content, m.write(ctx, sys, r, content, m.Attrs())
}

// made tells whether the file holds the request already.
func (m *CSR) made() (bool, error) {
	if m.Force || m.old == nil {
		return false, nil
	}
	have, err := pki.ParseRequest(m.old)
	if err != nil {
		return false, nil //nolint:nilerr // what cannot be read is made anew
	}
	key, err := loadKey(m.PrivatekeyPath, m.PrivatekeyContent, "private key")
	if err != nil {
		return false, err
	}
	made, err := m.request().Made(have, key)
	if err != nil {
		return false, fail("cannot make the signing request %s: %v", m.path, err)
	}
	return made, nil
}

func (m *CSR) request() pki.Request {
	return pki.Request{Subject: m.subject, Ordered: len(m.SubjectOrdered) > 0, Extensions: pki.Extensions{
		AltNames: m.AltNames, AltNamesCritical: m.AltNamesCritical, KeyUsage: m.KeyUsage, KeyUsageCritical: m.KeyUsageCritical,
		ExtKeyUsage: m.ExtKeyUsage, ExtKeyUsageCritical: m.ExtUsageCritical, BasicConstraints: m.Constraints,
		BasicConstraintsCritical: m.ConstraintsCrit, MustStaple: m.MustStaple, MustStapleCritical: m.MustStapleCrit, SubjectKeyID: m.SubjectKeyID,
	}}
}

// readSubject puts the parts together: those with arguments of their own, then those of subject.
func (m *CSR) readSubject() error {
	for _, a := range []pki.Attribute{
		{Name: "C", Value: m.Country}, {Name: "ST", Value: m.Province}, {Name: "L", Value: m.Locality}, {Name: "O", Value: m.Organization},
		{Name: "OU", Value: m.Unit}, {Name: "CN", Value: m.CommonName}, {Name: "emailAddress", Value: m.Email},
	} {
		if a.Value != "" {
			m.subject = append(m.subject, a)
		}
	}
	if len(m.SubjectOrdered) > 0 && len(m.subject) > 0 {
		return fail("subject_ordered cannot be combined with any other subject field")
	}
	for _, part := range append([]map[string]any{m.Subject}, m.SubjectOrdered...) {
		for _, name := range slices.Sorted(maps.Keys(part)) {
			if err := m.addSubject(name, part[name]); err != nil {
				return err
			}
		}
	}
	if len(m.AltNames) == 0 && m.CommonNameForSAN {
		i := slices.IndexFunc(m.subject, func(a pki.Attribute) bool { return a.Name == "CN" || a.Name == "commonName" })
		if i >= 0 {
			m.AltNames = []string{"DNS:" + m.subject[i].Value}
		}
	}
	return nil
}

func (m *CSR) addSubject(name string, value any) error {
	list, ok := value.([]any)
	if !ok {
		list = []any{value}
	}
	for _, v := range list {
		text, ok := v.(string)
		if !ok || text == "" {
			return fail("the value of %s in the subject must be a text that is not empty", name)
		}
		m.subject = append(m.subject, pki.Attribute{Name: name, Value: text})
	}
	return nil
}

func (m *CSR) describe(r *tasks.Result, content []byte) {
	pairs := []any{}
	for _, a := range m.subject {
		pairs = append(pairs, []any{a.Name, a.Value})
	}
	r.Set("privatekey", pathOrNil(m.PrivatekeyPath))
	r.Set("subject", pairs)
	r.Set("subjectAltName", orNil(m.AltNames))
	r.Set("keyUsage", orNil(m.KeyUsage))
	r.Set("extendedKeyUsage", orNil(m.ExtKeyUsage))
	r.Set("basicConstraints", orNil(m.Constraints))
	r.Set("ocspMustStaple", m.MustStaple)
	r.Set("name_constraints_permitted", []any{})
	r.Set("name_constraints_excluded", []any{})
	m.answer(r, "csr", content)
}
