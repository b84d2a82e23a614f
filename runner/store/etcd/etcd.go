// Package etcd is the state that several bastions have in common: who works on which hosts, and what was run.
//
//	<prefix>/locks/<lease>                        the Claim of a run, for as long as its lease is kept alive
//	<prefix>/runs/<run>                           the run's run.json
//	<prefix>/files/<run>/<file>/<offset>-<length>  a piece of a file of the run that is only appended to
//	<prefix>/full/<run>/<file>                    the file is too large: etcd has no more of it
//	<prefix>/key                                  the key of hashes of what may hold secrets; it is in no run's folder
//
// A *claim* is the right to a set of hosts, and to clusters by name. Two claims that have a host or a cluster in common, or are for the same run, are
// never there at the same time: one is written in one transaction, on condition that no other has come since they were looked at. Its revision is the
// fencing token that hosts are shown (journal.Lease). A Lease is over, for its holder, not later than for etcd: its time counts from before each renewal
// was sent, on the clock since boot.
//
// Runs are not kept a second way: a Mirror ships what grows in a run's folder, and Fetch makes the folder on another bastion. So whatever reads a
// run reads files, and goes on doing so while etcd is away. A piece is only written while the claim of its run is there or, when it was lost, while
// nobody else has gone on with the run. Values are gzip.
//
// A mark in each folder says how far it and etcd were last alike. What has changed here alone is shipped; where another bastion has recorded the run
// since, its record stays, and what was recorded here gives way to it, run.json and the other files together. Nothing is shipped that does not go on from
// what etcd has.
package etcd

import (
	"bytes"
	"cmp"
	"compress/gzip"
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"net/url"
	"os"
	"path"
	"strings"
	"time"

	clientv3 "go.etcd.io/etcd/client/v3"
	"go.uber.org/zap"
)

// DefaultLease is how long a claim outlasts its holder.
const DefaultLease = 30 * time.Second

// callTimeout bounds each question to etcd; the loss of a leader takes some seconds of it.
const callTimeout = 10 * time.Second

// Access says which etcd, and with what credentials.
type Access struct {
	Endpoints []string // host:port
	TLS       bool
	Prefix    string        // of all keys: "/calroll"
	Lease     time.Duration // how long a claim outlasts its holder, in whole seconds
	CA        string        // file of the authority; empty means the system's
	Cert, Key string        // files of the client's certificate
	User      string
	Password  string
}

// ParseAddress reads etcd://host:2379[,host2:2379]/prefix[?lease=30s]; with etcds:// the servers must show certificates.
func ParseAddress(address string) (Access, error) {
	bad := func(why string) (Access, error) {
		return Access{}, fmt.Errorf("cannot use the state %q: %s (want etcd://host:2379[,host2:2379]/prefix)", address, why)
	}
	scheme, rest, ok := strings.Cut(address, "://")
	if !ok || scheme != "etcd" && scheme != "etcds" {
		return bad("only etcd:// and etcds:// are known")
	}
	rest, query, _ := strings.Cut(rest, "?")
	hosts, prefix, _ := strings.Cut(rest, "/")
	if strings.Contains(hosts, "@") {
		return bad("user and password do not belong there; see --etcd-user")
	}
	a := Access{TLS: scheme == "etcds", Prefix: path.Join("/", cmp.Or(prefix, "calroll")), Lease: DefaultLease}
	for h := range strings.SplitSeq(hosts, ",") {
		if h == "" {
			return bad("a host is missing")
		}
		if !strings.Contains(h, ":") || strings.HasSuffix(h, "]") {
			h += ":2379"
		}
		a.Endpoints = append(a.Endpoints, h)
	}
	values, err := url.ParseQuery(query)
	if err != nil {
		return bad(err.Error())
	}
	for name := range values {
		if name != "lease" {
			return bad(fmt.Sprintf("%q is not known; lease is", name))
		}
		if a.Lease, err = time.ParseDuration(values.Get(name)); err != nil || a.Lease < 2*time.Second || a.Lease > time.Hour || a.Lease%time.Second != 0 {
			return bad("lease is whole seconds, from 2s to 1h")
		}
	}
	return a, nil
}

// State is a connection to the etcd that bastions share.
type State struct {
	client *clientv3.Client
	access Access
	issuer string // of leases: which etcd this is, and where in it
}

