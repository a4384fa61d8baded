package supervisordconf

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	"tideover/supervisor/config"
	"tideover/supervisor/lazyregexp"
)

// Options is what the meaning of a supervisord.conf depends on besides its text.
type Options struct {
	Environ []string // supervisord's environment, for %(ENV_NAME)s
	Host    string   // %(host_node_name)s; empty: this machine

	// ReadFile reads a file of the configuration; nil: as this process, and through symlinks.
	ReadFile func(path string) ([]byte, error)
}

// Note says what was changed or left out.
type Note struct {
	File    string
	Line    int
	Section string // "program:shop"; empty: the file as a whole
	Option  string // empty: the section as a whole
	Message string // what is different, or why it is left out
}

// String returns the note on one line, with its place in front.
func (n Note) String() string {
	at := ""
	if n.Line > 0 {
		at = fmt.Sprintf("%s:%d: ", n.File, n.Line)
	}
	if n.Section != "" {
		at += "[" + n.Section + "] "
	}
	if n.Option != "" {
		at += n.Option + ": "
	}
	return at + n.Message
}

// Import turns a supervisord.conf and the files that it includes into the text of a
// tideover.toml that config.Load accepts. An option that cannot be carried over is a
// comment with the reason, and a note. A program that could not run unchanged is a
// comment as a whole. The error is a *config.Error with what supervisord itself would
// not accept.
func Import(path string, o Options) (text []byte, notes []Note, err error) {
	im, err := convert(path, o)
	if err != nil {
		return nil, nil, err
	}
	im.noteRenamed()
	if text, err = im.render(); err != nil {
		return nil, nil, err
	}
	return text, im.notes, nil
}

// convert reads a supervisord.conf and converts its sections.
func convert(path string, o Options) (*importer, error) {
	full, err := filepath.Abs(path)
	if err != nil {
		return nil, config.NewError([]config.Problem{{File: path, Message: err.Error()}})
	}
	im := newImporter(full, o)
	im.read(full)
	im.include()
	if len(im.problems) == 0 {
		im.convertDaemon()
		im.convertPrograms()
		im.noteOtherSections()
	}
	if len(im.problems) > 0 {
		return nil, config.NewError(im.problems)
	}
	return im, nil
}

// newImporter returns an import that has read nothing.
func newImporter(path string, o Options) *importer {
	if o.Host == "" {
		o.Host, _ = os.Hostname()
	}
	if o.ReadFile == nil {
		o.ReadFile = func(path string) ([]byte, error) {
			text, _, err := config.ReadFile(path)
			return text, err
		}
	}
	im := &importer{options: o, path: path, environ: map[string]string{}}
	for _, pair := range o.Environ {
		if name, value, ok := strings.Cut(pair, "="); ok {
			im.environ[name] = value
		}
	}
	return im
}

// importer is one import.
type importer struct {
	options Options
	path    string
	ini     iniFile
	environ map[string]string // the values of %(ENV_NAME)s

	daemon, defaults block
	directory        string     // of [supervisord], if it is absolute
	omitted          []string   // comments about sections that are not carried over
	sharedEnv        []variable // environment of [supervisord]
	programs         []*program
	password         string // of supervisor_password_file
	diagnostics
}

// processLine is a line of a Procfile.
var processLine = lazyregexp.New(`^[A-Za-z0-9_-]+:\s*\S`)

// procfileLine returns the first line of a Procfile; ok is false if the text is none: it has a
// section, or a line that names no process.
func procfileLine(path, text string) (first string, ok bool) {
	for line := range strings.Lines(text) {
		line = strings.TrimRight(line, "\r\n")
		switch {
		case strings.TrimSpace(line) == "", strings.HasPrefix(line, "#"):
		case !processLine.MatchString(line):
			return "", false
		case first == "":
			first = line
		}
	}
	return first, first != ""
}

