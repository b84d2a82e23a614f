package main

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"os"
	"strings"

	"github.com/spf13/cobra"
	"golang.org/x/term"
)

// asker reads what the user types at the terminal; nil when the program has none. A read that the end of ctx overtakes is left behind: the run is
// ending then.
func asker(cmd *cobra.Command) func(ctx context.Context, echo bool) (string, error) {
	in, ok := cmd.InOrStdin().(*os.File)
	if !ok || !term.IsTerminal(int(in.Fd())) {
		return nil
	}
	lines := bufio.NewReader(in)
	return func(ctx context.Context, echo bool) (string, error) {
		type answer struct {
			text string
			err  error
		}
		got := make(chan answer, 1)
		go func() {
			text, err := readLine(in, lines, echo)
			got <- answer{text, err}
		}()
		select {
		case a := <-got:
			return a.text, a.err
		case <-ctx.Done():
			return "", context.Cause(ctx)
		}
	}
}

func readLine(in *os.File, lines *bufio.Reader, echo bool) (string, error) {
	if !echo {
		text, err := term.ReadPassword(int(in.Fd()))
		return string(text), err
	}
	text, err := lines.ReadString('\n')
	if err == io.EOF && text == "" {
		return "", fmt.Errorf("cannot read an answer: %w", err)
	}
	return strings.TrimRight(text, "\r\n"), nil
}
