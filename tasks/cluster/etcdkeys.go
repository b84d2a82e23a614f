package cluster

import (
	"bytes"
	"context"
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"strings"
	"time"

	clientv3 "go.etcd.io/etcd/client/v3"
	"go.uber.org/zap"
	"google.golang.org/grpc"

	"github.com/calroll/calroll/tasks"
)

// etcdKind is the kind of records about keys in etcd.
const etcdKind = "etcd"

// passwordVariable holds the password of a user of etcd for a rollback, because records hold no secrets.
const passwordVariable = "CALROLL_ETCD_PASSWORD"

// access is how to get at a cluster. It goes into records, so it names files and holds no secret.
type access struct {
	Endpoints []string      `json:"endpoints"`
	CAFile    string        `json:"ca_file,omitempty"`
	CertFile  string        `json:"cert_file,omitempty"`
	KeyFile   string        `json:"key_file,omitempty"`
	Username  string        `json:"username,omitempty"`
	Timeout   time.Duration `json:"timeout"`
}

// client connects to some of the cluster's endpoints.
func (a access) client(dial tasks.Dial, password string, endpoints ...string) (*clientv3.Client, error) {
	config := clientv3.Config{Endpoints: endpoints, DialTimeout: a.Timeout, Username: a.Username, Password: password, Logger: zap.NewNop()}
	if strings.HasPrefix(endpoints[0], "https://") {
		t, err := a.tls()
		if err != nil {
			return nil, err
		}
		config.TLS = t
	}
	if dial != nil {
		config.DialOptions = []grpc.DialOption{grpc.WithContextDialer(func(ctx context.Context, addr string) (net.Conn, error) {
			return dial(ctx, "tcp", strings.TrimPrefix(strings.TrimPrefix(addr, "https://"), "http://"))
		})}
	}
	c, err := clientv3.New(config)
	if err != nil {
		return nil, failed("connect to etcd at "+strings.Join(endpoints, ", "), err)
	}
	return c, nil
}

func (a access) tls() (*tls.Config, error) {
	config := &tls.Config{MinVersion: tls.VersionTLS12}
	if a.CAFile != "" {
		text, err := os.ReadFile(a.CAFile)
		if err != nil {
			return nil, failed("read the certificate authority of etcd", err)
		}
		config.RootCAs = x509.NewCertPool()
		if !config.RootCAs.AppendCertsFromPEM(text) {
			return nil, failed("read the certificate authority of etcd", fmt.Errorf("%s holds no certificate", a.CAFile))
		}
	}
	if a.CertFile != "" {
		pair, err := tls.LoadX509KeyPair(a.CertFile, a.KeyFile)
		if err != nil {
			return nil, failed("read the client certificate for etcd", err)
		}
		config.Certificates = []tls.Certificate{pair}
	}
	return config, nil
}

// keyState is a key as it is at some time.
type keyState struct {
	key      string
	present  bool
	value    []byte
	revision int64 // of its last change; 0 when it is not there
}

// hash says the state in the words of a record.
func (s keyState) hash() string {
	if !s.present {
		return "absent"
	}
	sum := sha256.Sum256(s.value)
	return "sha256:" + hex.EncodeToString(sum[:])
}

// image is the value to keep, nil when there is none.
func (s keyState) image() *tasks.Image {
	if !s.present {
		return nil
	}
	return &tasks.Image{Open: func() (io.ReadCloser, error) { return io.NopCloser(bytes.NewReader(s.value)), nil }}
}

func readKey(ctx context.Context, c *clientv3.Client, key string, timeout time.Duration) (keyState, error) {
	ctx, cancel := context.WithTimeout(ctx, timeout)
	defer cancel()
	got, err := c.Get(ctx, key)
	if err != nil {
		return keyState{}, failed("read "+key+" from etcd", err)
	}
	if len(got.Kvs) == 0 {
		return keyState{key: key}, nil
	}
	kv := got.Kvs[0]
	return keyState{key: key, present: true, value: kv.Value, revision: kv.ModRevision}, nil
}

// swap brings a key from one state to another, unless it has changed since from was read.
func swap(ctx context.Context, c *clientv3.Client, from, to keyState, timeout time.Duration) error {
	ctx, cancel := context.WithTimeout(ctx, timeout)
	defer cancel()
	op := clientv3.OpDelete(from.key)
	if to.present {
		op = clientv3.OpPut(from.key, string(to.value))
	}
	got, err := c.Txn(ctx).If(clientv3.Compare(clientv3.ModRevision(from.key), "=", from.revision)).Then(op).Commit()
	if err != nil {
		return failed("write "+from.key+" to etcd", err)
	}
	if !got.Succeeded {
		return &tasks.Error{Kind: tasks.Refused, Op: "write " + from.key + " to etcd", Detail: "somebody else changed it at the same time"}
	}
	return nil
}

// etcdRestorer takes changes of keys back.
type etcdRestorer struct{ dial tasks.Dial }

// State implements tasks.Restorer.
func (r *etcdRestorer) State(ctx context.Context, b tasks.Before) (string, error) {
	c, a, err := r.open(b)
	if err != nil {
		return "", err
	}
	defer c.Close()
	now, err := readKey(ctx, c, b.Key, a.Timeout)
	return now.hash(), err
}

// Restore implements tasks.Restorer.
func (r *etcdRestorer) Restore(ctx context.Context, b tasks.Before, kept tasks.Kept, force bool) error {
	c, a, err := r.open(b)
	if err != nil {
		return err
	}
	defer c.Close()
	now, err := readKey(ctx, c, b.Key, a.Timeout)
	if err != nil {
		return err
	}
	if now.hash() != b.After && !force {
		return &tasks.Error{Kind: tasks.Refused, Op: "take back " + b.Key + " in etcd", Detail: "somebody else changed it since"}
	}
	to := keyState{key: b.Key}
	if kept.Path != "" {
		to.present = true
		if to.value, err = os.ReadFile(kept.Path); err != nil {
			return failed("take back "+b.Key+" in etcd", err)
		}
	}
	return swap(ctx, c, now, to, a.Timeout)
}

func (r *etcdRestorer) open(b tasks.Before) (*clientv3.Client, access, error) {
	var a access
	if err := json.Unmarshal(b.Meta, &a); err != nil {
		return nil, a, failed("read the record of "+b.Key, err)
	}
	password := os.Getenv(passwordVariable)
	if a.Username != "" && password == "" {
		return nil, a, failed("connect to etcd as "+a.Username, errors.New("records hold no passwords: set "+passwordVariable))
	}
	c, err := a.client(r.dial, password, a.Endpoints...)
	return c, a, err
}