func (im *importer) read(path string) {
	text, err := im.options.ReadFile(path)
	if err != nil {
		im.problems = append(im.problems, config.Problem{File: path, Message: err.Error()})
		return
	}
	if line, ok := procfileLine(path, string(text)); ok {
		im.problems = append(im.problems, config.Problem{File: path, Line: 1, Column: 1, Length: len([]rune(line)), Text: line,
			Message: "this is a Procfile and not a supervisord.conf", Hint: "write an app for each line, as [app.web] with command = \"...\"; tideover run -- COMMAND runs one of them"})
		return
	}
	im.ini.read(path, string(text))
	im.problems = append(im.problems, im.ini.problems...)
	im.ini.problems = nil
}

// include reads the files of [include]. An [include] in an included file is ignored,
// as supervisord does.
func (im *importer) include() {
	section, ok := im.ini.section("include")
	if !ok || len(im.problems) > 0 {
		return
	}
	o, ok := im.ini.option(section, "files")
	if !ok {
		im.problems = append(im.problems, iniProblem(section.file, section.line, "[include]", "[include] names no files"))
		return
	}
	patterns, ok := im.expand(o, nil)
	if !ok {
		return
	}
	for _, pattern := range strings.Fields(patterns) {
		found, err := filepath.Glob(absolute(filepath.Dir(im.path), pattern))
		if err != nil || len(found) == 0 {
			im.addNote(o, fmt.Sprintf("no file matches %s", pattern))
		}
		slices.Sort(found)
		for _, path := range found {
			im.read(path)
		}
	}
}

// expand replaces %(name)s in the value of an option. values are the names that are
// defined besides those that every option has.
func (im *importer) expand(o *iniOption, values map[string]any) (string, bool) {
	all := map[string]any{"here": filepath.Dir(o.file), "host_node_name": im.options.Host}
	for name, value := range im.environ {
		all["ENV_"+name] = value
	}
	for name, value := range values {
		all[name] = value
	}
	text, err := expandPercent(o.value, all, func(name string) (string, error) {
		if env, ok := strings.CutPrefix(name, "ENV_"); ok {
			im.addNote(o, fmt.Sprintf("%s is not set here, so it is empty in the result: import again with it set, or write its value", env))
			return "", nil
		}
		return "", fmt.Errorf("there is no %%(%s)s", name)
	})
	if err != nil {
		im.addProblem(o, err)
	}
	im.noteExpanded(o)
	return text, err == nil
}

// noteExpanded adds a note for each environment variable that was replaced by its
// present value in the result.
func (im *importer) noteExpanded(o *iniOption) {
	for _, match := range percent.FindAllStringSubmatch(o.value, -1) {
		name, ok := strings.CutPrefix(match[1], "ENV_")
		_, set := im.environ[name]
		ours := slices.ContainsFunc(im.sharedEnv, func(v variable) bool { return v.name == name })
		if ok && set && !ours && !strings.Contains(o.value, name+`="`+match[0]) && !strings.Contains(o.value, name+"="+match[0]) {
			im.addNote(o, fmt.Sprintf("%s is its value of now in the result", match[0]))
		}
	}
}

// parseInt parses a whole number as Python's int does.
func parseInt(text string) (int, error) {
	n, err := strconv.Atoi(strings.TrimSpace(text))
	if err != nil {
		return 0, fmt.Errorf("%q is not a whole number", text)
	}
	return n, nil
}

// convertPrograms converts all programs to apps.
func (im *importer) convertPrograms() {
	groups := im.groups()
	for _, s := range im.ini.sections {
		kind, name, _ := strings.Cut(s.name, ":")
		if kind == "program" || kind == "fcgi-program" && im.servesHTTP(s) {
			im.programs = append(im.programs, im.programsOf(s, strings.TrimSpace(name), groups)...)
		}
	}
	taken := map[string]bool{}
	for _, p := range im.programs {
		p.app = uniqueName(p.app, taken)
		taken[p.app] = true
		p.convert()
	}
}

// group is a [group:x].
type group struct {
	name     string
	priority *int
}

