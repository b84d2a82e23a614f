package cluster

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"net"
	"os"
	"strings"
	"time"

	clientv3 "go.etcd.io/etcd/client/v3"
	"go.uber.org/zap"
	"google.golang.org/grpc"

	"github.com/calroll/calroll/tasks"
)

// access is how to get at a cluster. It goes into records, so it names files and holds no secret.
type access struct {
	Endpoints []string      `json:"endpoints"`
	CAFile    string        `json:"ca_file,omitempty"`
	CertFile  string        `json:"cert_file,omitempty"`
	KeyFile   string        `json:"key_file,omitempty"`
	CA        string        `json:"ca,omitempty"`   // PEM, where there is no file
	Cert      string        `json:"cert,omitempty"` // PEM, where there is no file; its key is a secret
	Username  string        `json:"username,omitempty"`
	Timeout   time.Duration `json:"timeout"`
}

// client connects to some of the cluster's endpoints.
func (a access) client(dial tasks.Dial, s secrets, endpoints ...string) (*clientv3.Client, error) {
	config := clientv3.Config{Endpoints: endpoints, DialTimeout: a.Timeout, Username: a.Username, Password: s.password, Logger: zap.NewNop()}
	if strings.HasPrefix(endpoints[0], "https://") {
		t, err := a.tls(s)
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

func (a access) tls(s secrets) (*tls.Config, error) {
	config := &tls.Config{MinVersion: tls.VersionTLS12}
	ca, err := fileOr(a.CAFile, a.CA)
	if err != nil {
		return nil, failed("read the certificate authority of etcd", err)
	}
	if len(ca) > 0 {
		config.RootCAs = x509.NewCertPool()
		if !config.RootCAs.AppendCertsFromPEM(ca) {
			return nil, failed("read the certificate authority of etcd", errors.New("there is no PEM certificate in "+nameOf(a.CAFile, "ca_content")))
		}
	}
	cert, err := fileOr(a.CertFile, a.Cert)
	if err != nil || len(cert) == 0 {
		return config, failedOr("read the client certificate for etcd", err)
	}
	key, err := fileOr(a.KeyFile, s.key)
	if err != nil {
		return nil, failed("read the client key for etcd", err)
	}
	pair, err := tls.X509KeyPair(cert, key)
	if err != nil {
		return nil, failed("use the client certificate "+nameOf(a.CertFile, "cert_content")+" for etcd", err)
	}
	config.Certificates = []tls.Certificate{pair}
	return config, nil
}

// explain adds to an error that only says that time was over what each endpoint says over HTTP, which names what is wrong
// (a certificate, a closed port).
func (a access) explain(ctx context.Context, dial tasks.Dial, s secrets, err error) error {
	if !errors.Is(err, context.DeadlineExceeded) || ctx.Err() != nil {
		return err
	}
	for _, address := range a.Endpoints {
		p := &endpoint{address: address, access: a, secrets: s, dial: dial, report: map[string]any{}}
		if p.ask(ctx); !p.healthy {
			err = fmt.Errorf("%w; %s: %v", err, address, p.report["error"])
		}
	}
	return err
}

func fileOr(file, text string) ([]byte, error) {
	if file == "" {
		return []byte(text), nil
	}
	return os.ReadFile(file)
}

func nameOf(file, argument string) string {
	if file == "" {
		return argument
	}
	return file
}

func failedOr(op string, err error) error {
	if err == nil {
		return nil
	}
	return failed(op, err)
}

// secrets are what records do not hold.
type secrets struct{ password, key string }

// Variables of the environment from which a rollback gets the secrets that records do not hold.
const (
	passwordVariable = "CALROLL_ETCD_PASSWORD"
	keyVariable      = "CALROLL_ETCD_KEY_FILE"
)

// keptSecrets are the secrets as a rollback gets them.
func (a access) keptSecrets() (secrets, error) {
	s := secrets{password: os.Getenv(passwordVariable)}
	if a.Username != "" && s.password == "" {
		return s, failed("connect to etcd as "+a.Username, errors.New("records hold no passwords: set "+passwordVariable))
	}
	if a.Cert == "" {
		return s, nil
	}
	file := os.Getenv(keyVariable)
	if file == "" {
		return s, failed("connect to etcd", errors.New("records hold no private keys: set "+keyVariable+" to the file of the client certificate's key"))
	}
	key, err := os.ReadFile(file)
	s.key = string(key)
	return s, failedOr("read the client key for etcd", err)
}
