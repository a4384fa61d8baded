package supervisordconf

import (
	"fmt"
	"path/filepath"
	"slices"
	"strings"

	"tideover/supervisor/config"
)

// convertLogs sets the log settings. supervisord writes two files, tideover one, in
// which every line is tagged with its stream.
func (p *program) convertLogs() {
	stdout, journal, silent := p.streamFile("stdout")
	stderr, errJournal, errSilent := p.streamFile("stderr")
	redirect := p.getBool("redirect_stderr", false)
	main := "stdout"
	if redirect {
		p.block.set("log.merge_stderr", "true", "redirect_stderr")
		stderr, errJournal, errSilent = "", journal, silent
	}
	if stdout == "" && stderr != "" {
		main = "stderr"
	}
	file, comment := stdout, ""
	switch {
	case main == "stderr":
		file, comment = stderr, "stderr_logfile; it gets both streams, tagged"
	case stderr != "" && stderr != stdout:
		comment = "both streams, tagged; stderr_logfile was " + stderr
	}
	if file != "" {
		p.setLogFile(file, comment)
		p.convertRotation(main)
	}
	if journal || errJournal {
		p.block.set("log.journal", "true", main+"_syslog: journald forwards it to syslog")
	}
	if silent && errSilent && file == "" && !journal {
		p.block.set("log.stdout", "false", "stdout_logfile = NONE; the last lines are kept in memory")
	}
	for _, name := range []string{"stdout", "stderr"} {
		for _, part := range []string{"_logfile", "_logfile_maxbytes", "_logfile_backups", "_syslog"} {
			p.used[name+part] = true
		}
	}
}

// streamFile returns the destination of one stream: a file, the system log (journal)
// or none (silent). An empty file is the automatic log file or tideover's own output.
func (p *program) streamFile(stream string) (file string, journal, silent bool) {
	journal = p.getBool(stream+"_syslog", false)
	text, o, ok := p.get(stream + "_logfile")
	if !ok {
		return "", journal, false
	}
	switch strings.ToLower(text) {
	case "none", "off":
		return "", journal, true
	case "auto":
		return "", journal, false
	case "syslog":
		return "", true, false
	case "/dev/stdout", "/dev/stderr", "/dev/fd/1", "/dev/fd/2", "/proc/self/fd/1", "/proc/self/fd/2", "/proc/1/fd/1", "/proc/1/fd/2":
		return "", journal, false
	case "/dev/null":
		return "", journal, true
	}
	if p.instances > 1 && processNumber.MatchString(o.value) {
		one := *o
		one.value = processNumber.ReplaceAllString(o.value, "")
		text, _ = p.im.expand(&one, p.values)
		p.im.addNote(o, "all instances write to "+text+", every line is tagged")
	}
	return p.im.expandHome(o, text), journal, false
}

// setLogFile sets log.file. If another app has this file, the name of the app is added,
// because two processes must not rotate one file.
func (p *program) setLogFile(file, comment string) {
	shared := func(file string) bool {
		return slices.ContainsFunc(p.im.programs, func(other *program) bool { return other != p && other.logFile == file })
	}
	if shared(file) {
		ext := filepath.Ext(file)
		own := strings.TrimSuffix(file, ext) + "-" + p.app + ext
		comment = fmt.Sprintf("a file of its own: %s is another app's", file)
		file = own
	}
	if !filepath.IsAbs(file) {
		comment = strings.TrimPrefix(comment+"; relative to directory now", "; ")
	}
	p.logFile = file
	p.block.set("log.file", tomlString(file), comment)
}

// convertRotation sets when the file is rotated, if the section says it.
func (p *program) convertRotation(stream string) {
	if text, o, ok := p.get(stream + "_logfile_maxbytes"); ok {
		n, err := parseSize(text)
		if err != nil {
			p.im.addProblem(o, err)
		}
		p.block.set("log.max_size", tomlString(config.FormatSize(n)), "")
	}
	text, o, ok := p.get(stream + "_logfile_backups")
	if !ok {
		return
	}
	n, err := parseInt(text)
	if err != nil {
		p.im.addProblem(o, err)
	}
	p.block.set("log.backups", fmt.Sprint(max(0, min(n, 10_000))), "")
}
