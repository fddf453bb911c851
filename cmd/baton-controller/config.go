package main

import (
	"errors"
	"fmt"
	"net/url"
	"time"

	"baton/config"
	"baton/controlplane/openflow"
)

// settings are baton-controller's configuration keys. The tags are their documentation.
type settings struct {
	API struct {
		Socket string `yaml:"socket" default:"/run/baton/controller.sock" doc:"Unix socket of the management API (batonctl), mode 0660. Empty: none."`
		Listen string `yaml:"listen" doc:"HOST:PORT of the management API as well. Beyond this machine it needs the tls keys."`
	} `yaml:"api"`
	OpenFlow struct {
		Socket       string        `yaml:"socket" doc:"Unix socket for hosts on this machine, mode 0660. Empty: none."`
		Listen       string        `yaml:"listen" default:"127.0.0.1:6640" doc:"HOST:PORT for the hosts. Beyond this machine it needs the tls keys. Empty: none."`
		EchoInterval time.Duration `yaml:"echo_interval" default:"5s" range:"100ms..1m" doc:"How often each host is asked for a sign of life."`
		EchoTimeout  time.Duration `yaml:"echo_timeout" default:"15s" range:"300ms..10m" doc:"How long a host may be silent until its session is closed. The host goes on forwarding."`
	} `yaml:"openflow"`
	TLS struct {
		CA       string `yaml:"ca" doc:"File with the authority that signed the hosts' and clients' certificates. Each host's certificate must have the host's name."`
		Cert     string `yaml:"cert" doc:"File with this controller's certificate."`
		Key      string `yaml:"key" doc:"File with the certificate's key."`
		Insecure bool   `yaml:"insecure" default:"false" doc:"Listen beyond this machine without TLS: anyone who can reach the ports then rules the network. For labs."`
	} `yaml:"tls"`
	Etcd struct {
		Endpoints []string      `yaml:"endpoints" doc:"URLs of an etcd cluster. None: run an embedded etcd in data_dir."`
		DataDir   string        `yaml:"data_dir" default:"/var/lib/baton/etcd" doc:"Folder of the embedded etcd's data."`
		Listen    string        `yaml:"listen" doc:"HOST:PORT where the embedded etcd serves others too, without TLS: on localhost only. Empty: a unix socket in data_dir."`
		Prefix    string        `yaml:"prefix" default:"/baton/v1" doc:"What all keys begin with."`
		Timeout   time.Duration `yaml:"timeout" default:"5s" range:"100ms..1m" doc:"Of one request to etcd."`
		StatusTTL time.Duration `yaml:"status_ttl" default:"10s" range:"2s..10m" doc:"How long a host is shown as connected after its controller died."`
		CA        string        `yaml:"ca" doc:"File with the authority that signed etcd's certificate."`
		Cert      string        `yaml:"cert" doc:"File with this controller's certificate for etcd."`
		Key       string        `yaml:"key" doc:"File with that certificate's key."`
	} `yaml:"etcd"`
	Metrics struct {
		Listen string `yaml:"listen" doc:"HOST:PORT that serves /metrics for Prometheus, over HTTP. Empty: none."`
	} `yaml:"metrics"`
	Log struct {
		Level string `yaml:"level" default:"info" range:"trace|debug|info|warn|error|off" doc:"What to log. SIGUSR1 switches between debug and this; the API changes it at run time, part by part."`
		JSON  bool   `yaml:"json" default:"false" doc:"Log lines as JSON."`
	} `yaml:"log"`
}

// load reads and checks the configuration. Errors name the file, the line and the key.
func load(path string, overrides map[string]string) (*settings, error) {
	s := &settings{}
	if err := config.Load(path, overrides, s); err != nil {
		return nil, err
	}
	return s, s.check()
}

// check holds the keys against each other.
func (s *settings) check() error {
	var errs []error
	bad := func(format string, args ...any) { errs = append(errs, fmt.Errorf(format, args...)) }
	if s.API.Socket == "" && s.API.Listen == "" {
		bad("api: neither socket nor listen is set: nobody could give this controller a network")
	}
	if s.OpenFlow.Socket == "" && s.OpenFlow.Listen == "" {
		bad("openflow: neither socket nor listen is set: no host could connect")
	}
	s.checkListeners(bad)
	if n := set(s.TLS.CA, s.TLS.Cert, s.TLS.Key); n != 0 && n != 3 {
		bad("tls: ca, cert and key belong together: set all three or none")
	}
	if set(s.Etcd.Cert, s.Etcd.Key) == 1 {
		bad("etcd: cert and key belong together: set both or none")
	}
	if s.OpenFlow.EchoTimeout <= s.OpenFlow.EchoInterval {
		bad("openflow.echo_timeout: %v is not longer than echo_interval, %v: hosts would be cut off between two echoes", s.OpenFlow.EchoTimeout, s.OpenFlow.EchoInterval)
	}
	if e, err := openflow.ParseEndpoint(s.Etcd.Listen); s.Etcd.Listen != "" && (err != nil || !e.Local() || e.Network != "tcp") {
		bad("etcd.listen: %q is no address of this machine alone, such as 127.0.0.1:2379: the embedded etcd has neither TLS nor passwords; use a cluster (etcd.endpoints)", s.Etcd.Listen)
	}
	for _, e := range s.Etcd.Endpoints {
		if u, err := url.Parse(e); err != nil || u.Host == "" && u.Scheme != "unix" {
			bad("etcd.endpoints: %q is no URL such as https://etcd1:2379", e)
		}
	}
	if len(s.Etcd.Endpoints) == 0 && s.Etcd.DataDir == "" {
		bad("etcd: neither endpoints nor data_dir is set: name a cluster, or a folder for the embedded etcd")
	}
	return errors.Join(errs...)
}

func (s *settings) checkListeners(bad func(string, ...any)) {
	for _, l := range []struct{ key, value string }{
		{"api.listen", s.API.Listen}, {"openflow.listen", s.OpenFlow.Listen}, {"metrics.listen", s.Metrics.Listen},
	} {
		if l.value == "" {
			continue
		}
		e, err := openflow.ParseEndpoint(l.value)
		if err != nil || e.Network != "tcp" {
			bad("%s: %q is not HOST:PORT", l.key, l.value)
			continue
		}
		if l.key != "metrics.listen" && !e.Local() && !s.TLS.Insecure && set(s.TLS.CA, s.TLS.Cert, s.TLS.Key) == 0 {
			bad("%s: %s can be reached from other machines, and there is no TLS: set tls.ca, tls.cert and tls.key, or write tls.insecure: true", l.key, l.value)
		}
	}
	for _, l := range []struct{ key, value string }{{"api.socket", s.API.Socket}, {"openflow.socket", s.OpenFlow.Socket}} {
		if len(l.value) > 107 {
			bad("%s: %q is longer than the 107 bytes that a socket's path may have", l.key, l.value)
		}
	}
}

// set counts the texts that are not empty.
func set(texts ...string) (n int) {
	for _, t := range texts {
		if t != "" {
			n++
		}
	}
	return n
}

func (s *settings) tlsFiles() openflow.TLSFiles {
	return openflow.TLSFiles{CA: s.TLS.CA, Cert: s.TLS.Cert, Key: s.TLS.Key}
}
