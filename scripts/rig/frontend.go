package rig

import (
	"context"
	"embed"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"strings"
	"text/template"
	"time"
)

//go:embed conf
var conf embed.FS

// FrontEnd is a running web server in front of an app.
type FrontEnd struct {
	*Process
	Address string
	Dir     string // its configuration and its error.log
}

// Back is an app's address as front-ends write it: "127.0.0.1:8000", or the
// path of a unix socket.
type Back string

func (b Back) unix() bool { return strings.HasPrefix(string(b), "/") }

// Apache says how an Apache differs from the seed's: event, a plain ProxyPass
// with nothing behind its address.
//
// When all threads of an event Apache's process are busy, it closes its clients' idle
// connections, sometimes with the next request already on its way. That is
// Apache's own loss and would be taken for ours, so by default there are slots
// for all that is held. Slots that are given are shared out as Debian does.
type Apache struct {
	MPM      string // event or prefork
	Params   string // behind the address in ProxyPass, or in BalancerMember
	Balancer string // what ProxySet says about a balancer with one member
	Slots    int    // MaxRequestWorkers; 0: 2000 with event, 150 with prefork
	Timeout  int    // seconds; 0: 300, as Debian
	More     string // directives of the virtual host
	Site     string // instead of the seed's virtual host
}

const apacheModules = "/usr/lib/apache2/modules"

// Apache starts an Apache in front of back.
func (r *Room) Apache(back Back, a Apache) (*FrontEnd, error) {
	url := "http://" + string(back)
	if back.unix() {
		url = "unix:" + string(back) + "|http://localhost"
	}
	slots, threads, children := orElse(a.Slots, 150), 25, 2
	if a.MPM != "prefork" && a.Slots == 0 {
		slots, threads, children = 2000, 1000, 2
	}
	values := map[string]any{
		"MPM": orElse(a.MPM, "event"), "Params": a.Params, "Balancer": a.Balancer, "More": a.More, "Site": a.Site,
		"Slots": slots, "Threads": threads, "Children": children,
		"Timeout": orElse(a.Timeout, 300), "Modules": apacheModules, "Back": url,
	}
	return r.frontEnd("apache.conf", values, func(config string) []string {
		return []string{"/usr/sbin/apache2", "-D", "FOREGROUND", "-f", config}
	})
}

// Others says what nginx, HAProxy and Caddy write around the app's address.
type Others struct {
	Params   string // behind the server's address
	Upstream string // lines beside the server
	More     string // lines of the location, the defaults, the reverse_proxy
	Site     string // instead of all these; its own addresses are replaced
}

// Nginx starts an nginx in front of back.
func (r *Room) Nginx(back Back, o Others) (*FrontEnd, error) {
	return r.other("nginx.conf", back, "unix:", o, func(config string) []string {
		return []string{"/usr/sbin/nginx", "-p", filepath.Dir(config), "-e", filepath.Join(filepath.Dir(config), "error.log"), "-c", config}
	})
}

// HAProxy starts a HAProxy in front of back.
func (r *Room) HAProxy(back Back, o Others) (*FrontEnd, error) {
	return r.other("haproxy.cfg", back, "unix@", o, func(config string) []string {
		return []string{"/usr/sbin/haproxy", "-db", "-f", config}
	})
}

// Caddy starts a Caddy in front of back.
func (r *Room) Caddy(back Back, o Others) (*FrontEnd, error) {
	return r.other("Caddyfile", back, "unix/", o, func(config string) []string {
		return []string{"caddy", "run", "--adapter", "caddyfile", "--config", config}
	})
}

func (r *Room) other(name string, back Back, unix string, o Others, argv func(string) []string) (*FrontEnd, error) {
	address := string(back)
	if back.unix() {
		address = unix + address
	}
	return r.frontEnd(name, map[string]any{
		"Back": address, "Params": o.Params, "Upstream": o.Upstream, "More": o.More, "Site": o.Site,
	}, argv)
}

// frontEnd writes the configuration, starts the server and waits until it
// listens.
func (r *Room) frontEnd(name string, values map[string]any, argv func(string) []string) (*FrontEnd, error) {
	address, err := Address()
	if err != nil {
		return nil, err
	}
	short, _, _ := strings.Cut(strings.ToLower(name), ".")
	_, port, _ := net.SplitHostPort(address)
	short += "-" + port // a room may have several
	f := &FrontEnd{Address: address, Dir: r.Path(short)}
	if _, err := r.Write("media/file.txt", "a static file\n"); err != nil {
		return nil, err
	}
	values["Dir"], values["Address"], values["Port"] = f.Dir, address, port
	values["Media"], values["AsRoot"] = r.Path("media"), os.Getuid() == 0
	if site, _ := values["Site"].(string); site != "" {
		values["Site"] = moved(site, address, port, fmt.Sprint(values["Back"]), r.Path("media"))
	}
	t, err := template.ParseFS(conf, "conf/"+name)
	if err != nil {
		return nil, err
	}
	var text strings.Builder
	if err := t.Execute(&text, values); err != nil {
		return nil, err
	}
	path, err := r.Write(filepath.Join(short, name), text.String())
	if err != nil {
		return nil, err
	}
	f.Process, err = r.Start(Command{Name: short, Argv: argv(path), Env: []string{
		"PATH=" + os.Getenv("PATH") + ":/usr/sbin", "HOME=" + f.Dir, "XDG_DATA_HOME=" + f.Dir, "XDG_CONFIG_HOME=" + f.Dir,
	}})
	if err != nil {
		return nil, err
	}
	return f, f.listening(20 * time.Second)
}

// moved is an example's configuration with our addresses and paths instead of
// the ones that it is published with.
func moved(site, address, port, back, media string) string {
	back = strings.TrimPrefix(back, "http://")
	return strings.NewReplacer(
		"127.0.0.1:8000", back,
		"*:80>", address+">", // Apache
		"listen 80;", "listen "+address+";", // nginx
		"bind :80", "bind "+address, // HAProxy
		"shop.example.com {", "http://:"+port+" {\n\tbind 127.0.0.1", // Caddy
		"shop.example.com", "front.test",
		"/srv/shop/media", media,
	).Replace(site)
}

func (f *FrontEnd) listening(patience time.Duration) error {
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	return Poll(ctx, 20*time.Millisecond, func() error {
		select {
		case <-f.Exited():
			cancel()
			return fmt.Errorf("%s ended with %d:\n%s", f.Name, f.Code(), f.Tail(20))
		default:
		}
		conn, err := net.Dial("tcp", f.Address)
		if err == nil {
			conn.Close()
		}
		return err
	})
}

// Errors is what the front-end wrote into its error log.
func (f *FrontEnd) Errors() string {
	text, err := os.ReadFile(filepath.Join(f.Dir, "error.log"))
	if err != nil {
		return f.Tail(50)
	}
	return string(text)
}

func orElse[T comparable](value, otherwise T) T {
	var zero T
	if value == zero {
		return otherwise
	}
	return value
}
