package main

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"baton/cmd/internal/cli"
	"baton/controlplane/api"
	"baton/controlplane/model"
	"baton/controlplane/openflow"
)

// dial makes a client of the controller.
func (o *options) dial() (*api.Client, error) {
	c, err := o.tls.load()
	if err != nil {
		return nil, err
	}
	e, err := openflow.ParseEndpoint(o.server)
	if err != nil {
		return nil, cli.Usagef("--server: %w", err)
	}
	if c == nil && !e.Local() {
		return nil, cli.Usagef("--server %s: not on this machine, so TLS is needed: give --tls-ca, --tls-cert and --tls-key", e)
	}
	return api.Dial(o.server, c)
}

// load reads the files; nil if none is named.
func (f tlsFiles) load() (*tls.Config, error) {
	if f == (tlsFiles{}) {
		return nil, nil
	}
	if f.ca == "" || f.cert == "" || f.key == "" {
		return nil, cli.Usagef("--tls-ca, --tls-cert and --tls-key belong together")
	}
	cert, err := tls.LoadX509KeyPair(f.cert, f.key)
	if err != nil {
		return nil, fmt.Errorf("certificate %s with key %s: %w", f.cert, f.key, err)
	}
	pem, err := os.ReadFile(f.ca)
	if err != nil {
		return nil, fmt.Errorf("authority: %w", err)
	}
	pool := x509.NewCertPool()
	if !pool.AppendCertsFromPEM(pem) {
		return nil, fmt.Errorf("authority %s: no certificate in it", f.ca)
	}
	// A controller that does not know our authority would get no certificate by
	// default, and say that there is none instead of what is wrong with it.
	show := func(*tls.CertificateRequestInfo) (*tls.Certificate, error) { return &cert, nil }
	return &tls.Config{GetClientCertificate: show, RootCAs: pool, MinVersion: tls.VersionTLS13}, nil
}

// with runs fn with a client of the controller.
func (o *options) with(ctx context.Context, fn func(context.Context, *api.Client) error) error {
	c, err := o.dial()
	if err != nil {
		return err
	}
	defer c.Close()
	return fn(ctx, c)
}

type applied struct {
	Revision  int64    `json:"revision"`
	DryRun    bool     `json:"dry_run"`
	Created   []string `json:"created"`
	Updated   []string `json:"updated"`
	Unchanged []string `json:"unchanged"`
	Hosts     []string `json:"hosts,omitempty"` // that have it, with --wait
}

func newApply(o *options) *cobra.Command {
	var (
		files  []string
		dryRun bool
		w      waiting
	)
	c := &cobra.Command{
		Use:   "apply -f FILE...",
		Short: "Make what files of YAML documents say: all of it, or nothing",
		Example: "  batonctl apply -f network.yaml\n  batonctl apply -f hosts.yaml -f tenants/ --dry-run\n" +
			"  generate | batonctl apply -f - --wait",
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if len(files) == 0 {
				return cli.Usagef("no file given: name one with -f FILE, or - for standard input")
			}
			docs, err := readFiles(cmd.InOrStdin(), files, maxFiles)
			if err != nil {
				return err
			}
			return o.with(cmd.Context(), func(ctx context.Context, c *api.Client) error {
				r, err := c.Apply(ctx, docs, dryRun)
				if err != nil {
					return err
				}
				a := applied{Revision: r.Revision, DryRun: dryRun, Created: names(r.Created), Updated: names(r.Updated), Unchanged: names(r.Unchanged)}
				if !dryRun {
					if a.Hosts, err = w.until(ctx, c, r.Revision); err != nil {
						return err
					}
				}
				return print(cmd.OutOrStdout(), o.output, a, func(t *table) { fillApplied(t, a) })
			})
		},
	}
	c.Flags().StringSliceVarP(&files, "file", "f", nil, "file or folder of YAML documents, - for standard input; may be given again")
	c.Flags().BoolVar(&dryRun, "dry-run", false, "check, and say what would change, but change nothing")
	w.flags(c)
	return c
}

func fillApplied(t *table, a applied) {
	would := ""
	if a.DryRun {
		would = "would be "
	}
	for _, part := range []struct {
		what string
		refs []string
	}{{"created", a.Created}, {"updated", a.Updated}} {
		for _, r := range part.refs {
			t.row(r, would+part.what)
		}
	}
	for _, r := range a.Unchanged {
		t.row(r, "unchanged")
	}
	t.hosts(a.Hosts)
}

func names(refs []model.Ref) []string {
	all := []string{}
	for _, r := range refs {
		all = append(all, r.String())
	}
	return all
}

// maxFiles bounds what one apply sends, bytes.
const maxFiles = api.MaxDocuments

// tooMuch is the error for files that are more than one apply takes.
func tooMuch(name string, size, limit int) error {
	return fmt.Errorf("file %s: %d MiB with those before it; one apply takes at most %d MiB: apply the network in parts", name, size>>20, limit>>20)
}

