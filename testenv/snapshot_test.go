package testenv

import (
	"context"
	"slices"
	"strings"
	"testing"
)

// Every kind of difference that undo must take back has to show in a snapshot.
func TestSnapshotSeesEveryChange(t *testing.T) {
	h := ForTest(t, 1).Hosts[0]
	ctx := t.Context()
	sh := func(script string) {
		t.Helper()
		if _, err := h.Sh(ctx, script); err != nil {
			t.Fatal(err)
		}
	}
	sh(`mkdir -p /srv/tree/sub && cd /srv/tree && echo one >file && echo two >sub/other && ln -s file link && mkfifo pipe && chmod 4755 sub/other
		printf '[Service]\nType=oneshot\nRemainAfterExit=yes\nExecStart=/bin/true\n[Install]\nWantedBy=multi-user.target\n' >/etc/systemd/system/probe.service
		systemctl daemon-reload`)
	defer h.Sh(context.WithoutCancel(ctx), `systemctl disable --now probe; rm -rf /srv/tree /etc/systemd/system/probe.service; systemctl daemon-reload`)
	watch := Watch{Paths: []string{"/srv/tree"}, Exclude: []string{"/srv/tree/noise"}, Units: []string{"probe.service"}, Sysctls: []string{"net.ipv4.ip_forward"}, Links: true, Routes: true, Rules: true}
	look := func(w Watch) Snapshot {
		t.Helper()
		s, err := h.Snapshot(ctx, w)
		if err != nil {
			t.Fatal(err)
		}
		return s
	}
	first := look(watch)
	for kind, want := range map[string]int{"path": 6, "unit": 1, "sysctl": 1} {
		if got := len(first.only(kind)); got != want {
			t.Fatalf("the first snapshot has %d of %s, want %d: %v", got, kind, want, first)
		}
	}
	for _, change := range []struct{ do, undo, shows string }{
		{"echo uno >/srv/tree/file", "echo one >/srv/tree/file", "path /srv/tree/file: "},
		{"chmod 600 /srv/tree/file", "chmod 644 /srv/tree/file", "path /srv/tree/file: mode=100644 -> mode=100600"},
		{"chmod 755 /srv/tree/sub/other", "chmod 4755 /srv/tree/sub/other", "mode=104755 -> mode=100755"},
		{"chown ops:ops /srv/tree/sub", "chown root:root /srv/tree/sub", "owner=0:0 -> owner=1000:1000"},
		{"ln -sfn other /srv/tree/link", "ln -sfn file /srv/tree/link", "to=file -> to=other"},
		{"chown -h ops /srv/tree/link", "chown -h root /srv/tree/link", "path /srv/tree/link: owner"},
		{"setfacl -m u:ops:r /srv/tree/file", "setfacl -b /srv/tree/file", "system.posix_acl_access="},
		{"mv /srv/tree/pipe /srv/tree/p", "mv /srv/tree/p /srv/tree/pipe", "path /srv/tree/p: new"},
		{"ln /srv/tree/file /srv/tree/hard", "rm /srv/tree/hard", "same-as="},
		{"systemctl start probe", "systemctl stop probe", "ActiveState=inactive -> ActiveState=active"},
		{"systemctl enable probe", "systemctl disable probe", "UnitFileState=disabled -> UnitFileState=enabled"},
		{"mv /etc/systemd/system/probe.service /root; systemctl mask probe; systemctl daemon-reload",
			"systemctl unmask probe; mv /root/probe.service /etc/systemd/system/; systemctl daemon-reload", "LoadState=loaded"},
		{"sysctl -w net.ipv4.ip_forward=0", "sysctl -w net.ipv4.ip_forward=1", "sysctl net.ipv4.ip_forward: 1 -> 0"},
		{"ip link add probe type veth peer name other", "ip link delete probe", "link probe: new (kind=veth mtu=1500)"},
		{"ip link set docker0 mtu 1400", "ip link set docker0 mtu 1500", "link docker0: mtu=1500 -> mtu=1400"},
		{"ip address add 192.0.2.1/32 dev docker0", "ip address delete 192.0.2.1/32 dev docker0", "link docker0:  -> address=192.0.2.1/32"},
		{"ip route add blackhole 192.0.2.0/24 proto 80", "ip route delete blackhole 192.0.2.0/24", "route main blackhole 192.0.2.0/24: new ("},
		{"ip route add 192.0.2.0/24 dev eth0 table 99", "ip route delete 192.0.2.0/24 dev eth0 table 99", "route 99 192.0.2.0/24 dev eth0: new ("},
		{"ip rule add from 192.0.2.1 lookup 99", "ip rule delete from 192.0.2.1 lookup 99", "rule -4 "},
		{"iptables -I FORWARD -s 192.0.2.1 -j DROP", "iptables -D FORWARD -s 192.0.2.1 -j DROP", "iptables filter -A FORWARD -s 192.0.2.1/32 -j DROP: new (place=1)"},
		{"ip6tables -t mangle -N probe", "ip6tables -t mangle -X probe", "ip6tables mangle chain probe: new (policy=-)"},
		{"ipset create probe hash:ip && ipset add probe 192.0.2.1", "ipset destroy probe", "member=192.0.2.1"},
	} {
		sh(change.do)
		changed := look(watch)
		diff := strings.Join(first.Diff(changed), "\n")
		if !strings.Contains(diff, change.shows) || changed.Hash() == first.Hash() {
			t.Errorf("%s shows as %q, want %q", change.do, diff, change.shows)
		}
		sh(change.undo)
		if back := first.Diff(look(watch)); len(back) != 0 {
			t.Errorf("%s leaves %q", change.undo, back)
		}
	}
	sh("mkdir /srv/tree/noise && touch /srv/tree/noise/x && touch /srv/tree/file")
	if diff := first.Diff(look(watch)); len(diff) != 0 {
		t.Errorf("noise and times show: %q", diff)
	}
	timed := Watch{Paths: watch.Paths, Times: true}
	before := look(timed)
	sh("touch -d @5 /srv/tree/file")
	if diff := before.Diff(look(timed)); len(diff) != 1 || !strings.Contains(diff[0], "mtime=5000000000") {
		t.Errorf("a changed time shows as %q", diff)
	}
}

