package remote

import (
	"context"
	"strings"
	"testing"
	"time"

	"github.com/calroll/calroll/tasks"
	"github.com/calroll/calroll/tasks/journal"
)

func TestScriptsFitIntoEveryLoginShell(t *testing.T) {
	h := Helper{Platform: "linux/amd64", Hash: strings.Repeat("a", 64), Size: 1}
	shellLine(startScript("0a1b", []Helper{h})) // panics if not
	shellLine(installScript("0a1b", "/tmp/stage", h))
	for _, bad := range []string{"it's", "a\nb", `a\b`, "wow!"} {
		func() {
			defer func() {
				if recover() == nil {
					t.Errorf("%q was accepted", bad)
				}
			}()
			shellLine(bad)
		}()
	}
}

// TestScriptsRunInEveryShThereIs has the host's other shells interpret the scripts, as on systems where they are sh.
func TestScriptsRunInEveryShThereIs(t *testing.T) {
	s := newSite(t)
	s.sh("echo no helper > /tmp/stage")
	for _, shell := range [][]string{{"dash"}, {"bash", "--posix"}, {"bash"}, {"busybox", "sh"}} {
		run := func(script string) string {
			r, err := s.host.Exec(t.Context(), append(shell, "-c", script)...)
			if err != nil {
				t.Fatal(err)
			}
			if r.Stderr != "" {
				t.Errorf("%v complains: %s", shell, r.Stderr)
			}
			return strings.TrimPrefix(r.Stdout, "\n")
		}
		s.clean()
		if got := run(startScript("0a1b", []Helper{s.helper})); got != "calroll-cold 0a1b Linux x86_64 0\n" {
			t.Errorf("%v: a cold start says %q", shell, got)
		}
		got := run(installScript("0a1b", "/tmp/stage", s.helper))
		if !strings.Contains(got, "calroll-note 0a1b /var/cache/calroll: the copy is damaged, 10 of ") || !strings.HasSuffix(got, "calroll-failed 0a1b folders\n") {
			t.Errorf("%v: installing nonsense says %q", shell, got)
		}
		s.sh("chmod 777 /var/cache/calroll; mkdir -p /var/cache/calroll/" + s.helper.Hash + "; cp /bin/true /var/cache/calroll/" + s.helper.Hash + "/remote-x86_64")
		if got := run(startScript("0a1b", []Helper{s.helper})); got != "calroll-note 0a1b /var/cache/calroll: others may write to /var/cache/calroll\ncalroll-cold 0a1b Linux x86_64 0\n" {
			t.Errorf("%v: an open folder: %q", shell, got)
		}
		s.sh("chmod 755 /var/cache/calroll")
		if got := run(startScript("0a1b", []Helper{s.helper})); got != "calroll-start 0a1b x86_64 /var/cache/calroll\n" {
			t.Errorf("%v: a warm start says %q", shell, got)
		}
	}
}

func TestNoRoomForContentOnTheHost(t *testing.T) {
	s := newSite(t)
	s.sh("mkdir /var/cache/calroll; mount -t tmpfs -o size=" + "40m,mode=700 none /var/cache/calroll")
	c := s.mustOpen("root", nil)
	if err := c.Begin(t.Context(), "run1", journal.Holder{}); err != nil {
		t.Fatal(err)
	}
	s.sh("fallocate -l $(($(stat -f -c '%a*%S' /var/cache/calroll) - 300000)) /var/cache/calroll/full")
	var opened int
	ref, _, blobs := blob(2<<20, &opened)
	task := one("put", map[string]any{"dest": "/srv/f", "content": ref})
	task.Blobs = blobs
	rs, err := c.Run(t.Context(), task)
	if err != nil || !rs[0].Failed || !strings.Contains(rs[0].Msg, "keep it on the host") || !strings.Contains(rs[0].Msg, "no space left on device") {
		t.Errorf("got %+v, %v", rs, err)
	}
	s.sh("rm /var/cache/calroll/full; ! ls /srv/f 2>/dev/null")
	mustRun(t, c, task)
	s.sh("rm /srv/f")
}

// TestAFrozenLinkDoesNotHoldTheHost has the controller come back over a new link while the old one is frozen, so that the old
// helper has not noticed: the new one takes over, and can undo.
func TestAFrozenLinkDoesNotHoldTheHost(t *testing.T) {
	s := newSite(t)
	relay, err := s.host.Relay()
	if err != nil {
		t.Fatal(err)
	}
	s.sh("rm -rf /srv/proof; mkdir /srv/proof")
	frozen := &site{t: t, lab: s.lab, host: s.host, helper: s.helper, via: relay.Addr()}
	old := frozen.mustOpen("root", nil)
	if err := old.Begin(t.Context(), "run1", me); err != nil {
		t.Fatal(err)
	}
	task := one("put", map[string]any{"dest": "/srv/proof/f", "content": "x"})
	mustRun(t, old, task)
	relay.Freeze()
	t.Cleanup(func() { relay.Thaw() })
	c := s.mustOpen("root", nil)
	ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
	defer cancel()
	report, err := c.Undo(ctx, "run1", me, UndoOptions{})
	if err != nil || !report.OK() {
		t.Errorf("got %v, %+v", err, report)
	}
	s.sh("! ls /srv/proof/f 2>/dev/null")
	relay.Cut()
	if _, err := old.Run(t.Context(), task); tasks.KindOf(err) != tasks.Unreachable {
		t.Errorf("the old link: %v", err)
	}
}
