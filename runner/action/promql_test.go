package action

import (
	"reflect"
	"strings"
	"testing"

	"github.com/calroll/calroll/playbooks"
	"github.com/calroll/calroll/tasks"
)

// ask gives what promql makes of an answer of the query API.
func ask(t *testing.T, args map[string]any, content string) (tasks.Result, map[string]any) {
	t.Helper()
	args["url"], args["query"] = "http://prometheus:9090/", "up"
	a, err := promql(t.Context(), &Call{Task: &playbooks.Task{}, Args: args})
	if err != nil {
		t.Fatal(err)
	}
	var r tasks.Result
	r.Set("content", content)
	r.Set("status", 200)
	a.Forward.Finish(&r)
	return r, a.Forward.Args
}

func vector(values ...string) string {
	var series []string
	for i, v := range values {
		series = append(series, `{"metric": {"__name__": "up", "host": "h`+string(rune('1'+i))+`"}, "value": [1700000000.1, "`+v+`"]}`)
	}
	return `{"status": "success", "data": {"resultType": "vector", "result": [` + strings.Join(series, ",") + `]}}`
}

func TestPromQLHolds(t *testing.T) {
	for _, c := range []struct {
		holds, answer, want string // want is the message of the failure; "" when it holds
	}{
		{"> 0.99", vector("0.991", "1"), ""},
		{"> 0.99", vector("0.991", "0.99"), `1 of 2 values are not > 0.99: up{host="h2"} 0.99`},
		{">= 3", vector("3"), ""},
		{"<1", vector("0"), ""},
		{"<= 0", vector("0.1"), `1 of 1 values are not <= 0: up{host="h1"} 0.1`},
		{"== 0", vector("0"), ""},
		{"!= 0", vector("1"), ""},
		{"!= 0", vector("NaN"), `1 of 1 values are not != 0: up{host="h1"} NaN`},
		{"< 1", vector("NaN"), `1 of 1 values are not < 1: up{host="h1"} NaN`},
		{"> 1", vector("+Inf"), ""},
		{"> 1", `{"status": "success", "data": {"resultType": "scalar", "result": [1, "2"]}}`, ""},
		{"> 1", `{"status": "success", "data": {"resultType": "scalar", "result": [1, "0"]}}`, "1 of 1 values are not > 1: {} 0"},
		{"> 1", vector(), "the query gives no series: nothing was measured"},
		{"", vector(), ""},
		{"> 1", vector("0", "0", "0", "0", "0", "0", "0"), "7 of 7 values are not > 1: " + strings.Join([]string{`up{host="h1"} 0`, `up{host="h2"} 0`, `up{host="h3"} 0`, `up{host="h4"} 0`, `up{host="h5"} 0`}, ", ") + ", and 2 more"},
		{"> 1", `{"status": "success", "data": {"resultType": "matrix", "result": []}}`, "cannot use the answer of Prometheus: it is a matrix, and single values are needed; take the range out of the query"},
		{"> 1", `{"status": "error", "errorType": "bad_data", "error": "unknown function"}`, "cannot evaluate the query: bad_data: unknown function"},
		{"> 1", `<html>`, "cannot ask Prometheus: what answers at http://prometheus:9090/ does not speak its API"},
		{"> 1", `{"message": "hello"}`, "cannot ask Prometheus: what answers at http://prometheus:9090/ does not speak its API"},
	} {
		r, _ := ask(t, map[string]any{"holds": c.holds}, c.answer)
		if r.Failed != (c.want != "") || r.Msg != c.want {
			t.Errorf("holds %q of %s: failed %v, %q; want %q", c.holds, c.answer, r.Failed, r.Msg, c.want)
		}
	}
}

func TestPromQLMayHaveNothingToMeasure(t *testing.T) {
	if r, _ := ask(t, map[string]any{"holds": "> 1", "empty": "holds"}, vector()); r.Failed {
		t.Error(r.Msg)
	}
}

func TestPromQLAnswers(t *testing.T) {
	r, _ := ask(t, map[string]any{}, vector("1", "NaN"))
	want := []any{map[string]any{"labels": map[string]any{"__name__": "up", "host": "h1"}, "value": 1.0}, map[string]any{"labels": map[string]any{"__name__": "up", "host": "h2"}, "value": "NaN"}}
	if !reflect.DeepEqual(r.Values["series"], want) || r.Values["content"] != nil {
		t.Errorf("got %v", r.Values)
	}
}

func TestPromQLRequest(t *testing.T) {
	_, args := ask(t, map[string]any{"token": "s3cret", "headers": map[string]any{"X-Scope-OrgID": "a"}, "url_username": "u", "url_password": "p"}, vector())
	want := map[string]any{"url": "http://prometheus:9090/api/v1/query", "method": "POST", "body_format": "form-urlencoded", "body": map[string]any{"query": "up"},
		"headers": map[string]any{"X-Scope-OrgID": "a", "Authorization": "Bearer s3cret"}, "return_content": true, "timeout": 30, "validate_certs": true,
		"status_code": []any{200, 400, 422, 503}, "url_username": "u", "url_password": "p", "force_basic_auth": true}
	if !reflect.DeepEqual(args, want) {
		t.Errorf("got %v", args)
	}
}

func TestPromQLRefusesOtherConditions(t *testing.T) {
	for _, holds := range []string{"0.99", "> many", "=> 1", "is 1", "> 1 and < 2"} {
		_, err := promql(t.Context(), &Call{Task: &playbooks.Task{}, Args: map[string]any{"url": "u", "query": "q", "holds": holds}})
		if err == nil || !strings.Contains(err.Error(), "it is an operator (> >= < <= == !=) and a number") {
			t.Errorf("%q: %v", holds, err)
		}
	}
}
