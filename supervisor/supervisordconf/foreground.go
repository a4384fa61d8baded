package supervisordconf

import (
	"fmt"
	"path/filepath"
	"slices"
	"strings"
)

// background says how a program goes into the background by itself, and what keeps it in the
// foreground.
type background struct {
	program string
	options []string // with one of them it does; none: it does by default
	keeps   []string // with one of these it does not
	remedy  string
}

var backgrounds = []background{
	{"nginx", nil, []string{"daemon off"}, `-g "daemon off;" keeps it in the foreground`},
	{"uwsgi", []string{"--daemonize", "-d", "--daemonize2"}, nil, "without --daemonize it stays in the foreground"},
	{"redis-server", []string{"--daemonize yes"}, nil, "--daemonize no keeps it in the foreground"},
	{"php-fpm", nil, []string{"-F", "--nodaemonize"}, "--nodaemonize keeps it in the foreground"},
	{"celery", []string{"multi", "--detach", "-D"}, nil, "celery worker, without --detach, stays in the foreground"},
	{"memcached", []string{"-d", "--daemon"}, nil, "without -d it stays in the foreground"},
	{"mongod", []string{"--fork"}, nil, "without --fork it stays in the foreground"},
	{"haproxy", []string{"-D"}, nil, "-W without -D keeps it in the foreground"},
	{"apache2", nil, []string{"FOREGROUND"}, "-DFOREGROUND keeps it in the foreground"},
	{"httpd", nil, []string{"FOREGROUND"}, "-DFOREGROUND keeps it in the foreground"},
	{"apachectl", nil, []string{"FOREGROUND"}, "-DFOREGROUND keeps it in the foreground"},
	{"twistd", nil, []string{"-n", "--nodaemon"}, "--nodaemon keeps it in the foreground"},
	{"sshd", nil, []string{"-D"}, "-D keeps it in the foreground"},
	{"cron", nil, []string{"-f"}, "-f keeps it in the foreground"},
	{"crond", nil, []string{"-n", "-f"}, "-n keeps it in the foreground"},
	{"rsyslogd", nil, []string{"-n"}, "-n keeps it in the foreground"},
	{"supervisord", nil, []string{"-n", "--nodaemon"}, "--nodaemon keeps it in the foreground"},
	{"start-stop-daemon", []string{"--background", "-b"}, nil, "start the program itself"},
	{"pg_ctl", []string{"start"}, nil, "start postgres itself"},
	{"service", nil, nil, "start the program itself"},
	{"systemctl", nil, nil, "start the program itself"},
	{"nohup", nil, nil, "a service needs no nohup: start the program itself"},
}

// goesToBackground returns the program of a command that goes into the background, and a remedy;
// both are empty if none does. The words of a shell's script count, too.
func goesToBackground(words []string) (program, remedy string) {
	if len(words) == 0 {
		return "", ""
	}
	text := strings.Join(words, " ")
	all := strings.Fields(text)
	has := func(option string) bool {
		if strings.ContainsAny(option, " ") || option == "FOREGROUND" {
			return strings.Contains(text, option)
		}
		return slices.ContainsFunc(all, func(word string) bool {
			return word == option || strings.HasPrefix(option, "--") && strings.HasPrefix(word, option+"=")
		})
	}
	for _, b := range backgrounds {
		starts := slices.ContainsFunc(commandWords(words), func(word string) bool {
			name := filepath.Base(word)
			return name == b.program || b.program == "php-fpm" && strings.HasPrefix(name, "php-fpm")
		})
		if !starts || slices.ContainsFunc(b.keeps, has) || len(b.options) > 0 && !slices.ContainsFunc(b.options, has) {
			continue
		}
		return b.program, b.remedy
	}
	if trimmed := strings.TrimSpace(text); isShell(words) && strings.HasSuffix(trimmed, "&") && !strings.HasSuffix(trimmed, "&&") {
		return filepath.Base(words[0]), "without the & at its end it stays in the foreground"
	}
	return "", ""
}

// isShell reports whether a command is a script of a shell.
func isShell(words []string) bool {
	return len(words) > 2 && strings.HasSuffix(filepath.Base(words[0]), "sh") && strings.HasPrefix(words[1], "-") && strings.HasSuffix(words[1], "c")
}

// commandWords are the words of a command that can be programs: the first one, that of a module
// behind python -m, and the words of a shell's script.
func commandWords(words []string) []string {
	if isShell(words) {
		return strings.FieldsFunc(words[2], func(r rune) bool { return strings.ContainsRune(" \t\n;&|()\"'", r) })
	}
	starts := words[:1]
	if i := slices.Index(words, "-m"); i >= 0 && i+1 < len(words) && strings.HasPrefix(filepath.Base(words[0]), "python") {
		starts = append(slices.Clone(starts), words[i+1])
	}
	return starts
}

// noteBackground adds a note if the command goes into the background: the main process ends, and
// it is started again and again.
func (p *program) noteBackground(o *iniOption) {
	name, remedy := goesToBackground(p.words)
	if name == "" {
		return
	}
	message := fmt.Sprintf("%s goes into the background, so that its main process seems to end: %s", name, remedy)
	p.block.remark(message)
	p.im.addNote(o, message)
}

// notReplaced returns a variable of a shell in a command without a shell.
func notReplaced(words []string) string {
	if isShell(words) {
		return ""
	}
	for _, word := range words {
		if start := strings.Index(word, "${"); start >= 0 {
			if end := strings.IndexByte(word[start:], '}'); end > 0 {
				return word[start : start+end+1]
			}
		}
	}
	return ""
}

// listeners are words of programs that open their listening socket themselves.
var listeners = []string{"uvicorn", "hypercorn", "daphne", "granian", "waitress-serve", "uwsgi", "nginx", "redis-server", "memcached", "node", "datasette",
	"runserver", "streamlit", "mlflow", "jupyter", "jupyter-lab", "jupyter-notebook", "flower", "puma", "unicorn", "twistd", "caddy", "haproxy", "httpd", "apache2"}

// listensItself reports whether the program of the app seems to open a listening socket itself.
func (p *program) listensItself() bool {
	if len(p.rejected) > 0 || p.gunicorn != nil || p.socket != "" {
		return false
	}
	return slices.ContainsFunc(p.words, func(word string) bool {
		option, _, _ := strings.Cut(word, "=")
		return slices.Contains(listeners, filepath.Base(word)) || slices.Contains([]string{"--http-port", "--bind", "--listen"}, option)
	})
}
