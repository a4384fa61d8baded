package relay

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/signal"
	"syscall"
	"time"

	"github.com/hashicorp/go-hclog"
	"golang.org/x/sys/unix"

	"tideover/proxy/connlimit"
	"tideover/proxy/remote"
	"tideover/proxy/remote/channel"
	"tideover/proxy/remote/rpc"
	"tideover/proxy/spool"
	"tideover/supervisor/confine"
	"tideover/supervisor/threads"
)

// roleName is argv[0] of the process, and what ps(1) shows.
const roleName = "tideover: relay"

// channelFD is the descriptor of the channel to the supervisor, attachFD that of the socket over which
// later supervisors send theirs.
const (
	channelFD = 3
	attachFD  = 4
)

// orphanEndTimeout bounds the end of a relay whose channel has ended: no supervisor is left that would kill it.
const orphanEndTimeout = 30 * time.Second

// Settings are what a relay is started with.
type Settings struct {
	remote.Settings
	// Confinement says how the process confines itself; nil: it does not.
	Confinement *confine.Options
}

// started is what the process says of itself.
type started struct {
	Measures    []confine.Measure
	NotConfined string // why it could not confine itself: it is to be killed. Empty: it could
}

// ownThreads is how many threads the process has before it serves, so that it serves on at the pids limit.
const ownThreads = 8

// Role must be called early in main. It returns at once unless this process is a relay: the
// daemon's own binary, started by a Keeper. Else it never returns. newLogger makes a logger that
// gives its entries to a sink.
func Role(newLogger func(level hclog.Level, to hclog.SinkAdapter) hclog.Logger) {
	if len(os.Args) != 1 || os.Args[0] != roleName {
		return
	}
	// A service manager may send these to every process. The relay ends by its channel, when the
	// supervisor has stopped the apps.
	signal.Ignore(syscall.SIGTERM, syscall.SIGINT, syscall.SIGHUP, syscall.SIGQUIT, syscall.SIGUSR1, syscall.SIGUSR2)
	unix.SetNonblock(int(os.Stderr.Fd()), true)
	var relay *roleRelay
	err := rpc.Serve(os.NewFile(channelFD, "channel"), os.NewFile(attachFD, "attach"), func(start rpc.Start) (rpc.Process, any, error) {
		var s Settings
		if err := json.Unmarshal(start.Options, &s); err != nil {
			return nil, nil, err
		}
		descriptors := maxDescriptors() // getrlimit(2) is refused later
		var said started
		if s.Confinement != nil {
			var err error
			if said.Measures, err = confine.Confine(*s.Confinement); err != nil {
				said.NotConfined = err.Error()
				return nil, said, nil
			}
		}
		threads.Make(ownThreads)
		relay = newRelay(s, start, descriptors, newLogger)
		return relay, said, nil
	})
	if relay != nil {
		time.AfterFunc(orphanEndTimeout, func() { os.Exit(1) })
		relay.Close()
	}
	if !errors.Is(err, channel.ErrEnded) {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	os.Exit(0)
}

// roleRelay is the relay of this process.
type roleRelay struct {
	*remote.Local
	logger hclog.Logger
	log    *sink
	files  *spool.Pool
	dir    string // of the files
}

// newRelay makes the relay of this process, which may have so many descriptors; 0: unknown.
func newRelay(s Settings, start rpc.Start, descriptors int, newLogger func(hclog.Level, hclog.SinkAdapter) hclog.Logger) *roleRelay {
	r := &roleRelay{log: newSink(s.LogLevel, &stderr{fd: 2}), files: spool.NewPool(start.Supervisor.SpoolFile)} // the process may open none itself
	r.logger = newLogger(s.LogLevel, r.log)
	r.renewFiles(s.Settings)
	r.Local = remote.NewLocal(remote.LocalOptions{
		Page:     start.Page,
		Panicked: start.Supervisor.Replace,
		Logger:   r.logger,
		Spool:    spool.New(spool.Options{Open: r.files.Open, Close: r.files.Close, Dir: s.SpoolDir, Limit: s.SpoolLimit, Logger: r.logger}),
		Limiter:  connlimit.New(connlimit.Options{Max: s.MaxConnections, Descriptors: descriptors, Apps: s.Apps, Logger: r.logger}),
	})
	return r
}

// Configure is that of remote.Relay. Calls come one after the other.
func (r *roleRelay) Configure(ctx context.Context, s remote.Settings) error {
	r.log.level.Store(int32(s.LogLevel))
	r.logger.SetLevel(s.LogLevel)
	r.renewFiles(s)
	return r.Local.Configure(ctx, s)
}

// renewFiles has the files of the spool fetched, where their directory is another one than before.
func (r *roleRelay) renewFiles(s remote.Settings) {
	if s.SpoolLimit > 0 && s.SpoolDir != r.dir {
		r.dir = s.SpoolDir
		r.files.Renew()
	}
}

// maxDescriptors is RLIMIT_NOFILE, which Go's runtime has raised to the hard limit; 0: unknown.
func maxDescriptors() int {
	var limit unix.Rlimit
	if err := unix.Getrlimit(unix.RLIMIT_NOFILE, &limit); err != nil {
		return 0
	}
	return int(min(limit.Cur, 1<<30))
}
