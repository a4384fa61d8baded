package main

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"

	"github.com/spf13/cobra"

	"tideover/cmd/tideover/internal/project"
	"tideover/supervisor/api"
	"tideover/supervisor/config"
	"tideover/supervisor/supervisordconf"
)

// unitDirs are where administrators put units of systemd.
var unitDirs = []string{"/etc/systemd/system"}

func newInitCommand(c *cli) *cobra.Command {
	var write string
	verb := &cobra.Command{
		Use:   "init [DIRECTORY]",
		Short: "Write a configuration for the app in a directory",
		Example: `  tideover init                    writes tideover.toml here
  tideover init /srv/shop --write /etc/tideover/tideover.toml
  tideover init --write -          to standard output`,
		Long: `Looks at how the app is run today: units of systemd with gunicorn or another
known server, Procfile, Dockerfile, gunicorn.conf.py, manage.py, modules with a
WSGI or ASGI app; its virtual environment, .env and health check. A
supervisord.conf is converted as by tideover import. Nothing is run but
gunicorn, which is asked for its settings as by tideover check. A file that
exists is left as it is. Exits 0 when tideover check accepts the result, 5 when
it does not, and 6 when no app was found.`,
		Args: maxNames(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			directory, err := filepath.Abs(firstArg(args))
			if err != nil {
				return err
			}
			if info, err := os.Stat(directory); err != nil || !info.IsDir() {
				return usageError(cmd, "%s is not a directory", directory)
			}
			return initProject(c, cmd, directory, write)
		},
	}
	verb.Flags().StringVar(&write, "write", "", "`FILE` new file, instead of DIRECTORY/tideover.toml; -: print")
	return verb
}

func initProject(c *cli, cmd *cobra.Command, directory, write string) error {
	path := write
	if path == "" || path == "-" {
		path = filepath.Join(directory, "tideover.toml")
	}
	path, err := filepath.Abs(path)
	if err != nil {
		return err
	}
	text, from, err := projectConfiguration(c, directory, path)
	if err != nil {
		return err
	}
	if write == "-" {
		if c.json {
			return c.writeDocument(initDocument(path, text, from, nil))
		}
		_, err := c.stdout.Write(text)
		return err
	}
	if err := writeNew(path, text); err != nil {
		return err
	}
	if c.json {
		problems, err := checkedProblems(path)
		if err != nil {
			return err
		}
		c.writeDocument(initDocument(path, text, from, problems))
		if countErrors(problems) > 0 {
			return exitCode(api.ExitConfig)
		}
		return nil
	}
	for _, f := range from {
		c.note("%s", f)
	}
	if err := checkFile(c, cmd.Context(), path); err != nil {
		return err
	}
	c.note("next: stop what serves now; then tideover run -c %s", path)
	return nil
}

// projectConfiguration is a configuration for the app in a directory, and what it was made of.
func projectConfiguration(c *cli, directory, path string) (text []byte, from []string, err error) {
	found := project.Find(project.Options{Directory: directory, UnitDirs: unitDirs, Getenv: c.getenv, Root: os.Geteuid() == 0})
	if found.Supervisord != "" {
		text, notes, err := supervisordconf.Import(found.Supervisord, supervisordconf.Options{Environ: c.env, ReadFile: found.ReadFile})
		if err != nil {
			return nil, nil, c.reportInvalidConfig(err)
		}
		from = append(from, "converted from "+found.Supervisord)
		for _, n := range notes {
			from = append(from, n.String())
		}
		return text, from, nil
	}
	if len(found.Processes) == 0 {
		message := fmt.Sprintf("found no app in %s: no unit, Procfile, Dockerfile, gunicorn.conf.py, manage.py, and no module with a WSGI or ASGI app", directory)
		if found.Unread != nil {
			message += "; not read: " + found.Unread.Error()
		}
		return nil, nil, errorf(api.ExitNoSuchApp, "write it by hand: tideover help config; or put tideover run -- in front of the command that you type today", "%s", message)
	}
	for _, p := range found.Processes {
		from = append(from, p.Name+": "+p.Command+" (from "+p.From+")")
		from = append(from, p.Notes...)
	}
	return found.Configuration(filepath.Dir(path)), from, nil
}

// checkedProblems are the problems that tideover check would print about the file itself.
func checkedProblems(path string) ([]config.Problem, error) {
	file, err := config.Load(path)
	var faulty *config.Error
	if errors.As(err, &faulty) {
		file = faulty.Loaded()
	}
	return problemsOf(file, err)
}

func initDocument(path string, text []byte, from []string, problems []config.Problem) map[string]any {
	document := checkDocument(path, problems)
	document["text"], document["from"] = string(text), from
	return document
}
