package cluster

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"time"

	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/clientcmd"
	api "k8s.io/client-go/tools/clientcmd/api"

	"github.com/calroll/calroll/tasks"
)

// kubeLogin are the arguments by which every Kubernetes module finds the API and logs in, under the names of the collection kubernetes.core.
// What is not given comes from the task's environment (K8S_AUTH_HOST and so on), then from a kubeconfig. Files are the host's.
type kubeLogin struct {
	Kubeconfig        any      `arg:"kubeconfig" doc:"kubeconfig, a file on the host (several are separated by colons) or its content as a dictionary; K8S_AUTH_KUBECONFIG, KUBECONFIG or ~/.kube/config when neither it nor host is given"`
	Context           string   `arg:"context" doc:"context of the kubeconfig; its current one when not given"`
	Host              string   `arg:"host" doc:"URL of the API"`
	APIKey            string   `arg:"api_key,secret" doc:"bearer token; never recorded: a rollback reads the kubeconfig that CALROLL_KUBECONFIG names"`
	Username          string   `arg:"username" doc:"user for HTTP basic authentication"`
	Password          string   `arg:"password,secret" doc:"its password; never recorded, as api_key"`
	ValidateCerts     *bool    `arg:"validate_certs,alias=verify_ssl" doc:"verify the certificate of the API; yes unless the kubeconfig says otherwise"`
	CACert            string   `arg:"ca_cert,alias=ssl_ca_cert" doc:"certificate authority of the API, a file on the host"`
	ClientCert        string   `arg:"client_cert,alias=cert_file" doc:"client certificate, a file on the host"`
	ClientKey         string   `arg:"client_key,alias=key_file" doc:"its key, a file on the host"`
	Proxy             string   `arg:"proxy" doc:"URL of an HTTP proxy, as seen from the host; the environment's is not used"`
	ImpersonateUser   string   `arg:"impersonate_user" doc:"act as this user"`
	ImpersonateGroups []string `arg:"impersonate_groups" doc:"and as a member of these groups"`
}

// kubeAccess is how to get at an API. It goes into records, so it names files and holds no secret.
type kubeAccess struct {
	As          string   `json:"as,omitempty"` // as whom files of the host are read
	Kubeconfig  string   `json:"kubeconfig,omitempty"`
	Given       bool     `json:"given,omitempty"` // credentials were given as values, so a rollback needs them from elsewhere
	Context     string   `json:"context,omitempty"`
	Host        string   `json:"host,omitempty"`
	Verify      *bool    `json:"verify,omitempty"`
	CACert      string   `json:"ca_cert,omitempty"`
	ClientCert  string   `json:"client_cert,omitempty"`
	ClientKey   string   `json:"client_key,omitempty"`
	Proxy       string   `json:"proxy,omitempty"`
	Impersonate string   `json:"impersonate,omitempty"`
	Groups      []string `json:"groups,omitempty"`
}

// kubeSecrets are what records do not hold.
type kubeSecrets struct {
	config                    *api.Config // a kubeconfig that was given as a value
	token, username, password string
}

// kubeconfigVariable names the kubeconfig on the controller from which a rollback gets credentials that records do not hold.
const kubeconfigVariable = "CALROLL_KUBECONFIG"

// resolve completes what was given from the environment.
func (l *kubeLogin) resolve(sys *tasks.Sys) (kubeAccess, kubeSecrets, error) {
	env := sys.Env()
	pick := func(given string, names ...string) string {
		for _, n := range names {
			if given == "" {
				given = env["K8S_AUTH_"+n]
			}
		}
		return given
	}
	a := kubeAccess{As: sys.As(), Context: pick(l.Context, "CONTEXT"), Host: pick(l.Host, "HOST"), Verify: l.ValidateCerts, CACert: pick(l.CACert, "SSL_CA_CERT", "CA_CERT"),
		ClientCert: pick(l.ClientCert, "CERT_FILE", "CLIENT_CERT"), ClientKey: pick(l.ClientKey, "KEY_FILE", "CLIENT_KEY"), Proxy: pick(l.Proxy, "PROXY"),
		Impersonate: pick(l.ImpersonateUser, "IMPERSONATE_USER"), Groups: l.ImpersonateGroups}
	if v := pick("", "VERIFY_SSL", "VALIDATE_CERTS"); v != "" && a.Verify == nil {
		verify := !strings.EqualFold(v, "false") && !strings.EqualFold(v, "no") && v != "0"
		a.Verify = &verify
	}
	s := kubeSecrets{token: pick(l.APIKey, "API_KEY"), username: pick(l.Username, "USERNAME"), password: pick(l.Password, "PASSWORD")}
	var err error
	switch given := l.Kubeconfig.(type) {
	case nil:
		a.Kubeconfig = pick("", "KUBECONFIG")
	case string:
		a.Kubeconfig = pick(given, "KUBECONFIG")
	case map[string]any:
		s.config, err = kubeconfigOf(given)
	default:
		err = failed("use the kubeconfig", fmt.Errorf("a file name or a dictionary is expected"))
	}
	if a.Kubeconfig == "" && s.config == nil && a.Host == "" {
		if a.Kubeconfig = env["KUBECONFIG"]; a.Kubeconfig == "" {
			a.Kubeconfig = "~/.kube/config"
		}
	}
	a.Given = s.config != nil || s.token != "" || s.password != ""
	return a, s, err
}

