package source

import (
	"errors"
	"io/fs"
	"testing"
)

func TestProblemShowsPlaceLineAndHint(t *testing.T) {
	Remember("site.yml", []byte("- hosts: all\n  tasks:\n    - coppy: {}\n"))
	p := Errorf(Pos{"site.yml", 3, 7}, "cannot use %q: no module has this name", "coppy").WithHint("did you mean %q?", "copy")
	want := "site.yml:3:7: cannot use \"coppy\": no module has this name\n    - coppy: {}\n      ^\n  hint: did you mean \"copy\"?"
	if got := p.Error(); got != want {
		t.Errorf("got:\n%s\nwant:\n%s", got, want)
	}
}

func TestProblemsAreSortedAndKeepTheirCauses(t *testing.T) {
	var ps Problems
	ps.Addf(Pos{File: "b", Line: 2}, "second")
	ps.Add(Pos{File: "a", Line: 9}, Errorf(Pos{File: "a", Line: 1}, "first: %w", fs.ErrNotExist))
	err := ps.Err()
	if got, want := err.Error(), "a:1: first: file does not exist\nb:2: second"; got != want {
		t.Errorf("got %q, want %q", got, want)
	}
	if !errors.Is(err, fs.ErrNotExist) {
		t.Error("the cause is lost")
	}
	if (Problems{}).Err() != nil {
		t.Error("no problems must be a nil error")
	}
}

func TestNearest(t *testing.T) {
	known := []string{"copy", "command", "template", "notify"}
	for name, want := range map[string]string{"coppy": "copy", "cop": "copy", "templat": "template", "xyz": "", "notfy": "notify"} {
		if got := Nearest(name, known); got != want {
			t.Errorf("Nearest(%q) = %q, want %q", name, got, want)
		}
	}
}
