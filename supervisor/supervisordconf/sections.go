package supervisordconf

import (
	"fmt"
	"path/filepath"
	"slices"
	"strings"

	"tideover/supervisor/config"
)

// daemonOmissions are the options of [supervisord] that are not carried over, with the
// reason.
var daemonOmissions = map[string]string{
	"logfile":          "tideover writes its own lines to standard error, for systemd or a container to keep",
	"logfile_maxbytes": "see logfile",
	"logfile_backups":  "see logfile",
	"pidfile":          `tideover needs none; with [daemon] pidfile it writes one`,
	"nodaemon":         "tideover is always in the foreground",
	"silent":           "there is no log file to be silent beside",
	"childlogdir":      "there are no automatic log files: the last output is kept in memory, log.file keeps it in a file",
	"nocleanup":        "there are no automatic log files",
	"strip_ansi":       "output is kept as it is",
	"minprocs":         "it is not a need of tideover; limits.nproc bounds an app",
	"profile_options":  "it is for supervisord's own development",
}

// convertDaemon converts [supervisord] and [unix_http_server].
func (im *importer) convertDaemon() {
	im.daemon.header, im.defaults.header = "[daemon]", "[defaults]"
	if s, ok := im.ini.section("supervisord"); ok {
		im.convertEnvironment(s)
		for _, o := range s.options {
			im.convertDaemonOption(o)
		}
	}
	im.convertServers()
}

// convertEnvironment converts the environment of [supervisord]. It must come before the
// other options, because they may refer to it.
func (im *importer) convertEnvironment(s *iniSection) {
	o, ok := im.ini.option(s, "environment")
	if !ok {
		return
	}
	text, ok := im.expand(o, nil)
	if !ok {
		return
	}
	again := *o // supervisord expands this option twice, and no other one: "%%%%" is one "%"
	again.value = text
	if text, ok = im.expand(&again, nil); !ok {
		return
	}
	all, err := readVariables(text)
	if err != nil {
		im.addProblem(o, err)
	}
	im.sharedEnv = im.ownVariables(&im.defaults, o, all)
	im.defaults.env = im.sharedEnv
	for _, v := range all {
		im.environ[v.name] = v.value
	}
}

// ownVariables removes the variables that are set to their own value, as in
// PATH="%(ENV_PATH)s": every app inherits tideover's environment. Those that an app of
// another user does not inherit become env_pass in b.
func (im *importer) ownVariables(b *block, o *iniOption, all []variable) (kept []variable) {
	var passed []string
	for _, v := range all {
		through := "%(ENV_" + v.name + ")s"
		if strings.Contains(o.value, v.name+"="+through) || strings.Contains(o.value, v.name+`="`+through+`"`) || strings.Contains(o.value, v.name+"='"+through+"'") {
			im.addNote(o, v.name+" is left out: apps have tideover's own environment")
			if config.OfSession(v.name) {
				passed = append(passed, v.name)
			}
			continue
		}
		kept = append(kept, v)
	}
	if len(passed) > 0 {
		b.set("env_pass", tomlArray(passed), "not inherited with user otherwise")
	}
	return kept
}

func (im *importer) convertDaemonOption(o *iniOption) {
	reason, left := daemonOmissions[o.name]
	text, ok := im.expand(o, nil)
	switch {
	case !ok:
	case left:
		im.omit(&im.daemon, o, reason)
	case o.name == "environment":
	case o.name == "loglevel":
		im.setLogLevel(o, text)
	case o.name == "user":
		if text != "root" && text != "0" {
			im.defaults.setFrom(o, "user", tomlString(text), "[supervisord] user")
			im.noteUser(o, text)
		}
	case o.name == "umask":
		im.defaults.setFrom(o, "umask", tomlString(strings.TrimPrefix(text, "0o")), "")
	case o.name == "directory":
		directory := im.expandHome(o, text)
		if filepath.IsAbs(directory) {
			im.directory = directory
		}
		im.defaults.setFrom(o, "directory", tomlString(directory), "[supervisord] directory")
	case o.name == "identifier":
		im.daemon.setFrom(o, "supervisor_identifier", tomlString(text), "")
	case o.name == "minfds":
		im.setOpenFiles(o, text)
	default:
		im.omitUnknown(&im.daemon, o, knownOptions("daemon"))
	}
}

