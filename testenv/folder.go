package testenv

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"time"

	"gopkg.in/yaml.v3"
)

// The files of a lab's folder. The folder is private: lab.json holds the password and the
// hosts' keys.
const (
	inventoryFile  = "inventory.yml"
	loginKeyFile   = "id_ed25519"
	knownHostsFile = "known_hosts"
	recordFile     = "lab.json"
	kubeconfigFile = "kubeconfig"
)

// InventoryFile is the path of the lab's inventory in Ansible's YAML form. It has the groups
// k8s_cluster, kube_control_plane (the first host) and kube_node (the others; the first too if alone).
func (l *Lab) InventoryFile() string { return filepath.Join(l.Dir, inventoryFile) }

// KeyFile is the path of the private key that opens root, ops and guarded on every host.
func (l *Lab) KeyFile() string { return filepath.Join(l.Dir, loginKeyFile) }

// KnownHostsFile is the path of the file with the keys of the hosts, under their names,
// their addresses and the addresses of their relays.
func (l *Lab) KnownHostsFile() string { return filepath.Join(l.Dir, knownHostsFile) }

// KubeconfigFile is the path of the administrator's kubeconfig, of a lab that is a cluster.
func (l *Lab) KubeconfigFile() string { return filepath.Join(l.Dir, kubeconfigFile) }

// record is lab.json: all that Open needs besides the running engine.
type record struct {
	Name     string         `json:"name"`
	Created  time.Time      `json:"created"`
	Network  string         `json:"network"`
	Subnet   netip.Prefix   `json:"subnet"`
	Gateway  netip.Addr     `json:"gateway"`
	Password string         `json:"password"`
	Binds    []string       `json:"binds,omitempty"`
	Vars     map[string]any `json:"vars,omitempty"`
	Hosts    []hostRecord   `json:"hosts"`
}

type hostRecord struct {
	Name     string     `json:"name"`
	Address  netip.Addr `json:"address"`
	Identity identity   `json:"identity"`
}

// Open returns the lab whose folder is dir (DefaultDir(name) if empty), as Start made it.
func Open(ctx context.Context, name, dir string) (*Lab, error) {
	if dir == "" {
		var err error
		if dir, err = DefaultDir(name); err != nil {
			return nil, err
		}
	}
	dir, err := filepath.Abs(dir)
	if err != nil {
		return nil, err
	}
	text, err := os.ReadFile(filepath.Join(dir, recordFile))
	if errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("cannot open lab %s: %s has no lab", name, dir)
	} else if err != nil {
		return nil, fmt.Errorf("cannot open lab %s: %w", name, err)
	}
	var r record
	if err := json.Unmarshal(text, &r); err != nil {
		return nil, fmt.Errorf("cannot open lab %s: %s: %w", name, filepath.Join(dir, recordFile), err)
	}
	eng, err := reachEngine(ctx, nil)
	if err != nil {
		return nil, err
	}
	return r.lab(dir, eng), nil
}

func (r record) lab(dir string, eng *engine) *Lab {
	l := &Lab{
		Name: r.Name, Dir: dir, Subnet: r.Subnet, Gateway: r.Gateway, Password: r.Password,
		engine: eng, network: r.Network, created: r.Created, binds: r.Binds, vars: r.Vars,
	}
	for _, h := range r.Hosts {
		l.Hosts = append(l.Hosts, &Host{Name: h.Name, Address: h.Address, lab: l, identity: h.Identity})
	}
	return l
}

func (l *Lab) createFolder() error {
	if err := os.MkdirAll(l.Dir, 0o700); err != nil {
		return fmt.Errorf("cannot make the folder of lab %s: %w", l.Name, err)
	}
	if err := writeLoginKey(l.KeyFile(), "calroll lab "+l.Name); err != nil {
		return fmt.Errorf("cannot make the key of lab %s: %w", l.Name, err)
	}
	return nil
}

