package testenv

import (
	"archive/tar"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/netip"
	"os"
	"slices"
	"strings"
	"time"

	"github.com/docker/docker/api/types/container"
	"github.com/docker/docker/api/types/network"
	"github.com/docker/docker/pkg/stdcopy"
	"golang.org/x/crypto/ssh"
)

// A Host is one machine of a lab.
type Host struct {
	Name    string     // also its hostname, and its name for the other hosts
	Address netip.Addr // stays the same over restarts and resets

	lab      *Lab
	identity identity
}

// controlHost is the name of the host in front of the numbered ones, if a lab has one.
const controlHost = "control"

// newHost plans a host; 0 is the number of the one for a control plane.
func (l *Lab) newHost(number int) (*Host, error) {
	id, err := newIdentity()
	if err != nil {
		return nil, fmt.Errorf("cannot make host keys: %w", err)
	}
	name := controlHost
	if number > 0 {
		name = fmt.Sprintf("node%d", number)
	}
	return &Host{
		Name:    name,
		Address: addressIn(l.Subnet, firstHost-1+number),
		lab:     l, identity: id,
	}, nil
}

// Container is the name of the host's container on the engine.
func (h *Host) Container() string { return "calroll-" + h.lab.Name + "-" + h.Name }

// create makes and starts the container and waits for the host. What sshd needs is copied
// in before the start, so that no host ever runs with keys from the image.
func (h *Host) create(ctx context.Context) error {
	config, limits, net := h.spec()
	// An engine that is asked to make it does so even if nobody waits for that any more, and nobody would know of it then.
	_, err := h.lab.engine.ContainerCreate(context.WithoutCancel(ctx), config, limits, net, nil, h.Container())
	if err != nil {
		return fmt.Errorf("cannot make %s: %w", h.Name, err)
	}
	files, err := h.firstFiles()
	if err != nil {
		return fmt.Errorf("cannot make %s: %w", h.Name, err)
	}
	if err := h.lab.engine.CopyToContainer(ctx, h.Container(), "/", files, container.CopyToContainerOptions{}); err != nil {
		return fmt.Errorf("cannot copy keys to %s: %w", h.Name, err)
	}
	if err := h.Start(ctx); err != nil {
		return err
	}
	passwords := fmt.Sprintf("root:%s\nguarded:%[1]s\n", h.lab.Password)
	_, err = h.Pipe(ctx, strings.NewReader(passwords), "chpasswd")
	return err
}

// spec is what the engine is asked for. It is short of --privileged, which needs
// CAP_SYS_RESOURCE, and that a machine may not have to give. The device rule can only be
// set here: later the kernel refuses it, and without it no container inside may be
// privileged. The control groups are the container's own.
func (h *Host) spec() (*container.Config, *container.HostConfig, *network.NetworkingConfig) {
	labels := h.lab.labels()
	labels[labelHost] = h.Name
	config := &container.Config{
		Image: imageName(), Hostname: h.Name, Labels: labels,
		Volumes: map[string]struct{}{"/var/lib/docker": {}, "/var/lib/containerd": {}, "/var/lib/kubelet": {}},
	}
	limits := &container.HostConfig{
		Binds: h.lab.binds, CapAdd: []string{"ALL"}, CapDrop: []string{"SYS_RESOURCE"},
		SecurityOpt:  []string{"seccomp=unconfined", "apparmor=unconfined", "label=disable"},
		CgroupnsMode: container.CgroupnsModePrivate,
		MaskedPaths:  []string{}, ReadonlyPaths: []string{},
		Tmpfs:     map[string]string{"/run": "exec", "/run/lock": "", "/tmp": "exec"},
		Resources: container.Resources{DeviceCgroupRules: []string{"a *:* rwm"}},
	}
	if _, err := os.Stat("/dev/kmsg"); err == nil { // a kubelet wants it
		limits.Devices = []container.DeviceMapping{{PathOnHost: "/dev/kmsg", PathInContainer: "/dev/kmsg", CgroupPermissions: "rwm"}}
	}
	net := &network.NetworkingConfig{EndpointsConfig: map[string]*network.EndpointSettings{
		h.lab.network: {
			IPAMConfig: &network.EndpointIPAMConfig{IPv4Address: h.Address.String()},
			Aliases:    []string{h.Name},
		},
	}}
	return config, limits, net
}

