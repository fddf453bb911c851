package config

import (
	"fmt"
	"reflect"
	"strconv"
	"strings"
	"time"
)

// Key describes one configuration key.
type Key struct {
	Path    string // with the sections before it, as in "underlay.mtu"
	Type    string // for people: "text", "number", "list of numbers", ...
	Unit    string // empty if it has none
	Default string // as written in YAML; empty if there is none
	Range   string // "low..high", or "a|b|c"; empty if everything goes
	Text    string // one sentence

	value reflect.Value
}

var durationType = reflect.TypeFor[time.Duration]()

// Keys lists the keys of the struct that v points to, in the order of its fields.
// It panics if a field lacks a tag: that is a mistake in the program.
func Keys(v any) []Key {
	return keysOf("", reflect.ValueOf(v).Elem())
}

func keysOf(prefix string, v reflect.Value) []Key {
	var keys []Key
	for i := range v.NumField() {
		f := v.Type().Field(i)
		name := f.Tag.Get("yaml")
		if name == "" {
			panic(fmt.Sprintf("config: field %s has no yaml tag", f.Name))
		}
		if f.Type.Kind() == reflect.Struct {
			keys = append(keys, keysOf(prefix+name+".", v.Field(i))...)
			continue
		}
		text := f.Tag.Get("doc")
		if text == "" {
			panic(fmt.Sprintf("config: key %s%s has no doc tag", prefix, name))
		}
		keys = append(keys, Key{
			Path: prefix + name, Type: typeName(f.Type), Unit: f.Tag.Get("unit"),
			Default: f.Tag.Get("default"), Range: f.Tag.Get("range"), Text: text, value: v.Field(i),
		})
	}
	return keys
}

func typeName(t reflect.Type) string {
	switch {
	case t == durationType:
		return "duration"
	case t.Kind() == reflect.Bool:
		return "true or false"
	case t.Kind() == reflect.String:
		return "text"
	case t.Kind() == reflect.Slice && t.Elem().Kind() == reflect.String:
		return "list of texts"
	case t.Kind() == reflect.Slice:
		return "list of numbers"
	}
	return "number"
}

// set parses text as the key's type. Lists are separated by commas.
func (k *Key) set(text string) error {
	v := k.value
	switch {
	case v.Type() == durationType:
		d, err := time.ParseDuration(text)
		if err != nil {
			return fmt.Errorf("%q is not a duration such as 200us or 5s", text)
		}
		v.SetInt(int64(d))
	case v.Kind() == reflect.Bool:
		b, err := strconv.ParseBool(text)
		if err != nil {
			return fmt.Errorf("%q is not true or false", text)
		}
		v.SetBool(b)
	case v.Kind() == reflect.String:
		v.SetString(text)
	case v.Kind() == reflect.Slice:
		return k.setList(strings.Split(text, ","))
	case v.CanUint():
		n, err := strconv.ParseUint(text, 0, v.Type().Bits())
		if err != nil {
			return fmt.Errorf("%q is not a number from 0 to %d", text, uint64(1)<<v.Type().Bits()-1)
		}
		v.SetUint(n)
	default:
		n, err := strconv.ParseInt(text, 0, 64)
		if err != nil {
			return fmt.Errorf("%q is not a number", text)
		}
		v.SetInt(n)
	}
	return nil
}

func (k *Key) setList(parts []string) error {
	list := reflect.MakeSlice(k.value.Type(), 0, len(parts))
	for _, p := range parts {
		p = strings.TrimSpace(p)
		if p == "" {
			continue
		}
		if k.value.Type().Elem().Kind() == reflect.String {
			list = reflect.Append(list, reflect.ValueOf(p))
			continue
		}
		n, err := strconv.Atoi(p)
		if err != nil {
			return fmt.Errorf("%q is not a number", p)
		}
		list = reflect.Append(list, reflect.ValueOf(n))
	}
	k.value.Set(list)
	return nil
}

// check holds the key's value against its range. An empty text passes: whether a
// key may be absent is the daemon's to say.
func (k *Key) check() error {
	if k.Range == "" {
		return nil
	}
	if choices := strings.Split(k.Range, "|"); len(choices) > 1 {
		for _, c := range choices {
			if k.value.String() == c {
				return nil
			}
		}
		return fmt.Errorf("%q is not one of %s", k.value.String(), strings.Join(choices, ", "))
	}
	low, high, _ := strings.Cut(k.Range, "..")
	n := number(k.value)
	for _, v := range n {
		if v < parseBound(low, k.value.Type()) || v > parseBound(high, k.value.Type()) {
			return fmt.Errorf("%v is out of range: want %s", k.value.Interface(), k.Range)
		}
	}
	return nil
}

// number is the value as integers: one, or one for each element of a list.
func number(v reflect.Value) []int64 {
	switch {
	case v.Kind() == reflect.Slice:
		var all []int64
		for i := range v.Len() {
			all = append(all, v.Index(i).Int())
		}
		return all
	case v.CanUint():
		return []int64{int64(v.Uint())}
	}
	return []int64{v.Int()}
}

func parseBound(text string, t reflect.Type) int64 {
	if t == durationType {
		d, err := time.ParseDuration(text)
		if err != nil {
			panic("config: bad range tag " + text)
		}
		return int64(d)
	}
	n, err := strconv.ParseInt(text, 0, 64)
	if err != nil {
		panic("config: bad range tag " + text)
	}
	return n
}