// groups returns the group of each program.
func (im *importer) groups() map[string]group {
	all := map[string]group{}
	for _, s := range im.ini.sections {
		name, ok := strings.CutPrefix(s.name, "group:")
		if !ok {
			continue
		}
		g := group{name: strings.TrimSpace(name)}
		if o, ok := im.ini.option(s, "priority"); ok {
			n, err := parseInt(o.value)
			if err != nil {
				im.addProblem(o, err)
			}
			g.priority = &n
		}
		o, ok := im.ini.option(s, "programs")
		if !ok {
			im.problems = append(im.problems, iniProblem(s.file, s.line, "["+s.name+"]", "the group has no programs"))
			continue
		}
		text, _ := im.expand(o, nil)
		for _, program := range strings.Split(text, ",") {
			program = strings.TrimSpace(program)
			_, isProgram := im.ini.section("program:" + program)
			_, isFastCGI := im.ini.section("fcgi-program:" + program)
			if !isProgram && !isFastCGI {
				im.addProblem(o, fmt.Errorf("there is no program %q", program))
			}
			all[program] = g
		}
	}
	return all
}

// render returns the text. It repeats until config.Check accepts the text, and turns
// an app that is not accepted into a comment.
func (im *importer) render() ([]byte, error) {
	for {
		text := im.write()
		rejected, err := im.rejectedApps(text)
		if err != nil || len(rejected) == 0 {
			return []byte(text), err
		}
		for _, p := range rejected {
			section, _ := im.ini.section(p.section.name)
			im.addSectionNote(section, "it is in the result as a comment only: "+strings.Join(p.rejected, "; "))
		}
	}
}

// rejectedApps checks the text and adds each problem to the program that it belongs
// to. It returns these programs. A problem outside of all programs is one of the
// supervisord.conf, or else an error of this package.
func (im *importer) rejectedApps(text string) (rejected []*program, err error) {
	problems, err := config.Check(filepath.Join(filepath.Dir(im.path), "tideover.toml"), text)
	if err != nil {
		return nil, err
	}
	// That no program has become an app is said by the comments, and by Load.
	problems = slices.DeleteFunc(problems, func(p config.Problem) bool { return p.Empty })
	for _, p := range problems {
		for _, q := range im.programs {
			if p.Warning || !isInApp(text, p.Line, q.app) {
				continue
			}
			if !slices.Contains(q.rejected, p.Message) {
				q.rejected = append(q.rejected, p.Message)
			}
			if !slices.Contains(rejected, q) {
				rejected = append(rejected, q)
			}
		}
	}
	if unexplained := config.NewError(problems); len(rejected) == 0 && unexplained.Errors() > 0 {
		return nil, im.explain(text, unexplained)
	}
	return rejected, nil
}

// explain returns the problems of [daemon] and [defaults] as problems of the options that
// they come from; if there is another one, found as it is.
func (im *importer) explain(text string, found *config.Error) error {
	for _, p := range found.Problems {
		if o := im.optionAt(text, p.Line); o != nil && !p.Warning {
			im.addProblem(o, errors.New(p.Message))
		} else if !p.Warning {
			return found
		}
	}
	return config.NewError(im.problems)
}

// optionAt returns the option that a line of [daemon] or [defaults] comes from, or nil.
func (im *importer) optionAt(text string, line int) *iniOption {
	header, own := lineOf(text, line)
	if s, ok := im.ini.section("supervisord"); ok && header == "[defaults.env]" {
		o, _ := im.ini.option(s, "environment")
		return o
	}
	for _, b := range []*block{&im.daemon, &im.defaults} {
		for _, e := range b.entries {
			if b.header == header && e.key != "" && strings.HasPrefix(own, e.key+" ") {
				return e.option
			}
		}
	}
	return nil
}

// lineOf returns a line of the text, and the header of the table that it belongs to.
func lineOf(text string, line int) (header, own string) {
	for i, t := range strings.Split(text, "\n") {
		if strings.HasPrefix(t, "[") {
			header = t
		}
		if i+1 == line {
			return header, t
		}
	}
	return header, ""
}

// isInApp reports whether a line of the text belongs to a table of an app.
func isInApp(text string, line int, app string) bool {
	header, _ := lineOf(text, line)
	return strings.HasPrefix(header, "[app."+app+"]") || strings.HasPrefix(header, "[app."+app+".")
}

// absolute returns path as it is if it is absolute, else relative to base.
func absolute(base, path string) string {
	if filepath.IsAbs(path) {
		return filepath.Clean(path)
	}
	return filepath.Join(base, path)
}
