package catalog_test

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/json"
	"encoding/pem"
	"fmt"
	"math/big"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"time"
)

// dcosCluster answers the command dcos in the documented formats, and agents that register, and has a Kubernetes API of its own. It records what was asked that
// alters something, and every answer depends on what was done before: etcd has names only when its package is installed, Kubernetes
// has a provider only then, add-ons run only when Calico's controller does.
type dcosCluster struct {
	of  *dcosLab
	url string

	etcdPeer, etcdClient int
	etcdctl              []string

	ca    *x509.Certificate
	caKey *ecdsa.PrivateKey
	caPEM string

	mu         sync.Mutex
	calls      []string
	packages   []string
	enterprise bool   // dcos security is there, or can be installed
	security   bool   // dcos-enterprise-cli is installed
	down       bool   // nobody is logged in
	old        bool   // Calico is older than 3
	options    string // of the Kubernetes package, as given
	smoke      string // address of the task
	kubernetes *dcosKubernetes
	newcerts   int
	agents     map[string]*dcosAgent // by address
}

type dcosAgent struct {
	networks   string
	registered []time.Time
}

// dcosCommand hands everything to the cluster. It stands where the real command would; nothing else of it is on the controller.
const dcosCommand = `#!/bin/sh
stdin=; case " $* " in *" app add "*) stdin=$(cat) ;; esac
n=$#
while [ $n -gt 0 ]; do set -- "$@" --data-urlencode "arg=$1"; shift; n=$((n - 1)); done
out=$(mktemp); trap 'rm -f "$out"' EXIT
code=$(curl -sS -o "$out" -w '%{http_code}' "$@" --data-urlencode "stdin=$stdin" --data-urlencode "kubeconfig=$KUBECONFIG" CLUSTER/command) || exit 3
[ "$code" = 200 ] && exec cat "$out"
cat "$out" >&2; exit 1
`

func newCluster(lab *dcosLab) *dcosCluster {
	c := &dcosCluster{of: lab, enterprise: true, agents: map[string]*dcosAgent{}}
	c.makeCA()
	mux := http.NewServeMux()
	mux.HandleFunc("/register", c.register)
	mux.HandleFunc("/command", func(w http.ResponseWriter, r *http.Request) {
		_ = r.ParseForm()
		out, err := c.do(r.Context(), r.Form["arg"], r.Form.Get("stdin"), r.Form.Get("kubeconfig"))
		if err != nil {
			http.Error(w, err.Error(), http.StatusBadRequest)
			return
		}
		fmt.Fprint(w, out)
	})
	c.url = serve(lab.T, lab.network.lab.Gateway.String(), mux)
	return c
}

// command is the path of the command dcos.
func (c *dcosCluster) command() string {
	file := filepath.Join(c.of.network.lab.Dir, "bin", "dcos")
	write(c.of.T, file, strings.ReplaceAll(dcosCommand, "CLUSTER", c.url))
	if err := os.Chmod(file, 0o700); err != nil {
		c.of.Fatal(err)
	}
	return file
}

func (c *dcosCluster) makeCA() {
	var err error
	if c.caKey, err = ecdsa.GenerateKey(elliptic.P256(), rand.Reader); err != nil {
		c.of.Fatal(err)
	}
	template := &x509.Certificate{SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "DC/OS Root CA"}, NotBefore: time.Now().Add(-time.Hour),
		NotAfter: time.Now().AddDate(10, 0, 0), IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageCertSign}
	der, err := x509.CreateCertificate(rand.Reader, template, template, &c.caKey.PublicKey, c.caKey)
	if err != nil {
		c.of.Fatal(err)
	}
	if c.ca, err = x509.ParseCertificate(der); err != nil {
		c.of.Fatal(err)
	}
	c.caPEM = string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}))
}

// register is an agent's start.
func (c *dcosCluster) register(w http.ResponseWriter, r *http.Request) {
	host, _, err := net.SplitHostPort(r.RemoteAddr)
	if err != nil {
		http.Error(w, err.Error(), http.StatusBadRequest)
		return
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	a := c.agents[host]
	if a == nil {
		a = &dcosAgent{}
		c.agents[host] = a
	}
	a.networks = r.FormValue("networks")
	a.registered = append(a.registered, time.Now())
	if len(a.registered) > 1 {
		c.calls = append(c.calls, "agent "+host+" registered")
	}
}

func (c *dcosCluster) called() []string {
	c.mu.Lock()
	defer c.mu.Unlock()
	return slices.Clone(c.calls)
}

func (c *dcosCluster) forget() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.calls = nil
}