// writeFolder writes everything but the key.
func (l *Lab) writeFolder() error {
	return errors.Join(l.writeRecord(), l.writeKnownHosts(), l.WriteInventory(l.InventoryFile(), nil))
}

func (l *Lab) writeRecord() error {
	r := record{
		Name: l.Name, Created: l.created, Network: l.network, Subnet: l.Subnet,
		Gateway: l.Gateway, Password: l.Password, Binds: l.binds, Vars: l.vars,
	}
	for _, h := range l.Hosts {
		r.Hosts = append(r.Hosts, hostRecord{Name: h.Name, Address: h.Address, Identity: h.identity})
	}
	text, err := json.MarshalIndent(r, "", "  ")
	if err != nil {
		return err
	}
	return replaceFile(filepath.Join(l.Dir, recordFile), strings.NewReader(string(text)+"\n"))
}

func (l *Lab) writeKnownHosts() error {
	var text strings.Builder
	for _, h := range l.Hosts {
		lines, err := h.identity.knownHosts(h.Name + "," + h.Address.String())
		if err != nil {
			return err
		}
		text.WriteString(lines)
	}
	return replaceFile(l.KnownHostsFile(), strings.NewReader(text.String()))
}

// WriteInventory writes an inventory of the lab to path. Hosts named in via are reached
// through their relay there.
func (l *Lab) WriteInventory(path string, via map[string]*Relay) error {
	hosts := map[string]any{}
	for _, h := range l.Hosts {
		vars := map[string]any{"ansible_host": h.Address.String()}
		if r := via[h.Name]; r != nil {
			at := netip.MustParseAddrPort(r.Addr())
			vars["ansible_host"], vars["ansible_port"] = at.Addr().String(), int(at.Port())
		}
		hosts[h.Name] = vars
	}
	text, err := yaml.Marshal(map[string]any{"all": map[string]any{
		"vars": l.inventoryVars(), "hosts": hosts,
		"children": map[string]any{"k8s_cluster": map[string]any{"children": l.inventoryGroups()}},
	}})
	if err != nil {
		return err
	}
	return replaceFile(path, strings.NewReader(string(text)))
}

// SetVars sets variables that the inventory gives all hosts, beside those that it gives them already, and writes the inventory again.
func (l *Lab) SetVars(vars map[string]any) error {
	all := maps.Clone(l.vars)
	if all == nil {
		all = map[string]any{}
	}
	maps.Copy(all, vars)
	l.vars = all
	return l.writeFolder()
}

func (l *Lab) inventoryVars() map[string]any {
	vars := map[string]any{
		"ansible_user":                 "root",
		"ansible_ssh_private_key_file": l.KeyFile(),
		"ansible_ssh_common_args": "-o IdentitiesOnly=yes -o StrictHostKeyChecking=yes" +
			" -o UserKnownHostsFile=" + l.KnownHostsFile(),
	}
	for name, value := range l.vars {
		vars[name] = value
	}
	return vars
}

func (l *Lab) inventoryGroups() map[string]any {
	plane, nodes := map[string]any{}, map[string]any{}
	for i, h := range l.Hosts {
		if i == 0 {
			plane[h.Name] = nil
		}
		if i > 0 || len(l.Hosts) == 1 {
			nodes[h.Name] = nil
		}
	}
	return map[string]any{
		"kube_control_plane": map[string]any{"hosts": plane},
		"kube_node":          map[string]any{"hosts": nodes},
	}
}

// removeFolder removes the files of a lab and then the folder, if nothing else is in it.
func removeFolder(dir string) error {
	for _, name := range []string{inventoryFile, loginKeyFile, loginKeyFile + ".pub", knownHostsFile, recordFile, kubeconfigFile} {
		if err := os.Remove(filepath.Join(dir, name)); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return fmt.Errorf("cannot remove the folder of the lab: %w", err)
		}
	}
	_ = os.Remove(dir) // fails if the user put something there, which is right
	return nil
}
