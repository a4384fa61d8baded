package admin

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/url"
	"os"
	"sync"
	"time"

	"golang.org/x/sys/unix"

	"tideover/supervisor/control"
	"tideover/supervisor/fleet"
	"tideover/supervisor/fleet/etcd"
	"tideover/supervisor/fleet/member"
)

const (
	fleetEndpoint      endpoint = "fleet"      // of the message with the settings of a fleet
	connectionEndpoint endpoint = "connection" // of those with a connection to etcd
)

// Fleet is what the process needs to take turns with other hosts. The process makes no socket and
// opens no file: the daemon has read the files, and connects to etcd for it.
type Fleet struct {
	Etcd     []string // URLs; empty: no fleet
	Group    string
	Host     string
	CA       []byte // PEM; empty: the certificates of the system
	Cert     []byte // PEM; empty: none
	Key      []byte
	User     string
	Password string
	Wait     time.Duration

	// Run is the name of this tideover: another supervisor that takes the place of this one has the same.
	Run string

	// Commands permits a rollout to carry a command. The supervisor asks for it, and not the process.
	Commands bool
}

func (f Fleet) on() bool { return len(f.Etcd) > 0 }

// needsSystemRoots reports whether certificates are checked by those of the system.
func (f Fleet) needsSystemRoots() bool { return len(f.CA) == 0 && fleet.Encrypted(f.Etcd) }

// TLS is the configuration of connections to etcd.
func (f Fleet) TLS() (*tls.Config, error) {
	config := &tls.Config{}
	if len(f.CA) > 0 {
		config.RootCAs = x509.NewCertPool()
		if !config.RootCAs.AppendCertsFromPEM(f.CA) {
			return nil, errors.New("fleet.ca: no certificate in PEM")
		}
	}
	if len(f.Cert) > 0 {
		pair, err := tls.X509KeyPair(f.Cert, f.Key)
		if err != nil {
			return nil, fmt.Errorf("fleet.cert and fleet.key: %w", err)
		}
		config.Certificates = []tls.Certificate{pair}
	}
	return config, nil
}

// Client returns a client of etcd. dial is that of etcd.Options.
func (f Fleet) Client(dial func(ctx context.Context, network, address string) (net.Conn, error)) (*etcd.Client, error) {
	config, err := f.TLS()
	if err != nil {
		return nil, err
	}
	return etcd.New(etcd.Options{Endpoints: f.Etcd, Prefix: fleet.Prefix(f.Group), TLS: config, User: f.User, Password: f.Password, Dial: dial}), nil
}

// sendFleet sends the settings, in a file without a name: certificates may be longer than a message.
func (p *roleProcess) sendFleet(f Fleet) error {
	if !f.on() {
		return nil
	}
	text, err := json.Marshal(f)
	if err != nil {
		return err
	}
	fd, err := unix.MemfdCreate("fleet", unix.MFD_CLOEXEC)
	if err != nil {
		return os.NewSyscallError("memfd_create", err)
	}
	file := os.NewFile(uintptr(fd), "fleet")
	defer file.Close()
	if _, err := file.WriteAt(text, 0); err != nil {
		return err
	}
	return p.channel.send(door{For: fleetEndpoint}, file)
}

func readFleet(file *os.File) (f Fleet, err error) {
	defer file.Close()
	text, err := io.ReadAll(file)
	if err == nil {
		err = json.Unmarshal(text, &f)
	}
	return f, err
}

// memberMessage is a message of the process while it serves. One field is set.
type memberMessage struct {
	ID    int           `json:"id,omitempty"` // a connection to Etcd[At] is to be made
	At    int           `json:"at"`
	Event *member.Event `json:"event,omitempty"` // for the log
}

const (
	// dialTimeout bounds the making of a connection.
	dialTimeout = 3 * time.Second
	// maxDials is how many connections are made at once: one that is slow does not delay the next.
	maxDials = 4
)

// answerMember connects to etcd for the process, and logs what it says, until the process ends. It
// connects to nothing but what is configured.
func (k *Keeper) answerMember(ctx context.Context, p *roleProcess, f Fleet) {
	ctx, cancel := context.WithCancel(ctx)
	var dialing sync.WaitGroup
	defer dialing.Wait()
	defer cancel()
	places := make(chan struct{}, maxDials)
	for {
		var q memberMessage
		file, err := p.channel.receive(&q)
		if file != nil {
			file.Close()
		}
		if err != nil {
			return
		}
		if q.Event != nil {
			k.logMember(*q.Event)
			continue
		}
		places <- struct{}{}
		dialing.Go(func() {
			p.dial(ctx, f.Etcd, q)
			<-places
		})
	}
}

