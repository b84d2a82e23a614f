package playbooks

import (
	"errors"
	"flag"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/calroll/calroll/playbooks/source"
)

var update = flag.Bool("update", false, "write the golden files of testdata/bad anew")

// TestBadPlaybooks compares all that is said of each bad playbook with the text beside it. The text is part of the product:
// read the difference before you write it anew with -update.
func TestBadPlaybooks(t *testing.T) {
	t.Chdir("testdata/bad")
	files, err := filepath.Glob("*.yml")
	if err != nil || len(files) < 15 {
		t.Fatalf("%d files, %v", len(files), err)
	}
	for _, file := range files {
		if file == "cycle_tasks.yml" {
			continue
		}
		t.Run(strings.TrimSuffix(file, ".yml"), func(t *testing.T) { checkBad(t, file) })
	}
}

func checkBad(t *testing.T, file string) {
	syntax := func(text string, pos source.Pos) error {
		if strings.Contains(text, "syntax error") {
			return source.Errorf(pos, "cannot read the expression: it is no expression")
		}
		return nil
	}
	l := &Loader{Modules: testModules, CheckTemplate: syntax, CheckCondition: syntax}
	_, err := l.Load(file)
	if err == nil {
		t.Fatal("it was taken")
	}
	for _, p := range problemsOf(t, err) {
		if p.Pos.File == "" {
			t.Errorf("a problem without a place: %s", p.Msg)
		}
	}
	golden := strings.TrimSuffix(file, ".yml") + ".err"
	if *update {
		if err := os.WriteFile(golden, []byte(err.Error()+"\n"), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, readErr := os.ReadFile(golden)
	if readErr != nil {
		t.Fatal(readErr)
	}
	if got := err.Error() + "\n"; got != string(want) {
		t.Errorf("it says:\n%s\nwant:\n%s", got, want)
	}
}

func problemsOf(t *testing.T, err error) source.Problems {
	t.Helper()
	var ps source.Problems
	if !errors.As(err, &ps) {
		t.Fatalf("%T is not source.Problems", err)
	}
	return ps
}
