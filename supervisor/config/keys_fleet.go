package config

import (
	"fmt"
	"net/url"
	"strings"
	"sync"
	"time"

	fleetkeys "tideover/supervisor/fleet"
)

// Fleet is [fleet]: the other hosts with which this one takes turns. Without an etcd there is none.
type Fleet struct {
	Etcd         []string // URLs of the members of one etcd; empty: no fleet
	Group        string   // of the hosts; empty: "default"
	Host         string   // name of this host; empty: the host name
	CA           string   // path; empty: those of the system
	Cert         string   // path of a client's certificate; empty: none is sent
	Key          string   // path of its key
	User         string   // empty: no password is sent
	PasswordFile string
	Wait         time.Duration // for a host that is away, before the rollout halts
	AllowCommand bool          // a rollout may carry a command
	Local        LocalReload
}

// LocalReload is whether a reload that this host is asked for takes a turn.
type LocalReload string

const (
	LocalNow   LocalReload = "now"
	LocalQueue LocalReload = "queue"
)

// On reports whether there is a fleet.
func (f *Fleet) On() bool { return len(f.Etcd) > 0 }

var (
	etcdURL   = checked("URL", checkEtcd).where(schema{"pattern": `^https?://[^/]+$`})
	fleetName = checked("name", checkFleetName).where(schema{"pattern": `^[A-Za-z0-9._-]{1,64}$`})
)

// fleetKeys are the keys of [fleet].
var fleetKeys = sync.OnceValue(func() []Key {
	return []Key{
		fleet("etcd", list(etcdURL), "", func(f *Fleet) *[]string { return &f.Etcd },
			`the members of an etcd 3.4 or newer, such as ["https://10.0.0.5:2379"]: the hosts of a fleet take turns by it (tideover rollout), and serve without it; left out: this host is in no fleet`),
		fleet("group", fleetName, `"default"`, func(f *Fleet) *string { return &f.Group },
			"what the hosts have in common that take turns: its keys are below /tideover/v1/GROUP/"),
		fleet("host", fleetName, "", func(f *Fleet) *string { return &f.Host },
			"name of this host, unlike any other in the group; left out: its host name"),
		fleet("ca", filePath, "", func(f *Fleet) *string { return &f.CA },
			"file with the certificates (PEM) by which those of etcd are checked; left out: those of the system"),
		fleet("cert", filePath, "", func(f *Fleet) *string { return &f.Cert },
			"file with the certificate (PEM) that is sent to etcd; where that has users, without a CommonName"),
		fleet("key", filePath, "", func(f *Fleet) *string { return &f.Key },
			"file with the key (PEM) of that certificate"),
		fleet("user", text, "", func(f *Fleet) *string { return &f.User },
			"user of etcd; it needs to read and write below /tideover/v1/GROUP/"),
		fleet("password_file", filePath, "", func(f *Fleet) *string { return &f.PasswordFile },
			"file with the password of that user"),
		fleet("wait", positive(duration), `"5m"`, func(f *Fleet) *time.Duration { return &f.Wait },
			"how long a rollout waits for a host that is away before this host halts it"),
		fleet("local", oneOf(LocalNow, LocalQueue), `"now"`, func(f *Fleet) *LocalReload { return &f.Local },
			"whether `tideover reload` on this host, or another reload that somebody asks for, takes a turn as in a rollout").
			values("begins at once, as if there were no fleet", "waits until no other host is in its turn, also while etcd is away; `restart` and `rollback` do not wait"),
		fleet("allow_command", boolean, `false`, func(f *Fleet) *bool { return &f.AllowCommand },
			"whether `tideover rollout APP -- COMMAND` may run its command here, as the app's user, before the reload: who may write the keys of the group in etcd may then run anything as the users of the apps"),
	}
})

// fleet returns the key of a field of Fleet.
func fleet[T any](path string, k valueType[T], def string, at func(*Fleet) *T, meaning string) Key {
	return key(path, k, def, Live, at, meaning)
}

// FleetKeys lists the keys of [fleet], in order.
func FleetKeys() []Key { return fleetKeys() }

// FleetDifferences returns the keys of [fleet] with different values.
func FleetDifferences(before, after *Fleet) []Difference {
	return differences(fleetKeys(), before, after)
}

func checkEtcd(s string) error {
	u, err := url.Parse(s)
	switch {
	case err != nil || u.Host == "" || u.Scheme != "http" && u.Scheme != "https":
		return &hintedError{fmt.Sprintf("%q is not the URL of an etcd", s), `write it like "https://10.0.0.5:2379"`}
	case u.User != nil:
		return &hintedError{"the URL of etcd has a user in it", "that is fleet.user, with fleet.password_file"}
	case strings.Trim(u.Path, "/") != "" || u.RawQuery != "" || u.Fragment != "":
		return &hintedError{fmt.Sprintf("%q has more than a host and a port", s), fmt.Sprintf("write it like \"%s://%s\"", u.Scheme, u.Host)}
	}
	return nil
}

func checkFleetName(s string) error {
	if !fleetkeys.ValidName(s) {
		return fmt.Errorf("%q is not a name: it has 1 to 64 letters, digits, '.', '_' and '-'", s)
	}
	return nil
}

// checkFleet checks [fleet] as a whole.
func (l *loader) checkFleet() {
	f := &l.file.Fleet
	fault := func(key, message, hint string, warning bool) {
		p := l.main.problem(l.main.find([]string{"fleet", key}).key, message)
		p.Hint, p.Warning = hint, warning
		l.add(p)
	}
	tls := fleetkeys.Encrypted(f.Etcd)
	if table, ok := l.main.tree["fleet"].(map[string]any); ok && table["etcd"] == nil {
		p := l.main.problem(l.main.find([]string{"fleet"}).key, "[fleet] has no etcd")
		p.Hint = `etcd = ["https://10.0.0.5:2379"]`
		l.add(p)
		return
	}
	switch {
	case f.Cert != "" && f.Key == "":
		fault("cert", "fleet.cert needs fleet.key", "", false)
	case f.Key != "" && f.Cert == "":
		fault("key", "fleet.key needs fleet.cert", "", false)
	}
	switch {
	case f.User != "" && f.PasswordFile == "":
		fault("user", "fleet.user needs fleet.password_file", "", false)
	case f.PasswordFile != "" && f.User == "":
		fault("password_file", "fleet.password_file needs fleet.user", "", false)
	case f.User != "" && f.On() && !tls:
		fault("user", "the password of fleet.user is sent in the clear", "https:// protects it", true)
	}
	for key, path := range map[string]string{"ca": f.CA, "cert": f.Cert} {
		if path != "" && f.On() && !tls {
			fault(key, "fleet."+key+" is for https, and fleet.etcd is http", "", false)
		}
	}
}
