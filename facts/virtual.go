package facts

import (
	"context"
	"regexp"
	"slices"
	"strings"
)

// virtualization says in what the host runs and what it can run. The first sign decides type and role, in this order: containers,
// then hypervisors that show themselves, then the firmware's words, then what the host itself can do; all signs are listed.
func virtualization(_ context.Context, h *host) map[string]any {
	v := &virtual{guest: []string{}, host: []string{}}
	v.containers(h)
	v.hypervisors(h)
	v.firmware(h)
	v.hosts(h)
	if v.kind == "" {
		v.kind, v.role = "NA", "NA"
	}
	return map[string]any{"virtualization_type": v.kind, "virtualization_role": v.role, "virtualization_tech_guest": v.guest, "virtualization_tech_host": v.host}
}

type virtual struct {
	kind, role  string
	guest, host []string
}

func (v *virtual) add(kind, role string) {
	if v.kind == "" {
		v.kind, v.role = kind, role
	}
	list := &v.guest
	if role == "host" {
		list = &v.host
	}
	if !slices.Contains(*list, kind) {
		*list = append(*list, kind)
	}
}

var (
	dockerGroup    = regexp.MustCompile(`/docker(/|-[0-9a-f]+\.scope)`)
	containerGroup = regexp.MustCompile(`/(lxc|machine\.slice)(/|$)`)
)

func (v *virtual) containers(h *host) {
	groups := h.read("/proc/1/cgroup")
	env := map[string]string{}
	for pair := range strings.SplitSeq(h.read("/proc/1/environ"), "\x00") {
		name, value, _ := strings.Cut(pair, "=")
		env[name] = value
	}
	if dockerGroup.MatchString(groups) {
		v.add("docker", "guest")
		v.add("container", "guest")
	}
	if containerGroup.MatchString(groups) {
		v.add("lxc", "guest")
		v.add("container", "guest")
	}
	switch env["container"] {
	case "":
	case "lxc", "podman":
		v.add(env["container"], "guest")
		v.add("container", "guest")
	default:
		v.add("container", "guest")
	}
	if h.exists("/proc/vz") && !h.exists("/proc/lve") {
		role := "guest"
		if h.exists("/proc/bc") {
			role = "host"
		}
		v.add("openvz", role)
	}
	if h.exists("/.dockerenv") || h.exists("/.dockerinit") {
		v.add("docker", "guest")
		v.add("container", "guest")
	}
	if h.exists("/run/.containerenv") {
		v.add("podman", "guest")
		v.add("container", "guest")
	}
	if h.exists("/run/systemd/container") {
		v.add("container", "guest")
	}
}

func (v *virtual) hypervisors(h *host) {
	if h.exists("/proc/xen") {
		role := "guest"
		if strings.Contains(h.read("/proc/xen/capabilities"), "control_d") {
			role = "host"
		}
		v.add("xen", role)
	}
	cpu := h.read("/proc/cpuinfo")
	switch {
	case regexp.MustCompile(`(?m)^model name.*QEMU Virtual CPU`).MatchString(cpu):
		v.add("kvm", "guest")
	case regexp.MustCompile(`(?m)^vendor_id.*User Mode Linux`).MatchString(cpu):
		v.add("uml", "guest")
	case regexp.MustCompile(`(?m)^vendor_id.*PowerVM Lx86`).MatchString(cpu):
		v.add("powervm_lx86", "guest")
	case regexp.MustCompile(`(?m)^vendor_id.*IBM/S390`).MatchString(cpu):
		v.add("PR/SM", "LPAR")
	}
	if h.read("/sys/hypervisor/type") == "xen" {
		v.add("xen", "guest")
	}
}

// firmware goes by the words that hypervisors put into the machine's firmware.
func (v *virtual) firmware(h *host) {
	at := "/sys/devices/virtual/dmi/id/"
	product, bios, vendor, family := h.read(at+"product_name"), h.read(at+"bios_vendor"), h.read(at+"sys_vendor"), h.read(at+"product_family")
	switch {
	case slices.Contains([]string{"KVM", "KVM Server", "Bochs", "AHV"}, product), strings.HasPrefix(product, "OpenStack"), bios == "SeaBIOS" && vendor != "oVirt":
		v.add("kvm", "guest")
	case vendor == "oVirt", product == "oVirt Node", product == "RHEV Hypervisor" && family != "RHV":
		v.add(map[bool]string{true: "RHEV", false: "oVirt"}[product == "RHEV Hypervisor"], "guest")
	case product == "RHEV Hypervisor":
		v.add("RHV", "guest")
	case strings.Contains(product, "VMware"):
		v.add("VMware", "guest")
	case product == "VirtualBox", bios == "innotek GmbH":
		v.add("virtualbox", "guest")
	case product == "HVM domU", bios == "Xen":
		v.add("xen", "guest")
	case strings.HasPrefix(product, "Parallels"), strings.HasPrefix(vendor, "Parallels"):
		v.add("parallels", "guest")
	case vendor == "Microsoft Corporation" && product == "Virtual Machine":
		v.add("VirtualPC", "guest")
	case slices.Contains([]string{"QEMU", "Google", "DigitalOcean", "Hetzner", "OpenStack Foundation", "Amazon EC2", "KubeVirt"}, vendor), product == "Google Compute Engine", bios == "Amazon EC2":
		v.add("kvm", "guest")
	case vendor == "Alibaba Cloud", vendor == "Nutanix":
		v.add("kvm", "guest")
	}
}

// hosts are signs that guests may run here.
func (v *virtual) hosts(h *host) {
	modules := h.read("/proc/modules")
	has := func(name string) bool { return strings.Contains("\n"+modules, "\n"+name+" ") }
	switch {
	case has("kvm") || h.exists("/dev/kvm"):
		v.add("kvm", "host")
	case has("vboxdrv"):
		v.add("virtualbox", "host")
	case has("virtio") && v.kind == "":
		v.add("kvm", "guest")
	}
}