// noteUser adds a note about what an app may not do as another user than root.
func (im *importer) noteUser(o *iniOption, user string) {
	if user != "root" && user != "0" {
		im.addNote(o, "no_new_privs is on for "+user+": sudo, su, sendmail and ping gain nothing in the app; no_new_privs = false restores it")
	}
}

func (im *importer) setLogLevel(o *iniOption, text string) {
	levels := map[string]string{"critical": "error", "critica": "error", "error": "error", "erro": "error", "warn": "warn", "info": "info", "debug": "debug", "debg": "debug", "trace": "trace", "trac": "trace", "blather": "trace", "blat": "trace"}
	level, ok := levels[strings.ToLower(text)]
	if !ok {
		im.addProblem(o, fmt.Errorf("%q is not a level", text))
		return
	}
	if level != "info" {
		im.daemon.set("log_level", tomlString(level), "")
	}
}

// setOpenFiles converts minfds. supervisord raises the limit of all programs to it and
// never lowers the limit.
func (im *importer) setOpenFiles(o *iniOption, text string) {
	n, err := parseInt(text)
	switch {
	case err != nil:
		im.addProblem(o, err)
	case n > 1024:
		im.defaults.setFrom(o, "limits.nofile", fmt.Sprint(n), "minfds")
	default:
		im.omit(&im.defaults, o, "no more than processes have anyway")
	}
}

// noteOtherSections omits the sections that are not converted.
func (im *importer) noteOtherSections() {
	for _, s := range im.ini.sections {
		kind, name, _ := strings.Cut(s.name, ":")
		switch kind {
		case "program", "group", "supervisord", "unix_http_server", "inet_http_server", "include":
		case "supervisorctl":
			im.omitSection(s, "supervisorctl goes on to read it from this file; the commands of tideover find their daemon by themselves")
		case "ctlplugin":
			im.omitSection(s, "extensions of supervisorctl run in supervisorctl alone; their XML-RPC has nothing to speak to here")
		case "rpcinterface":
			if name != "supervisor" {
				im.omitSection(s, "extensions of supervisord's XML-RPC have nothing to extend here")
			}
		case "eventlistener":
			im.convertListener(s)
		case "fcgi-program":
			if !slices.ContainsFunc(im.programs, func(p *program) bool { return p.section == s }) {
				im.omitSection(s, "FastCGI is not spoken: run the program as HTTP server under gunicorn, or leave it with supervisord")
			}
		default:
			message := "supervisord does not know this section and ignored it"
			if near := config.Nearest(kind, []string{"program", "group", "include", "supervisord", "eventlistener"}); near != "" {
				message += "; was " + near + " meant?"
			}
			im.omitSection(s, message)
		}
	}
}

// omitSection adds a section to those that are not carried over.
func (im *importer) omitSection(s *iniSection, message string) {
	im.addSectionNote(s, message)
	im.omitted = append(im.omitted, fmt.Sprintf("Not carried over: [%s]: %s", s.name, message))
}

// expandHome replaces "~" at the beginning of a path.
func (im *importer) expandHome(o *iniOption, path string) string {
	if path != "~" && !strings.HasPrefix(path, "~/") {
		return path
	}
	home := im.environ["HOME"]
	if home == "" {
		home = "/root"
	}
	im.addNote(o, "~ is "+home+" in the result")
	return home + path[1:]
}

// knownOptions returns the names of all options of [program:x] ("program") or of
// [supervisord] ("daemon").
func knownOptions(section string) (all []string) {
	if section == "daemon" {
		for name := range daemonOmissions {
			all = append(all, name)
		}
		return append(all, "environment", "loglevel", "user", "umask", "directory", "minfds", "identifier")
	}
	for name := range programOmissions {
		all = append(all, name)
	}
	return append(all, "command", "process_name", "numprocs", "numprocs_start", "priority", "autostart", "autorestart", "exitcodes",
		"startsecs", "stopsignal", "stopwaitsecs", "user", "directory", "umask", "environment", "redirect_stderr", "stdout_logfile",
		"stdout_logfile_maxbytes", "stdout_logfile_backups", "stdout_syslog", "stderr_logfile", "stderr_logfile_maxbytes",
		"stderr_logfile_backups", "stderr_syslog")
}
