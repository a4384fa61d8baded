package gunicorn

import (
	"errors"
	"fmt"
	"path/filepath"
	"strconv"
	"strings"
)

// Bind is the addresses that gunicorn would bind by itself, in the spelling of
// package listener.
type Bind struct {
	Addresses []string
	From      string // one of the constants below
}

// Where a bind or a configuration file is named.
const (
	FromCommandLine = "command line"
	FromEnvironment = "GUNICORN_CMD_ARGS"
	FromPort        = "PORT"
	FromDefault     = "default"
	FromGunicorn    = "gunicorn" // reported by gunicorn, from its configuration file or default
)

// defaultBind is gunicorn's, where nothing is known of another one.
var defaultBind = Bind{Addresses: []string{"127.0.0.1:8000"}, From: FromDefault}

// isRelative reports whether an address is a unix path that depends on gunicorn's directory.
func isRelative(address string) bool {
	p, ok := strings.CutPrefix(address, "unix:")
	return ok && !filepath.IsAbs(p)
}

func (c *Command) readBind(args, envArgs parsedArgs, env func(string) string) error {
	var written []string
	switch {
	case len(args.values["bind"]) > 0:
		written, c.Bind.From = args.values["bind"], FromCommandLine
	case len(envArgs.values["bind"]) > 0:
		written, c.Bind.From = envArgs.values["bind"], FromEnvironment
	case env("PORT") != "":
		written, c.Bind.From = []string{"0.0.0.0:" + env("PORT")}, FromPort
	default:
		written, c.Bind.From = []string{"127.0.0.1:8000"}, FromDefault
	}
	var errs []error
	for _, w := range written {
		address, err := parseAddress(w)
		if err != nil {
			errs = append(errs, err)
			continue
		}
		c.Bind.Addresses = append(c.Bind.Addresses, address)
	}
	return errors.Join(errs...)
}

// parseAddress reads one bind as gunicorn's util.parse_address does, and returns
// it in the spelling of package listener. A unix path may be relative to
// gunicorn's directory. An fd:// bind is returned as it is; Validate refuses it.
func parseAddress(bind string) (string, error) {
	bind = strings.TrimSpace(bind)
	if rest, ok := strings.CutPrefix(bind, "unix:"); ok {
		return "unix:" + strings.TrimPrefix(rest, "//"), nil
	}
	if strings.HasPrefix(bind, "fd://") {
		return bind, nil
	}
	host, port := strings.TrimPrefix(bind, "tcp://"), "8000"
	switch {
	case strings.HasPrefix(host, "[") && strings.Contains(host, "]"):
		inside, after, _ := strings.Cut(host, "]")
		host = inside[1:]
		if p, ok := strings.CutPrefix(after, ":"); ok {
			port = p
		}
	case strings.Contains(host, ":"):
		parts := strings.Split(host, ":")
		if host, port = parts[0], parts[1]; len(parts) > 2 {
			return "", fmt.Errorf("gunicorn cannot read the address %q: write an IPv6 address in brackets, [::1]:8000", bind)
		}
	}
	number, err := strconv.Atoi(port)
	if err != nil || number < 1 || number > 65535 {
		return "", fmt.Errorf("the address %q has no valid port: write HOST:PORT with a port from 1 to 65535", bind)
	}
	if n, err := strconv.Atoi(host); err == nil && n > 0 && n <= 65535 {
		return "", fmt.Errorf("gunicorn takes the address %q for the name of a host: write \":%s\" for a port", bind, host)
	}
	if ip, ok := inetAton(host); ok {
		host = ip
	}
	switch {
	case strings.Contains(host, ":"):
		host = "[" + host + "]"
	case host == "":
		host = "0.0.0.0" // gunicorn binds IPv4 only
	}
	return strings.ToLower(host) + ":" + strconv.Itoa(number), nil
}

// inetAton reads an IPv4 address in the short forms that bind(2) gets from Python through
// inet_aton(3): "0", "127.1", "0x7f000001", "0177.0.0.1".
func inetAton(host string) (string, bool) {
	parts := strings.Split(host, ".")
	if len(parts) > 4 {
		return "", false
	}
	var ip uint64
	for i, part := range parts {
		if lower := strings.ToLower(part); strings.HasPrefix(lower, "0b") || strings.HasPrefix(lower, "0o") || strings.Contains(part, "_") {
			return "", false // of Go's spellings only
		}
		n, err := strconv.ParseUint(part, 0, 64)
		bits := 8
		if i == len(parts)-1 {
			bits = 8 * (5 - len(parts))
		}
		if err != nil || n >= 1<<bits {
			return "", false
		}
		ip = ip<<bits | n
	}
	return fmt.Sprintf("%d.%d.%d.%d", ip>>24, ip>>16&255, ip>>8&255, ip&255), true
}

// Addresses returns the bind with absolute unix paths. directory is the one in
// which the command is run.
func (s Settings) Addresses(directory string) []string {
	var all []string
	for _, a := range s.Bind.Addresses {
		if p, ok := strings.CutPrefix(a, "unix:"); ok && !filepath.IsAbs(p) {
			chdir := s.Chdir
			if !filepath.IsAbs(chdir) {
				chdir = filepath.Join(directory, chdir)
			}
			a = "unix:" + filepath.Join(chdir, p)
		}
		all = append(all, a)
	}
	return all
}

// NeedsQuery reports whether only gunicorn itself can tell what it binds, because
// its configuration file may name another address.
func (s Settings) NeedsQuery() bool {
	return s.Bind.From != FromCommandLine && s.Bind.From != FromEnvironment
}
