package control

import (
	"cmp"
	"context"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"tideover/supervisor/api"
)

const (
	// lookTimeout is how long all daemons together may take to list their apps.
	lookTimeout = 2 * time.Second
	// silentTimeout is how much longer than the first daemon that answers the others may take. A
	// daemon that hangs must not delay the commands for those that do not.
	silentTimeout = 200 * time.Millisecond
	// namedTimeout is that of one daemon whose socket is given. It is longer, because no
	// other daemon waits for it, and a hundred clients at once can keep a machine busy.
	namedTimeout = 10 * time.Second
)

// Locator finds daemons by their control sockets. A daemon that it looks for in
// directories counts only if its directory and its process (SO_PEERCRED) belong to
// one of the owners: any user can make a socket that answers as a daemon does.
type Locator struct {
	Socket        string   // this one only; empty: every live socket of the directories
	Dirs          []string // runtime directories
	Owners        []int    // user ids; nil: root and this user, and with Socket any user
	OtherUserDirs []string // patterns of other users' runtime directories, for hints only

	// OnSilent is called by Daemons for the socket of each daemon that is left out, because it
	// does not answer while others do; nil: such daemons are passed over in silence.
	OnSilent func(socket string)
}

// Daemon is a daemon that answered, and its status.
type Daemon struct {
	*Client
	Status    api.Status
	Selectors []string // those given to Select that select apps of this daemon
}

// Apps are the names of its apps.
func (d Daemon) Apps() []string {
	names := make([]string, len(d.Status.Apps))
	for i, a := range d.Status.Apps {
		names[i] = a.Name
	}
	return names
}

func (d Daemon) names() string { return strings.Join(d.Apps(), ", ") }

// Daemons asks every daemon for its status, all at the same time. Sockets that refuse
// connections are passed over, and so are daemons that do not answer within silentTimeout
// while others do. The error is ExitNotRunning when there is no daemon, ExitDenied when there
// are only daemons that deny access, ExitTimeout when there are only those that do not answer.
func (l Locator) Daemons(ctx context.Context) ([]Daemon, error) {
	s := l.beginSurvey(ctx)
	defer s.end()
	s.gather(silentTimeout)
	for _, socket := range s.silent() {
		if l.OnSilent != nil {
			l.OnSilent(socket)
		}
	}
	return s.found()
}

func (l Locator) timeout() time.Duration {
	if l.Socket != "" {
		return namedTimeout
	}
	return lookTimeout
}

// survey is a question to every daemon at the same time. One goroutine uses it.
type survey struct {
	locator    Locator
	look       context.Context // ends the question
	cancel     context.CancelFunc
	probes     sync.WaitGroup
	sockets    []string
	unreadable []string // directories
	answers    chan int // index of a socket of which daemons and errors are set
	daemons    []Daemon
	errors     []error
	answered   []bool
	left       int // sockets that are not answered
}

// beginSurvey asks. end must be called.
func (l Locator) beginSurvey(ctx context.Context) *survey {
	s := &survey{locator: l, sockets: []string{l.Socket}}
	s.look, s.cancel = context.WithTimeout(ctx, l.timeout())
	if l.Socket == "" {
		s.sockets, s.unreadable = l.sockets()
	}
	n := len(s.sockets)
	s.answers, s.daemons, s.errors, s.answered, s.left = make(chan int, n), make([]Daemon, n), make([]error, n), make([]bool, n), n
	for i, path := range s.sockets {
		s.probes.Go(func() {
			s.daemons[i], s.errors[i] = probe(s.look, l.client(path))
			s.answers <- i
		})
	}
	return s
}

// end gives up the questions that are not answered.
func (s *survey) end() {
	s.cancel()
	s.probes.Wait()
}

// gather waits until every daemon has answered, or for patience longer than for the first
// one, or until the question ends.
func (s *survey) gather(patience time.Duration) {
	var late <-chan time.Time
	for s.left > 0 {
		if late == nil && slices.ContainsFunc(s.answeredIndexes(), func(i int) bool { return s.errors[i] == nil }) {
			timer := time.NewTimer(patience)
			defer timer.Stop()
			late = timer.C
		}
		select {
		case i := <-s.answers:
			s.answered[i] = true
			s.left--
		case <-late:
			return
		}
	}
}

