package testenv

import (
	"bufio"
	"io"
	"os"
	"os/exec"
	"slices"
	"strings"
	"testing"
)

// A test process that is killed leaves no lab.
func TestLabDoesNotOutliveItsProcess(t *testing.T) {
	if os.Getenv("TESTENV_VICTIM") != "" {
		os.Stdout.WriteString("lab=" + ForTest(t, 1).Name + "\n")
		io.Copy(io.Discard, os.Stdin) // until it is killed
		return
	}
	victim := exec.CommandContext(t.Context(), os.Args[0], "-test.run=^TestLabDoesNotOutliveItsProcess$")
	victim.Env = append(os.Environ(), "TESTENV_VICTIM=1")
	stdin, err := victim.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	defer stdin.Close()
	stdout, err := victim.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := victim.Start(); err != nil {
		t.Fatal(err)
	}
	line, err := bufio.NewReader(stdout).ReadString('\n')
	name, ok := strings.CutPrefix(strings.TrimSpace(line), "lab=")
	if err != nil || !ok {
		t.Fatalf("the victim says %q, %v", line, err)
	}
	there := func() bool {
		labs, err := List(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		return slices.ContainsFunc(labs, func(s Summary) bool { return s.Name == name })
	}
	if !there() {
		t.Fatalf("lab %s is not there", name)
	}
	if err := victim.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	victim.Wait()
	eventually(t, func() bool { return !there() })
}

func TestOrphans(t *testing.T) {
	self := thisProcess()
	words := strings.Fields(self)
	changed := func(i int, to string) string {
		w := slices.Clone(words)
		w[i] = to
		return strings.Join(w, " ")
	}
	for owner, want := range map[string]bool{
		"":                                    false, // a lab that stays
		self:                                  false,
		changed(2, "1"):                       true, // the id was used again by this process
		changed(3, "another-boot"):            true,
		changed(1, "4194303"):                 true,  // no such process
		changed(0, "pid:[1]"):                 false, // somebody else's namespace
		"something that is no process at all": false,
	} {
		if orphaned(owner) != want {
			t.Errorf("orphaned(%q) is %v", owner, !want)
		}
	}
}

// Tests in parallel get hosts of their own; a stopped host is lent out running again.
func TestHostsAreLentOnce(t *testing.T) {
	held := map[string]bool{}
	for range 2 {
		lab := ForTest(t, 2)
		for _, h := range lab.Hosts {
			if held[h.Name] {
				t.Errorf("%s was lent twice", h.Name)
			}
			held[h.Name] = true
		}
	}
	t.Run("stops a host", func(t *testing.T) {
		h := ForTest(t, 1).Hosts[0]
		if err := h.Pause(t.Context()); err != nil {
			t.Fatal(err)
		}
	})
	t.Run("gets it running", func(t *testing.T) {
		h := ForTest(t, 1).Hosts[0]
		if _, err := h.Output(t.Context(), "true"); err != nil {
			t.Error(err)
		}
	})
}
