package main

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"

	"tideover/scripts/testenv"
)

// behind starts gunicorn under supervisord, reloaded by HUP, and a front-end before it.
func behind(front func(*testenv.Env, testenv.Backend) (*testenv.FrontEnd, error)) func(*contestant) error {
	return func(c *contestant) error {
		back, err := testenv.Address()
		if err != nil {
			return err
		}
		if err := c.supervise(gunicornAt(c.env, back)); err != nil {
			return err
		}
		f, err := front(c.env, testenv.Backend(back))
		if err == nil {
			c.address = f.Address
		}
		return err
	}
}

// nginx has one server and no queue: what it cannot connect to is a 502. fail_timeout=0 is what
// gunicorn's documentation says.
func nginx(e *testenv.Env, back testenv.Backend) (*testenv.FrontEnd, error) {
	return e.Nginx(back, testenv.ProxyConfig{Params: "fail_timeout=0"})
}

// haproxy connects again once a second, for 30 s.
func haproxy(e *testenv.Env, back testenv.Backend) (*testenv.FrontEnd, error) {
	return e.HAProxy(back, testenv.ProxyConfig{Extra: "retries 30\nretry-on conn-failure"})
}

// caddy connects again four times a second, for 30 s.
func caddy(e *testenv.Env, back testenv.Backend) (*testenv.FrontEnd, error) {
	return e.Caddy(back, testenv.ProxyConfig{Extra: "lb_try_duration 30s\nlb_try_interval 250ms"})
}

// passengerModule is where Debian's package puts it.
const passengerModule = "/usr/lib/apache2/modules/mod_passenger.so"

// passengerApp ends the body of a request at its Content-Length, which Passenger does not.
const passengerApp = `import io
from shop import app

def application(environ, start_response):
    source = environ["wsgi.input"]
    if "CONTENT_LENGTH" in environ:
        body = source.read(int(environ["CONTENT_LENGTH"] or 0))
    else:
        body = source.read() if "HTTP_TRANSFER_ENCODING" in environ else b""
    environ["wsgi.input"] = io.BytesIO(body)
    return app(environ, start_response)
`

// startPassenger is Apache with Passenger, which starts the app itself.
func startPassenger(c *contestant) error {
	root, err := passengerRoot()
	if err != nil {
		return err
	}
	const python = "/usr/bin/python3" // the app needs no package, and Passenger runs it as another user
	if err := os.WriteFile(filepath.Join(c.app.Dir, "passenger_wsgi.py"), []byte(passengerApp), 0o644); err != nil {
		return err
	}
	registry := c.env.Path("passenger")
	if err := os.Mkdir(registry, 0o755); err != nil {
		return err
	}
	site := fmt.Sprintf(`LoadModule passenger_module %s
PassengerRoot %s
PassengerPython %s
PassengerInstanceRegistryDir %s
PassengerDisableSecurityUpdateCheck on
PassengerDisableAnonymousTelemetry on
PassengerMaxRequestQueueSize 1000
PassengerMaxPoolSize %d
PassengerMinInstances %d
<VirtualHost *:80>
    ServerName shop.test
    DocumentRoot %s/public
    PassengerAppRoot %s
    PassengerAppType wsgi
    PassengerStartupFile passenger_wsgi.py
    <Directory %s>
        Require all granted
    </Directory>
</VirtualHost>`, passengerModule, root, python, registry, workers, workers, c.app.Dir, c.app.Dir, c.app.Dir)
	if err := os.Mkdir(filepath.Join(c.app.Dir, "public"), 0o755); err != nil {
		return err
	}
	f, err := c.env.Apache("127.0.0.1:8000", testenv.Apache{Site: site})
	if err != nil {
		return err
	}
	c.address = f.Address
	c.restart = c.command([]string{"PASSENGER_INSTANCE_REGISTRY_DIR=" + registry}, "passenger-config", "restart-app", "--ignore-app-not-running", c.app.Dir)
	c.crash = func() error { return c.killApp("passenger_wsgi") }
	return nil
}

// passengerRoot is the path that PassengerRoot needs.
func passengerRoot() (string, error) {
	out, err := exec.Command("passenger-config", "--root").Output()
	return strings.TrimSpace(string(out)), err
}
