package artifacts

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/calroll/calroll/testenv/proc"
)

// etcdReadyWithin bounds how long a member may take until it answers; one second is usual.
const etcdReadyWithin = 60 * time.Second

// EtcdOptions says which etcd to start.
type EtcdOptions struct {
	Programs *Set   // has etcd and etcdctl
	Listen   string // address for clients, without a port; empty means 127.0.0.1
	Members  int    // 1 to 3; 0 means 1
	TLS      bool   // clients must show a certificate of a new authority
	Dir      string // for data, certificates and logs; empty means a temporary directory that Stop removes
	V2       bool   // serve the v2 API too, as Calico before 3.0 needs it
	Keep     bool   // members outlive this process, until OpenEtcd and Stop; needs Dir
}

// Etcd is a running etcd. Its data is not synced to disk: it survives the end of a process but not of the machine.
type Etcd struct {
	Certs              // file names; empty without TLS
	Dir   string       // data, certificates, logs (<member>.log) and etcd.json, which OpenEtcd reads
	state state        // what etcd.json has
	procs []*proc.Proc // by member; nil while it is stopped
	temp  bool         // Dir goes with Stop
}

// state is what another process needs in order to use and to stop a kept etcd.
type state struct {
	Server  string `json:"server"` // the program etcd
	Ctl     string `json:"ctl"`    // the program etcdctl
	TLS     bool   `json:"tls"`
	V2      bool   `json:"v2"`
	Keep    bool   `json:"keep"`
	Members []member
}

type member struct {
	Name    string `json:"name"`
	Client  string `json:"client"` // URL
	Peer    string `json:"peer"`   // URL
	PID     int    `json:"pid"`    // 0 while it is stopped
	Started string `json:"started"`
}

// etcdState is the file in an Etcd's Dir that keeps its state.
const etcdState = "etcd.json"

// StartEtcd starts the real etcd and returns once every member answers. The caller stops it. Unless Keep is set, the
// members also end when this process does, however it ends.
func StartEtcd(ctx context.Context, o EtcdOptions) (*Etcd, error) {
	if o.Listen == "" {
		o.Listen = "127.0.0.1"
	}
	if o.Members == 0 {
		o.Members = 1
	}
	if err := o.check(); err != nil {
		return nil, fmt.Errorf("cannot start etcd: %w", err)
	}
	e, err := prepareEtcd(o)
	if err != nil {
		return nil, fmt.Errorf("cannot start etcd: %w", err)
	}
	if err := e.start(ctx); err != nil {
		return nil, errors.Join(fmt.Errorf("cannot start etcd: %w", err), e.Stop())
	}
	return e, nil
}

func (o EtcdOptions) check() error {
	switch {
	case o.Programs == nil || o.Programs.Program("etcd") == "":
		return errors.New("the built set does not have it")
	case o.Members < 1 || o.Members > 3:
		return fmt.Errorf("want 1 to 3 members, not %d", o.Members)
	case net.ParseIP(o.Listen) == nil:
		return fmt.Errorf("%q is not an IP address", o.Listen)
	case o.Keep && o.Dir == "":
		return errors.New("one that is kept needs a directory")
	}
	return nil
}

// prepareEtcd makes the directory and the certificates and chooses the ports.
func prepareEtcd(o EtcdOptions) (*Etcd, error) {
	e := &Etcd{Dir: o.Dir, temp: o.Dir == "", procs: make([]*proc.Proc, o.Members),
		state: state{Server: o.Programs.Program("etcd"), Ctl: o.Programs.Program("etcdctl"), TLS: o.TLS, V2: o.V2, Keep: o.Keep}}
	var err error
	if e.temp {
		e.Dir, err = os.MkdirTemp("", "calroll-etcd-")
	} else {
		err = os.MkdirAll(e.Dir, 0o700)
	}
	if err != nil {
		return nil, err
	}
	if o.TLS {
		if e.Certs, err = WriteCerts(e.Dir, o.Listen, "127.0.0.1", "localhost"); err != nil {
			return nil, err
		}
	}
	return e, e.addMembers(o)
}

