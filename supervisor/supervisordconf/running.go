package supervisordconf

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"time"
)

// Program is a section of programs and the app that Import makes of it. A section is several
// Programs if Import makes several apps of it.
type Program struct {
	Section   string        // "program:shop"
	App       string        // the name that Import gives the app
	Processes []string      // as supervisord names them: "shop", or GROUP:PROCESS
	StopWait  time.Duration // stopwaitsecs: then supervisord sends SIGKILL
}

// Server is where the commands of supervisorctl go.
type Server struct {
	Network, Address   string // "unix" and a path, or "tcp" and host:port
	Username, Password string
}

// Programs returns the programs of a supervisord.conf and the address of its server. The error is
// as that of Import.
func Programs(path string, o Options) ([]Program, Server, error) {
	im, err := convert(path, o)
	if err != nil {
		return nil, Server{}, err
	}
	var all []Program
	for _, p := range im.programs {
		wait := time.Duration(p.getInt("stopwaitsecs", 10)) * time.Second
		all = append(all, Program{Section: p.section.name, App: p.app, Processes: p.processNames(), StopWait: wait})
	}
	server, err := im.server()
	return all, server, err
}

// processNames returns the processes of the app as supervisord names them.
func (p *program) processNames() (all []string) {
	last := p.number
	if !p.split {
		last += p.count - 1
	}
	for number := p.number; number <= last; number++ {
		q := *p
		q.number = number
		q.setValues()
		name, _, ok := q.get("process_name")
		if !ok {
			name = p.name
		}
		if group := q.values["group_name"]; group != name {
			name = fmt.Sprintf("%s:%s", group, name)
		}
		all = append(all, name)
	}
	return all
}

// server returns the address of [unix_http_server], or else that of [inet_http_server].
func (im *importer) server() (Server, error) {
	for _, kind := range []struct{ section, option, network string }{
		{"unix_http_server", "file", "unix"}, {"inet_http_server", "port", "tcp"},
	} {
		s, ok := im.ini.section(kind.section)
		if !ok {
			continue
		}
		o, ok := im.ini.option(s, kind.option)
		if !ok {
			continue
		}
		address, ok := im.expand(o, nil)
		if !ok {
			continue
		}
		server := Server{Network: kind.network, Address: address}
		if kind.network == "tcp" {
			server.Address = localAddress(address)
		}
		for name, to := range map[string]*string{"username": &server.Username, "password": &server.Password} {
			if o, ok := im.ini.option(s, name); ok {
				*to, _ = im.expand(o, nil)
			}
		}
		return server, nil
	}
	return Server{}, fmt.Errorf("%s has no [unix_http_server] and no [inet_http_server]: supervisord cannot be asked", im.path)
}

// localAddress returns the address by which this machine reaches a server: "*:9001", ":9001" and
// "9001" listen on every interface.
func localAddress(port string) string {
	host, number := "", port
	if i := strings.LastIndexByte(port, ':'); i >= 0 {
		host, number = port[:i], port[i+1:]
	}
	if host == "" || host == "*" {
		host = "localhost"
	}
	return host + ":" + number
}

// Client is what [supervisorctl] says.
type Client struct {
	URL, Username, Password, Prompt string
}

// ReadClient reads the [supervisorctl] section of a supervisord.conf as supervisorctl does: without the
// included files.
func ReadClient(path string, o Options) (Client, error) {
	c := Client{URL: "http://localhost:9001", Prompt: "supervisor"}
	full, err := filepath.Abs(path)
	if err != nil {
		return c, err
	}
	if _, err := os.Stat(full); err != nil {
		return c, fmt.Errorf("could not find config file %s", path)
	}
	im := newImporter(full, o)
	im.read(full)
	s, ok := im.ini.section("supervisorctl")
	switch {
	case len(im.problems) > 0:
		return c, fmt.Errorf("could not read config file %s: %s", path, im.problems[0].Message)
	case !ok:
		return c, errors.New(".ini file does not include supervisorctl section")
	}
	for name, to := range map[string]*string{"serverurl": &c.URL, "username": &c.Username, "password": &c.Password, "prompt": &c.Prompt} {
		if o, ok := im.ini.option(s, name); ok {
			*to, _ = im.expand(o, nil)
		}
	}
	if len(im.problems) > 0 {
		return c, fmt.Errorf("could not read config file %s: %s", path, im.problems[0].Message)
	}
	if socket, ok := strings.CutPrefix(c.URL, "unix://"); ok {
		c.URL = "unix://" + absolute(filepath.Dir(full), socket)
	}
	return c, nil
}