func (c *dcosCluster) set(change func()) {
	c.mu.Lock()
	defer c.mu.Unlock()
	change()
}

func (c *dcosCluster) installed(name string) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	return slices.Contains(c.packages, name)
}

// do answers one call.
func (c *dcosCluster) do(ctx context.Context, args []string, stdin, kubeconfig string) (string, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	line := "dcos " + strings.Join(args, " ")
	if c.down {
		return "", fmt.Errorf("authentication failed: run dcos auth login")
	}
	find := func(words string) bool { return strings.HasPrefix(line, "dcos "+words) }
	switch {
	case find("node --json"):
		return c.nodes(), nil
	case find("package "):
		return c.packaging(line, args)
	case find("security "):
		return c.securing(line, args)
	case find("auth list-providers"):
		if c.enterprise {
			return `{"dcos-users": {"authentication-type": "dcos-uid-password", "description": "Default DC/OS login provider"}}`, nil
		}
		return `{"dcos-oidc-auth0": {"authentication-type": "dcos-oidc-auth0"}}`, nil
	case find("marathon "):
		return c.marathon(ctx, line, args, stdin)
	case find("kubernetes ") && !slices.Contains(c.packages, "kubernetes"):
		return "", fmt.Errorf("'kubernetes' is not a dcos command")
	case find("kubernetes describe"):
		return c.options, nil
	case find("kubernetes plan status deploy --json"):
		return c.plan(), nil
	case find("kubernetes kubeconfig"):
		c.calls = append(c.calls, line)
		return "", c.kubernetes.login(kubeconfig)
	}
	return "", fmt.Errorf("usage: %s is not a dcos command", line)
}

// nodes are the agents as dcos node --json lists them.
func (c *dcosCluster) nodes() string {
	list := []map[string]any{{"type": "master (leader)", "ip": "10.0.0.1", "id": "m0"}}
	for address, a := range c.agents {
		n := map[string]any{"type": "agent", "hostname": address, "id": "S-" + address, "active": true, "registered_time": seconds(a.registered[0])}
		if len(a.registered) > 1 {
			n["reregistered_time"] = seconds(a.registered[len(a.registered)-1])
		}
		list = append(list, n)
	}
	text, _ := json.Marshal(list)
	return string(text)
}

func seconds(t time.Time) float64 { return float64(t.UnixMicro()) / 1e6 }

func (c *dcosCluster) packaging(line string, args []string) (string, error) {
	if strings.HasPrefix(line, "dcos package list") {
		var list []map[string]any
		for _, p := range c.packages {
			list = append(list, map[string]any{"name": p, "apps": []string{"/" + p}})
		}
		text, _ := json.Marshal(list)
		if list == nil {
			text = []byte("[]")
		}
		return string(text), nil
	}
	c.calls = append(c.calls, line)
	name := args[2]
	if args[1] == "uninstall" {
		c.packages = slices.DeleteFunc(c.packages, func(p string) bool { return p == name })
		if name == "kubernetes" {
			return "", c.kubernetes.stop()
		}
		return "", nil
	}
	if name == "dcos-enterprise-cli" {
		c.security = true
		return "", nil
	}
	for _, a := range args {
		if file, ok := strings.CutPrefix(a, "--options="); ok {
			text, err := os.ReadFile(file)
			if err != nil {
				return "", err
			}
			c.options = string(text)
		}
	}
	c.packages = append(c.packages, name)
	switch name {
	case "calico":
		return "", c.of.runUniverseCalico()
	case "kubernetes":
		var err error
		c.kubernetes, err = startDCOSKubernetes(c)
		return "", err
	}
	return "", nil
}

func (c *dcosCluster) securing(line string, args []string) (string, error) {
	switch {
	case !c.enterprise || !c.security:
		return "", fmt.Errorf("'security' is not a dcos command")
	case strings.HasPrefix(line, "dcos security cluster ca cacert"):
		return c.caPEM, nil
	case strings.HasPrefix(line, "dcos security cluster ca newcert"):
		c.calls = append(c.calls, line)
		c.newcerts++
		return c.issue(args)
	}
	return "", fmt.Errorf("usage: %s", line)
}

