// Command calico26 stands in for the programs of Calico 2.6.6, which cannot be built any more: calicoctl, calico/node and the CNI plugins,
// by the name it is called by. It keeps what it must in a real etcd through the v2 API, at the keys that Calico 2 used, so that the proxy
// and the order of things are real. It routes nothing.
package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"strings"
)

const (
	etcd     = "http://localhost:2379/v2/keys"
	hosts    = "/calico/bgp/v1/host"
	pools    = "/calico/v1/ipam/v4/pool"
	profiles = "/calico/v1/policy/profile"
)

func main() {
	var err error
	switch name := filepath.Base(os.Args[0]); name {
	case "calicoctl":
		err = calicoctl(slices.DeleteFunc(os.Args[1:], func(a string) bool { return strings.HasPrefix(a, "--config=") || a == "-f" || a == "-" }))
	case "calico-node":
		err = node()
	default:
		err = plugin()
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

// entry is what etcd's v2 API answers.
type entry struct {
	Node struct {
		Key, Value string
		Nodes      []struct{ Key, Value string }
	}
}

var errNone = errors.New("resource does not exist")

func ask(method, key, value string) (entry, error) {
	var body io.Reader
	if value != "" {
		body = strings.NewReader(url.Values{"value": {value}}.Encode())
	}
	req, err := http.NewRequest(method, etcd+key, body)
	if err != nil {
		return entry{}, err
	}
	req.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		return entry{}, err
	}
	defer resp.Body.Close()
	var e entry
	switch {
	case resp.StatusCode == http.StatusNotFound:
		return e, errNone
	case resp.StatusCode >= 300:
		return e, fmt.Errorf("etcd: %s", resp.Status)
	}
	return e, json.NewDecoder(resp.Body).Decode(&e)
}

// names are the last parts of the keys below a folder.
func names(folder string) ([]string, error) {
	e, err := ask(http.MethodGet, folder, "")
	if errors.Is(err, errNone) {
		return nil, nil
	}
	var all []string
	for _, n := range e.Node.Nodes {
		all = append(all, n.Key[strings.LastIndex(n.Key, "/")+1:])
	}
	return all, err
}

func calicoctl(args []string) error {
	if len(args) > 1 && (args[0] == "get" || args[0] == "delete") {
		args[1] = strings.ToLower(args[1]) // kinds are taken in any spelling
	}
	switch line := strings.Join(args, " "); {
	case line == "node status":
		return status()
	case line == "get node -o json":
		return nodes("")
	case strings.HasPrefix(line, "get node ") && strings.HasSuffix(line, " -o json"):
		return nodes(args[2])
	case line == "get ippool -o json":
		return getPools("")
	case strings.HasPrefix(line, "get ippool ") && strings.HasSuffix(line, " -o json"):
		return getPools(args[2])
	case line == "get profile -o json":
		return getProfiles()
	case line == "create":
		return create()
	case strings.HasPrefix(line, "delete node "):
		return remove(hosts + "/" + args[2])
	case strings.HasPrefix(line, "delete ippool "):
		return remove(pools + "/" + strings.ReplaceAll(args[2], "/", "-"))
	default:
		return fmt.Errorf("unknown command: %s", line)
	}
}

func remove(key string) error {
	_, err := ask(http.MethodDelete, key+"?recursive=true", "")
	if errors.Is(err, errNone) {
		return nil
	}
	return err
}

// nodes shows the nodes, or the one of that name; none is no mistake.
func nodes(name string) error {
	all, err := names(hosts)
	list := []any{}
	for _, n := range all {
		if name != "" && n != name {
			continue
		}
		e, err := ask(http.MethodGet, hosts+"/"+n+"/ip_addr_v4", "")
		if err != nil {
			return err
		}
		list = append(list, map[string]any{"kind": "node", "apiVersion": "v1", "metadata": map[string]any{"name": n}, "spec": map[string]any{"bgp": map[string]any{"ipv4Address": e.Node.Value}}})
	}
	return errors.Join(err, json.NewEncoder(os.Stdout).Encode(list))
}

func status() error {
	all, err := names(hosts)
	self, _ := os.Hostname()
	for _, n := range all {
		if e, err := ask(http.MethodGet, hosts+"/"+n+"/ip_addr_v4", ""); err == nil && n != self {
			fmt.Printf("| %s | node-to-node mesh | up | 12:00:00 | Established |\n", strings.Split(e.Node.Value, "/")[0])
		}
	}
	return err
}

// resource is an object of calicoctl before 3.0, as far as pools go.
type resource struct {
	Kind       string                `json:"kind"`
	APIVersion string                `json:"apiVersion"`
	Metadata   struct{ CIDR string } `json:"metadata"`
	Spec       json.RawMessage       `json:"spec"`
}

func object() (resource, error) {
	var o resource
	if err := json.NewDecoder(os.Stdin).Decode(&o); err != nil {
		return o, err
	}
	if o.Kind != "ipPool" || o.APIVersion != "v1" || o.Metadata.CIDR == "" {
		return o, fmt.Errorf("this calicoctl knows no %s %s", o.APIVersion, o.Kind)
	}
	return o, nil
}

func create() error {
	o, err := object()
	if err == nil {
		_, err = ask(http.MethodPut, pools+"/"+strings.ReplaceAll(o.Metadata.CIDR, "/", "-"), string(o.Spec))
	}
	return err
}

func getProfiles() error {
	all, err := names(profiles)
	list := []any{}
	for _, n := range all {
		list = append(list, map[string]any{"kind": "profile", "apiVersion": "v1", "metadata": map[string]any{"name": n}, "spec": map[string]any{}})
	}
	return errors.Join(err, json.NewEncoder(os.Stdout).Encode(list))
}

func getPools(cidr string) error {
	e, err := ask(http.MethodGet, pools, "")
	list := []any{}
	for _, n := range e.Node.Nodes {
		this := strings.Replace(n.Key[strings.LastIndex(n.Key, "/")+1:], "-", "/", 1)
		if cidr != "" && this != cidr {
			continue
		}
		list = append(list, map[string]any{"kind": "ipPool", "apiVersion": "v1", "metadata": map[string]any{"cidr": this}, "spec": json.RawMessage(n.Value)})
	}
	if errors.Is(err, errNone) {
		err = nil
	}
	return errors.Join(err, json.NewEncoder(os.Stdout).Encode(list))
}

// node registers the host and then is healthy. Like Felix of that time it does not start with loose reverse path filtering.
func node() error {
	loose, err := os.ReadFile("/proc/sys/net/ipv4/conf/all/rp_filter")
	if err != nil || strings.TrimSpace(string(loose)) == "2" {
		return fmt.Errorf("kernel's RPF check is set to 'loose': %v", err)
	}
	link, err := net.InterfaceByName("eth0")
	if err != nil {
		return err
	}
	addresses, err := link.Addrs()
	if err != nil || len(addresses) == 0 {
		return fmt.Errorf("no address: %v", err)
	}
	if _, err := ask(http.MethodPut, hosts+"/"+os.Getenv("NODENAME")+"/ip_addr_v4", addresses[0].String()); err != nil {
		return err
	}
	if os.Getenv("NO_DEFAULT_POOLS") != "true" {
		pool := os.Getenv("CALICO_IPV4POOL_CIDR")
		if _, err := ask(http.MethodPut, pools+"/"+strings.ReplaceAll(pool, "/", "-"), `{"nat-outgoing":true}`); err != nil {
			return err
		}
	}
	return http.ListenAndServe("127.0.0.1:9099", http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusNoContent) }))
}

// plugin answers for its version.
func plugin() error {
	if os.Getenv("CNI_COMMAND") == "VERSION" {
		_, err := fmt.Println(`{"cniVersion": "0.3.0", "supportedVersions": ["0.1.0", "0.2.0", "0.3.0"]}`)
		return err
	}
	_, err := fmt.Println("v1.11.2")
	return err
}
