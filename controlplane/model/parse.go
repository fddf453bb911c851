package model

import (
	"bytes"
	"encoding"
	"errors"
	"fmt"
	"io"
	"reflect"
	"regexp"
	"strconv"
	"strings"

	"go.yaml.in/yaml/v3"
)

// Parse reads the YAML documents of a file, or JSON, which is YAML too. name is
// the file's, for messages. Keys that no object has are refused; the block
// status is passed over. On an error, which is always Problems, there are no
// documents. Parse looks at one key at a time: whether the objects make sense is
// for Validate.
func Parse(name string, data []byte) ([]Document, error) {
	var docs []Document
	var ps Problems
	dec := yaml.NewDecoder(bytes.NewReader(data))
	for {
		var n yaml.Node
		err := dec.Decode(&n)
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil { // the reader cannot go on behind a syntax error
			ps = append(ps, syntaxProblem(name, err))
			break
		}
		if len(n.Content) == 0 || n.Content[0].Tag == "!!null" {
			continue // nothing between two separators
		}
		p := parser{doc: Document{Pos: Pos{name, n.Content[0].Line}, Lines: map[string]int{}}}
		p.object(n.Content[0])
		ps = append(ps, p.problems...)
		docs = append(docs, p.doc)
	}
	if len(docs) == 0 && len(ps) == 0 {
		ps = append(ps, Problem{Pos: Pos{File: name}, Text: "no objects in it; write at least kind: and name:"})
	}
	if len(ps) > 0 {
		return nil, ps.sorted()
	}
	return docs, nil
}

var yamlLine = regexp.MustCompile(`^line (\d+): `)

// syntaxProblem takes the line out of the YAML library's message.
func syntaxProblem(name string, err error) Problem {
	text := strings.TrimPrefix(err.Error(), "yaml: ")
	p := Problem{Pos: Pos{File: name}}
	if m := yamlLine.FindStringSubmatch(text); m != nil {
		p.Pos.Line, _ = strconv.Atoi(m[1])
		text = text[len(m[0]):]
	}
	p.Text = "not YAML: " + text
	return p
}

// parser reads one document.
type parser struct {
	doc      Document
	problems Problems
}

func (p *parser) fail(n *yaml.Node, field, format string, args ...any) {
	pr := Problem{Pos: Pos{p.doc.Pos.File, n.Line}, Field: field, Text: fmt.Sprintf(format, args...)}
	if p.doc.Object != nil && p.doc.Object.Ref().Name != "" {
		pr.Ref = p.doc.Object.Ref()
	}
	p.problems = append(p.problems, pr)
}

func (p *parser) object(n *yaml.Node) {
	if n.Kind != yaml.MappingNode {
		p.fail(n, "", "a document is a mapping with kind: and name:, not %s", shape(n))
		return
	}
	kind := value(n, "kind")
	if kind == nil {
		p.fail(n, "kind", "missing; write one of %s", kindNames())
		return
	}
	o := New(Kind(kind.Value))
	if o == nil {
		p.fail(kind, "kind", "%q is none of %s", kind.Value, kindNames())
		return
	}
	p.doc.Object = o
	// The name comes first, so that the other problems can say whose they are.
	v := reflect.ValueOf(o).Elem()
	if name := value(n, "name"); name != nil && name.Kind == yaml.ScalarNode {
		v.FieldByName("Name").SetString(name.Value)
	}
	p.mapping(n, v, "")
	if o.Ref().Name == "" {
		p.fail(n, "name", "missing; every object has a name")
	}
}