func (e *Etcd) addMembers(o EtcdOptions) error {
	ports, err := proc.FreePorts(2 * o.Members)
	if err != nil {
		return err
	}
	scheme := "http"
	if o.TLS {
		scheme = "https"
	}
	for i := range o.Members {
		e.state.Members = append(e.state.Members, member{Name: fmt.Sprintf("etcd%d", i),
			Client: fmt.Sprintf("%s://%s", scheme, net.JoinHostPort(o.Listen, strconv.Itoa(ports[2*i]))), Peer: fmt.Sprintf("http://127.0.0.1:%d", ports[2*i+1])})
	}
	return nil
}

// start starts all members and then waits for them: none of several is ready alone.
func (e *Etcd) start(ctx context.Context) error {
	for i := range e.state.Members {
		if err := e.launch(i); err != nil {
			return err
		}
	}
	if err := e.save(); err != nil {
		return err
	}
	for i := range e.state.Members {
		if err := e.waitReady(ctx, i); err != nil {
			return err
		}
	}
	return nil
}

// OpenEtcd finds an etcd that was started in dir with Keep, by this process or another.
func OpenEtcd(dir string) (*Etcd, error) {
	text, err := os.ReadFile(filepath.Join(dir, etcdState))
	if err != nil {
		return nil, fmt.Errorf("cannot find an etcd in %s: %w", dir, err)
	}
	e := &Etcd{Dir: dir}
	if err := json.Unmarshal(text, &e.state); err != nil {
		return nil, fmt.Errorf("cannot read %s: %w", filepath.Join(dir, etcdState), err)
	}
	if e.state.TLS {
		e.Certs = certsIn(dir)
	}
	for _, m := range e.state.Members {
		e.procs = append(e.procs, proc.Find(m.PID, m.Started))
	}
	return e, nil
}

func (e *Etcd) save() error {
	text, err := json.MarshalIndent(e.state, "", "  ")
	if err != nil {
		return err
	}
	return os.WriteFile(filepath.Join(e.Dir, etcdState), text, 0o600)
}

// Endpoints are the members' client URLs.
func (e *Etcd) Endpoints() []string {
	var urls []string
	for _, m := range e.state.Members {
		urls = append(urls, m.Client)
	}
	return urls
}

// Command prepares etcdctl with the endpoints and, with TLS, the client's certificate.
func (e *Etcd) Command(ctx context.Context, args ...string) *exec.Cmd {
	args = append([]string{"--endpoints", strings.Join(e.Endpoints(), ",")}, args...)
	if e.state.TLS {
		args = append([]string{"--cacert", e.CA, "--cert", e.ClientCert, "--key", e.ClientKey}, args...)
	}
	cmd := exec.CommandContext(ctx, e.state.Ctl, args...)
	cmd.Env = append(environWithout("ETCDCTL_"), "ETCDCTL_API=3")
	return cmd
}

// environWithout is this process's environment but for the settings that etcd's programs would take from it.
func environWithout(prefix string) []string {
	return slices.DeleteFunc(os.Environ(), func(v string) bool { return strings.HasPrefix(v, prefix) })
}

// Stop ends all members, waits until they are gone, and removes the directory if it was a temporary one.
func (e *Etcd) Stop() error {
	var errs []error
	for i := range e.state.Members {
		errs = append(errs, e.stop(i))
	}
	if e.temp {
		errs = append(errs, os.RemoveAll(e.Dir))
	} else {
		errs = append(errs, e.save())
	}
	return errors.Join(errs...)
}

// StopMember ends one member, counted from 0, and waits until it is gone. Its data stays.
func (e *Etcd) StopMember(i int) error {
	return errors.Join(e.stop(i), e.save())
}

// KillMember ends one member without letting it say farewell to the others: a leader does not hand over.
func (e *Etcd) KillMember(i int) error {
	return errors.Join(e.procs[i].Kill(), e.stop(i), e.save())
}

// Leader is the member that leads, counted from 0.
func (e *Etcd) Leader(ctx context.Context) (int, error) {
	out, err := e.Command(ctx, "endpoint", "status", "--write-out", "json").Output()
	var all []struct {
		Endpoint string
		Status   struct {
			Header struct {
				MemberID uint64 `json:"member_id"`
			} `json:"header"`
			Leader uint64 `json:"leader"`
		}
	}
	if err == nil {
		err = json.Unmarshal(out, &all)
	}
	for _, m := range all {
		if m.Status.Leader == m.Status.Header.MemberID {
			return slices.Index(e.Endpoints(), m.Endpoint), nil
		}
	}
	return 0, errors.Join(errors.New("cannot find etcd's leader"), err)
}

