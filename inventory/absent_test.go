package inventory

import (
	"strings"
	"testing"
)

func TestAbsentHosts(t *testing.T) {
	inv, err := load(t, `
-- i.yml --
web:
  vars: {absent: {until: 2999-01-31, why: the rack has no power}}
  hosts:
    web1:
    web2: {absent: false}
    web3: {absent: {until: "2999-02-01", why: its disk is being replaced}}
    web4:
db:
  hosts:
    db1: {absent: {until: 2020-02-28, why: a long time ago}}
    db2:
-- host_vars/web4.yml --
absent: {until: 2999-03-01, why: stolen}
`, "i.yml")
	if err != nil {
		t.Fatal(err)
	}
	for host, want := range map[string]string{"web1": "the rack has no power (until 2999-01-31)", "web2": "", "web3": "its disk is being replaced (until 2999-02-01)",
		"web4": "stolen (until 2999-03-01)", "db1": "", "db2": "", "nobody": ""} {
		got := ""
		if a := inv.Absence(host); a != nil {
			got = a.String()
		}
		if got != want {
			t.Errorf("%s: got %q, want %q", host, got, want)
		}
	}
	if len(inv.Warnings) != 1 || !strings.HasPrefix(inv.Warnings[0].Error(), "i.yml:10:11: db1 was absent until 2020-02-28, which has passed: it counts as present again") {
		t.Errorf("warnings: %v", inv.Warnings)
	}
}

func TestAbsentHostsInINI(t *testing.T) {
	inv, err := load(t, "-- i --\nweb1 absent='{\"until\": \"2999-01-31\", \"why\": \"gone\"}'\nweb2\n", "i")
	if err != nil {
		t.Fatal(err)
	}
	if a := inv.Absence("web1"); a == nil || a.String() != "gone (until 2999-01-31)" {
		t.Errorf("got %v", a)
	}
}

// TestWrongAbsences: everything that is wrong is said at once, once each, with its place.
func TestWrongAbsences(t *testing.T) {
	_, err := load(t, `
-- i.yml --
web:
  vars: {absent: yes please}
  hosts:
    a:
    b:
    c: {absent: true}
    d: {absent: {until: 2999-01-01}}
    e: {absent: {untli: 2999-01-01, why: x}}
    f: {absent: {until: next week, why: x}}
    g: {absent: {until: 2999-01-01, why: [x]}}
    h: {absent: "{{ away }}"}
`, "i.yml")
	if err == nil {
		t.Fatal("they were taken")
	}
	for _, want := range []string{
		`i.yml:2:10: cannot use "absent": it is "yes please", and a mapping with until and why is needed`,
		`i.yml:6:9: cannot use "absent": it does not say why, and until when`,
		`i.yml:7:9: cannot use "absent": it needs both until and why`,
		`i.yml:8:9: cannot use "untli" in "absent": its keys are until and why`, `did you mean "until"?`,
		`i.yml:9:9: cannot use "until" of "absent": next week is no day`,
		`i.yml:10:9: cannot use "why" of "absent": it is a list, and a text is needed`,
		`i.yml:11:9: cannot use "absent": it is a template, which is read before there are hosts`,
	} {
		if strings.Count(err.Error(), want) != 1 {
			t.Errorf("%q is missing, or there more than once, in\n%v", want, err)
		}
	}
}