func kubeconfigOf(given map[string]any) (*api.Config, error) {
	raw, err := marshalJSON(given)
	if err != nil {
		return nil, err
	}
	c, err := clientcmd.Load(raw)
	if err != nil {
		return nil, failed("use the kubeconfig", errors.New("it is no kubeconfig")) // the cause may quote it
	}
	return c, nil
}

// kept are the secrets as a rollback gets them.
func (a kubeAccess) kept() (kubeSecrets, error) {
	if !a.Given {
		return kubeSecrets{}, nil
	}
	file := os.Getenv(kubeconfigVariable)
	if file == "" {
		return kubeSecrets{}, failed("connect to Kubernetes", errors.New("records hold no credentials: set "+kubeconfigVariable+" to a kubeconfig on this machine"))
	}
	c, err := clientcmd.LoadFromFile(file)
	if err == nil {
		err = clientcmd.ResolveLocalPaths(c)
	}
	return kubeSecrets{config: c}, failedOr("read "+file, err)
}

// kubeFiles reads files of the host, each once.
type kubeFiles struct {
	reach tasks.Reach
	as    string
}

func (f kubeFiles) read(ctx context.Context, path string) ([]byte, error) {
	if f.reach.File != nil {
		return f.reach.File(ctx, f.as, path)
	}
	raw, err := os.ReadFile(tasks.Path(path).Expand())
	return raw, failedOr("read "+path, err)
}

// restConfig is the access as client-go has it; everything it needs of files is in it.
func (a kubeAccess) restConfig(ctx context.Context, reach tasks.Reach, s kubeSecrets) (*rest.Config, error) {
	files := kubeFiles{reach, a.As}
	c := s.config
	if c == nil {
		c = api.NewConfig()
		if a.Kubeconfig != "" {
			var err error
			if c, err = files.kubeconfig(ctx, a.Kubeconfig); err != nil {
				return nil, err
			}
		}
	}
	if err := files.inline(ctx, c, a.chosen(c)); err != nil {
		return nil, err
	}
	config := &rest.Config{}
	if len(c.Contexts) > 0 || len(c.Clusters) > 0 {
		var err error
		if config, err = clientcmd.NewNonInteractiveClientConfig(*c, a.chosen(c), &clientcmd.ConfigOverrides{}, nil).ClientConfig(); err != nil {
			return nil, failed("use the kubeconfig "+a.Kubeconfig, err)
		}
	}
	return config, a.overlay(ctx, files, config, s)
}

func (a kubeAccess) chosen(c *api.Config) string {
	if a.Context != "" {
		return a.Context
	}
	return c.CurrentContext
}

// overlay puts what was given by itself over what the kubeconfig says.
func (a kubeAccess) overlay(ctx context.Context, files kubeFiles, c *rest.Config, s kubeSecrets) error {
	for path, to := range map[string]*[]byte{a.CACert: &c.CAData, a.ClientCert: &c.CertData, a.ClientKey: &c.KeyData} {
		if path == "" {
			continue
		}
		raw, err := files.read(ctx, path)
		if err != nil {
			return err
		}
		*to = raw
	}
	if a.Host != "" {
		c.Host = a.Host
	}
	if c.Host == "" {
		return failed("connect to Kubernetes", errors.New("there is neither a host nor a kubeconfig with one"))
	}
	if a.Verify != nil {
		if c.Insecure = !*a.Verify; c.Insecure {
			c.CAData = nil
		}
	}
	if s.token != "" {
		c.BearerToken = s.token
	}
	if s.username != "" {
		c.Username, c.Password = s.username, s.password
	}
	if a.Impersonate != "" || len(a.Groups) > 0 {
		c.Impersonate = rest.ImpersonationConfig{UserName: a.Impersonate, Groups: a.Groups}
	}
	return a.network(files.reach, c)
}

