package supervisordconf

import (
	"fmt"
	"path/filepath"
	"slices"
	"strings"

	"golang.org/x/sys/unix"

	"tideover/supervisor/config"
	"tideover/supervisor/gunicorn"
	"tideover/supervisor/lazyregexp"
)

// programOmissions are the options of [program:x] that are not carried over, with the
// reason.
var programOmissions = map[string]string{
	"startretries":            "a start that fails is tried again with growing pauses, and does not end for good",
	"stopasgroup":             "gunicorn passes the signal on to its workers, and then the whole tree is ended",
	"killasgroup":             "the whole tree is always killed",
	"stdout_capture_maxbytes": "there are no process communication events",
	"stderr_capture_maxbytes": "there are no process communication events",
	"stdout_events_enabled":   "there are no process log events",
	"stderr_events_enabled":   "there are no process log events",
	"serverurl":               "children do not talk to the daemon by XML-RPC",
}

// program is one app, made from a [program:x].
type program struct {
	im      *importer
	section *iniSection
	name    string // x of [program:x]
	group   group  // with an empty name if there is none
	number  int    // %(process_num)d
	count   int    // numprocs
	app     string
	split   bool // several apps are made from the section

	instances int
	env       []variable // of the section alone
	words     []string
	gunicorn  *gunicorn.Command // nil if the command does not run gunicorn
	socket    string            // public address of an [fcgi-program:x]; empty: it is none
	logFile   string
	used      map[string]bool // names of the options that are carried over or dealt with
	values    map[string]any
	block     block
	rejected  []string // why the app is only a comment; empty: it is not
}

// programsOf returns one app for a section, or several if the processes of numprocs
// differ in more than their names.
func (im *importer) programsOf(s *iniSection, name string, groups map[string]group) []*program {
	newProgram := func(num, count int) *program {
		p := &program{im: im, section: s, name: name, group: groups[name], number: num, count: count, app: name, instances: 1, used: map[string]bool{}}
		p.setValues()
		return p
	}
	first := newProgram(0, 1)
	count, start := first.getInt("numprocs", 1), first.getInt("numprocs_start", 0)
	first = newProgram(start, count)
	switch o, _ := im.ini.option(s, "numprocs"); {
	case count > config.MaxInstances:
		im.addProblem(o, fmt.Errorf("%d processes are too many", count))
		return nil
	case count < 1:
		im.addNote(o, "the program has no processes, and is left out")
		return nil
	case count == 1:
		return []*program{first}
	}
	if first.sameProcess(newProgram(start+1, count)) {
		first.instances = count
		return []*program{first}
	}
	var all []*program
	for num := start; num < start+count; num++ {
		p := newProgram(num, count)
		p.app, p.split = fmt.Sprintf("%s-%d", name, num), true
		all = append(all, p)
	}
	return all
}

// setValues sets the values of %(name)s in the options of the program.
func (p *program) setValues() {
	group := p.name
	if p.group.name != "" {
		group = p.group.name
	}
	p.values = map[string]any{"program_name": p.name, "group_name": group, "process_num": p.number, "numprocs": p.count}
}

// sameProcess reports whether two processes of a section have the same command,
// environment and directory.
func (p *program) sameProcess(other *program) bool {
	for _, name := range []string{"command", "environment", "directory"} {
		one, _, _ := p.get(name)
		two, _, _ := other.get(name)
		if one != two {
			return false
		}
	}
	return true
}

// get returns the expanded value of an option, and marks it as used.
func (p *program) get(name string) (string, *iniOption, bool) {
	o, ok := p.im.ini.option(p.section, name)
	if !ok {
		return "", nil, false
	}
	p.used[name] = true
	text, ok := p.im.expand(o, p.values)
	return text, o, ok
}

// getInt returns an option that is a whole number.
func (p *program) getInt(name string, fallback int) int {
	text, o, ok := p.get(name)
	if !ok {
		return fallback
	}
	n, err := parseInt(text)
	if err != nil {
		p.im.addProblem(o, err)
		return fallback
	}
	return n
}

func (p *program) getBool(name string, fallback bool) bool {
	text, o, ok := p.get(name)
	if !ok {
		return fallback
	}
	value, err := parseBool(text)
	if err != nil {
		p.im.addProblem(o, err)
	}
	return value
}

