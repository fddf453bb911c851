package config

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"
	"reflect"
	"sort"
	"strings"

	"go.yaml.in/yaml/v3"
)

// Load fills the struct that v points to: defaults, then the file, then the
// overrides (key path to text, from flags). An empty path means no file.
//
//	error: all that is wrong with the file, one line each; v is then not to be used
func Load(path string, overrides map[string]string, v any) error {
	keys := Keys(v)
	for i := range keys {
		if keys[i].Default == "" {
			continue
		}
		if err := keys[i].set(keys[i].Default); err != nil {
			panic(fmt.Sprintf("config: default of %s: %v", keys[i].Path, err))
		}
	}
	var errs []error
	lines := map[string]int{}
	if path != "" {
		data, err := os.ReadFile(path)
		if err != nil {
			return fmt.Errorf("configuration file %s: %w", path, errors.Unwrap(err))
		}
		errs = readFile(path, data, keys, lines)
	}
	errs = append(errs, override(overrides, keys)...)
	for i := range keys {
		if err := keys[i].check(); err != nil {
			where := "configuration: " + keys[i].Path
			if _, given := overrides[keys[i].Path]; given {
				where = "flag --" + keys[i].Path
			} else if n := lines[keys[i].Path]; n > 0 {
				where = fmt.Sprintf("%s:%d: %s", path, n, keys[i].Path)
			}
			errs = append(errs, fmt.Errorf("%s: %w", where, err))
		}
	}
	return errors.Join(errs...)
}

func override(overrides map[string]string, keys []Key) (errs []error) {
	for i := range keys {
		text, ok := overrides[keys[i].Path]
		if !ok {
			continue
		}
		if err := keys[i].set(text); err != nil {
			errs = append(errs, fmt.Errorf("flag --%s: %w", keys[i].Path, err))
		}
	}
	return errs
}

func readFile(path string, data []byte, keys []Key, lines map[string]int) []error {
	var doc, more yaml.Node
	dec := yaml.NewDecoder(bytes.NewReader(data))
	err := dec.Decode(&doc)
	if err == nil {
		if err = dec.Decode(&more); err == nil {
			return []error{fmt.Errorf("%s:%d: a second document: a configuration is one", path, more.Line)}
		}
	}
	if err != io.EOF {
		return []error{fmt.Errorf("%s: %s", path, strings.TrimPrefix(err.Error(), "yaml: "))}
	}
	if len(doc.Content) == 0 {
		return nil
	}
	r := reader{path: path, keys: keys, lines: lines}
	r.section("", doc.Content[0])
	return r.errs
}

// reader walks a YAML document beside the keys.
type reader struct {
	path  string
	keys  []Key
	lines map[string]int
	errs  []error
}

func (r *reader) fail(n *yaml.Node, format string, args ...any) {
	r.errs = append(r.errs, fmt.Errorf("%s:%d: %s", r.path, n.Line, fmt.Sprintf(format, args...)))
}

func (r *reader) section(prefix string, n *yaml.Node) {
	if n.Kind == yaml.ScalarNode && n.Tag == "!!null" {
		return
	}
	if n.Kind != yaml.MappingNode {
		r.fail(n, "%s: want keys with values", strings.TrimSuffix(prefix, "."))
		return
	}
	for i := 0; i+1 < len(n.Content); i += 2 {
		name, value := n.Content[i], n.Content[i+1]
		path := prefix + name.Value
		if _, twice := r.lines[path]; twice {
			r.fail(name, "key %s stands twice", path)
			continue
		}
		r.lines[path] = name.Line
		if k := r.key(path); k != nil {
			r.leaf(k, value)
		} else if r.isSection(path) {
			r.section(path+".", value)
		} else {
			r.fail(name, "unknown key %s: want one of %s", path, strings.Join(r.known(prefix), ", "))
		}
	}
}

func (r *reader) leaf(k *Key, n *yaml.Node) {
	var err error
	switch {
	case n.Kind == yaml.SequenceNode && k.value.Kind() == reflect.Slice:
		var parts []string
		for _, e := range n.Content {
			parts = append(parts, e.Value)
		}
		err = k.setList(parts)
	case n.Kind == yaml.ScalarNode:
		err = k.set(n.Value)
	default:
		err = fmt.Errorf("want a %s", k.Type)
	}
	if err != nil {
		r.fail(n, "%s: %v", k.Path, err)
	}
}

func (r *reader) key(path string) *Key {
	for i := range r.keys {
		if r.keys[i].Path == path {
			return &r.keys[i]
		}
	}
	return nil
}

func (r *reader) isSection(path string) bool {
	for i := range r.keys {
		if strings.HasPrefix(r.keys[i].Path, path+".") {
			return true
		}
	}
	return false
}

// known lists the names that may stand directly below prefix.
func (r *reader) known(prefix string) []string {
	seen := map[string]bool{}
	for i := range r.keys {
		if rest, ok := strings.CutPrefix(r.keys[i].Path, prefix); ok {
			name, _, _ := strings.Cut(rest, ".")
			seen[name] = true
		}
	}
	var names []string
	for n := range seen {
		names = append(names, n)
	}
	sort.Strings(names)
	return names
}
