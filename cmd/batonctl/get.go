package main

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"baton/cmd/internal/cli"
	"baton/controlplane/api"
	"baton/controlplane/model"
)

func newGet(o *options) *cobra.Command {
	return &cobra.Command{
		Use:               "get KIND [NAME]",
		Short:             "Show the objects of a kind, or one; -o yaml prints what apply accepts",
		Example:           "  batonctl get ports\n  batonctl get port vm1 -o yaml\n  batonctl get all -o yaml > backup.yaml",
		Args:              cobra.RangeArgs(1, 2),
		ValidArgsFunction: completeKind(o),
		RunE: func(cmd *cobra.Command, args []string) error {
			kind, name := args[0], ""
			if kind == "all" {
				if len(args) == 2 {
					return cli.Usagef("all takes no name: name the kind of %s, one of %s", args[1], kindNames())
				}
				kind = ""
			} else if err := kindArg(args); err != nil {
				return err
			}
			if len(args) == 2 {
				name = args[1]
			}
			return o.with(cmd.Context(), func(ctx context.Context, c *api.Client) error {
				objects, err := c.Get(ctx, kind, name)
				if err != nil {
					return err
				}
				return printObjects(cmd.OutOrStdout(), o.output, objects, name != "")
			})
		},
	}
}

// printObjects prints YAML as documents that apply accepts, JSON as a list, or
// as one document if one was asked for.
func printObjects(w io.Writer, format string, objects []model.Object, one bool) error {
	switch format {
	case "yaml":
		data, err := model.EncodeYAML(objects...)
		if err != nil {
			return err
		}
		_, err = w.Write(data)
		return err
	case "json":
		docs := []json.RawMessage{}
		for _, obj := range objects {
			d, err := model.EncodeJSON(obj)
			if err != nil {
				return err
			}
			docs = append(docs, d)
		}
		if one && len(docs) == 1 {
			return print(w, format, docs[0], nil)
		}
		return print(w, format, docs, nil)
	}
	t := newTable(w)
	last := model.Kind("")
	for _, obj := range objects {
		if k := obj.Ref().Kind; k != last {
			t.row(heads[k]...)
			last = k
		}
		t.row(cells(obj)...)
	}
	return t.flush()
}

var heads = map[model.Kind][]any{
	model.KindHost:   {"HOST", "UNDERLAY", "MTU", "MAC", "CONNECTED", "VERSION"},
	model.KindSwitch: {"SWITCH", "VNI"},
	model.KindRouter: {"ROUTER", "VNI"},
	model.KindPort:   {"PORT", "SWITCH", "ROUTER", "IP", "MAC", "HOST", "MIGRATE-TO", "ID"},
	model.KindRoute:  {"ROUTE", "ROUTER", "PREFIX", "NEXT-HOP"},
}

func cells(obj model.Object) []any {
	switch v := obj.(type) {
	case *model.Host:
		return []any{v.Name, v.Underlay, v.UnderlayMTU(), v.VTEPMAC(), yesNo(v.Status.Connected), v.Status.Version}
	case *model.Switch:
		return []any{v.Name, v.ID()}
	case *model.Router:
		return []any{v.Name, v.ID()}
	case *model.Port:
		return []any{v.Name, v.Switch, v.Router, v.IP, v.HW(), v.Host, v.MigrateTo, v.SwitchID()}
	case *model.Route:
		return []any{v.Name, v.Router, v.Prefix, v.NextHop}
	}
	return []any{obj.Ref().Name}
}

type description struct {
	Object json.RawMessage   `json:"object"`
	Uses   []string          `json:"uses"`
	UsedBy []string          `json:"used_by"`
	Rules  map[string]uint64 `json:"rules"` // by host
	Host   *hostRow          `json:"host,omitempty"`
	Ports  []portRow         `json:"ports,omitempty"`
}

type portRow struct {
	Host   string `json:"host"`
	Name   string `json:"name"`
	Up     bool   `json:"up"`
	Detail string `json:"detail,omitempty"`
}

func newDescribe(o *options) *cobra.Command {
	return &cobra.Command{
		Use:               "describe KIND NAME",
		Short:             "Show one object with what it refers to, what refers to it, and its state on the hosts",
		Example:           "  batonctl describe port vm1\n  batonctl describe host host1 -o json",
		Args:              cobra.ExactArgs(2),
		ValidArgsFunction: completeKind(o),
		RunE: func(cmd *cobra.Command, args []string) error {
			if err := kindArg(args); err != nil {
				return err
			}
			return o.with(cmd.Context(), func(ctx context.Context, c *api.Client) error {
				d, obj, err := c.Describe(ctx, args[0], args[1])
				if err != nil {
					return err
				}
				v, err := describe(d, obj)
				if err != nil {
					return err
				}
				if o.output == "table" {
					return describeText(cmd.OutOrStdout(), v, obj)
				}
				return print(cmd.OutOrStdout(), o.output, v, nil)
			})
		},
	}
}