// firstFiles is a tar of what makes this host itself: host keys, machine id, and the login
// key of its users.
func (h *Host) firstFiles() (io.Reader, error) {
	public, err := os.ReadFile(h.lab.KeyFile() + ".pub")
	if err != nil {
		return nil, err
	}
	signers, err := h.identity.signers()
	if err != nil {
		return nil, err
	}
	var p packer
	p.w = tar.NewWriter(&p.out)
	p.file("etc/machine-id", 0o444, 0, []byte(randomHex(16)+"\n"))
	for i, algorithm := range []string{"ed25519", "ecdsa", "rsa"} {
		path := "etc/ssh/ssh_host_" + algorithm + "_key"
		p.file(path, 0o600, 0, []byte(h.identity[algorithm]))
		p.file(path+".pub", 0o644, 0, ssh.MarshalAuthorizedKey(signers[i].PublicKey()))
	}
	for home, uid := range map[string]int{"root": 0, "home/ops": 1000, "home/guarded": 1001} {
		p.folder(home+"/.ssh", 0o700, uid)
		p.file(home+"/.ssh/authorized_keys", 0o600, uid, public)
	}
	return &p.out, errors.Join(p.err, p.w.Close())
}

// A packer writes a tar; its first error sticks.
type packer struct {
	out bytes.Buffer
	w   *tar.Writer
	err error
}

func (p *packer) file(path string, mode int64, uid int, content []byte) {
	p.header(tar.Header{Typeflag: tar.TypeReg, Name: path, Mode: mode, Uid: uid, Gid: uid, Size: int64(len(content))})
	if p.err == nil {
		_, p.err = p.w.Write(content)
	}
}

func (p *packer) folder(path string, mode int64, uid int) {
	p.header(tar.Header{Typeflag: tar.TypeDir, Name: path + "/", Mode: mode, Uid: uid, Gid: uid})
}

func (p *packer) header(h tar.Header) {
	h.ModTime = time.Now().Truncate(time.Second)
	if p.err == nil {
		p.err = p.w.WriteHeader(&h)
	}
}

// readyPatience bounds the boot of a host. It takes seconds; a machine under load takes more.
const readyPatience = 3 * time.Minute

// WaitReady returns once systemd has booted the host without a failed unit and sshd greets.
// Boot includes the Docker engine.
func (h *Host) WaitReady(caller context.Context) error {
	ctx, cancel := context.WithTimeout(caller, readyPatience)
	defer cancel()
	var last error
	err := poll(ctx, 50*time.Millisecond, func(ctx context.Context) error {
		last = h.booted(ctx)
		var dead *bootError
		if errors.As(last, &dead) {
			cancel() // it will not get better
		}
		return last
	})
	if err == nil {
		err = poll(ctx, 50*time.Millisecond, h.greets)
		last = err
	}
	if err != nil {
		return fmt.Errorf("%s did not come up: %w", h.Name, errors.Join(caller.Err(), last))
	}
	return nil
}

// A bootError is a boot that has ended badly.
type bootError struct{ reason string }

func (e *bootError) Error() string { return e.reason }

// booted asks systemd, which answers when it has finished, or not at all in its first moments.
func (h *Host) booted(ctx context.Context) error {
	r, err := h.Exec(ctx, "systemctl", "is-system-running", "--wait")
	if err != nil {
		return h.whyDead(ctx, err)
	}
	switch state := strings.TrimSpace(r.Stdout); state {
	case "running":
		return nil
	case "degraded":
		failed, err := h.Output(ctx, "systemctl", "--failed", "--no-legend", "--plain")
		return &bootError{fmt.Sprintf("units failed: %s %v", failed, err)}
	default:
		return fmt.Errorf("systemd says %q %s", state, r.Stderr)
	}
}

