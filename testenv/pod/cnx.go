package main

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"fmt"
	"math/big"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"time"
)

// tiersAnswers is projectcalico.org/v3 with the one tier that every CNX has.
var tiersAnswers = map[string]string{
	"/apis":                            `{"kind":"APIGroupList","apiVersion":"v1","groups":[]}`,
	"/apis/projectcalico.org":          `{"kind":"APIGroup","apiVersion":"v1","name":"projectcalico.org","versions":[{"groupVersion":"projectcalico.org/v3","version":"v3"}]}`,
	"/apis/projectcalico.org/v3":       `{"kind":"APIResourceList","apiVersion":"v1","groupVersion":"projectcalico.org/v3","resources":[{"name":"tiers","singularName":"tier","namespaced":false,"kind":"Tier","verbs":["get","list"]}]}`,
	"/apis/projectcalico.org/v3/tiers": `{"kind":"TierList","apiVersion":"projectcalico.org/v3","metadata":{"resourceVersion":"1"},"items":[{"kind":"Tier","apiVersion":"projectcalico.org/v3","metadata":{"name":"default","resourceVersion":"1"},"spec":{}}]}`,
}

// tiers answers for projectcalico.org/v3 behind kube-apiserver, where the CNX API server would. flag is the one that the latter is started with.
func tiers(flag string) error {
	port, ok := strings.CutPrefix(flag, "--secure-port=")
	if !ok {
		return fmt.Errorf("cannot start as CNX API server with %q: want --secure-port=PORT", flag)
	}
	const dir, name = "/code/apiserver.local.config/certificates", "api.kube-system.svc"
	cert, err := tls.LoadX509KeyPair(filepath.Join(dir, "apiserver.crt"), filepath.Join(dir, "apiserver.key"))
	if os.IsNotExist(err) { // as an API server does that is given none
		cert, err = selfSigned(name)
	}
	if err != nil {
		return err
	}
	return serveTLS(":"+port, cert, func(w http.ResponseWriter, r *http.Request) {
		text, ok := tiersAnswers[strings.TrimSuffix(r.URL.Path, "/")]
		if !ok {
			http.NotFound(w, r)
			return
		}
		w.Header().Set("Content-Type", "application/json")
		_, _ = fmt.Fprint(w, text) // whoever asked is gone if this fails
	})
}

// manager serves a page, where CNX Manager would, with the certificate that the latter is given.
func manager() error {
	const dir = "/etc/cnx-manager-web-tls"
	cert, err := tls.LoadX509KeyPair(filepath.Join(dir, "cert"), filepath.Join(dir, "key"))
	if err != nil {
		return err
	}
	return serveTLS(":443", cert, func(w http.ResponseWriter, _ *http.Request) {
		_, _ = fmt.Fprintf(w, "authentication by %s against %s\n", os.Getenv("CNX_WEB_AUTHENTICATION_TYPE"), os.Getenv("CNX_WEB_K8S_API"))
	})
}

func selfSigned(name string) (tls.Certificate, error) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return tls.Certificate{}, err
	}
	t := &x509.Certificate{SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: name}, DNSNames: []string{name},
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().AddDate(1, 0, 0)}
	der, err := x509.CreateCertificate(rand.Reader, t, t, &key.PublicKey, key)
	return tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key}, err
}

func serveTLS(address string, cert tls.Certificate, h http.HandlerFunc) error {
	s := &http.Server{Addr: address, Handler: h, TLSConfig: &tls.Config{Certificates: []tls.Certificate{cert}, MinVersion: tls.VersionTLS12}}
	return s.ListenAndServeTLS("", "")
}
