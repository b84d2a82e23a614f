package conn

import (
	"bytes"
	"io"
)

// marker is a line that cannot turn up by chance in what a shell or sudo prints. It is
// printed from two halves, so that the command that prints it, quoted in some program's
// message, does not contain it.
type marker struct{ left, right string }

func newMarker() marker { return marker{"calroll-" + randomHex(6), randomHex(6)} }

// text is the marker as it appears in the output, followed by a blank or a line break.
func (m marker) text() string { return m.left + m.right }

// print is the shell command that prints the marker's line, with what the shell words of
// argument expand to behind it.
func (m marker) print(argument string) string {
	return "echo " + m.left + `""` + m.right + " " + argument
}

// cut looks for the marker's whole line in what has come so far. rest is what follows it;
// line is what stands on it after the marker.
func (m marker) cut(output []byte) (line string, rest []byte, found bool) {
	_, after, found := bytes.Cut(output, []byte(m.text()))
	if !found {
		return "", nil, false
	}
	first, rest, found := bytes.Cut(after, []byte("\n"))
	return string(bytes.TrimSpace(first)), rest, found
}

// noiseKept bounds what is read before the marker.
const noiseKept = StderrKept

// scan reads r until the marker's line has come whole; before is what was printed ahead of
// it and rest what came with it. Without the marker, all there was is in before.
func (m marker) scan(r io.Reader) (before []byte, line string, rest []byte, found bool) {
	var output []byte
	for buf := make([]byte, 1024); len(output) < noiseKept; {
		n, err := r.Read(buf)
		output = append(output, buf[:n]...)
		if line, rest, found = m.cut(output); found {
			before, _, _ = bytes.Cut(output, []byte(m.text()))
			return before, line, rest, true
		}
		if err != nil {
			return output, "", nil, false
		}
	}
	return output, "", nil, false
}