// only are the entries of one kind.
func (s Snapshot) only(kind string) Snapshot {
	few := Snapshot{}
	for what, is := range s {
		if strings.HasPrefix(what, kind+" ") {
			few[what] = is
		}
	}
	return few
}

func TestTreeHash(t *testing.T) {
	h := ForTest(t, 1).Hosts[0]
	ctx := t.Context()
	hash := func() string {
		t.Helper()
		s, err := h.TreeHash(ctx, "/etc", "/not/there")
		if err != nil {
			t.Fatal(err)
		}
		return s
	}
	first := hash()
	if second := hash(); second != first {
		t.Error("/etc does not hash to the same twice")
	}
	if err := h.WriteFile(ctx, "/etc/added", 0o644, nil); err != nil {
		t.Fatal(err)
	}
	if hash() == first {
		t.Error("a new file does not change the hash")
	}
	if _, err := h.Sh(ctx, "rm /etc/added"); err != nil {
		t.Fatal(err)
	}
	if hash() != first {
		t.Error("the hash does not come back")
	}
}

func TestDiff(t *testing.T) {
	a := Snapshot{"x": "m=1 o=2", "gone": "g", "same": "s"}
	b := Snapshot{"x": "m=1 o=3", "same": "s", "new": "n"}
	want := []string{"gone: gone (was g)", "new: new (n)", "x: o=2 -> o=3"}
	if got := a.Diff(b); !slices.Equal(got, want) {
		t.Errorf("got %q", got)
	}
	if len(a.Diff(a)) != 0 || a.Hash() == b.Hash() {
		t.Error("equal and unequal are confused")
	}
}
