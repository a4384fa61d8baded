package admin

import (
	"context"
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
	measures, err := confine.Confine(o.Confinement)
	r := readiness{Measures: measures}
	if err != nil {
		r.Error = err.Error()
	}
	if failed := daemon.send(r, nil); err != nil || failed != nil {
		return errors.Join(err, failed)
	}
	doors, about, err := receiveDoors(daemon)
	if errors.Is(err, io.EOF) {
		return nil
	}
	if err != nil {
		return err
	}
	return serve(daemon, client, doors, about, host)
}

// receiveDoors receives the listening sockets, and what is to be known of those for clients of
// supervisord.
func receiveDoors(daemon channel) (doors map[endpoint]net.Listener, about Supervisor, err error) {
	doors = map[endpoint]net.Listener{}
	for {
		d, socket, err := receiveDoor(daemon)
		if err != nil {
			return nil, about, err
		}
		if socket == nil {
			return doors, d.Supervisor, nil
		}
		doors[d.For] = socket
	}
}

// receiveDoor receives a message, and the listening socket that is with it, or nil.
func receiveDoor(daemon channel) (d door, socket net.Listener, err error) {
	file, err := daemon.receive(&d)
	if err != nil || file == nil {
		return d, nil, err
	}
	defer file.Close()
	socket, err = net.FileListener(file)
	return d, socket, err
}

// formerTime is how long a unix socket is accepted from whose path another one has: clients that had
// found the file may be about to connect.
const formerTime = 2 * time.Second

// receiveAgain receives the unix sockets that take the place of others, until the daemon closes the
// channel.
func receiveAgain(daemon channel, doors map[endpoint]net.Listener, accept func(endpoint, net.Listener)) error {
	for {
		d, fresh, err := receiveDoor(daemon)
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return err
		}
		former, ok := doors[d.For].(*net.UnixListener)
		if fresh == nil || !ok {
			return errors.New("a message of the channel is not expected")
		}
		former.SetDeadline(time.Now().Add(formerTime))
		doors[d.For] = fresh
		accept(d.For, fresh)
	}
}

// serve answers on the sockets until the daemon closes the channel, or one of them fails.
func serve(daemon channel, client *control.Client, doors map[endpoint]net.Listener, about Supervisor, host string) error {
	asked := newSource(client)
	shown := page.New(page.Options{Source: client, Host: host})
	calls := supervisord.NewService(client, about.Identifier)
	served := make(chan error)
	accept := func(at endpoint, listener net.Listener) {
		serve := newWebServer(asked, shown).Serve
		if app, ok := at.agentOf(); ok {
			serve = agent{asked, app}.serve
		} else if at != adminEndpoint {
			serve = newCallServer(calls.Handler(about.access(at))).Serve
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
	ended := make(chan error, 1)
	go func() { ended <- receiveAgain(daemon, doors, accept) }()
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
