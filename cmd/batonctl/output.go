package main

import (
	"encoding/json"
	"fmt"
	"io"
	"strings"
	"text/tabwriter"
	"unicode"

	"go.yaml.in/yaml/v3"

	"baton/cmd/internal/cli"
)

var formats = []string{"table", "json", "yaml"}

func checkFormat(f string) error {
	for _, known := range formats {
		if f == known {
			return nil
		}
	}
	return cli.Usagef("output format %q: want one of %s", f, strings.Join(formats, ", "))
}

// print writes v as JSON or YAML, or calls table to fill a table.
func print(w io.Writer, format string, v any, table func(t *table)) error {
	switch format {
	case "json":
		enc := json.NewEncoder(w)
		enc.SetIndent("", "  ")
		return enc.Encode(v)
	case "yaml":
		return printYAML(w, v)
	}
	t := newTable(w)
	table(t)
	return t.flush()
}

// printYAML goes through JSON, so that both forms have the same keys.
func printYAML(w io.Writer, v any) error {
	data, err := json.Marshal(v)
	if err != nil {
		return err
	}
	var node yaml.Node // JSON is YAML: the order of the keys and large numbers stay as they are
	if err := yaml.Unmarshal(data, &node); err != nil {
		return err
	}
	blockStyle(&node)
	enc := yaml.NewEncoder(w)
	enc.SetIndent(2)
	if err := enc.Encode(&node); err != nil {
		return err
	}
	return enc.Close()
}

func blockStyle(n *yaml.Node) {
	n.Style = 0
	for _, c := range n.Content {
		blockStyle(c)
	}
}

// table prints rows in aligned columns.
type table struct{ w *tabwriter.Writer }

func newTable(w io.Writer) *table { return &table{tabwriter.NewWriter(w, 0, 8, 2, ' ', 0)} }

// row writes one line; empty cells are shown as "-".
func (t *table) row(cells ...any) {
	texts := make([]string, len(cells))
	for i, c := range cells {
		texts[i] = printable(fmt.Sprint(c))
		if texts[i] == "" {
			texts[i] = "-"
		}
	}
	fmt.Fprintln(t.w, strings.Join(texts, "\t"))
}

// gap ends a block of aligned columns with an empty line.
func (t *table) gap() { fmt.Fprintln(t.w) }

// printable shows control characters as "?": some texts come from hosts and
// guests, and a terminal would obey them.
func printable(s string) string {
	return strings.Map(func(r rune) rune {
		if !unicode.IsPrint(r) {
			return '?'
		}
		return r
	}, s)
}

func (t *table) flush() error { return t.w.Flush() }

func yesNo(b bool) string {
	if b {
		return "yes"
	}
	return "no"
}
