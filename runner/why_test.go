package runner

import (
	"strings"
	"testing"

	"github.com/calroll/calroll/playbooks/source"
	"github.com/calroll/calroll/playbooks/value"
	"github.com/calroll/calroll/playbooks/vars"
	"github.com/calroll/calroll/runner/event"
)

// TestUsedVarsKeepSecrets: what is a secret by its name, by the task that set it, by its looks or because it was registered as one is in no value.
func TestUsedVarsKeepSecrets(t *testing.T) {
	mask := &event.Mask{}
	mask.Add("registered-one")
	at := source.Pos{File: "vars.yml", Line: 3, Col: 1}
	uses := []vars.Use{
		{Name: "db_password", From: "group db", Pos: at, Value: "s3cret"},
		{Name: "answer", From: "registered", Secret: true, Value: value.NewDict("stdout", "quiet-one\n")},
		{Name: "url", From: "group db", Value: "http://user:hidden@db/s3cret?quiet-one&registered-one"},
		{Name: "users", From: "group db", Value: []any{value.NewDict("name", "bob", "token", "tok1")}},
		{Name: "key", From: "group db", Value: "-----BEGIN PRIVATE KEY-----\nMIIE\n"},
		{Name: "long", From: "group db", Value: strings.Repeat("é", 400) + "s3cret"},
		{Name: "nosuch"},
		{Name: "hostvars", From: "magic variables", Magic: true, Value: value.NewDict()},
		{Name: "ansible_host", From: "host db1", Value: "10.0.0.1"},
		{Name: "ansible_port"},
	}
	got := map[string]event.Var{}
	for _, v := range usedVars(uses, usage{mask: mask}) {
		got[v.Name] = v
		for _, secret := range []string{"s3cret", "quiet-one", "registered-one", "hidden@", "tok1", "MIIE"} {
			if strings.Contains(v.Value, secret) {
				t.Errorf("%s shows %s: %s", v.Name, secret, v.Value)
			}
		}
	}
	if v := got["db_password"]; !v.Hidden || v.Where != "vars.yml:3:1" || v.From != "group db" {
		t.Errorf("db_password is %+v", v)
	}
	if v := got["url"].Value; v != `"http://user:********@db/********?********&********"` {
		t.Errorf("url is %s", v)
	}
	if v := got["users"].Value; v != `[{"name":"bob","token":"********"}]` {
		t.Errorf("users is %s", v)
	}
	if v := got["long"].Value; len(v) > valueWidth+3 || !strings.HasSuffix(v, "é...") {
		t.Errorf("long has %d bytes: %s", len(v), v)
	}
	if !got["nosuch"].Undefined || len(got) != 7 {
		t.Errorf("got %+v", got)
	}
	for _, v := range usedVars(uses, usage{mask: mask, hidden: true}) {
		if v.Value != "" {
			t.Errorf("a task that says no_log shows %s", v.Name)
		}
	}
	lost := usedVars(uses, usage{mask: mask, connecting: true})
	if v := lost[len(lost)-1]; v.Name != "ansible_host" || v.Value != `"10.0.0.1"` {
		t.Errorf("a host that could not be reached has %+v", v)
	}
}
