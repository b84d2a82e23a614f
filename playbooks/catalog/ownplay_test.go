//go:build nightly

package catalog_test

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// yamlOf is the block of YAML in a page of docs that has a text in it.
func yamlOf(t *testing.T, page, text string) string {
	t.Helper()
	raw, err := os.ReadFile(filepath.Join("../../docs", page))
	if err != nil {
		t.Fatal(err)
	}
	for block := range strings.SplitSeq(string(raw), "```yaml\n") {
		if block, _, _ = strings.Cut(block, "```\n"); strings.Contains(block, text) {
			return block
		}
	}
	t.Fatalf("docs/%s has no block with %q", page, text)
	return ""
}

// rollsByAnOwnPlay carries out a play as docs/rolling.md has it: nodes are drained, worked on and put back one by one, and verified after each.
func (h *hosted) rollsByAnOwnPlay() {
	h.Helper()
	play := strings.Replace(yamlOf(h.T, "rolling.md", "/usr/local/bin/update-kernel"), "/usr/local/bin/update-kernel", "touch /root/updated", 1)
	for line := range strings.Lines(yamlOf(h.T, "rolling.md", "Calico is whole on the nodes of this batch")) {
		play += "    " + line
	}
	file := filepath.Join(h.lab.Dir, "own.yml")
	write(h.T, file, play)
	o := h.carry(exitOK, file)
	for _, n := range h.cluster.Nodes() {
		h.inSteps(o.text, ": "+n.Name+"]", "node_drain : Take the node out of service", "changed: ["+n.Name, "Update the kernel", "Put the node back into service", "changed: ["+n.Name,
			"The node is Ready", "ok: ["+n.Name, "verify : ")
		h.sh(n, "test -e /root/updated && rm /root/updated")
	}
	if got := h.kubectl("get", "nodes", "-o", "jsonpath={.items[*].spec.unschedulable}"); got != "" {
		h.Errorf("nodes are out of service: %s", got)
	}
}