func (s *survey) answeredIndexes() (all []int) {
	for i, answered := range s.answered {
		if answered {
			all = append(all, i)
		}
	}
	return all
}

// silent lists the sockets of daemons that have not answered.
func (s *survey) silent() (all []string) {
	for i, path := range s.sockets {
		if !s.answered[i] || s.errors[i] != nil && asError(s.errors[i]).Exit == api.ExitTimeout {
			all = append(all, path)
		}
	}
	return all
}

// found returns the daemons that have answered; see Daemons.
func (s *survey) found() ([]Daemon, error) {
	var all []Daemon
	var denied, silent error
	for _, i := range s.answeredIndexes() {
		switch err := s.errors[i]; {
		case err == nil:
			all = append(all, s.daemons[i])
		case s.locator.Socket != "":
			return nil, err
		case asError(err).Exit == api.ExitDenied:
			denied = err
		case asError(err).Exit == api.ExitTimeout:
			silent = err
		}
	}
	switch {
	case len(all) > 0:
		return all, nil
	case denied != nil:
		return nil, denied
	case silent != nil:
		return nil, silent
	}
	looked := "looked in " + strings.Join(s.locator.Dirs, ", ")
	if len(s.unreadable) > 0 {
		looked += "; may not look in " + strings.Join(s.unreadable, ", ")
	}
	hint := cmp.Or(s.locator.hintOtherUsers(), "start one: tideover run -- gunicorn app:app")
	return nil, errorf(api.ExitNotRunning, hint, "no daemon runs (%s)", looked)
}

// client returns a client that speaks only to a daemon of the owners.
func (l Locator) client(socket string) *Client {
	if l.Owners == nil && l.Socket != "" {
		return NewClient(socket)
	}
	return newClient(socket, l.owners())
}

func (l Locator) owners() []int {
	if l.Owners == nil {
		return []int{0, os.Geteuid()}
	}
	return l.Owners
}

// sockets lists the sockets in all directories of the owners, and the directories
// that may not be read.
func (l Locator) sockets() (all, unreadable []string) {
	for _, dir := range l.Dirs {
		owner, err := ownerOf(dir)
		if err != nil || !slices.Contains(l.owners(), owner) {
			continue // another user could have made one of the same name in /tmp
		}
		paths, err := socketsIn(dir)
		if errors.Is(err, fs.ErrPermission) {
			unreadable = append(unreadable, dir)
		}
		all = append(all, paths...)
	}
	return all, unreadable
}

// maxNamedUsers is how many users a hint names.
const maxNamedUsers = 5

// hintOtherUsers names the users in whose directories are sockets of daemons. It asks
// none of them. It is empty when there are none.
func (l Locator) hintOtherUsers() string {
	var names []string
	for _, pattern := range l.OtherUserDirs {
		dirs, _ := filepath.Glob(pattern) // the only error is a malformed pattern
		for _, dir := range dirs {
			owner, err := ownerOf(dir)
			if err != nil || slices.Contains(l.owners(), owner) || !pathMatchesOwner(dir) || len(names) == maxNamedUsers {
				continue
			}
			if sockets, err := socketsIn(dir); err == nil && len(sockets) > 0 && !slices.Contains(names, userName(owner)) {
				names = append(names, userName(owner))
			}
		}
	}
	if len(names) == 0 {
		return ""
	}
	return "daemons of other users are asked only with --user: " + strings.Join(names, ", ")
}

func probe(look context.Context, client *Client) (Daemon, error) {
	status, err := client.Status(look)
	return Daemon{Client: client, Status: status}, client.silence(look, err)
}

// silence replaces the error of a request that look has ended.
func (c *Client) silence(look context.Context, err error) error {
	if err != nil && errors.Is(look.Err(), context.DeadlineExceeded) {
		return errorf(api.ExitTimeout, "", "the daemon on %s does not answer", c.socket)
	}
	return err
}