// readFiles reads files, the .yaml, .yml and .json files of folders, and standard
// input: limit bytes in all.
func readFiles(stdin io.Reader, paths []string, limit int) ([]*api.File, error) {
	var all []*api.File
	size := 0
	for _, path := range paths {
		if path == "-" {
			data, err := io.ReadAll(io.LimitReader(stdin, int64(limit)+1))
			if err != nil {
				return nil, fmt.Errorf("standard input: %w", err)
			}
			if size += len(data); size > limit {
				return nil, tooMuch("standard input", size, limit)
			}
			all = append(all, &api.File{Name: "standard input", Data: data})
			continue
		}
		list, err := expand(path)
		if err != nil {
			return nil, err
		}
		for _, name := range list {
			data, err := os.ReadFile(name)
			if err != nil {
				return nil, fileError(name, err)
			}
			if size += len(data); size > limit {
				return nil, tooMuch(name, size, limit)
			}
			all = append(all, &api.File{Name: name, Data: data})
		}
	}
	return all, nil
}

// fileError is err with the file's name in front and the system call left out.
func fileError(name string, err error) error {
	if inner := errors.Unwrap(err); inner != nil {
		err = inner
	}
	return fmt.Errorf("file %s: %w", name, err)
}

func expand(path string) ([]string, error) {
	info, err := os.Stat(path)
	if err != nil {
		return nil, fileError(path, err)
	}
	if !info.IsDir() {
		return []string{path}, nil
	}
	entries, err := os.ReadDir(path)
	if err != nil {
		return nil, fileError(path, err)
	}
	var list []string
	for _, e := range entries {
		for _, end := range []string{".yaml", ".yml", ".json"} {
			if !e.IsDir() && strings.HasSuffix(e.Name(), end) {
				list = append(list, strings.TrimSuffix(path, "/")+"/"+e.Name())
			}
		}
	}
	if len(list) == 0 {
		return nil, fmt.Errorf("folder %s: no .yaml, .yml or .json file in it", path)
	}
	return list, nil
}

// kindArg checks the first argument and completes it.
func kindArg(args []string) error {
	if _, ok := model.ParseKind(args[0]); !ok {
		return cli.Usagef("no such kind: %s: want one of %s", args[0], kindNames())
	}
	return nil
}

func kindNames() string {
	var all []string
	for _, k := range model.Kinds() {
		all = append(all, strings.ToLower(string(k)))
	}
	return strings.Join(all, ", ")
}

func completeKind(o *options) func(*cobra.Command, []string, string) ([]string, cobra.ShellCompDirective) {
	return func(cmd *cobra.Command, args []string, _ string) (all []string, _ cobra.ShellCompDirective) {
		switch len(args) {
		case 0:
			return strings.Split(kindNames(), ", "), cobra.ShellCompDirectiveNoFileComp
		case 1:
			o.with(cmd.Context(), func(ctx context.Context, c *api.Client) error {
				objects, err := c.Get(ctx, args[0], "")
				for _, obj := range objects {
					all = append(all, obj.Ref().Name)
				}
				return err
			})
		}
		return all, cobra.ShellCompDirectiveNoFileComp
	}
}

// deleted is what delete prints.
type deleted struct {
	Revision int64    `json:"revision"`
	Deleted  []string `json:"deleted"`
	Hosts    []string `json:"hosts,omitempty"` // that have it, with --wait
}

func newDelete(o *options) *cobra.Command {
	var w waiting
	c := &cobra.Command{
		Use:               "delete KIND NAME...",
		Short:             "Remove objects that nothing else refers to: all of them, or none",
		Example:           "  batonctl delete port vm1 --wait\n  batonctl delete switch blue green",
		Args:              cobra.MinimumNArgs(2),
		ValidArgsFunction: completeKind(o),
		RunE: func(cmd *cobra.Command, args []string) error {
			if err := kindArg(args); err != nil {
				return err
			}
			kind, _ := model.ParseKind(args[0])
			var refs []model.Ref
			for _, name := range args[1:] {
				refs = append(refs, model.Ref{Kind: kind, Name: name})
			}
			return o.with(cmd.Context(), func(ctx context.Context, c *api.Client) error {
				revision, err := c.Delete(ctx, refs...)
				if err != nil {
					return err
				}
				v := deleted{Revision: revision, Deleted: names(refs)}
				if v.Hosts, err = w.until(ctx, c, revision); err != nil {
					return err
				}
				return print(cmd.OutOrStdout(), o.output, v, func(t *table) {
					for _, r := range v.Deleted {
						t.row(r, "deleted")
					}
					t.hosts(v.Hosts)
				})
			})
		},
	}
	w.flags(c)
	return c
}

// waiting are the flags --wait and --timeout.
type waiting struct {
	wait    bool
	timeout time.Duration
}

func (w *waiting) flags(c *cobra.Command) {
	c.Flags().BoolVar(&w.wait, "wait", false, "return when all connected hosts forward by it")
	c.Flags().DurationVar(&w.timeout, "timeout", 30*time.Second, "how long --wait waits")
}

// until waits, if asked to, until the hosts have a revision, and names them.
func (w *waiting) until(ctx context.Context, c *api.Client, revision int64) ([]string, error) {
	if !w.wait {
		return nil, nil
	}
	ctx, cancel := context.WithTimeout(ctx, w.timeout)
	defer cancel()
	hosts, err := c.WaitConverged(ctx, revision)
	if err != nil {
		return nil, fmt.Errorf("stored at revision %d, but not all hosts have it: %w", revision, err)
	}
	return hosts, nil
}

// hosts adds the hosts that have a change, if any.
func (t *table) hosts(names []string) {
	if len(names) > 0 {
		t.row("hosts", "in step: "+strings.Join(names, ", "))
	}
}
