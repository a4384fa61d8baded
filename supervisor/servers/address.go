package servers

import (
	"errors"
	"fmt"
	"net"
	"net/netip"
	"strconv"
	"strings"

	"tideover/supervisor/lazyregexp"
)

// addresses returns where the server listens, in the spelling of package listener.
func (s *server) addresses(n named) ([]string, error) {
	if text := n.last(descriptor); text != "" {
		return nil, fmt.Errorf("%s is told to serve on descriptor %s, which it will not have", s.name, text)
	}
	var all []string
	for _, text := range n.values[endpoint] {
		a, err := endpointAddress(text)
		if err != nil {
			return nil, err
		}
		all = append(all, a)
	}
	for _, text := range append(n.values[bind], strings.Fields(strings.Join(n.values[listen], " "))...) {
		a, err := s.bindAddress(text, n.flags[ipv6])
		if err != nil {
			return nil, err
		}
		all = append(all, a)
	}
	path := n.last(uds)
	if path != "" {
		all = append(all, "unix:"+path)
	}
	if len(n.values[host])+len(n.values[port]) > 0 && (path == "" || s.name == "daphne") { // the others prefer the unix socket

		a, err := s.hostAddress(n)
		if err != nil {
			return nil, err
		}
		all = append(all, a)
	}
	if len(all) == 0 {
		all = []string{s.address}
		if n.flags[ipv6] != "" {
			all = []string{net.JoinHostPort(n.flags[ipv6], s.port)}
		}
	}
	return all, nil
}

// hostAddress returns the address of the options host and port.
func (s *server) hostAddress(n named) (string, error) {
	own, _, _ := net.SplitHostPort(s.address)
	if len(n.values[host]) > 0 {
		own = n.last(host)
	}
	if path, ok := strings.CutPrefix(own, "unix://"); ok && s.unix != nil {
		return "unix:" + path, nil
	}
	number := s.port
	if len(n.values[port]) > 0 {
		number = n.last(port)
	}
	return join(own, number)
}

// bindAddress returns the address of hypercorn's --bind, waitress's --listen or runserver's
// argument. ip is the host where only a port is given; empty: the server's own.
func (s *server) bindAddress(text, ip string) (string, error) {
	if path, ok := strings.CutPrefix(text, "unix:"); ok {
		return "unix:" + path, nil
	}
	if strings.HasPrefix(text, "fd://") {
		return "", fmt.Errorf("%s is told to serve on %s, which it will not have", s.name, text)
	}
	own, _, _ := net.SplitHostPort(s.address)
	if ip != "" {
		own = ip
	}
	at := strings.LastIndexByte(text, ':')
	inBrackets := strings.HasPrefix(text, "[") && at < strings.IndexByte(text, ']')
	switch {
	case s.name == "runserver" && at < 0:
		return join(own, text)
	case at < 0 || inBrackets || strings.Count(text, ":") > 1 && text[0] != '[':
		return join(text, s.port)
	case at == 0:
		return join("0.0.0.0", text[1:])
	}
	return join(text[:at], text[at+1:])
}

// endpointAddress returns the address of an endpoint of Twisted, such as
// tcp:port=8000:interface=0.0.0.0 or unix:/run/shop.sock.
func endpointAddress(text string) (string, error) {
	fields := strings.Split(strings.ReplaceAll(text, `\:`, "\x00"), ":")
	values := map[string]string{}
	for i, f := range fields[1:] {
		f = strings.ReplaceAll(f, "\x00", ":")
		name, v, ok := strings.Cut(f, "=")
		switch {
		case ok:
			values[name] = v
		case i == 0:
			values["port"], values["address"] = f, f
		}
	}
	switch fields[0] {
	case "tcp", "tcp4":
		return join(values["interface"], values["port"])
	case "unix":
		return "unix:" + values["address"], nil
	}
	return "", fmt.Errorf("the endpoint %s cannot be taken over", text)
}

// join returns host:port. An empty host, and "*", mean every interface of IPv4.
func join(host, port string) (string, error) {
	number, err := strconv.ParseUint(port, 10, 16)
	if err != nil {
		return "", fmt.Errorf("the port %q is not a number from 1 to 65535", port)
	}
	if number == 0 {
		return "", errors.New("port 0 lets the kernel choose one, which no client knows")
	}
	switch host = strings.Trim(host, "[]"); host {
	case "", "*", "0":
		host = "0.0.0.0"
	}
	if ip, err := netip.ParseAddr(host); err == nil {
		host = ip.String()
	}
	return net.JoinHostPort(strings.ToLower(host), strconv.FormatUint(number, 10)), nil
}

// addressArgument is Django's pattern of runserver's argument.
var addressArgument = lazyregexp.New(`^((\d{1,3}(\.\d{1,3}){3}|\[[a-fA-F0-9:]+\]|[a-zA-Z0-9-]+(\.[a-zA-Z0-9-]+)*):)?\d+$`)

// addrPort reports whether a word is the argument of runserver.
func addrPort(word string) (string, bool) {
	return word, addressArgument.MatchString(word)
}
