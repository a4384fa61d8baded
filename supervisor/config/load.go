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

// Load reads a configuration with all it includes. The error is *Faults: all
// that is wrong, warnings among it; then nothing of the configuration is to be
// used. Without a fault, warnings are in the File.
func Load(path string) (*File, error) {
	full, err := filepath.Abs(path)
	if err != nil {
		return nil, &Faults{[]Problem{{File: path, Message: err.Error()}}}
	}
	l := &loader{file: &File{Path: full}, environ: os.Environ()}
	l.load(full)
	sortProblems(l.problems)
	if slices.ContainsFunc(l.problems, func(p Problem) bool { return !p.Warning }) {
		return nil, &Faults{l.problems}
	}
	l.file.Warnings, l.file.drafts = l.problems, l.apps
	return l.file, nil
}

// loader is one reading of a configuration. It goes on after a fault.
type loader struct {
	file     *File
	environ  []string
	problems []Problem
	main     *source
	apps     []*draft
}

// draft is an app with the places of what was written about it.
type draft struct {
	*App
	src    *source
	header place
	spots  map[string]spot // by key
}

type spot struct {
	src  *source
	path []string
}

func (l *loader) load(path string) {
	main, fault := readSource(path)
	if fault != nil {
		l.problems = append(l.problems, *fault)
		return
	}
	l.use(main)
}

// use reads what the main file says and includes.
func (l *loader) use(main *source) {
	l.main = main
	sources := append([]*source{main}, l.includes(main)...)
	setDefaults(daemonKeys, &l.file.Daemon)
	if table, ok := l.table(main, main.tree, "daemon"); ok {
		l.settings(reading{src: main, keys: daemonKeys, into: &l.file.Daemon, scope: "[daemon]"}, []string{"daemon"}, table, nil)
	}
	l.checkDefaults(main)
	for _, src := range sources {
		l.topLevel(src)
		l.readApps(src)
	}
	l.complete()
	l.checkAll()
}

// includes reads the files that the main one includes.
func (l *loader) includes(main *source) (all []*source) {
	value, ok := main.tree["include"]
	if !ok {
		return nil
	}
	patterns, err := list(text).read(value)
	if err != nil {
		l.fault(main, []string{"include"}, err)
		return nil
	}
	paths, faults := main.include(patterns)
	l.problems = append(l.problems, faults...)
	for _, path := range paths {
		src, fault := readSource(path)
		if fault != nil {
			l.problems = append(l.problems, *fault)
			continue
		}
		all = append(all, src)
	}
	return all
}

// topLevel finds what does not belong at the top of a file.
func (l *loader) topLevel(src *source) {
	for _, name := range src.inOrder(nil, src.tree) {
		switch {
		case name == "app":
		case src == l.main && slices.Contains([]string{"daemon", "defaults", "include"}, name):
		case slices.Contains([]string{"daemon", "defaults", "include"}, name):
			l.problem(src, []string{name}, false, fmt.Errorf("%s belongs into the main file", name))
		default:
			l.problem(src, []string{name}, false, unknownTop(name))
		}
	}
}

func unknownTop(name string) error {
	message := fmt.Sprintf("unknown key %q", name)
	if near := nearest(name, []string{"app", "daemon", "defaults", "include"}); near != "" {
		return &hinted{message, fmt.Sprintf("did you mean %s?", near)}
	}
	if known := meant(name, appKeys); known != "" || hasSection(appKeys, name) {
		return &hinted{message, fmt.Sprintf("%s belongs under [app.NAME] or [defaults]", cmp.Or(known, name))}
	}
	if known := meant(name, daemonKeys); known != "" {
		return &hinted{message, known + " belongs under [daemon]"}
	}
	return errors.New(message)
}

// table finds a table among the members of another one.
func (l *loader) table(src *source, tree map[string]any, name string) (map[string]any, bool) {
	value, ok := tree[name]
	if !ok {
		return nil, false
	}
	table, ok := value.(map[string]any)
	if !ok {
		l.fault(src, []string{name}, expected("a table", value))
	}
	return table, ok
}