// Select finds the apps that selectors mean: the daemons that have them, each
// with the status of these apps only, in the order of its configuration. Without
// selectors it is the only app there is. A selector that no daemon or more than
// one knows is ExitNoSuchApp. A daemon that does not answer delays only the search for a
// selector that none of the others knows.
func (l Locator) Select(ctx context.Context, selectors ...string) ([]Daemon, error) {
	s := l.beginSurvey(ctx)
	defer s.end()
	s.gather(silentTimeout)
	daemons, err := s.found()
	if err != nil {
		return nil, err
	}
	if len(selectors) == 0 {
		return onlyApp(daemons, s.silent())
	}
	err = l.assign(ctx, daemons, selectors)
	if err != nil && s.left > 0 && asError(err).Exit == api.ExitNoSuchApp {
		s.gather(l.timeout()) // one of those that are slow may have it
		daemons, _ = s.found()
		err = l.assign(ctx, daemons, selectors)
	}
	if err != nil {
		return nil, withSilent(err, s.silent())
	}
	var found []Daemon
	for _, d := range daemons {
		if len(d.Selectors) == 0 {
			continue
		}
		if d.Status, err = d.ask(ctx, d.Selectors...); err != nil {
			return nil, err
		}
		found = append(found, d)
	}
	return found, nil
}

// assign gives each selector to the daemon that it belongs to.
func (l Locator) assign(ctx context.Context, daemons []Daemon, selectors []string) error {
	for _, selector := range selectors {
		i, err := l.findOwner(ctx, daemons, selector)
		if err != nil {
			return err
		}
		daemons[i].Selectors = append(daemons[i].Selectors, selector)
	}
	return nil
}

// ask returns the status of the apps that selectors mean.
func (d Daemon) ask(ctx context.Context, selectors ...string) (api.Status, error) {
	look, cancel := context.WithTimeout(ctx, lookTimeout)
	defer cancel()
	st, err := d.Client.Status(look, selectors...)
	return st, d.silence(look, err)
}

// withSilent adds to the hint of an error that there are daemons which were not asked.
func withSilent(err error, silent []string) error {
	failure := *asError(err)
	if len(silent) > 0 && failure.Exit == api.ExitNoSuchApp {
		failure.Hint = strings.TrimPrefix(failure.Hint+"\nno answer from the daemon on "+strings.Join(silent, ", "), "\n")
	}
	return &failure
}

// Find is Select for exactly one app.
func (l Locator) Find(ctx context.Context, app string) (*Client, string, error) {
	var selectors []string
	if app != "" {
		selectors = []string{app}
	}
	found, err := l.Select(ctx, selectors...)
	if err != nil {
		return nil, "", err
	}
	if apps := found[0].Status.Apps; len(found) == 1 && len(apps) == 1 {
		return found[0].Client, apps[0].Name, nil
	}
	return nil, "", errorf(api.ExitNoSuchApp, "name one of them", "%s is several apps: %s", app, found[0].names())
}

// One is the only daemon. Several are ExitNoSuchApp; the hint has the --socket
// flag of each.
func (l Locator) One(ctx context.Context) (Daemon, error) {
	s := l.beginSurvey(ctx)
	defer s.end()
	s.gather(silentTimeout)
	daemons, err := s.found()
	if err != nil {
		return Daemon{}, err
	}
	silent := s.silent()
	if len(daemons) == 1 && len(silent) == 0 {
		return daemons[0], nil
	}
	hint := "say which:"
	for _, d := range daemons {
		hint += "\n--socket " + d.Socket()
	}
	return Daemon{}, errSeveralDaemons(daemons, silent, hint)
}

// onlyApp is the app that is meant when none is named. A daemon that does not answer counts: it
// may be the one that is meant.
func onlyApp(daemons []Daemon, silent []string) ([]Daemon, error) {
	var names []string
	var all []Daemon // one for each app
	for _, d := range daemons {
		for _, a := range d.Status.Apps {
			names = append(names, a.Name)
			one := d
			one.Status.Apps = []api.AppStatus{a}
			all = append(all, one)
		}
	}
	switch {
	case len(silent) > 0:
		return nil, errSeveralDaemons(daemons, silent, "name one of "+strings.Join(names, ", "))
	case len(all) == 1:
		return all, nil
	case len(all) == 0:
		return nil, errorf(api.ExitNoSuchApp, "", "there are no apps")
	case len(daemons) > 1:
		return nil, errSeveralDaemons(daemons, nil, "name one of "+strings.Join(names, ", "))
	}
	return nil, errorf(api.ExitNoSuchApp, "name one of "+strings.Join(names, ", ")+", or all", "there are %d apps", len(names))
}

