package config

import (
	"fmt"
	"io"

	"github.com/spf13/pflag"
)

// AddFlags gives flags a --section.key for each key of the struct that v points to.
func AddFlags(flags *pflag.FlagSet, v any) {
	for _, k := range Keys(v) {
		text := k.Text
		if k.Default != "" {
			text += fmt.Sprintf(" (default %s)", k.Default)
		}
		flags.String(k.Path, "", text)
		if k.Type == "true or false" {
			flags.Lookup(k.Path).NoOptDefVal = "true"
		}
	}
}

// Overrides are the flags of AddFlags that were given on the command line.
func Overrides(flags *pflag.FlagSet, v any) map[string]string {
	given := map[string]string{}
	for _, k := range Keys(v) {
		if f := flags.Lookup(k.Path); f != nil && f.Changed {
			given[k.Path] = f.Value.String()
		}
	}
	return given
}

// Markdown writes the table of keys.
func Markdown(w io.Writer, v any) error {
	if _, err := fmt.Fprint(w, "| key | type | unit | default | range | what it is |\n| --- | --- | --- | --- | --- | --- |\n"); err != nil {
		return err
	}
	for _, k := range Keys(v) {
		rng := k.Range
		if rng != "" {
			rng = "`" + escapeBars(rng) + "`"
		}
		def := k.Default
		if def != "" {
			def = "`" + def + "`"
		}
		if _, err := fmt.Fprintf(w, "| `%s` | %s | %s | %s | %s | %s |\n", k.Path, k.Type, k.Unit, def, rng, k.Text); err != nil {
			return err
		}
	}
	return nil
}

// escapeBars keeps a choice "a|b" in one cell of a Markdown table.
func escapeBars(s string) string {
	out := make([]rune, 0, len(s))
	for _, r := range s {
		if r == '|' {
			out = append(out, '\\')
		}
		out = append(out, r)
	}
	return string(out)
}
