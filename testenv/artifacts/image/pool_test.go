package image

import (
	"strings"
	"testing"
)

const dependsOutput = `bird
  PreDepends: libc6
 |Depends: debconf
  Depends: <debconf-2.0>
    cdebconf
  Depends: libreadline8
  Recommends: libx
iptables
  Depends: zlib1g
`

func TestDependsIn(t *testing.T) {
	got := strings.Join(dependsIn([]byte(dependsOutput)), " ")
	if want := "libc6 debconf libreadline8 zlib1g"; got != want {
		t.Errorf("got %q, want %q", got, want)
	}
}

func TestInstallFollowsLinksAndReportsEveryMiss(t *testing.T) {
	p := &Pool{}
	p.all.Put("usr/sbin/tool-real", 0o755, []byte("text"))
	p.all.Link("sbin/tool", "/usr/sbin/tool-real")
	p.all.Link("usr/bin/loop", "loop")
	var tree Tree
	if err := p.Install(&tree, "sbin/tool"); err != nil {
		t.Fatal(err)
	}
	if !tree.Has("usr/sbin/tool") || string(tree.Body("usr/sbin/tool-real")) != "text" {
		t.Error("the link or its target is missing")
	}
	err := p.Install(&tree, "bin/none", "usr/bin/loop", "opt/empty/")
	if err == nil {
		t.Fatal("missing files were accepted")
	}
	for _, want := range []string{"bin/none", "usr/bin/loop", "opt/empty/"} {
		if !strings.Contains(err.Error(), want) {
			t.Errorf("error does not name %s: %v", want, err)
		}
	}
}