// convert fills the block of the app.
func (p *program) convert() {
	relative, err := filepath.Rel(filepath.Dir(p.im.path), p.section.file)
	if err != nil || strings.HasPrefix(relative, "..") {
		relative = p.section.file
	}
	p.block = block{header: "[app." + p.app + "]", origin: fmt.Sprintf("[%s], %s:%d", p.section.name, relative, p.section.line)}
	p.convertEnvironment()
	p.convertSocket()
	p.convertCommand()
	p.convertProcess()
	p.convertStart()
	p.convertReload()
	p.convertStop()
	p.convertLogs()
	p.omitUnused()
}

func (p *program) convertEnvironment() {
	text, o, ok := p.get("environment")
	if !ok {
		return
	}
	all, err := readVariables(text)
	if err != nil {
		p.im.addProblem(o, err)
	}
	for _, v := range all {
		p.values["ENV_"+v.name] = v.value
	}
	p.env = p.im.ownVariables(&p.block, o, all)
	p.block.env = p.env
}

// getenv looks up a variable in the environment options.
func (p *program) getenv(name string) string {
	for _, v := range slices.Concat(p.env, p.im.sharedEnv) {
		if v.name == name {
			return v.value
		}
	}
	return ""
}

// convertProcess sets directory, user, umask and instances.
func (p *program) convertProcess() {
	if text, o, ok := p.get("directory"); ok {
		directory := p.im.expandHome(o, text)
		comment := ""
		switch {
		case filepath.IsAbs(directory):
		case p.im.directory != "":
			directory = filepath.Join(p.im.directory, directory)
		default:
			comment = "was relative to supervisord's own directory, is now to this file's"
		}
		p.block.set("directory", tomlString(directory), comment)
	}
	if text, o, ok := p.get("user"); ok {
		p.block.set("user", tomlString(text), "")
		p.im.noteUser(o, text)
	}
	if text, _, ok := p.get("umask"); ok {
		p.block.set("umask", tomlString(strings.TrimPrefix(text, "0o")), "")
	}
	if p.instances > 1 && p.gunicorn != nil {
		o, _ := p.im.ini.option(p.section, "numprocs")
		p.im.omit(&p.block, o, "one gunicorn per address, with as many workers as its -w says")
		p.instances = 1
	}
	if p.instances > 1 && p.socket != "" {
		o, _ := p.im.ini.option(p.section, "numprocs")
		p.im.omit(&p.block, o, fmt.Sprintf("one process has the socket; an option of the server, such as --workers %d, starts as many", p.instances))
		p.instances = 1
	}
	if p.instances > 1 {
		p.block.set("instances", fmt.Sprint(p.instances), "")
	}
}

// convertStart sets autostart, restart, exit_codes and ready.after.
func (p *program) convertStart() {
	if !p.getBool("autostart", true) {
		p.block.set("autostart", "false", "")
	}
	text, o, given := p.get("autorestart")
	switch always, err := parseBool(text); {
	case given && strings.ToLower(text) != "unexpected" && err != nil:
		p.im.addProblem(o, fmt.Errorf("%q is not true, false or unexpected", text))
	case given && err == nil && !always:
		p.block.set("restart", `"never"`, "")
	case given && err != nil:
		p.block.set("restart", `"on-failure"`, "autorestart = unexpected")
	case !given && p.gunicorn == nil:
		p.block.set("restart", `"on-failure"`, "as supervisord's autorestart by default")
	}
	if text, o, ok := p.get("exitcodes"); ok {
		p.convertExitCodes(o, text)
	}
	text, o, ok := p.get("startsecs")
	n, err := parseInt(text)
	switch {
	case !ok:
	case err != nil:
		p.im.addProblem(o, err)
	case p.gunicorn != nil || p.socket != "":
		p.im.omit(&p.block, o, "a web app is ready when it answers a request, see ready.path")
	default:
		p.block.set("ready.after", tomlString(fmt.Sprintf("%ds", max(n, 0))), "")
	}
}

// schedulers are words in commands of which two copies do each job twice. One copy is the
// default of a plain process; import writes it for these, so that [defaults] cannot change it.
var schedulers = []string{"beat", "celerybeat", "rqscheduler", "scheduler", "clock", "cron", "qcluster"}

// convertReload sets reload = "replace" for a scheduler.
func (p *program) convertReload() {
	isScheduler := func(word string) bool { return slices.Contains(schedulers, filepath.Base(word)) }
	if p.gunicorn == nil && slices.ContainsFunc(p.words, isScheduler) {
		p.block.set("reload", `"replace"`, "never two at once: each would do every job")
	}
}

