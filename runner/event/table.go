package event

import (
	"strings"
	"unicode/utf8"
)

// Table is a result that printers show as a table, in place of its JSON. One with Text is shown as that and has nothing else.
type Table struct {
	Head []string   `json:"head"`
	Rows [][]string `json:"rows"`
	Text string     `json:"text,omitempty"`
}

// columnWidth is the widest that a column gets; longer cells are broken between words.
const columnWidth = 44

// text is the table with columns as wide as they need to be, and no space at the ends of lines.
func (t *Table) text() string {
	if t.Text != "" {
		return t.Text
	}
	rows := append([][]string{t.Head}, t.Rows...)
	widths := make([]int, len(t.Head))
	cells := make([][][]string, len(rows)) // row, column, line
	for i, row := range rows {
		cells[i] = make([][]string, len(widths))
		for j, cell := range row {
			cells[i][j] = broken(cell, columnWidth)
			for _, line := range cells[i][j] {
				widths[j] = max(widths[j], utf8.RuneCountInString(line))
			}
		}
	}
	var b strings.Builder
	for _, row := range cells {
		writeRow(&b, row, widths)
	}
	return b.String()
}

func writeRow(b *strings.Builder, row [][]string, widths []int) {
	height := 0
	for _, lines := range row {
		height = max(height, len(lines))
	}
	for i := range height {
		var line strings.Builder
		for j, lines := range row {
			text := ""
			if i < len(lines) {
				text = lines[i]
			}
			line.WriteString(text + strings.Repeat(" ", widths[j]-utf8.RuneCountInString(text)+2))
		}
		b.WriteString(strings.TrimRight(line.String(), " ") + "\n")
	}
}

// broken are the lines of a text of at most so many letters each; a longer word keeps its line.
func broken(text string, width int) []string {
	var lines []string
	line := ""
	for _, word := range strings.Fields(text) {
		switch {
		case line == "":
			line = word
		case utf8.RuneCountInString(line)+1+utf8.RuneCountInString(word) <= width:
			line += " " + word
		default:
			lines, line = append(lines, line), word
		}
	}
	return append(lines, line)
}
