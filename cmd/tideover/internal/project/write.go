package project

import (
	"fmt"
	"maps"
	"path/filepath"
	"slices"
	"strings"

	"tideover/supervisor/config"
	"tideover/supervisor/gunicorn"
	"tideover/supervisor/lazyregexp"
	"tideover/supervisor/servers"
	"tideover/supervisor/supervisordconf"
)

// Configuration returns a tideover.toml for what was found, which will be in folder. Directories
// below it are written relative to it.
func (f Found) Configuration(folder string) []byte {
	var b strings.Builder
	b.WriteString("# Written by tideover init. tideover help config and tideover.toml(5) have all keys.\n")
	names := map[string]bool{}
	for _, p := range f.Processes {
		for n := 2; names[p.Name]; n++ {
			p.Name = fmt.Sprintf("%s-%d", strings.TrimRight(p.Name, "-0123456789"), n)
		}
		names[p.Name] = true
		f.writeProcess(&b, p, folder)
	}
	return []byte(b.String())
}

func (f Found) writeProcess(b *strings.Builder, p Process, folder string) {
	fmt.Fprintf(b, "\n[app.%s]\n# from %s\n", p.Name, p.From)
	for _, note := range p.Notes {
		fmt.Fprintf(b, "# %s\n", note)
	}
	set := func(key, value, comment string) {
		line := fmt.Sprintf("%-9s = %s", key, value)
		if comment != "" {
			line = fmt.Sprintf("%-40s # %s", line, comment)
		}
		b.WriteString(line + "\n")
	}
	quote := supervisordconf.Quote
	set("command", quote(p.Command), "")
	set("directory", quote(relative(folder, p.Directory)), "a symlink is resolved again at every start")
	if listen, comment := p.listen(f.files); listen != "" {
		set("listen", quote(listen), comment)
	} else if comment != "" {
		b.WriteString("# " + comment + "\n")
	}
	if p.User != "" {
		set("user", quote(p.User), "")
	}
	files := p.EnvFile
	if len(files) == 0 && f.EnvFile != "" {
		files = []string{f.EnvFile}
	}
	if len(files) > 0 {
		var all []string
		for _, file := range files {
			all = append(all, quote(file))
		}
		set("env_file", "["+strings.Join(all, ", ")+"]", "")
	}
	if len(p.Env) > 0 {
		var all []string
		for _, name := range slices.Sorted(maps.Keys(p.Env)) {
			all = append(all, quote(name)+" = "+quote(p.Env[name]))
		}
		set("env", "{ "+strings.Join(all, ", ")+" }", "")
	}
	if p.Plain {
		b.WriteString("# no server that tideover knows: a process without HTTP\n")
		return
	}
	f.writeReadiness(b, p, quote)
}

// writeReadiness writes what depends on the app's routes, which only its authors know.
func (f Found) writeReadiness(b *strings.Builder, p Process, quote func(string) string) {
	path, seen := "/", "must answer before new code serves"
	if f.Health != "" {
		path, seen = f.Health, seen+"; seen in "+f.HealthFrom
	}
	if f.Host != "" {
		fmt.Fprintf(b, "\n[app.%s.ready]\nhost = %s    # Host of the readiness request: the first of ALLOWED_HOSTS\n# path = %s    # %s\n", p.Name, quote(f.Host), quote(path), seen)
	} else {
		fmt.Fprintf(b, "\n# [app.%s.ready]\n# path = %s    # %s\n", p.Name, quote(path), seen)
	}
	fmt.Fprintf(b, "\n# [app.%s.hold]\n# alive = \"/-/alive\"    # tideover answers it itself: for the health check of a front-end\n", p.Name)
}

// listen is the public address; empty: gunicorn itself is asked for it.
func (p Process) listen(read *files) (address, comment string) {
	if p.Plain {
		return "", ""
	}
	words, err := config.ParseCommand(p.Command)
	if err != nil {
		return "127.0.0.1:8000", ""
	}
	getenv := func(name string) string { return p.Env[name] }
	if g, err := gunicorn.Parse(words, getenv, nil); err == nil && g != nil {
		if _, ok := g.Option("bind"); ok || p.Env["GUNICORN_CMD_ARGS"] != "" {
			return "", "listen is left out: the address is that of --bind"
		}
		if configHasBind(p, g, read) {
			return "", "listen is left out: the address is the bind of gunicorn's configuration"
		}
		return "127.0.0.1:8000", "gunicorn's default"
	}
	if s := servers.Parse(words, getenv); s != nil {
		if all, err := s.Addresses(p.Directory); err == nil && len(all) == 1 {
			return all[0], "taken over from the command"
		}
	}
	return "127.0.0.1:8000", ""
}

var bindSetting = lazyregexp.New(`(?m)^\s*bind\s*=`)

// configHasBind reports whether the configuration file of gunicorn sets its address.
func configHasBind(p Process, g *gunicorn.Command, read *files) bool {
	path := g.ConfigFile
	if !filepath.IsAbs(path) {
		path = filepath.Join(p.Directory, path)
	}
	return bindSetting.MatchString(read.read(path))
}

// relative is a directory as it is written in a file of folder.
func relative(folder, directory string) string {
	inside, err := filepath.Rel(folder, directory)
	if err != nil || strings.HasPrefix(inside, "..") {
		return directory
	}
	return inside
}
