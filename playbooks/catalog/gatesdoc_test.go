package catalog_test

import (
	"flag"
	"fmt"
	"maps"
	"os"
	"path"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/calroll/calroll/playbooks"
	"github.com/calroll/calroll/playbooks/expr"
	"github.com/calroll/calroll/playbooks/value"
)

var update = flag.Bool("update", false, "write the documents that tests compare with")

// writtenGate is a gate as its topic has it.
type writtenGate struct{ topic, id, preflight, level, rule, remedy string }

// gateKeys are what a gate may have. preflight names the check whose outcome it judges.
var gateKeys = []string{"id", "preflight", "scope", "level", "rule", "broken", "found", "remedy"}

// writtenGates are all gates of all topics, ordered by id.
func writtenGates(t *testing.T) []writtenGate {
	t.Helper()
	l := loader(expr.New(expr.Options{}))
	var all []writtenGate
	for _, topic := range topics(t) {
		v, err := l.LoadVars(playbooks.CatalogPrefix + "roles/preflight/vars/main/" + topic + ".yml")
		if err != nil {
			t.Fatal(err)
		}
		list, ok := v.Dict().At("gates_" + topic).([]any)
		if !ok {
			t.Fatalf("%s.yml has no list gates_%s", topic, topic)
		}
		for _, item := range list {
			g := item.(*value.Dict)
			all = append(all, writtenGate{topic, asWritten(g.At("id")), asWritten(g.At("preflight")), asWritten(g.At("level")), asWritten(g.At("rule")), asWritten(g.At("remedy"))})
			for _, field := range []string{"id", "level", "rule", "broken", "found", "remedy"} {
				if asWritten(g.At(field)) == "" {
					t.Errorf("%s.yml: a gate %s has no %s", topic, asWritten(g.At("id")), field)
				}
			}
			for key := range g.All() {
				if !slices.Contains(gateKeys, expr.String(key)) {
					t.Errorf("%s.yml: a gate %s has the key %v", topic, asWritten(g.At("id")), key)
				}
			}
		}
	}
	slices.SortStableFunc(all, func(a, b writtenGate) int { return strings.Compare(a.id, b.id) })
	return all
}

func topics(t *testing.T) []string {
	t.Helper()
	var names []string
	walk(t, func(name string, _ []byte) {
		if path.Dir(name) == "roles/preflight/vars/main" && path.Base(name) != "wanted.yml" {
			names = append(names, strings.TrimSuffix(path.Base(name), ".yml"))
		}
	})
	return names
}

// asWritten is the text of a value before anything is rendered.
func asWritten(v any) string {
	switch v := v.(type) {
	case value.Template:
		return v.Text
	case nil:
		return ""
	}
	return expr.String(v)
}

var (
	topicsLine = regexp.MustCompile(`preflight_topics: (.*)`)
	topicName  = regexp.MustCompile(`[a-z_]+`)
	inBraces   = regexp.MustCompile(`"?\{\{ *([a-z_0-9]+)[^}]*\}\}"?`)
)

// playbooksOf are the playbooks that evaluate each topic.
func playbooksOf(t *testing.T) map[string][]string {
	t.Helper()
	of, known := map[string][]string{}, topics(t)
	walk(t, func(name string, text []byte) {
		for _, m := range topicsLine.FindAllStringSubmatch(string(text), -1) {
			for _, topic := range topicName.FindAllString(m[1], -1) {
				if pb := path.Dir(name); slices.Contains(known, topic) && !slices.Contains(of[topic], pb) {
					of[topic] = append(of[topic], pb)
				}
			}
		}
	})
	return of
}

const gatesDocHead = `# Preflights and gates

Before a playbook writes anything it looks at every host and at the cluster and evaluates the gates of its topics. What closes is shown
in one table, with the hosts it closes on, what was found there, and what to do. *stop* ends the run; *ask* ends it unless the id is in
` + "`ack`" + ` (` + "`-e '{\"ack\": [\"G-37\"]}'`" + `); *warn* and *info* are only shown. P stands for what is checked on machines and in the
cluster, G for what follows from the settings and what was found. Words in *italics* are variables or what was found.

<!-- Written by go test ./playbooks/catalog -run TestGatesAreDocumented -update -->

| Gate | Check | Level | Closes when | What to do | Topic |
|---|---|---|---|---|---|
`

// gatesDoc is docs/gates.md.
func gatesDoc(t *testing.T) string {
	t.Helper()
	var b strings.Builder
	b.WriteString(gatesDocHead)
	for _, g := range writtenGates(t) {
		level := g.level
		if strings.Contains(level, "{{") {
			level = "stop, ask or warn"
		}
		remedy := strings.ReplaceAll(inBraces.ReplaceAllString(g.remedy, "*$1*"), "|", `\|`)
		fmt.Fprintf(&b, "| %s | %s | %s | %s | %s | %s |\n", g.id, g.preflight, level, g.rule, remedy, g.topic)
	}
	b.WriteString("\n## Which playbook evaluates which topic\n\n| Topic | Playbooks |\n|---|---|\n")
	of := playbooksOf(t)
	for _, topic := range topics(t) {
		used := strings.Join(slices.Sorted(slices.Values(of[topic])), ", ")
		if used == "" {
			used = "–"
		}
		fmt.Fprintf(&b, "| %s | %s |\n", topic, used)
	}
	return b.String()
}

// TestGatesAreDocumented: docs/gates.md is the table of the gates as they are.
func TestGatesAreDocumented(t *testing.T) {
	const file = "../../docs/gates.md"
	want := gatesDoc(t)
	if *update {
		write(t, file, want)
	}
	got, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	if string(got) != want {
		t.Errorf("%s is not what the gates are: write it with -update", file)
	}
}

// TestEveryCheckIsJudged: each of the checks P-01 to P-23 is a gate, or a gate judges it; and G-01 to G-43 are all there.
func TestEveryCheckIsJudged(t *testing.T) {
	have := map[string]bool{}
	for _, g := range writtenGates(t) {
		have[g.id], have[g.preflight] = true, true
	}
	for i := 1; i <= 43; i++ {
		if id := fmt.Sprintf("P-%02d", i); i <= 23 && !have[id] {
			t.Errorf("no gate judges %s", id)
		}
		if id := fmt.Sprintf("G-%02d", i); !have[id] {
			t.Errorf("there is no gate %s", id)
		}
	}
}

// TestAckKnowsEveryGate: the ids that ack takes are those that gates have.
func TestAckKnowsEveryGate(t *testing.T) {
	v, err := loader(expr.New(expr.Options{})).LoadVars(playbooks.CatalogPrefix + "roles/calico_settings/vars/main.yml")
	if err != nil {
		t.Fatal(err)
	}
	var known []string
	for _, id := range v.Dict().At("gate_ids").([]any) {
		known = append(known, expr.String(id))
	}
	have := map[string]bool{}
	for _, g := range writtenGates(t) {
		have[g.id] = true
	}
	if have := slices.Sorted(maps.Keys(have)); !slices.Equal(have, slices.Sorted(slices.Values(known))) {
		t.Errorf("gates have the ids\n%v\nand ack takes\n%v", have, known)
	}
}
