package admin

import (
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"os/signal"
	"syscall"

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
	return serve(daemon, client, doors, about)
}

// receiveDoors receives the listening sockets, and what is to be known of those for clients of
// supervisord.
func receiveDoors(daemon channel) (doors map[endpoint]net.Listener, about Supervisor, err error) {
	doors = map[endpoint]net.Listener{}
	for {
		var d door
		file, err := daemon.receive(&d)
		if err != nil {
			return nil, about, err
		}
		if file == nil {
			return doors, d.Supervisor, nil
		}
		doors[d.For], err = net.FileListener(file)
		file.Close()
		if err != nil {
			return nil, about, err
		}
	}
}

// serve answers on the sockets until the daemon closes the channel, or one of them fails.
func serve(daemon channel, client *control.Client, doors map[endpoint]net.Listener, about Supervisor) error {
	asked := newSource(client)
	calls := supervisord.NewService(client, about.Identifier)
	served := make(chan error, len(doors))
	for at, listener := range doors {
		server := newWebServer(asked)
		if at != adminEndpoint {
			server = newCallServer(calls.Handler(about.access(at)))
		}
		go func() { served <- server.Serve(newConnections(listener)) }()
	}
	ended := make(chan error, 1)
	go func() {
		_, err := daemon.receive(&struct{}{})
		ended <- err
	}()
	select {
	case err := <-served:
		return err
	case err := <-asked.failed:
		return err
	case <-ended:
		return nil
	}
}
