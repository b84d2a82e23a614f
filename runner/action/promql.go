package action

import (
	"context"
	"encoding/json"
	"fmt"
	"maps"
	"math"
	"slices"
	"strconv"
	"strings"

	"github.com/calroll/calroll/tasks"
)

// promqlArgs ask Prometheus, or what speaks its API (Thanos, Mimir, VictoriaMetrics). The host asks, as with uri; delegate_to has another do it.
type promqlArgs struct {
	onController
	URL           string         `arg:"url,required" doc:"where Prometheus is: http://prometheus:9090; a path before /api stays"`
	Query         string         `arg:"query,required" doc:"the expression to evaluate, at this moment"`
	Holds         string         `arg:"holds" doc:"what every value must be: an operator (> >= < <= == !=) and a number; without it the task only answers"`
	Empty         string         `arg:"empty,choices=fails|holds,default=fails" doc:"what an answer without any series means"`
	Timeout       int            `arg:"timeout,default=30" doc:"seconds to wait for the answer"`
	Token         string         `arg:"token,secret" doc:"bearer token"`
	URLUsername   string         `arg:"url_username,alias=user" doc:"name for basic authentication"`
	URLPassword   string         `arg:"url_password,alias=password,secret" doc:"password for basic authentication"`
	Headers       map[string]any `arg:"headers" doc:"further headers, such as X-Scope-OrgID"`
	ValidateCerts bool           `arg:"validate_certs,default=yes" doc:"verify the server's certificate"`
	CAPath        string         `arg:"ca_path" doc:"PEM file of authorities on the host that asks"`
	ClientCert    string         `arg:"client_cert" doc:"PEM certificate on the host that asks"`
	ClientKey     string         `arg:"client_key" doc:"its key"`
}

// promql sends the query with uri and judges what comes back. A gate must not hold because nothing was measured: an empty answer and NaN fail.
func promql(_ context.Context, c *Call) (Answer, error) {
	args, err := decode(c, &promqlArgs{})
	if err != nil {
		return Answer{}, err
	}
	holds, err := args.condition()
	if err != nil {
		return Answer{}, err
	}
	return Answer{Forward: &Forward{Module: "uri", Args: args.request(), Finish: func(r *tasks.Result) { args.judge(r, holds) }}}, nil
}

func (a *promqlArgs) request() map[string]any {
	headers := map[string]any{}
	maps.Copy(headers, a.Headers)
	if a.Token != "" {
		headers["Authorization"] = "Bearer " + a.Token
	}
	m := map[string]any{"url": strings.TrimSuffix(a.URL, "/") + "/api/v1/query", "method": "POST", "body_format": "form-urlencoded",
		"body": map[string]any{"query": a.Query}, "headers": headers, "return_content": true, "timeout": a.Timeout, "validate_certs": a.ValidateCerts,
		"status_code": []any{200, 400, 422, 503}} // those that Prometheus itself answers with, and says why
	for name, v := range map[string]string{"url_username": a.URLUsername, "url_password": a.URLPassword, "ca_path": a.CAPath,
		"client_cert": a.ClientCert, "client_key": a.ClientKey} {
		if v != "" {
			m[name] = v
		}
	}
	if a.URLUsername != "" {
		m["force_basic_auth"] = true
	}
	return m
}

// comparisons are the operators of holds, longer ones first.
var comparisons = []struct {
	name  string
	holds func(value, limit float64) bool
}{
	{">=", func(v, l float64) bool { return v >= l }},
	{"<=", func(v, l float64) bool { return v <= l }},
	{"==", func(v, l float64) bool { return v == l }},
	{"!=", func(v, l float64) bool { return v != l && !math.IsNaN(v) }},
	{">", func(v, l float64) bool { return v > l }},
	{"<", func(v, l float64) bool { return v < l }},
}

// condition is what holds says; nil when it says nothing.
func (a *promqlArgs) condition() (func(float64) bool, error) {
	text := strings.TrimSpace(a.Holds)
	if text == "" {
		return nil, nil
	}
	for _, c := range comparisons {
		number, ok := strings.CutPrefix(text, c.name)
		if !ok {
			continue
		}
		limit, err := strconv.ParseFloat(strings.TrimSpace(number), 64)
		if err != nil {
			break
		}
		return func(v float64) bool { return c.holds(v, limit) }, nil
	}
	return nil, fmt.Errorf("cannot use holds %q: it is an operator (> >= < <= == !=) and a number, such as \"> 0.99\"; for more, register the answer and use failed_when", a.Holds)
}