// checkDefaults reads [defaults] once for its own sake, so that its faults are
// told once and not for every app.
func (l *loader) checkDefaults(main *source) {
	table, ok := l.table(main, main.tree, "defaults")
	if !ok {
		delete(main.tree, "defaults")
		return
	}
	l.settings(reading{src: main, keys: appKeys, into: newApp(""), scope: "[defaults]"}, []string{"defaults"}, table, nil)
}

func (l *loader) readApps(src *source) {
	apps, ok := l.table(src, src.tree, "app")
	if !ok {
		return
	}
	for _, name := range src.inOrder([]string{"app"}, apps) {
		path := []string{"app", name}
		table, ok := apps[name].(map[string]any)
		if !ok {
			l.problem(src, path, false, &hinted{fmt.Sprintf("%q is no app", name), "write [app.NAME] above the settings of an app"})
			continue
		}
		if err := checkName(name); err != nil {
			l.problem(src, path, false, err)
		}
		l.readApp(src, path, table)
	}
}

func (l *loader) readApp(src *source, path []string, table map[string]any) {
	d := &draft{App: newApp(path[1]), src: src, header: src.at(path), spots: map[string]spot{}}
	if i := slices.IndexFunc(l.apps, func(other *draft) bool { return other.Name == d.Name }); i >= 0 {
		other := l.apps[i]
		line, _, _, _ := locate(other.src.text, other.header.key)
		l.problem(src, path, false, fmt.Errorf("the app %s is already in %s:%d", d.Name, other.src.path, line))
	}
	if defaults, ok := l.main.tree["defaults"].(map[string]any); ok {
		silent := &loader{}
		silent.settings(reading{src: l.main, keys: appKeys, into: d.App}, []string{"defaults"}, defaults, d.spots)
	}
	scope := "[" + strings.Join(path, ".") + "]"
	l.settings(reading{src: src, keys: appKeys, into: d.App, scope: scope}, path, table, d.spots)
	l.apps = append(l.apps, d)
}

// reading is what a table is read into.
type reading struct {
	src   *source
	keys  []Key
	into  any
	scope string // for messages
}

// settings reads the table at path, and notes in spots where each key was.
func (l *loader) settings(r reading, path []string, table map[string]any, spots map[string]spot) {
	l.section(r, path, "", table, spots)
}

func (l *loader) section(r reading, path []string, prefix string, table map[string]any, spots map[string]spot) {
	for _, name := range r.src.inOrder(path, table) {
		value, here, full := table[name], append(slices.Clone(path), name), prefix+name
		if k, ok := keyAt(r.keys, full); ok {
			if err := k.read(r.into, value); err != nil {
				l.fault(r.src, here, err)
			}
			if spots != nil {
				spots[full] = spot{r.src, here}
			}
			continue
		}
		inside, isTable := value.(map[string]any)
		switch section := hasSection(r.keys, full); {
		case section && isTable:
			l.section(r, here, full+".", inside, spots)
		case section:
			l.fault(r.src, here, expected("a table", value))
		default:
			l.problem(r.src, here, false, unknownKey(r, full))
		}
	}
}

// read gives settings a value. The members of a table add to those before.
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

// inOrder lists the members of a table as they are written.
func (s *source) inOrder(path []string, table map[string]any) []string {
	return slices.SortedFunc(maps.Keys(table), func(a, b string) int {
		x, y := s.at(append(slices.Clone(path), a)), s.at(append(slices.Clone(path), b))
		if x.key.start != y.key.start {
			return x.key.start - y.key.start
		}
		return strings.Compare(a, b)
	})
}

// fault points at a value, or at the parts of it that are wrong.
func (l *loader) fault(src *source, path []string, err error) {
	if all, ok := err.(interface{ Unwrap() []error }); ok {
		for _, one := range all.Unwrap() {
			l.fault(src, path, one)
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
	l.problem(src, path, true, err)
}

// problem points at a key, or at its value if it has one.
func (l *loader) problem(src *source, path []string, value bool, err error) {
	where := src.at(path)
	e := where.key
	if value && where.value.end > 0 {
		e = where.value
	}
	p := src.problem(e, err.Error())
	var h *hinted
	if errors.As(err, &h) {
		p.Message, p.Hint = h.message, h.hint
	}
	l.problems = append(l.problems, p)
}