// dial makes a connection for the process.
func (p *roleProcess) dial(ctx context.Context, endpoints []string, q memberMessage) {
	answer := door{For: connectionEndpoint, ID: q.ID}
	conn, err := connect(ctx, endpoints, q.At)
	if err != nil {
		answer.Error = err.Error()
	}
	if err := p.channel.send(answer, conn); err != nil {
		p.channel.conn.Close() // the process sees the end
	}
	if conn != nil {
		conn.Close()
	}
}

func (k *Keeper) logMember(e member.Event) {
	switch e.Kind {
	case member.Joined:
		k.options.Logger.Info("fleet joined")
	case member.NotJoined:
		k.options.Logger.Warn("fleet not joined", "error", e.Error, "hint", "the apps are served; this host takes no turn in a rollout until then")
	case member.TurnBegun:
		k.options.Logger.Info("turn of rollout begun", "app", e.App, "rollout", e.ID)
	case member.TurnEnded:
		k.options.Logger.Info("turn of rollout ended", "app", e.App, "rollout", e.ID, "error", e.Error)
	case member.Halted:
		k.options.Logger.Warn("rollout halted", "app", e.App, "rollout", e.ID, "error", e.Error)
	}
}

// connect connects to one of the endpoints.
func connect(ctx context.Context, endpoints []string, at int) (*os.File, error) {
	if at < 0 || at >= len(endpoints) {
		return nil, errors.New("there is no such endpoint")
	}
	conn, err := (&net.Dialer{Timeout: dialTimeout}).DialContext(ctx, "tcp", hostPort(endpoints[at]))
	if err != nil {
		return nil, err
	}
	defer conn.Close()
	return conn.(*net.TCPConn).File()
}

// hostPort is the HOST:PORT of a URL.
func hostPort(endpoint string) string {
	u, err := url.Parse(endpoint)
	if err != nil {
		return endpoint
	}
	port := u.Port()
	if port == "" {
		port = map[string]string{"http": "80", "https": "443"}[u.Scheme]
	}
	return net.JoinHostPort(u.Hostname(), port)
}

// dialer has the daemon connect to etcd.
type dialer struct {
	daemon    channel
	endpoints []string

	mu      sync.Mutex // guards the fields below
	last    int
	waiting map[int]chan dialed
}

type dialed struct {
	conn net.Conn
	err  error
}

func newDialer(daemon channel, endpoints []string) *dialer {
	return &dialer{daemon: daemon, endpoints: endpoints, waiting: map[int]chan dialed{}}
}

// dial is DialContext.
func (d *dialer) dial(ctx context.Context, _, address string) (net.Conn, error) {
	at := -1
	for i, endpoint := range d.endpoints {
		if hostPort(endpoint) == address {
			at = i
		}
	}
	answer := make(chan dialed, 1)
	d.mu.Lock()
	d.last++
	id := d.last
	d.waiting[id] = answer
	d.mu.Unlock()
	refused := func(err error) error { return &net.OpError{Op: "dial", Net: "tcp", Err: err} }
	if err := d.daemon.send(memberMessage{ID: id, At: at}, nil); err != nil {
		return nil, refused(err)
	}
	select {
	case got := <-answer:
		if got.err != nil {
			return nil, refused(got.err)
		}
		return got.conn, nil
	case <-ctx.Done():
		d.mu.Lock()
		defer d.mu.Unlock()
		delete(d.waiting, id)
		select {
		case got := <-answer:
			if got.conn != nil {
				got.conn.Close()
			}
		default:
		}
		return nil, refused(ctx.Err())
	}
}

// answer passes a connection, or why there is none, to the call of dial that waits for it.
func (d *dialer) answer(m door, file *os.File) {
	var got dialed
	switch {
	case m.Error != "":
		got.err = errors.New(m.Error)
	case file == nil:
		got.err = errors.New("no connection came")
	default:
		got.conn, got.err = net.FileConn(file)
	}
	if file != nil {
		file.Close()
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	waiting, ok := d.waiting[m.ID]
	delete(d.waiting, m.ID)
	if ok {
		waiting <- got
	} else if got.conn != nil {
		got.conn.Close()
	}
}

func newMember(f Fleet, client *control.Client, d *dialer) (*member.Member, error) {
	store, err := f.Client(d.dial)
	if err != nil {
		return nil, err
	}
	return member.New(member.Options{Store: store, Apps: client, Group: f.Group, Host: f.Host, Process: fmt.Sprintf("%s/%d.%d", f.Run, os.Getpid(), time.Now().UnixNano()), Wait: f.Wait,
		Log: func(e member.Event) { d.daemon.send(memberMessage{Event: &e}, nil) }}), nil
}
