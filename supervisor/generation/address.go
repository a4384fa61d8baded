package generation

import (
	"net"
	"net/netip"
	"strconv"

	"tideover/listener"
)

// hostOf is the Host that a client of the public address sends.
func hostOf(listen string) string {
	at, err := listener.Parse(listen)
	if err != nil || at.Network != "tcp" {
		return "localhost"
	}
	host, port, err := net.SplitHostPort(at.Address)
	if err != nil {
		return "localhost"
	}
	if ip, err := netip.ParseAddr(host); host == "" || err == nil && ip.IsUnspecified() {
		host = "localhost"
	}
	return net.JoinHostPort(host, port)
}

// loopback splits an address of the loopback interface.
func loopback(at listener.Address) (ip string, port int, ok bool) {
	host, p, err := net.SplitHostPort(at.Address)
	if err != nil {
		return "", 0, false
	}
	if host == "localhost" {
		host = "127.0.0.1"
	}
	addr, err := netip.ParseAddr(host)
	if err != nil || !addr.IsLoopback() {
		return "", 0, false
	}
	port, err = strconv.Atoi(p)
	return addr.String(), port, err == nil
}

// SameListener reports whether an open socket is the one that a bind of gunicorn
// asks for.
func SameListener(bind, network, address string) bool {
	want, err := listener.Parse(bind)
	if err != nil || want.Network != network && !(want.Network == "tcp" && network == "tcp6") {
		return false
	}
	if want.Network == "unix" {
		return want.Address == address
	}
	_, wantPort, err1 := net.SplitHostPort(want.Address)
	_, port, err2 := net.SplitHostPort(address)
	return err1 == nil && err2 == nil && wantPort == port
}
