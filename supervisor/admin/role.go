package admin

import (
	"context"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"os/signal"
	"syscall"
	"time"

	"tideover/supervisor/admin/page"
	"tideover/supervisor/admin/supervisord"
	"tideover/supervisor/confine"
	"tideover/supervisor/control"
)

// roleName is argv[0] of the process, and what ps(1) shows.
const roleName = "tideover: admin"

// The descriptors of the process beside 0, 1 and 2.
const (
	channelFD = 3
	controlFD = 4 // of the control protocol
)

// Role must be called early in main. It returns at once unless this process is the admin
// process: the daemon's own binary, started by a Keeper. Else it never returns.
func Role() {
	if len(os.Args) != 1 || os.Args[0] != roleName {
		return
	}
	// What ends the daemon ends this process by its channel, when the daemon has stopped its apps.
	signal.Ignore(syscall.SIGTERM, syscall.SIGINT, syscall.SIGHUP, syscall.SIGQUIT, syscall.SIGUSR1, syscall.SIGUSR2)
	if err := runRole(); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	os.Exit(0)
}

func runRole() error {
	daemon, err := newChannel(os.NewFile(channelFD, "channel"))
	if err != nil {
		return err
	}
	var o order
	if _, err := daemon.receive(&o); err != nil {
		return err
	}
	client, err := control.NewViewerClient(os.NewFile(controlFD, "control"))
	if err != nil {
		return err
	}
	host, _ := os.Hostname() // the page is without it after an error
	if o.SystemRoots {
		x509.SystemCertPool() // it is kept; without it, no certificate is valid
	}
	measures, err := confine.Confine(o.Confinement)
	r := readiness{Measures: measures}
	if err != nil {
		r.Error = err.Error()
	}
	if failed := daemon.send(r, nil); err != nil || failed != nil {
		return errors.Join(err, failed)
	}
	all, err := receiveDoors(daemon)
	if errors.Is(err, io.EOF) {
		return nil
	}
	if err != nil {
		return err
	}
	return serve(daemon, client, all, host)
}

// received is what the daemon sends before the process answers.
type received struct {
	doors map[endpoint]net.Listener
	about door
	fleet Fleet
}

// receiveDoors receives the listening sockets, and what is to be known of them and of the fleet.
func receiveDoors(daemon channel) (received, error) {
	all := received{doors: map[endpoint]net.Listener{}}
	for {
		d, file, err := receiveDoor(daemon)
		switch {
		case err != nil:
			return all, err
		case file == nil:
			all.about = d
			return all, nil
		case d.For == fleetEndpoint:
			all.fleet, err = readFleet(file)
		default:
			all.doors[d.For], err = listenerOf(file)
		}
		if err != nil {
			return all, err
		}
	}
}

// receiveDoor receives a message, and the file that is with it, or nil.
func receiveDoor(daemon channel) (d door, file *os.File, err error) {
	file, err = daemon.receive(&d)
	return d, file, err
}

// listenerOf takes a descriptor over.
func listenerOf(file *os.File) (net.Listener, error) {
	defer file.Close()
	return net.FileListener(file)
}

// formerTime is how long a unix socket is accepted from whose path another one has: clients that had
// found the file may be about to connect.
const formerTime = 2 * time.Second

// receiveAgain receives the unix sockets that take the place of others, and the connections that the
// dialer has asked for, until the daemon closes the channel.
func receiveAgain(daemon channel, doors map[endpoint]net.Listener, accept func(endpoint, net.Listener), dialed *dialer) error {
	for {
		d, file, err := receiveDoor(daemon)
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return err
		}
		if d.For == connectionEndpoint && dialed != nil {
			dialed.answer(d, file)
			continue
		}
		former, ok := doors[d.For].(*net.UnixListener)
		if file == nil || !ok {
			return errors.New("a message of the channel is not expected")
		}
		fresh, err := listenerOf(file)
		if err != nil {
			return err
		}
		former.SetDeadline(time.Now().Add(formerTime))
		doors[d.For] = fresh
		accept(d.For, fresh)
	}
}

// serve answers on the sockets until the daemon closes the channel, or one of them fails.
func serve(daemon channel, client *control.Client, all received, host string) error {
	doors, about := all.doors, all.about
	asked := newSource(client)
	shown := page.New(page.Options{Source: pageSource{client}, Host: host, Hosts: about.Page.Hosts, Acts: about.Page.Acts})
	calls := supervisord.NewService(client, about.Supervisor.Identifier)
	served := make(chan error)
	accept := func(at endpoint, listener net.Listener) {
		serve := newWebServer(asked, shown).Serve
		if app, ok := at.agentOf(); ok {
			serve = agent{asked, app}.serve
		} else if at != adminEndpoint {
			serve = newCallServer(calls.Handler(about.Supervisor.access(at))).Serve
		}
		go func() {
			if err := serve(newConnections(listener)); !errors.Is(err, errReplaced) {
				served <- err
			}
		}()
	}
	for at, listener := range doors {
		accept(at, listener)
	}
	var dialed *dialer
	if all.fleet.on() {
		dialed = newDialer(daemon, all.fleet.Etcd)
		member, err := newMember(all.fleet, client, dialed)
		if err != nil {
			return err
		}
		taking, end := context.WithCancel(context.Background())
		left := make(chan struct{})
		go func() { member.Run(taking); close(left) }()
		defer func() { end(); <-left }()
	}
	ended := make(chan error, 1)
	go func() { ended <- receiveAgain(daemon, doors, accept, dialed) }()
	failed := make(chan error, 1)
	if doors[adminEndpoint] != nil {
		go func() { failed <- shown.Run(context.Background()) }()
	}
	select {
	case err := <-served:
		return err
	case err := <-asked.failed:
		return err
	case err := <-failed:
		return err
	case err := <-ended:
		return err
	}
}
