package config

import (
	"cmp"
	"errors"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
)

// Load reads a configuration and the files that it includes. The error is an *Error
// with all problems, warnings included. Without an error the warnings are in the
// File.
func Load(path string) (*File, error) {
	full, err := filepath.Abs(path)
	if err != nil {
		return nil, NewError([]Problem{{File: path, Message: err.Error()}})
	}
	l := newLoader(full)
	l.environ = os.Environ()
	l.load(full)
	l.file.drafts = l.apps
	if err := NewError(l.problems); err.Errors() > 0 {
		err.file = l.file
		return nil, err
	}
	l.file.Warnings = l.problems
	return l.file, nil
}

// LoadToRun is Load for a daemon on this machine: a user or group that does not exist is an error.
func LoadToRun(path string) (*File, error) {
	file, err := Load(path)
	var faults *Error
	all, loaded := []Problem(nil), file
	switch {
	case errors.As(err, &faults):
		all, loaded = faults.Problems, faults.file
	case err != nil:
		return nil, err
	}
	missing := loaded.missingUsers()
	if len(missing) == 0 {
		return file, err
	}
	if file != nil {
		all = file.Warnings
	}
	failed := NewError(slices.Concat(all, missing))
	failed.file = loaded
	return nil, failed
}

// Check validates a configuration that is not in a file yet. It returns the problems
// in the order in which they are found, or an *Error if the text is not TOML. path
// is where the file will be; includes and relative paths begin in its directory.
// The daemon's environment counts as empty.
func Check(path, text string) ([]Problem, error) {
	src, problems := parseSource(path, text)
	if len(problems) > 0 {
		return nil, NewError(problems)
	}
	l := newLoader(path)
	l.use(src)
	return l.problems, nil
}

const (
	// maxErrors ends the loading. Each error costs the search for a similar name.
	maxErrors = 200

	// maxWeight bounds what [defaults] multiplies by the number of apps, in bytes of
	// text.
	maxWeight = 16 << 20
)

// loader loads one configuration. It goes on after an error.
type loader struct {
	file     *File
	environ  []string
	problems []Problem
	errors   int // of the problems; at maxErrors loading ends
	main     *source
	defaults draft // what [defaults] says
	apps     []*draft
	byName   map[string]*draft
	weight   int       // of the settings of all apps
	concerns string    // what the problems concern that are found now; see Problem
	kept     *Snapshot // has the files; nil: they are read
}

func newLoader(path string) *loader {
	return &loader{file: &File{Path: path}, byName: map[string]*draft{}}
}

// add adds a problem. After maxErrors errors it adds that there may be more.
func (l *loader) add(p Problem) {
	if l.full() {
		return
	}
	p.concerns = cmp.Or(p.concerns, p.App, l.concerns)
	l.problems = append(l.problems, p)
	if p.Warning {
		return
	}
	if l.errors++; l.full() {
		l.problems = append(l.problems, Problem{File: p.File, Message: fmt.Sprintf("it was not checked any further after %d errors", maxErrors)})
	}
}

func (l *loader) addAll(problems []Problem) {
	for _, p := range problems {
		l.add(p)
	}
}

// full reports whether loading ends because there are too many errors.
func (l *loader) full() bool { return l.errors >= maxErrors }

// draft is an app with the places of its keys.
type draft struct {
	*App
	src     *source
	header  keyPos
	written map[string]location // where each key is written, by Key.Path
	weight  int                 // of [defaults]
}

// location is a key in one of the files.
type location struct {
	src  *source
	path []string
}

func (l *loader) load(path string) {
	main, problems := l.read(path)
	l.addAll(problems)
	if main != nil {
		l.use(main)
	}
}

// use reads the main file and its includes into l.file.
func (l *loader) use(main *source) {
	l.main, l.file.main = main, main
	sources := append([]*source{main}, l.includes(main)...)
	l.file.sources = sources
	setDefaults(daemonKeys(), &l.file.Daemon)
	if table, ok := l.table(main, main.tree, "daemon"); ok {
		l.settings(reading{src: main, keys: daemonKeys(), into: &l.file.Daemon, scope: "[daemon]"}, []string{"daemon"}, table, nil)
	}
	setDefaults(fleetKeys(), &l.file.Fleet)
	if table, ok := l.table(main, main.tree, "fleet"); ok {
		l.settings(reading{src: main, keys: fleetKeys(), into: &l.file.Fleet, scope: "[fleet]"}, []string{"fleet"}, table, nil)
	}
	for _, p := range []*string{&l.file.Daemon.Supervisor.PasswordFile, &l.file.Daemon.AdminAuth.TokenFile} {
		if *p != "" {
			*p = absolute(filepath.Dir(main.path), *p)
		}
	}
	l.checkStop(main)
	l.readDefaults(main)
	for _, src := range sources {
		l.concerns = ""
		if src != main {
			l.concerns = src.path
		}
		l.topLevel(src)
		l.readApps(src)
	}
	l.concerns = ""
	l.completeApps()
	l.checkAll()
}