// series is one value of the answer.
type series struct {
	labels map[string]string
	value  float64
}

// promAnswer is what the query API sends.
type promAnswer struct {
	Status    string
	Error     string
	ErrorType string `json:"errorType"`
	Warnings  []string
	Data      struct {
		ResultType string `json:"resultType"`
		Result     json.RawMessage
	}
}

// judge turns what uri has answered into the task's result.
func (a *promqlArgs) judge(r *tasks.Result, holds func(float64) bool) {
	if r.Failed || r.Skipped {
		return
	}
	content, _ := r.Values["content"].(string)
	var answer promAnswer
	err := json.Unmarshal([]byte(content), &answer)
	*r = tasks.Result{Warnings: answer.Warnings}
	if err != nil || answer.Status == "" {
		r.Failed, r.Msg = true, fmt.Sprintf("cannot ask Prometheus: what answers at %s does not speak its API", a.URL)
		return
	}
	if answer.Status != "success" {
		r.Failed, r.Msg = true, fmt.Sprintf("cannot evaluate the query: %s: %s", answer.ErrorType, answer.Error)
		return
	}
	found, err := answer.series()
	if err != nil {
		r.Failed, r.Msg = true, err.Error()
		return
	}
	a.compare(r, found, holds)
}

func (a *promqlArgs) compare(r *tasks.Result, found []series, holds func(float64) bool) {
	list := make([]any, len(found))
	var broken []string
	for i, s := range found {
		labels := map[string]any{}
		for k, v := range s.labels {
			labels[k] = v
		}
		list[i] = map[string]any{"labels": labels, "value": shownFloat(s.value)}
		if holds != nil && !holds(s.value) {
			broken = append(broken, s.String())
		}
	}
	r.Set("series", list)
	switch {
	case len(found) == 0 && holds != nil && a.Empty == "fails":
		r.Failed, r.Msg = true, "the query gives no series: nothing was measured"
	case len(broken) > 0:
		r.Failed, r.Msg = true, fmt.Sprintf("%d of %d values are not %s: %s", len(broken), len(found), a.Holds, some(broken))
	}
}

// shownSeries is how many values a message names; the data has all of them.
const shownSeries = 5

func some(texts []string) string {
	if more := len(texts) - shownSeries; more > 0 {
		texts = append(slices.Clone(texts[:shownSeries]), fmt.Sprintf("and %d more", more))
	}
	return strings.Join(texts, ", ")
}

// shownFloat is a value as JSON has it: NaN and the infinities are texts.
func shownFloat(v float64) any {
	if math.IsNaN(v) || math.IsInf(v, 0) {
		return strconv.FormatFloat(v, 'g', -1, 64)
	}
	return v
}

// String is the series as PromQL writes it, and its value.
func (s series) String() string {
	var labels []string
	for _, k := range slices.Sorted(maps.Keys(s.labels)) {
		if k != "__name__" {
			labels = append(labels, fmt.Sprintf("%s=%q", k, s.labels[k]))
		}
	}
	text := s.labels["__name__"]
	if len(labels) > 0 || text == "" {
		text += "{" + strings.Join(labels, ",") + "}"
	}
	return text + " " + strconv.FormatFloat(s.value, 'g', -1, 64)
}

// series reads a vector or a scalar.
func (p promAnswer) series() ([]series, error) {
	switch p.Data.ResultType {
	case "scalar":
		v, err := sample(p.Data.Result)
		return []series{{value: v}}, err
	case "vector":
		var vector []struct {
			Metric map[string]string
			Value  json.RawMessage
		}
		if err := json.Unmarshal(p.Data.Result, &vector); err != nil {
			return nil, fmt.Errorf("cannot read the answer of Prometheus: %w", err)
		}
		var all []series
		for _, e := range vector {
			v, err := sample(e.Value)
			if err != nil {
				return nil, err
			}
			all = append(all, series{e.Metric, v})
		}
		return all, nil
	}
	return nil, fmt.Errorf("cannot use the answer of Prometheus: it is a %s, and single values are needed; take the range out of the query", p.Data.ResultType)
}

// sample is the value of [time, "value"].
func sample(raw json.RawMessage) (float64, error) {
	var pair []any
	if err := json.Unmarshal(raw, &pair); err != nil || len(pair) != 2 {
		return 0, fmt.Errorf("cannot read a value of Prometheus: %s", raw)
	}
	v, err := strconv.ParseFloat(fmt.Sprint(pair[1]), 64)
	if err != nil {
		return 0, fmt.Errorf("cannot read a value of Prometheus: %w", err)
	}
	return v, nil
}
