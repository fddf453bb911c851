package model

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"

	"go.yaml.in/yaml/v3"
)

// EncodeJSON is the object as one JSON document with its kind. Parse and
// DecodeJSON read it.
func EncodeJSON(o Object) ([]byte, error) {
	body, err := json.Marshal(o)
	if err != nil {
		return nil, fmt.Errorf("%s: encode: %w", o.Ref(), err)
	}
	head := fmt.Sprintf(`{"kind":%q,`, o.Ref().Kind)
	return append([]byte(head), body[1:]...), nil
}

// EncodeYAML is the objects as YAML documents, which Parse reads.
func EncodeYAML(objects ...Object) ([]byte, error) {
	var b bytes.Buffer
	for i, o := range objects {
		if i > 0 {
			b.WriteString("---\n")
		}
		text, err := EncodeJSON(o)
		if err != nil {
			return nil, err
		}
		// JSON is YAML: reading it as nodes keeps the order of the keys.
		var n yaml.Node
		if err := yaml.Unmarshal(text, &n); err != nil {
			return nil, fmt.Errorf("%s: encode: %w", o.Ref(), err)
		}
		blockStyle(&n)
		enc := yaml.NewEncoder(&b)
		enc.SetIndent(2)
		if err := errors.Join(enc.Encode(&n), enc.Close()); err != nil {
			return nil, fmt.Errorf("%s: encode: %w", o.Ref(), err)
		}
	}
	return b.Bytes(), nil
}

// blockStyle turns JSON's braces and quotes into lines; what needs quotes keeps them by its tag.
func blockStyle(n *yaml.Node) {
	n.Style = 0
	for _, c := range n.Content {
		blockStyle(c)
	}
}

// DecodeJSON reads what EncodeJSON wrote, status included. Keys that this
// version does not know are passed over, so that an older version can read what a
// newer one stored. The object is checked by itself: what Validate would say of
// an object regardless of the others is an error here too.
func DecodeJSON(data []byte) (Object, error) {
	var head struct {
		Kind Kind `json:"kind"`
	}
	if err := json.Unmarshal(data, &head); err != nil {
		return nil, fmt.Errorf("no JSON object: %w", err)
	}
	o := New(head.Kind)
	if o == nil {
		return nil, fmt.Errorf("kind %q is none of %s", head.Kind, kindNames())
	}
	if err := json.Unmarshal(data, o); err != nil {
		return nil, fmt.Errorf("%s: %w", head.Kind, err)
	}
	if ps := checkAlone(o); len(ps) > 0 {
		return nil, ps[:1]
	}
	return o, nil
}