// checkStop checks that linger leaves time to stop.
func (l *loader) checkStop(main *source) {
	for pid := range 2 {
		if _, err := l.file.Daemon.StopLimit(pid); err != nil {
			p := main.problem(main.find([]string{"daemon", "linger"}).key, err.Error())
			p.Warning, p.Hint = pid == 1, "set daemon.stop_timeout"
			l.add(p)
			return
		}
	}
}

// includes reads the files that the main file includes.
func (l *loader) includes(main *source) (all []*source) {
	value, ok := main.tree["include"]
	if !ok {
		return nil
	}
	patterns, err := list(text).read(value)
	if err != nil {
		l.addValueError(main, []string{"include"}, err)
		return nil
	}
	var paths []string
	for _, i := range main.include(patterns, l.glob) {
		if i.problem != nil {
			l.add(*i.problem)
		}
		l.file.Includes = append(l.file.Includes, i)
		for _, path := range i.matched {
			if path != main.path && !slices.Contains(paths, path) {
				paths = append(paths, path)
			}
		}
	}
	for _, path := range paths {
		src, problems := l.read(path)
		if src != nil && strings.TrimSpace(src.text) == "" {
			src, problems = nil, []Problem{*emptyInclude(path)}
		}
		for i := range problems {
			problems[i].concerns = path
		}
		l.addAll(problems)
		if src != nil {
			all = append(all, src)
		}
	}
	return all
}

// mainKeys are the keys at the top level that only the main file may have.
var mainKeys = []string{"daemon", "defaults", "fleet", "include"}

// topLevel reports unknown keys at the top level of a file, and those that only the
// main file may have.
func (l *loader) topLevel(src *source) {
	for _, name := range src.inOrder(nil, src.tree) {
		switch {
		case l.full():
			return
		case name == "app":
		case src == l.main && slices.Contains(mainKeys, name):
		case slices.Contains(mainKeys, name):
			l.addProblem(src, []string{name}, false, fmt.Errorf("%s belongs into the main file", name))
		default:
			l.addProblem(src, []string{name}, false, unknownTopError(name))
		}
	}
}

func unknownTopError(name string) error {
	message := fmt.Sprintf("unknown key %q", name)
	if near := Nearest(name, append([]string{"app"}, mainKeys...)); near != "" {
		return &hintedError{message, fmt.Sprintf("did you mean %s?", near)}
	}
	if known := suggestKey(name, appKeys()); known != "" || hasSection(appKeys(), name) {
		return &hintedError{message, fmt.Sprintf("%s belongs under [app.NAME] or [defaults]", cmp.Or(known, name))}
	}
	if known := suggestKey(name, daemonKeys()); known != "" {
		return &hintedError{message, known + " belongs under [daemon]"}
	}
	if known := suggestKey(name, fleetKeys()); known != "" {
		return &hintedError{message, known + " belongs under [fleet]"}
	}
	return errors.New(message)
}

// table returns the table with a name in tree. A value of another type is a
// problem.
func (l *loader) table(src *source, tree map[string]any, name string) (map[string]any, bool) {
	value, ok := tree[name]
	if !ok {
		return nil, false
	}
	table, ok := value.(map[string]any)
	if !ok {
		l.addValueError(src, []string{name}, expected("a table", value))
	}
	return table, ok
}

// readDefaults reads [defaults], with which every app begins.
func (l *loader) readDefaults(main *source) {
	l.defaults = draft{App: newApp(""), written: map[string]location{}}
	if table, ok := l.table(main, main.tree, "defaults"); ok {
		l.defaults.weight = weight(table)
		l.settings(reading{src: main, keys: appKeys(), into: l.defaults.App, scope: "[defaults]"}, []string{"defaults"}, table, l.defaults.written)
	}
}

func (l *loader) readApps(src *source) {
	apps, ok := l.table(src, src.tree, "app")
	if !ok {
		return
	}
	for _, name := range src.inOrder([]string{"app"}, apps) {
		if l.full() {
			return
		}
		path := []string{"app", name}
		table, ok := apps[name].(map[string]any)
		if !ok {
			l.addProblem(src, path, false, &hintedError{fmt.Sprintf("%q is no app", name), "write [app.NAME] above the settings of an app"})
			continue
		}
		if err := checkName(name); err != nil {
			l.addProblem(src, path, false, err)
		}
		l.readApp(src, path, table)
	}
}