// Open connects and asks which etcd it is.
func Open(ctx context.Context, a Access) (*State, error) {
	where := "etcd at " + strings.Join(a.Endpoints, ", ")
	config := clientv3.Config{DialTimeout: callTimeout, Username: a.User, Password: a.Password, Logger: zap.NewNop(),
		DialKeepAliveTime: callTimeout, DialKeepAliveTimeout: callTimeout}
	scheme := "http://"
	if a.TLS || a.CA != "" || a.Cert != "" {
		t, err := a.tls()
		if err != nil {
			return nil, fmt.Errorf("cannot connect to %s: %w", where, err)
		}
		config.TLS, scheme = t, "https://"
	}
	for _, e := range a.Endpoints {
		config.Endpoints = append(config.Endpoints, scheme+e)
	}
	c, err := clientv3.New(config)
	if err != nil {
		return nil, fmt.Errorf("cannot connect to %s: %w", where, err)
	}
	s := &State{client: c, access: a}
	ctx, cancel := context.WithTimeout(ctx, callTimeout)
	defer cancel()
	r, err := c.Get(ctx, s.key("runs"), clientv3.WithCountOnly())
	if err != nil {
		return nil, errors.Join(fmt.Errorf("cannot use %s: %w", where, err), c.Close())
	}
	s.issuer = fmt.Sprintf("etcd %x%s", r.Header.ClusterId, a.Prefix)
	return s, nil
}

func (a Access) tls() (*tls.Config, error) {
	config := &tls.Config{MinVersion: tls.VersionTLS12}
	if a.CA != "" {
		pem, err := os.ReadFile(a.CA)
		if err != nil {
			return nil, err
		}
		config.RootCAs = x509.NewCertPool()
		if !config.RootCAs.AppendCertsFromPEM(pem) {
			return nil, fmt.Errorf("there is no PEM certificate in %s", a.CA)
		}
	}
	if a.Cert == "" {
		return config, nil
	}
	pair, err := tls.LoadX509KeyPair(a.Cert, a.Key)
	if err != nil {
		return nil, fmt.Errorf("the client certificate %s: %w", a.Cert, err)
	}
	config.Certificates = []tls.Certificate{pair}
	return config, nil
}

// Close ends the connection. Leases that were not released last until they expire.
func (s *State) Close() error { return s.client.Close() }

// String is the address without credentials.
func (s *State) String() string { return strings.Join(s.access.Endpoints, ",") + s.access.Prefix }

// Key is the key of hashes that all bastions make: that of the first who came. mine is what this one offers.
func (s *State) Key(ctx context.Context, mine []byte) ([]byte, error) {
	ctx, cancel := context.WithTimeout(ctx, callTimeout)
	defer cancel()
	name := s.key("key")
	r, err := s.client.Txn(ctx).If(clientv3.Compare(clientv3.CreateRevision(name), "=", 0)).Then(clientv3.OpPut(name, string(mine))).Else(clientv3.OpGet(name)).Commit()
	if err != nil {
		return nil, fmt.Errorf("cannot share the key of hashes with other bastions: %w", err)
	}
	if r.Succeeded {
		return mine, nil
	}
	key := r.Responses[0].GetResponseRange().Kvs[0].Value
	if len(key) != len(mine) {
		return nil, fmt.Errorf("cannot use the key of hashes in etcd, %s: it has %d bytes, not %d", name, len(key), len(mine))
	}
	return key, nil
}

func (s *State) key(parts ...string) string {
	return s.access.Prefix + "/" + strings.Join(parts, "/")
}

func pack(text []byte) (string, error) {
	var b bytes.Buffer
	w := gzip.NewWriter(&b)
	_, err := w.Write(text)
	err = errors.Join(err, w.Close())
	return b.String(), err
}

// unpackLimit bounds what a value may come to.
const unpackLimit = 64 << 20

func unpack(value []byte) ([]byte, error) {
	r, err := gzip.NewReader(bytes.NewReader(value))
	if err != nil {
		return nil, err
	}
	text, err := io.ReadAll(io.LimitReader(r, unpackLimit+1))
	if err == nil && len(text) > unpackLimit {
		err = errors.New("a value is too large")
	}
	return text, err
}