func describe(d *api.Description, obj model.Object) (description, error) {
	doc, err := model.EncodeJSON(obj)
	v := description{Object: doc, Uses: refs(d.GetUses()), UsedBy: refs(d.GetUsedBy()), Rules: map[string]uint64{}}
	for _, r := range d.GetRules() {
		v.Rules[r.GetHost()] = r.GetRules()
	}
	if d.GetHost() != nil {
		h := newHostRow(d.GetHost())
		v.Host = &h
	}
	for _, p := range d.GetPorts() {
		v.Ports = append(v.Ports, portRow{p.GetHost(), p.GetName(), p.GetUp(), p.GetDetail()})
	}
	return v, err
}

func refs(list []*api.ObjectRef) []string {
	all := []string{}
	for _, r := range list {
		all = append(all, strings.ToLower(r.GetKind())+" "+r.GetName())
	}
	return all
}

func describeText(w io.Writer, v description, obj model.Object) error {
	doc, err := model.EncodeYAML(obj)
	if err != nil {
		return err
	}
	fmt.Fprintf(w, "%s\n", doc)
	t := newTable(w)
	t.row("uses", strings.Join(v.Uses, ", "))
	t.row("used by", strings.Join(v.UsedBy, ", "))
	for _, host := range sortedKeys(v.Rules) {
		t.row("rules on "+host, v.Rules[host])
	}
	for _, p := range v.Ports {
		t.row("on "+p.Host, "up: "+yesNo(p.Up)+" "+p.Detail)
	}
	if v.Host != nil {
		t.row("connected", yesNo(v.Host.Connected)+" "+v.Host.Since)
		t.row("in step", yesNo(v.Host.InStep))
		t.row("last error", v.Host.LastError)
	}
	return t.flush()
}

func newHost(o *options) *cobra.Command {
	c := &cobra.Command{Use: "host", Short: "Hosts and their sessions", Example: "  batonctl host list"}
	c.AddCommand(&cobra.Command{
		Use:     "list",
		Short:   "Hosts: are they connected, in step, what do they run",
		Example: "  batonctl host list\n  batonctl host list -o json",
		Args:    cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			return o.with(cmd.Context(), func(ctx context.Context, c *api.Client) error {
				list, err := c.Hosts(ctx)
				if err != nil {
					return err
				}
				rows := []hostRow{}
				for _, h := range list {
					rows = append(rows, newHostRow(h))
				}
				return print(cmd.OutOrStdout(), o.output, rows, func(t *table) {
					t.row("HOST", "UNDERLAY", "MAC", "CONNECTED", "IN-STEP", "VERSION", "ENTRIES", "SENT", "SKIPPED", "REVISION", "LAST-ERROR")
					for _, h := range rows {
						t.row(h.Name, h.Underlay, h.MAC, yesNo(h.Connected), yesNo(h.InStep), h.Version, h.Entries, h.Sent, h.Skipped, h.Applied, h.LastError)
					}
				})
			})
		},
	})
	return c
}

// hostRow is a host as host list prints it.
type hostRow struct {
	Name      string `json:"name"`
	Underlay  string `json:"underlay"`
	MAC       string `json:"mac"`
	Connected bool   `json:"connected"`
	InStep    bool   `json:"in_step"` // all that it must have is applied, and its barrier answered
	Version   string `json:"version"`
	Since     string `json:"since,omitempty"`     // connected, or disconnected; RFC 3339
	LastSeen  string `json:"last_seen,omitempty"` // its last message; RFC 3339
	Entries   uint64 `json:"entries"`             // rules, bindings and neighbours that it must have
	Sent      uint64 `json:"entries_sent"`
	Skipped   uint64 `json:"entries_skipped"` // that it had already when it connected
	Applied   int64  `json:"revision_applied"`
	Wanted    int64  `json:"revision_wanted"`
	LastError string `json:"last_error,omitempty"`
}

func newHostRow(h *api.HostInfo) hostRow {
	return hostRow{
		Name: h.GetName(), Underlay: h.GetUnderlay(), MAC: h.GetMac(), Connected: h.GetConnected(), InStep: h.GetInStep(),
		Version: h.GetVersion(), Since: rfc3339(h.GetSinceMs()), LastSeen: rfc3339(h.GetLastSeenMs()), Entries: h.GetWanted(),
		Sent: h.GetEntriesSent(), Skipped: h.GetEntriesSkipped(), Applied: h.GetApplied(), Wanted: h.GetRevision(),
		LastError: h.GetLastError(),
	}
}

func rfc3339(ms int64) string {
	if ms == 0 {
		return ""
	}
	return api.Time(ms).UTC().Format(time.RFC3339)
}