// whyDead turns the error of an exec into one that says more if the container has ended.
func (h *Host) whyDead(ctx context.Context, err error) error {
	c, inspectErr := h.lab.engine.ContainerInspect(ctx, h.Container())
	if inspectErr != nil || c.State.Running {
		return err
	}
	reason := fmt.Sprintf("its container ended with code %d %s", c.State.ExitCode, c.State.Error)
	logs, logErr := h.lab.engine.ContainerLogs(ctx, h.Container(), container.LogsOptions{ShowStdout: true, ShowStderr: true, Tail: "20"})
	if logErr == nil {
		defer logs.Close()
		var text bytes.Buffer
		_, _ = stdcopy.StdCopy(&text, &text, logs)
		reason += "\n" + text.String()
	}
	return &bootError{reason}
}

// greets checks that sshd sends its version.
func (h *Host) greets(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, 2*time.Second)
	defer cancel()
	conn, err := new(net.Dialer).DialContext(ctx, "tcp", h.sshAddress())
	if err != nil {
		return err
	}
	defer conn.Close()
	deadline, _ := ctx.Deadline()
	_ = conn.SetReadDeadline(deadline)
	greeting := make([]byte, 4)
	if _, err := io.ReadFull(conn, greeting); err != nil {
		return fmt.Errorf("sshd is silent: %w", err)
	}
	if string(greeting) != "SSH-" {
		return fmt.Errorf("port 22 says %q", greeting)
	}
	return nil
}

func (h *Host) sshAddress() string { return netip.AddrPortFrom(h.Address, 22).String() }

// HostKeys are the public keys of the host's sshd.
func (h *Host) HostKeys() ([]ssh.PublicKey, error) {
	signers, err := h.identity.signers()
	if err != nil {
		return nil, err
	}
	var keys []ssh.PublicKey
	for _, s := range signers {
		keys = append(keys, s.PublicKey())
	}
	return keys, nil
}

// Dial opens an SSH connection as user with the lab's key. It accepts this host's keys only.
func (h *Host) Dial(ctx context.Context, user string) (*ssh.Client, error) {
	return h.dialAt(ctx, h.sshAddress(), user)
}

func (h *Host) dialAt(ctx context.Context, address, user string) (*ssh.Client, error) {
	text, err := os.ReadFile(h.lab.KeyFile())
	if err != nil {
		return nil, err
	}
	key, err := ssh.ParsePrivateKey(text)
	if err != nil {
		return nil, err
	}
	conn, err := new(net.Dialer).DialContext(ctx, "tcp", address)
	if err != nil {
		return nil, err
	}
	stop := context.AfterFunc(ctx, func() { _ = conn.Close() })
	defer stop()
	config := &ssh.ClientConfig{User: user, Auth: []ssh.AuthMethod{ssh.PublicKeys(key)}, HostKeyCallback: h.verify}
	c, channels, requests, err := ssh.NewClientConn(conn, address, config)
	if err != nil {
		_ = conn.Close()
		return nil, fmt.Errorf("cannot log in to %s: %w", h.Name, err)
	}
	return ssh.NewClient(c, channels, requests), nil
}

func (h *Host) verify(_ string, _ net.Addr, key ssh.PublicKey) error {
	known, err := h.HostKeys()
	if err != nil {
		return err
	}
	same := func(k ssh.PublicKey) bool { return bytes.Equal(k.Marshal(), key.Marshal()) }
	if !slices.ContainsFunc(known, same) {
		return fmt.Errorf("%s shows an unknown %s key", h.Name, key.Type())
	}
	return nil
}

// reset makes the host anew from the image.
func (h *Host) reset(ctx context.Context) error {
	if err := h.lab.engine.removeContainer(ctx, h.Container()); err != nil {
		return err
	}
	return h.create(ctx)
}

func (h *Host) resume(ctx context.Context) error {
	c, err := h.lab.engine.ContainerInspect(ctx, h.Container())
	if err != nil {
		return fmt.Errorf("cannot resume %s: %w", h.Name, err)
	}
	if c.State.Paused {
		return h.Unpause(ctx)
	}
	if !c.State.Running {
		return h.Start(ctx)
	}
	return h.WaitReady(ctx)
}

// labels of everything that belongs to the lab.
func (l *Lab) labels() map[string]string {
	labels := map[string]string{labelLab: l.Name, labelDir: l.Dir}
	if l.owner != "" {
		labels[labelOwner] = l.owner
	}
	return labels
}