// mapping reads the keys of n into the fields of the struct v; path is the way to it, with a dot at the end.
func (p *parser) mapping(n *yaml.Node, v reflect.Value, path string) {
	seen := map[string]bool{}
	for i := 0; i+1 < len(n.Content); i += 2 {
		key, val := n.Content[i], n.Content[i+1]
		field := path + key.Value
		if seen[key.Value] {
			p.fail(key, field, "given twice; keep one")
			continue
		}
		seen[key.Value] = true
		p.doc.Lines[field] = key.Line
		if path == "" && (key.Value == "kind" || key.Value == "status") {
			continue
		}
		f, ok := fieldByKey(v, key.Value)
		if !ok {
			p.fail(key, field, "unknown key; there are %s", strings.Join(keys(v, path == ""), ", "))
			continue
		}
		p.value(val, f, field)
	}
}

func (p *parser) value(n *yaml.Node, f reflect.Value, field string) {
	if f.Kind() == reflect.Pointer {
		if n.Kind != yaml.MappingNode {
			p.fail(n, field, "want a mapping, not %s", shape(n))
			return
		}
		f.Set(reflect.New(f.Type().Elem()))
		p.mapping(n, f.Elem(), field+".")
		return
	}
	if n.Kind != yaml.ScalarNode || n.Tag == "!!null" {
		p.fail(n, field, "want a single value, not %s; leave the key out for the default", shape(n))
		return
	}
	if u, ok := f.Addr().Interface().(encoding.TextUnmarshaler); ok {
		if err := u.UnmarshalText([]byte(n.Value)); err != nil || n.Value == "" {
			p.fail(n, field, "%s", textProblem(f, n.Value, err))
		}
		return
	}
	switch f.Kind() {
	case reflect.String:
		f.SetString(n.Value)
	case reflect.Uint16, reflect.Uint32:
		max := uint64(1)<<f.Type().Bits() - 1
		if field == "vni" {
			max = MaxVNI
		}
		u, err := strconv.ParseUint(n.Value, 0, 64)
		if err != nil || u == 0 || u > max {
			p.fail(n, field, "%q is no number from 1 to %d", n.Value, max)
			return
		}
		f.SetUint(u)
	}
}

// textProblem is the sentence for a value that its type refused.
func textProblem(f reflect.Value, text string, err error) string {
	switch f.Type().String() {
	case "netip.Prefix":
		return fmt.Sprintf("%q is no IP prefix; write it as 10.0.0.0/8", text)
	case "netip.Addr":
		return fmt.Sprintf("%q is no IP address; write it as 10.0.1.11", text)
	}
	if err == nil {
		return "empty; leave the key out for the default"
	}
	return err.Error()
}

// fieldByKey is the field of struct v for a document's key.
func fieldByKey(v reflect.Value, key string) (reflect.Value, bool) {
	for i := range v.NumField() {
		if tagName(v.Type().Field(i)) == key {
			return v.Field(i), true
		}
	}
	return reflect.Value{}, false
}

// keys lists the keys that struct v has in a document.
func keys(v reflect.Value, top bool) []string {
	var all []string
	if top {
		all = append(all, "kind")
	}
	for i := range v.NumField() {
		all = append(all, tagName(v.Type().Field(i)))
	}
	return all
}

func tagName(f reflect.StructField) string {
	name, _, _ := strings.Cut(f.Tag.Get("json"), ",")
	return name
}

// value is the scalar or other node of a key in a mapping, nil if there is none.
func value(n *yaml.Node, key string) *yaml.Node {
	for i := 0; i+1 < len(n.Content); i += 2 {
		if n.Content[i].Value == key {
			return n.Content[i+1]
		}
	}
	return nil
}

func shape(n *yaml.Node) string {
	switch n.Kind {
	case yaml.MappingNode:
		return "a mapping"
	case yaml.SequenceNode:
		return "a list"
	case yaml.AliasNode:
		return "an alias (baton reads none)"
	}
	if n.Tag == "!!null" {
		return "nothing"
	}
	return "the single value " + strconv.Quote(n.Value)
}

func kindNames() string {
	names := make([]string, 0, len(Kinds()))
	for _, k := range Kinds() {
		names = append(names, string(k))
	}
	return strings.Join(names, ", ")
}