func (p *program) convertExitCodes(o *iniOption, text string) {
	var all []string
	for _, part := range strings.Split(text, ",") {
		n, err := parseInt(part)
		if err == nil && (n < 0 || n > 255) {
			err = fmt.Errorf("%d is not an exit code", n)
		}
		if err != nil && text != "" {
			p.im.addProblem(o, err)
			return
		}
		all = append(all, fmt.Sprint(n))
	}
	if text == "" {
		all = nil
	}
	p.block.set("exit_codes", "["+strings.Join(all, ", ")+"]", "")
}

// convertStop sets the stop settings.
func (p *program) convertStop() {
	if text, o, ok := p.get("stopsignal"); ok {
		p.convertStopSignal(o, text)
	}
	if p.gunicorn == nil && p.getBool("stopasgroup", false) {
		p.block.set("stop.tree", "true", "stopasgroup")
	}
	text, o, given := p.get("stopwaitsecs")
	wait, err := parseInt(text)
	if given && err != nil {
		p.im.addProblem(o, err)
		return
	}
	seconds := func(n int) string { return tomlString(fmt.Sprintf("%ds", max(n, 0))) }
	if p.gunicorn == nil {
		if given {
			p.block.set("stop.timeout", seconds(wait), "")
		}
		return
	}
	graceful, said := int(p.gunicorn.GracefulTimeout.Seconds()), "its --graceful-timeout"
	if graceful == 0 {
		graceful, said = 30, "gunicorn's default graceful timeout"
	}
	switch {
	case given && wait > graceful:
		p.block.set("stop.timeout", seconds(wait), "")
	case given:
		p.block.set("stop.timeout", seconds(graceful+5), fmt.Sprintf("stopwaitsecs was %d, shorter than %s of %d s", wait, said, graceful))
		p.im.addNote(o, fmt.Sprintf("raised to %d s, which is longer than %s of %d s", graceful+5, said, graceful))
	case p.gunicorn.GracefulTimeout > 0:
		p.block.set("stop.timeout", seconds(graceful+5), fmt.Sprintf("longer than %s of %d s; stopwaitsecs was 10 by default", said, graceful))
	}
}

func (p *program) convertStopSignal(o *iniOption, text string) {
	sig, err := config.ParseSignal(strings.TrimSpace(text))
	if n, fault := parseInt(text); fault == nil {
		if name := unix.SignalName(unix.Signal(n)); name != "" {
			sig, err = config.ParseSignal(name)
		}
	}
	name := strings.TrimPrefix(unix.SignalName(sig), "SIG")
	switch {
	case err != nil:
		p.im.addProblem(o, err)
	case p.gunicorn != nil && slices.Contains([]string{"HUP", "USR1", "USR2", "WINCH", "TTIN", "TTOU"}, name):
		p.im.omit(&p.block, o, "gunicorn does not end on it; TERM is sent")
	case p.gunicorn != nil && (name == "QUIT" || name == "INT"):
		p.block.set("stop.signal", tomlString(name), "gunicorn ends at once on it; its requests were drained before")
	case name != "TERM":
		p.block.set("stop.signal", tomlString(name), "")
	}
}

var processNumber = lazyregexp.New(`[-_.]?%\(process_num\)[0-9]*[ds]`)

// omitUnused omits the options that no other method has used.
func (p *program) omitUnused() {
	p.get("numprocs")
	p.get("numprocs_start")
	if o, ok := p.im.ini.option(p.section, "process_name"); ok {
		p.used["process_name"] = true
		if plain := processNumber.ReplaceAllString(o.value, ""); plain != "%(program_name)s" && plain != p.name {
			p.im.omit(&p.block, o, "an app has one name, "+p.app)
		}
	}
	p.used["priority"] = true
	options := p.section.options
	if p.im.ini.defaults != nil {
		options = slices.Concat(options, p.im.ini.defaults.options)
	}
	for _, o := range options {
		if p.used[o.name] {
			continue
		}
		p.used[o.name] = true
		if reason, ok := programOmissions[o.name]; ok {
			p.im.omit(&p.block, o, reason)
			continue
		}
		p.im.omitUnknown(&p.block, o, knownOptions("program"))
	}
}
