package testenv

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

// FrontEnd is a running reverse proxy in front of an app.
type FrontEnd struct {
	*Process
	Address string
	Dir     string // of its configuration and its error.log
}

// Backend is the address of an app: "127.0.0.1:8000", or the path of a unix
// socket.
type Backend string

func (b Backend) unix() bool { return strings.HasPrefix(string(b), "/") }

// Apache configures an Apache. The zero value is MPM event with a plain ProxyPass
// without parameters.
//
// When all threads of a process of MPM event are busy, Apache closes idle client
// connections, also while the next request is being sent. A test would count
// that as a loss of tideover, so by default there is a thread for every held
// request. Slots that are set are divided into processes as Debian does.
type Apache struct {
	MPM      string // event or prefork
	Params   string // after the address in ProxyPass or BalancerMember
	Balancer string // parameters of ProxySet for a balancer with one member; empty: no balancer
	Slots    int    // MaxRequestWorkers; 0: 2000 with event, 150 with prefork
	Timeout  int    // seconds; 0: 300, as Debian
	Extra    string // further directives of the virtual host
	Site     string // a whole virtual host instead
	Event    string // the settings of MPM event instead
}

const apacheModules = "/usr/lib/apache2/modules"

// Apache starts an Apache in front of back.
func (e *Env) Apache(back Backend, a Apache) (*FrontEnd, error) {
	url := "http://" + string(back)
	if back.unix() {
		url = "unix:" + string(back) + "|http://localhost"
	}
	slots, threads, children := orElse(a.Slots, 150), 25, 2
	if a.MPM != "prefork" && a.Slots == 0 {
		slots, threads, children = 2000, 1000, 2
	}
	values := map[string]any{
		"MPM": orElse(a.MPM, "event"), "Params": a.Params, "Balancer": a.Balancer, "Extra": a.Extra, "Site": a.Site, "Event": a.Event,
		"Slots": slots, "Threads": threads, "Children": children,
		"Timeout": orElse(a.Timeout, 300), "Modules": apacheModules, "Back": url,
	}
	return e.frontEnd("apache.conf", values, func(config string) []string {
		return []string{"/usr/sbin/apache2", "-D", "FOREGROUND", "-f", config}
	})
}

// ProxyConfig is what a configuration of nginx, HAProxy or Caddy has besides the
// app's address.
type ProxyConfig struct {
	Params   string // after the server's address
	Upstream string // lines next to the server
	Extra    string // lines of the location, the defaults, the reverse_proxy
	Site     string // a whole configuration instead; its addresses are replaced
}

// Nginx starts an nginx in front of back.
func (e *Env) Nginx(back Backend, o ProxyConfig) (*FrontEnd, error) {
	return e.other("nginx.conf", back, "unix:", o, func(config string) []string {
		return []string{"/usr/sbin/nginx", "-p", filepath.Dir(config), "-e", filepath.Join(filepath.Dir(config), "error.log"), "-c", config}
	})
}

// HAProxy starts a HAProxy in front of back.
func (e *Env) HAProxy(back Backend, o ProxyConfig) (*FrontEnd, error) {
	return e.other("haproxy.cfg", back, "unix@", o, func(config string) []string {
		return []string{"/usr/sbin/haproxy", "-db", "-f", config}
	})
}

// Caddy starts a Caddy in front of back.
func (e *Env) Caddy(back Backend, o ProxyConfig) (*FrontEnd, error) {
	return e.other("Caddyfile", back, "unix/", o, func(config string) []string {
		return []string{"caddy", "run", "--adapter", "caddyfile", "--config", config}
	})
}

func (e *Env) other(name string, back Backend, unix string, o ProxyConfig, argv func(string) []string) (*FrontEnd, error) {
	address := string(back)
	if back.unix() {
		address = unix + address
	}
	return e.frontEnd(name, map[string]any{
		"Back": address, "Params": o.Params, "Upstream": o.Upstream, "Extra": o.Extra, "Site": o.Site,
	}, argv)
}

// frontEnd writes the configuration, starts the server and waits until it
// listens.
func (e *Env) frontEnd(name string, values map[string]any, argv func(string) []string) (*FrontEnd, error) {
	address, err := Address()
	if err != nil {
		return nil, err
	}
	short, _, _ := strings.Cut(strings.ToLower(name), ".")
	_, port, _ := net.SplitHostPort(address)
	short += "-" + port // an Env may have several
	f := &FrontEnd{Address: address, Dir: e.Path(short)}
	if _, err := e.Write("media/file.txt", "a static file\n"); err != nil {
		return nil, err
	}
	values["Dir"], values["Address"], values["Port"] = f.Dir, address, port
	values["Media"], values["AsRoot"] = e.Path("media"), os.Getuid() == 0
	if site, _ := values["Site"].(string); site != "" {
		values["Site"] = relocate(site, address, port, fmt.Sprint(values["Back"]), e.Path("media"))
	}
	t, err := template.ParseFS(conf, "conf/"+name)
	if err != nil {
		return nil, err
	}
	var text strings.Builder
	if err := t.Execute(&text, values); err != nil {
		return nil, err
	}
	path, err := e.Write(filepath.Join(short, name), text.String())
	if err != nil {
		return nil, err
	}
	f.Process, err = e.Start(Command{Name: short, Argv: argv(path), Env: []string{
		"PATH=" + os.Getenv("PATH") + ":/usr/sbin", "HOME=" + f.Dir, "XDG_DATA_HOME=" + f.Dir, "XDG_CONFIG_HOME=" + f.Dir,
	}})
	if err != nil {
		return nil, err
	}
	return f, f.waitListening(20 * time.Second)
}

// relocate replaces the addresses and paths of a published example by those of
// the Env.
func relocate(site, address, port, back, media string) string {
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

// waitListening waits until the front-end accepts connections.
func (f *FrontEnd) waitListening(timeout time.Duration) error {
	ctx, cancel := context.WithTimeout(context.Background(), timeout)
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

// Errors returns the error log of the front-end, or its output where it has
// none.
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
