package supervisordconf

import (
	"fmt"
	"path/filepath"
	"strings"

	"tideover/supervisor/config"
)

// PasswordFile is the name of the file, beside the result, in which its supervisor_password_file is.
const PasswordFile = "supervisor.password"

// serverOptions are those of [unix_http_server] and [inet_http_server].
var serverOptions = map[string][]string{
	"unix_http_server": {"file", "chmod", "chown", "username", "password"},
	"inet_http_server": {"port", "username", "password"},
}

// credentials are a user name and a password of a server; empty: none.
type credentials struct{ user, password string }

// convertServers converts the addresses of supervisorctl and other clients. What is given to a group of
// the socket is also the group of tideover's own.
func (im *importer) convertServers() {
	_, unix := im.convertServer("unix_http_server")
	_, inet := im.convertServer("inet_http_server")
	used := inet
	if used.user == "" {
		used = unix
	}
	if used.user == "" {
		return
	}
	im.password = used.password
	im.daemon.set("supervisor_user", tomlString(used.user), "")
	im.daemon.set("supervisor_password_file", tomlString(PasswordFile), "the password alone, or {SHA} and its digits; not for other users to read")
	if unix.user == "" {
		return
	}
	im.daemon.set("supervisor_socket_auth", "true", "[unix_http_server] username")
	if unix != used {
		s, _ := im.ini.section("unix_http_server")
		o, _ := im.ini.option(s, "username")
		im.addNote(o, "the user name and the password of [inet_http_server] count for the socket, too")
	}
}

// convertServer converts one server; ok is false if there is none.
func (im *importer) convertServer(name string) (ok bool, c credentials) {
	s, ok := im.ini.section(name)
	if !ok {
		return false, c
	}
	for _, o := range s.options {
		text, ok := im.expand(o, nil)
		switch {
		case !ok:
		case o.name == "file" && name == "unix_http_server":
			path := absolute(filepath.Dir(im.path), im.expandHome(o, text))
			im.daemon.setFrom(o, "supervisor_socket", tomlString(path), "for supervisorctl and what else talks to supervisord")
		case o.name == "chmod" && name == "unix_http_server":
			mode, err := config.ParseMode(strings.TrimPrefix(text, "0o"))
			if err != nil {
				im.addProblem(o, err)
				continue
			}
			im.daemon.setFrom(o, "supervisor_socket_mode", tomlString(fmt.Sprintf("%04o", mode)), "chmod; a process that may connect may start and stop every app")
		case o.name == "chown" && name == "unix_http_server":
			im.convertOwner(o, text)
		case o.name == "port" && name == "inet_http_server":
			im.convertPort(o, text)
		case o.name == "username":
			c.user = text
		case o.name == "password":
			c.password = text
		default:
			im.omitUnknown(&im.daemon, o, serverOptions[name])
		}
	}
	return true, c
}

func (im *importer) convertOwner(o *iniOption, text string) {
	user, group, both := strings.Cut(text, ":")
	if both && user == "" || text == "" {
		return
	}
	if user != "root" && user != "0" || group != "" && group != "root" {
		im.daemon.setFrom(o, "supervisor_socket_owner", tomlString(text), "chown")
	}
	if group != "" && group != "root" {
		im.daemon.setFrom(o, "socket_group", tomlString(group), "may reload, hold and look with tideover's commands; [unix_http_server] chown")
	}
}

// convertPort sets the address for HTTP. supervisord listens on every interface for "9001", ":9001"
// and "*:9001".
func (im *importer) convertPort(o *iniOption, text string) {
	host, port := "", text
	if i := strings.LastIndexByte(text, ':'); i >= 0 {
		host, port = text[:i], text[i+1:]
	}
	if host == "*" {
		host = ""
	}
	im.daemon.setFrom(o, "supervisor_http", tomlString(host+":"+port), "without supervisor_user clients can only look")
}

// Password returns the password of the result's supervisor_password_file; empty: it has none.
func Password(path string, o Options) (string, error) {
	im, err := convert(path, o)
	if err != nil {
		return "", err
	}
	return im.password, nil
}