// questionLimit bounds one question to the API.
const questionLimit = 60 * time.Second

func (a kubeAccess) network(reach tasks.Reach, c *rest.Config) error {
	c.Dial, c.QPS, c.Burst, c.UserAgent, c.Timeout = reach.Dial, -1, -1, "calroll", questionLimit
	c.Proxy = func(*http.Request) (*url.URL, error) { return nil, nil } // not the controller's own
	if a.Proxy == "" {
		return nil
	}
	u, err := url.Parse(a.Proxy)
	c.Proxy = http.ProxyURL(u)
	return failedOr("use the proxy "+a.Proxy, err)
}

// kubeconfig reads a kubeconfig, or several, of which the first that has a name defines it, as kubectl reads them.
func (f kubeFiles) kubeconfig(ctx context.Context, paths string) (*api.Config, error) {
	all := api.NewConfig()
	for path := range strings.SplitSeq(paths, ":") {
		raw, err := f.read(ctx, path)
		if err != nil {
			return nil, err
		}
		c, err := clientcmd.Load(raw)
		if err != nil {
			return nil, failed("use the kubeconfig "+path, errors.New("it is no kubeconfig")) // the cause may quote it
		}
		anchor(c, filepath.Dir(path))
		addConfig(all, c)
	}
	return all, nil
}

func addConfig(all, c *api.Config) {
	if all.CurrentContext == "" {
		all.CurrentContext = c.CurrentContext
	}
	addMissing(all.Clusters, c.Clusters)
	addMissing(all.AuthInfos, c.AuthInfos)
	addMissing(all.Contexts, c.Contexts)
}

func addMissing[T any](all, more map[string]T) {
	for k, v := range more {
		if _, ok := all[k]; !ok {
			all[k] = v
		}
	}
}

// anchor makes the files that a kubeconfig names absolute: they stand beside it.
func anchor(c *api.Config, dir string) {
	fix := func(path *string) {
		if *path != "" && !filepath.IsAbs(*path) {
			*path = dir + "/" + *path // dir may begin with ~
		}
	}
	for _, cluster := range c.Clusters {
		fix(&cluster.CertificateAuthority)
	}
	for _, user := range c.AuthInfos {
		fix(&user.ClientCertificate)
		fix(&user.ClientKey)
		fix(&user.TokenFile)
	}
}

// inline replaces the files that the chosen context names by their content.
func (f kubeFiles) inline(ctx context.Context, c *api.Config, name string) error {
	chosen := c.Contexts[name]
	if chosen == nil {
		return nil // client-go explains
	}
	if cluster := c.Clusters[chosen.Cluster]; cluster != nil {
		if err := f.take(ctx, &cluster.CertificateAuthority, &cluster.CertificateAuthorityData); err != nil {
			return err
		}
	}
	user := c.AuthInfos[chosen.AuthInfo]
	if user == nil {
		return nil
	}
	if user.Exec != nil || user.AuthProvider != nil {
		return &tasks.Error{Kind: tasks.Refused, Op: "log in to Kubernetes as " + chosen.AuthInfo,
			Detail: "its kubeconfig has a program ask for credentials, which belongs on the host and not on this machine"}
	}
	token := []byte(user.Token)
	err := errors.Join(f.take(ctx, &user.ClientCertificate, &user.ClientCertificateData), f.take(ctx, &user.ClientKey, &user.ClientKeyData), f.take(ctx, &user.TokenFile, &token))
	user.Token = strings.TrimSpace(string(token))
	return err
}

func (f kubeFiles) take(ctx context.Context, path *string, data *[]byte) error {
	if *path == "" {
		return nil
	}
	if len(*data) == 0 {
		raw, err := f.read(ctx, *path)
		if err != nil {
			return err
		}
		*data = raw
	}
	*path = ""
	return nil
}