// issue answers newcert: --cn NAME, --host NAME ..., --json.
func (c *dcosCluster) issue(args []string) (string, error) {
	template := &x509.Certificate{SerialNumber: big.NewInt(time.Now().UnixNano()), NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().AddDate(1, 0, 0),
		ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth, x509.ExtKeyUsageServerAuth}}
	for i, a := range args {
		switch a {
		case "--cn":
			template.Subject.CommonName = args[i+1]
		case "--host":
			template.IPAddresses = append(template.IPAddresses, net.ParseIP(args[i+1]))
		}
	}
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return "", err
	}
	der, err := x509.CreateCertificate(rand.Reader, template, c.ca, &key.PublicKey, c.caKey)
	if err != nil {
		return "", err
	}
	keyDER, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		return "", err
	}
	text, err := json.Marshal(map[string]string{
		"certificate": string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der})),
		"private_key": string(pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: keyDER})),
	})
	return string(text), err
}

// marathon answers for the packages' apps, and starts a task on a network: it gets its address from the network's own CNI plugin, on an
// agent that knew the network when it started.
func (c *dcosCluster) marathon(ctx context.Context, line string, args []string, stdin string) (string, error) {
	switch {
	case strings.HasPrefix(line, "dcos marathon app show"):
		if !slices.Contains(c.packages, strings.TrimPrefix(args[3], "/")) {
			return "", fmt.Errorf("app '%s' does not exist", args[3])
		}
		return `{"instances": 1, "tasksRunning": 1, "tasksUnhealthy": 0}`, nil
	case strings.HasPrefix(line, "dcos marathon app add"):
		return "", c.startTask(ctx, stdin)
	case strings.HasPrefix(line, "dcos marathon task list"):
		return `[{"id": "calroll-smoke.1", "state": "TASK_RUNNING", "ipAddresses": [{"ipAddress": "` + c.smoke + `", "protocol": "IPv4"}]}]`, nil
	case strings.HasPrefix(line, "dcos marathon app remove"):
		_, err := c.of.network.lab.Hosts[0].Sh(ctx, fmt.Sprintf(taskPlug, "DEL")+"; ip netns delete task")
		return "", err
	}
	return "", fmt.Errorf("usage: %s", line)
}

// taskPlug calls the plugin of the network calico as the Mesos agent does.
const taskPlug = `cat /opt/mesosphere/etc/dcos/network/cni/calico.cni | CNI_COMMAND=%s CNI_CONTAINERID=task CNI_NETNS=/var/run/netns/task CNI_IFNAME=eth0 CNI_PATH=/opt/mesosphere/active/cni /opt/mesosphere/active/cni/calico`

func (c *dcosCluster) startTask(ctx context.Context, stdin string) error {
	var app struct{ Networks []struct{ Mode, Name string } }
	if err := json.Unmarshal([]byte(stdin), &app); err != nil || len(app.Networks) != 1 {
		return fmt.Errorf("%s is no app on a network: %w", stdin, err)
	}
	host := c.of.network.lab.Hosts[0]
	if !strings.Contains(c.agents[host.Address.String()].networks, `"name": "`+app.Networks[0].Name+`"`) {
		return fmt.Errorf("no agent knows the network %s", app.Networks[0].Name)
	}
	out, err := host.Sh(ctx, "ip netns add task && "+fmt.Sprintf(taskPlug, "ADD"))
	if err != nil {
		return err
	}
	var answer struct {
		IP4 struct{ IP string }
		IPs []struct{ Address string }
	}
	if err := json.Unmarshal([]byte(out), &answer); err != nil {
		return fmt.Errorf("the plugin answered %s: %w", out, err)
	}
	address := answer.IP4.IP
	if len(answer.IPs) > 0 {
		address = answer.IPs[0].Address
	}
	c.smoke = strings.Split(address, "/")[0]
	return nil
}

// plan is the deployment of Kubernetes: the add-ons cannot be deployed before Calico's controller runs.
func (c *dcosCluster) plan() string {
	addons := "COMPLETE"
	if !c.kubernetes.controlled {
		addons = "IN_PROGRESS"
	}
	return `{"phases": [{"name": "etcd", "status": "COMPLETE"}, {"name": "mandatory-addons", "status": "` + addons + `"}], "strategy": "serial", "status": "` + addons + `"}`
}
