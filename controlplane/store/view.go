package store

import (
	"encoding/json"
	"fmt"
	"maps"
	"strings"

	"baton/controlplane/model"
	"baton/dataplane/flow"
)

// Parts of the keys, behind the prefix.
const (
	keyGeneration = "/generation"
	dirObjects    = "/objects/"
	dirLearned    = "/learned/host/"
	dirLive       = "/live/host/"
)

// layout is the value of generation: the version of this arrangement of keys.
const layout = "1"

func (s *Store) objectKey(r model.Ref) string {
	return s.cfg.Prefix + dirObjects + string(r.Kind) + "/" + r.Name
}
func (s *Store) learnedKey(host string) string { return s.cfg.Prefix + dirLearned + host }
func (s *Store) liveKey(host string) string    { return s.cfg.Prefix + dirLive + host }
func (s *Store) generationKey() string         { return s.cfg.Prefix + keyGeneration }

// learned is the value of a learned key.
type learned struct {
	MAC          flow.MAC `json:"mac,omitzero"`
	AlternateMAC flow.MAC `json:"alternateMAC,omitzero"`
	AtAlternate  bool     `json:"atAlternate,omitzero"`
}

// view is a network put together from etcd's keys. A host's object, what was
// learned of it and its session lie under three keys and make one object.
type view struct {
	prefix  string
	state   *model.State
	hosts   map[string]*model.Host // as stored, without status
	learned map[string]learned
	live    map[string]model.HostState
}

func newView(prefix string) *view {
	return &view{
		prefix:  prefix,
		state:   model.NewState(),
		hosts:   map[string]*model.Host{},
		learned: map[string]learned{},
		live:    map[string]model.HostState{},
	}
}

// clone is a view that can go on by itself.
func (v *view) clone() *view {
	return &view{v.prefix, v.state.Clone(), maps.Clone(v.hosts), maps.Clone(v.learned), maps.Clone(v.live)}
}

// edit is one key's new value; nil = the key is gone.
type edit struct {
	key   string
	value []byte
}

// apply makes edits that belong together, and returns what they change and the
// keys whose values it could not read. Such a key counts as gone.
func (v *view) apply(edits []edit) (changes []model.Change, skipped []error) {
	before := map[model.Ref]model.Object{}
	var order []model.Ref
	for _, e := range edits {
		r, put, ok := v.target(e.key)
		if !ok {
			continue
		}
		if _, seen := before[r]; !seen {
			before[r] = v.state.Get(r)
			order = append(order, r)
		}
		if err := put(r, e.value); err != nil {
			skipped = append(skipped, fmt.Errorf("etcd key %s: skipped: %w; apply %s anew, or delete the key", e.key, err, r))
		}
	}
	for _, r := range order {
		if now := v.state.Get(r); !model.Equal(before[r], now) {
			changes = append(changes, model.Change{Ref: r, Object: now})
		}
	}
	return changes, skipped
}

// target says what object a key belongs to and how its value is put in; false
// for keys that are no part of the network.
func (v *view) target(key string) (r model.Ref, put func(model.Ref, []byte) error, ok bool) {
	rest, ok := strings.CutPrefix(key, v.prefix)
	if !ok {
		return r, nil, false
	}
	if path, ok := strings.CutPrefix(rest, dirObjects); ok {
		kind, name, _ := strings.Cut(path, "/")
		return model.Ref{Kind: model.Kind(kind), Name: name}, v.putObject, true
	}
	if name, ok := strings.CutPrefix(rest, dirLearned); ok {
		return model.Ref{Kind: model.KindHost, Name: name}, v.putLearned, true
	}
	if name, ok := strings.CutPrefix(rest, dirLive); ok {
		return model.Ref{Kind: model.KindHost, Name: name}, v.putLive, true
	}
	return r, nil, false
}

func (v *view) putObject(r model.Ref, value []byte) error {
	if r.Kind == model.KindHost {
		delete(v.hosts, r.Name)
	}
	v.state.Remove(r)
	if value == nil {
		return nil
	}
	o, err := model.DecodeJSON(value)
	if err != nil {
		return err
	}
	if o.Ref() != r {
		return fmt.Errorf("the value is %s, not what the key says", o.Ref())
	}
	if h, ok := o.(*model.Host); ok {
		h.Status = model.HostState{}
		v.hosts[r.Name] = h
		v.mergeHost(r.Name)
		return nil
	}
	v.state.Set(o)
	return nil
}

func (v *view) putLearned(r model.Ref, value []byte) error {
	var l learned
	defer v.mergeHost(r.Name)
	delete(v.learned, r.Name)
	if value == nil {
		return nil
	}
	if err := json.Unmarshal(value, &l); err != nil {
		return err
	}
	for _, mac := range []flow.MAC{l.MAC, l.AlternateMAC} {
		if mac.IsMulticast() {
			return fmt.Errorf("%s is a group address", mac)
		}
	}
	v.learned[r.Name] = l
	return nil
}

func (v *view) putLive(r model.Ref, value []byte) error {
	var st model.HostState
	defer v.mergeHost(r.Name)
	delete(v.live, r.Name)
	if value == nil {
		return nil
	}
	if err := json.Unmarshal(value, &st); err != nil {
		return err
	}
	v.live[r.Name] = st
	return nil
}

// mergeHost makes the host's object of its parts. A host without an object of
// its own is none, whatever else is known of it.
func (v *view) mergeHost(name string) {
	h := v.hosts[name]
	if h == nil {
		return
	}
	c := model.Clone(h)
	if st, ok := v.live[name]; ok {
		c.Status = st
		c.Status.Connected = true
	}
	l := v.learned[name]
	c.Status.MAC, c.Status.AlternateMAC, c.Status.AtAlternate = l.MAC, l.AlternateMAC, l.AtAlternate
	v.state.Set(c)
}