// findOwner returns the index of the daemon that a selector belongs to. The name
// of an app comes before labels and groups.
func (l Locator) findOwner(ctx context.Context, daemons []Daemon, selector string) (int, error) {
	hasApp := func(d Daemon) (bool, error) { return slices.Contains(d.Apps(), selector), nil }
	knows := func(d Daemon) (bool, error) {
		_, err := d.ask(ctx, selector)
		if err != nil && asError(err).Exit == api.ExitNoSuchApp {
			return false, nil
		}
		return err == nil, err
	}
	for _, matches := range []func(Daemon) (bool, error){hasApp, knows} {
		owners, err := indexesOf(daemons, matches)
		switch {
		case err != nil:
			return 0, err
		case len(owners) == 1:
			return owners[0], nil
		case len(owners) > 1:
			return 0, errAmbiguous(daemons, owners, selector)
		}
	}
	err := errNoSuchApp(selector, Selectors(daemons))
	if others := l.hintOtherUsers(); others != "" {
		err.Hint += "\n" + others
	}
	return 0, err
}

// indexesOf lists the daemons that match.
func indexesOf(daemons []Daemon, matches func(Daemon) (bool, error)) ([]int, error) {
	var indexes []int
	for i, d := range daemons {
		ok, err := matches(d)
		if err != nil {
			return nil, err
		}
		if ok {
			indexes = append(indexes, i)
		}
	}
	return indexes, nil
}

// errAmbiguous is the error for a selector that several daemons know.
func errAmbiguous(daemons []Daemon, owners []int, selector string) *api.Error {
	hint, pids := "say which:", []string(nil)
	for _, i := range owners {
		hint += "\n--socket " + daemons[i].Socket()
		pids = append(pids, strconv.Itoa(daemons[i].Status.Pid))
	}
	return errorf(api.ExitNoSuchApp, hint, "%d daemons know %s: pid %s", len(owners), selector, strings.Join(pids, ", "))
}

// Selectors lists what selects apps of these daemons: their names, then groups
// of instances and labels.
func Selectors(daemons []Daemon) []string {
	var names, groups []string
	add := func(group string) {
		if !slices.Contains(groups, group) {
			groups = append(groups, group)
		}
	}
	for _, d := range daemons {
		for _, a := range d.Status.Apps {
			names = append(names, a.Name)
			if group, _, isInstance := strings.Cut(a.Name, ":"); isInstance {
				add(group)
			}
			for _, label := range a.Labels {
				add(label)
			}
		}
	}
	return append(names, groups...)
}

// errSeveralDaemons is the error of a command that needs exactly one daemon.
func errSeveralDaemons(daemons []Daemon, silent []string, hint string) error {
	var each []string
	for _, d := range daemons {
		each = append(each, cmp.Or(d.names(), "one without apps")+" (pid "+strconv.Itoa(d.Status.Pid)+")")
	}
	for _, socket := range silent {
		each = append(each, "one that does not answer ("+socket+")")
	}
	return errorf(api.ExitNoSuchApp, hint, "%d daemons run: %s", len(each), strings.Join(each, "; "))
}

// errNoSuchApp is the error for an unknown name. Its hint is a known name that is
// similar, or all of them.
func errNoSuchApp(app string, known []string) *api.Error {
	hint := "known: " + strings.Join(known, ", ")
	for _, name := range known {
		if distance(app, name) <= 1+len(name)/4 {
			hint = "did you mean " + name + "?"
		}
	}
	if len(known) == 0 {
		hint = ""
	}
	return errorf(api.ExitNoSuchApp, hint, "there is no app named %q", app)
}

// distance is the Levenshtein distance in bytes.
func distance(a, b string) int {
	row := make([]int, len(b)+1)
	for j := range row {
		row[j] = j
	}
	for i := range len(a) {
		diagonal := row[0]
		row[0] = i + 1
		for j := range len(b) {
			change := diagonal
			if a[i] != b[j] {
				change++
			}
			diagonal = row[j+1]
			row[j+1] = min(change, row[j]+1, row[j+1]+1)
		}
	}
	return row[len(b)]
}