func (l *loader) readApp(src *source, path []string, table map[string]any) {
	defer func(outer string) { l.concerns = outer }(l.concerns)
	l.concerns = path[1]
	app := *l.defaults.App // settings are replaced when they are read, never changed in place
	app.Name, app.origin = path[1], l.file
	d := &draft{App: &app, src: src, header: src.find(path), written: maps.Clone(l.defaults.written)}
	if l.weight += l.defaults.weight + weight(table); l.weight > maxWeight {
		l.addProblem(src, path, false, fmt.Errorf("with what [defaults] says for each app, the apps up to here have settings of more than %s", FormatSize(maxWeight)))
		l.errors = maxErrors
		return
	}
	if other, ok := l.byName[d.Name]; ok {
		line, _, _, _ := other.src.lineAndColumn(other.header.key)
		l.addProblem(src, path, false, fmt.Errorf("the app %s is already in %s:%d", d.Name, other.src.path, line))
	} else {
		l.byName[d.Name] = d
	}
	scope := "[" + strings.Join(path, ".") + "]"
	l.settings(reading{src: src, keys: appKeys(), into: d.App, scope: scope}, path, table, d.written)
	d.explicit, d.own = map[string]bool{}, map[string]bool{}
	for key, at := range d.written {
		d.explicit[key] = true
		d.own[key] = at.path[0] == path[0]
	}
	l.apps = append(l.apps, d)
}

// weight is the number of bytes in a decoded value.
func weight(value any) int {
	total := 8
	switch v := value.(type) {
	case string:
		total += len(v)
	case []any:
		for _, element := range v {
			total += weight(element)
		}
	case map[string]any:
		for name, member := range v {
			total += len(name) + weight(member)
		}
	}
	return total
}

// reading is the destination of a table.
type reading struct {
	src   *source
	keys  []Key
	into  any    // *App or *Daemon
	scope string // "[app.shop]", for messages
}

// settings reads the table at path, and records in written where each key is.
func (l *loader) settings(r reading, path []string, table map[string]any, written map[string]location) {
	l.section(r, path, "", table, written)
}

func (l *loader) section(r reading, path []string, prefix string, table map[string]any, written map[string]location) {
	for _, name := range r.src.inOrder(path, table) {
		if l.full() {
			return
		}
		value, here, full := table[name], append(slices.Clone(path), name), prefix+name
		if k, ok := keyAt(r.keys, full); ok {
			if err := k.read(r.into, value); err != nil {
				l.addValueError(r.src, here, err)
			}
			if written != nil {
				written[full] = location{r.src, here}
			}
			continue
		}
		inside, isTable := value.(map[string]any)
		switch section := hasSection(r.keys, full); {
		case section && isTable:
			l.section(r, here, full+".", inside, written)
		case section:
			l.addValueError(r.src, here, expected("a table", value))
		default:
			l.addProblem(r.src, here, false, unknownKeyError(r, full))
		}
	}
}

// read sets a key of settings. The members of a table are added to those that are
// set already.
func (k Key) read(settings, value any) error {
	table, ok := k.field(settings).(*map[string]string)
	if !ok {
		return k.set(settings, value)
	}
	before := *table
	err := k.set(settings, value)
	for name, value := range before {
		if _, ok := (*table)[name]; !ok && err == nil {
			(*table)[name] = value
		}
	}
	return err
}

func hasSection(keys []Key, name string) bool {
	return slices.ContainsFunc(keys, func(k Key) bool { return strings.HasPrefix(k.Path, name+".") })
}

// inOrder returns the names in a table, in the order in which they are written.
func (s *source) inOrder(path []string, table map[string]any) []string {
	parent, found := s.positions.lookup(path...)
	starts := make(map[string]int, len(table))
	for name := range table {
		if node, ok := parent.members[name]; found && ok {
			starts[name] = node.key.start
		}
	}
	return slices.SortedFunc(maps.Keys(table), func(a, b string) int {
		return cmp.Or(starts[a]-starts[b], strings.Compare(a, b))
	})
}

// addValueError adds one problem for each error in a value, at the element or member
// that is wrong.
func (l *loader) addValueError(src *source, path []string, err error) {
	if all, ok := err.(interface{ Unwrap() []error }); ok {
		for _, one := range all.Unwrap() {
			l.addValueError(src, path, one)
		}
		return
	}
	var element *elementError
	var member *memberError
	switch {
	case errors.As(err, &element):
		path, err = append(slices.Clone(path), fmt.Sprint(element.index)), element.err
	case errors.As(err, &member):
		path, err = append(slices.Clone(path), member.name), member.err
	}
	l.addProblem(src, path, true, err)
}

// addProblem adds a problem at a key, or at its value if value is true.
func (l *loader) addProblem(src *source, path []string, value bool, err error) {
	where := src.find(path)
	e := where.key
	if value && where.value.end > 0 {
		e = where.value
	}
	p := src.problem(e, err.Error())
	var h *hintedError
	if errors.As(err, &h) {
		p.Message, p.Hint = h.message, h.hint
	}
	l.add(p)
}
