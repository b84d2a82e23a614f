package value

import (
	"strings"

	"gopkg.in/yaml.v3"
)

const quoted = yaml.SingleQuotedStyle | yaml.DoubleQuotedStyle
const block = yaml.LiteralStyle | yaml.FoldedStyle

// placeScalars moves every scalar's Line and Column from where its node begins to where its text begins.
func placeScalars(node *yaml.Node, lines []string) {
	if node.Kind == yaml.ScalarNode {
		placeScalar(node, lines)
	}
	for _, child := range node.Content {
		placeScalars(child, lines)
	}
}

func placeScalar(node *yaml.Node, lines []string) {
	if node.Anchor != "" || node.Style&yaml.TaggedStyle != 0 {
		skipProperties(node, lines)
	}
	switch {
	case node.Style&quoted != 0:
		node.Column++
	case node.Style&block != 0 && node.Line < len(lines):
		node.Line++
		node.Column = blockIndent(node.Value, lines[node.Line-1:]) + 1
	}
}

// skipProperties moves past anchor and tag, over line ends and comments, to the text itself.
func skipProperties(node *yaml.Node, lines []string) {
	for line := node.Line; line <= len(lines); line++ {
		text := []rune(lines[line-1])
		col := 0
		if line == node.Line {
			col = min(node.Column-1, len(text))
		}
		for col < len(text) && strings.ContainsRune(" \t!&", text[col]) {
			if text[col] == ' ' || text[col] == '\t' {
				col++
				continue
			}
			for col < len(text) && text[col] != ' ' {
				col++
			}
		}
		if col < len(text) && text[col] != '#' && text[col] != '\r' {
			node.Line, node.Column = line, col+1
			return
		}
	}
}

// blockIndent is how far a block scalar stands indented: the indentation of its first line with text less what of it
// belongs to the value.
func blockIndent(value string, lines []string) int {
	own := 0
	for line := range strings.SplitSeq(value, "\n") {
		if strings.TrimSpace(line) != "" {
			own = indent(line)
			break
		}
	}
	for _, line := range lines {
		if strings.TrimSpace(line) != "" {
			return max(indent(line)-own, 0)
		}
	}
	return 0
}

func indent(line string) int { return len(line) - len(strings.TrimLeft(line, " ")) }
