package main

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"path/filepath"
)

func main() {
	if err := run("."); err != nil {
		fmt.Fprintf(os.Stderr, "ERROR! %v\n", err)
		os.Exit(1)
	}
}

// run writes every generated document below root that is not up to date.
func run(root string) error {
	pages, err := generate(root)
	if err != nil {
		return err
	}
	var errs []error
	for _, p := range pages {
		file := filepath.Join(root, "docs", p.name)
		if old, err := os.ReadFile(file); err == nil && bytes.Equal(old, p.text) {
			continue
		}
		errs = append(errs, os.WriteFile(file, p.text, 0o644))
	}
	return errors.Join(errs...)
}

// page is a document with its generated parts up to date.
type page struct {
	name string // below docs/
	text []byte
}

// generate makes all pages.
func generate(root string) ([]page, error) {
	l, err := readLedger(filepath.Join(root, "docs", "coverage.yml"))
	if err != nil {
		return nil, err
	}
	pages, err := variablePages(root)
	return append(pages, page{"coverage.md", l.markdown()}), err
}