// StartMember starts a stopped member again, with its data and ports, and waits until it answers.
func (e *Etcd) StartMember(ctx context.Context, i int) error {
	if e.procs[i].Running() {
		return nil
	}
	if err := e.launch(i); err != nil {
		return fmt.Errorf("cannot start etcd: %w", err)
	}
	return errors.Join(e.waitReady(ctx, i), e.save())
}

func (e *Etcd) stop(i int) error {
	err := e.procs[i].Stop()
	e.procs[i], e.state.Members[i].PID, e.state.Members[i].Started = nil, 0, ""
	return err
}

func (e *Etcd) launch(i int) error {
	m := &e.state.Members[i]
	log, err := os.OpenFile(e.log(i), os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		return err
	}
	defer log.Close()
	cmd := exec.Command(e.state.Server, e.flags(i)...)
	cmd.Dir, cmd.Stdout, cmd.Stderr, cmd.Env = e.Dir, log, log, environWithout("ETCD_")
	p, err := proc.Start(cmd, e.state.Keep)
	if err != nil {
		return err
	}
	e.procs[i], m.PID, m.Started = p, p.PID, p.Started
	return nil
}

func (e *Etcd) log(i int) string { return filepath.Join(e.Dir, e.state.Members[i].Name+".log") }

func (e *Etcd) flags(i int) []string {
	m := e.state.Members[i]
	var cluster []string
	for _, other := range e.state.Members {
		cluster = append(cluster, other.Name+"="+other.Peer)
	}
	flags := []string{"--name", m.Name, "--data-dir", filepath.Join(e.Dir, m.Name+".data"),
		"--listen-client-urls", m.Client, "--advertise-client-urls", m.Client,
		"--listen-peer-urls", m.Peer, "--initial-advertise-peer-urls", m.Peer,
		"--initial-cluster", strings.Join(cluster, ","), "--initial-cluster-token", e.Dir,
		"--unsafe-no-fsync", "--log-level", "warn"}
	if len(e.state.Members) == 1 {
		// Alone it only waits for its own election.
		flags = append(flags, "--heartbeat-interval", "20", "--election-timeout", "100")
	}
	if e.state.V2 {
		flags = append(flags, "--enable-v2=true")
	}
	if e.state.TLS {
		flags = append(flags, "--client-cert-auth", "--trusted-ca-file", e.CA, "--cert-file", e.ServerCert, "--key-file", e.ServerKey)
	}
	return flags
}

// waitReady asks a member for its health until it is good.
func (e *Etcd) waitReady(ctx context.Context, i int) error {
	client, err := e.HTTPClient()
	if err != nil {
		return err
	}
	defer client.CloseIdleConnections()
	ctx, cancel := context.WithTimeout(ctx, etcdReadyWithin)
	defer cancel()
	for {
		if healthy(ctx, client, e.state.Members[i].Client) {
			return nil
		}
		if !e.procs[i].Running() {
			return fmt.Errorf("%s ended at once%s", e.state.Members[i].Name, tailOf(e.log(i)))
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("%s is not healthy: %w%s", e.state.Members[i].Name, ctx.Err(), tailOf(e.log(i)))
		case <-time.After(20 * time.Millisecond):
		}
	}
}

func healthy(ctx context.Context, client *http.Client, url string) bool {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, url+"/health", nil)
	if err != nil {
		return false
	}
	resp, err := client.Do(req)
	if err != nil {
		return false
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	return err == nil && resp.StatusCode == http.StatusOK && strings.Contains(string(body), `"health":"true"`)
}

// HTTPClient speaks to the members as a client with a certificate does, and past any proxy.
func (e *Etcd) HTTPClient() (*http.Client, error) {
	transport := &http.Transport{}
	if e.state.TLS {
		pair, err := tls.LoadX509KeyPair(e.ClientCert, e.ClientKey)
		if err != nil {
			return nil, err
		}
		ca, err := os.ReadFile(e.CA)
		if err != nil {
			return nil, err
		}
		roots := x509.NewCertPool()
		roots.AppendCertsFromPEM(ca)
		transport.TLSClientConfig = &tls.Config{Certificates: []tls.Certificate{pair}, RootCAs: roots}
	}
	return &http.Client{Transport: transport, Timeout: 5 * time.Second}, nil
}

func tailOf(log string) string {
	text, _ := os.ReadFile(log)
	return lastLines(string(text))
}
