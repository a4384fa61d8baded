package main

import (
	"context"
	"errors"
	"fmt"
	"slices"

	"github.com/spf13/cobra"

	"tideover/cmd/tideover/internal/daemon"
	"tideover/cmd/tideover/internal/doctor"
	"tideover/cmd/tideover/internal/term"
	"tideover/supervisor/api"
	"tideover/supervisor/config"
)

// frontEndFiles are the usual places of configurations of front-ends.
var frontEndFiles = []string{"/etc/nginx/nginx.conf", "/etc/nginx/conf.d/*.conf", "/etc/nginx/sites-enabled/*", "/etc/haproxy/haproxy.cfg",
	"/etc/apache2/sites-enabled/*", "/etc/apache2/conf-enabled/*", "/etc/httpd/conf.d/*.conf"}

func newDoctorCommand(c *cli) *cobra.Command {
	var fronts, units []string
	verb := &cobra.Command{
		Use:   "doctor [FILE]",
		Short: "Find what will hurt, with its remedy",
		Example: `  tideover doctor
  tideover doctor --front-end /etc/nginx/sites-available/shop --json`,
		Long: `Checks the configuration as tideover check does, the daemon and its apps, public
addresses, limits of descriptors and of the listen queue, memory for two
generations, the disk of the spool, units of systemd, and the timeouts of
front-ends that have an address of an app in their configuration. Each finding
has its remedy; a note needs none. Nothing is changed. Exits 0 when nothing but
notes was found, else 1.`,
		Args: maxNames(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			return examine(c, cmd.Context(), firstArg(args), append(slices.Clone(frontEndFiles), fronts...),
				append([]string{"/etc/systemd/system/*.service", "/usr/lib/systemd/system/tideover*.service"}, units...))
		},
	}
	verb.Flags().StringArrayVar(&fronts, "front-end", nil, "`FILE` more configurations of front-ends")
	verb.Flags().StringArrayVar(&units, "unit", nil, "`FILE` more units of systemd")
	return verb
}

func examine(c *cli, ctx context.Context, path string, fronts, units []string) error {
	e := doctor.Examined{Version: version, FrontEnds: fronts, Units: units, Root: "/"}
	path, err := c.configPath(path)
	var typed *api.Error
	switch {
	case err == nil:
		if e.File, e.Problems, err = loadForDoctor(ctx, path); err != nil {
			return err
		}
	case !errors.As(err, &typed):
		return err
	default:
		e.Problems = []config.Problem{{Message: typed.Message, Hint: typed.Hint}}
	}
	if st, err := queryDoctorStatus(c, ctx); err == nil {
		e.Status = &st
	}
	found := doctor.Examine(e)
	bad := 0
	for _, f := range found {
		if !f.Note {
			bad++
		}
	}
	if c.json {
		c.writeDocument(map[string]any{"file": path, "exit": min(bad, 1), "findings": slices.Concat([]doctor.Finding{}, found), "checks": doctor.Checks})
	} else {
		printFindings(c, found, bad)
	}
	if bad > 0 {
		return exitCode(api.ExitError)
	}
	return nil
}

// loadForDoctor returns a configuration, which may have errors, and all its problems.
func loadForDoctor(ctx context.Context, path string) (*config.File, []config.Problem, error) {
	file, err := config.Load(path)
	var faulty *config.Error
	if errors.As(err, &faulty) {
		file = faulty.Loaded()
	}
	problems, err := problemsOf(file, err)
	if err != nil || file == nil {
		return file, problems, err
	}
	problems = append(problems, file.Inspect()...)
	problems = append(problems, daemon.CheckGunicorns(ctx, file)...)
	return file, config.NewError(problems).Problems, nil
}

// queryDoctorStatus is the status of the daemon, with the memory of its apps.
func queryDoctorStatus(c *cli, ctx context.Context) (api.Status, error) {
	ctx, cancel := c.waitContext(ctx)
	defer cancel()
	one, err := c.oneDaemon(ctx)
	if err != nil {
		return api.Status{}, err
	}
	return one.Client.Status(ctx, one.Apps()...)
}

func printFindings(c *cli, found []doctor.Finding, bad int) {
	s := c.results()
	for _, f := range found {
		about := f.Check
		if f.App != "" {
			about += " " + f.App
		}
		mark, color := "✗", term.Red
		if f.Note {
			mark, color = "·", term.Faint
		}
		fmt.Fprintf(s.Out, "%s %s: %s\n", s.Paint(color, s.Mark(mark, "-")), about, f.Message)
		if f.Place != "" {
			fmt.Fprintf(s.Out, "    %s\n", f.Place)
		}
		if f.Remedy != "" {
			fmt.Fprintf(s.Out, "    remedy: %s\n", f.Remedy)
		}
	}
	if !c.quiet || bad > 0 {
		fmt.Fprintf(s.Out, "%s, %s in %s\n", term.Plural(bad, "finding"), term.Plural(len(found)-bad, "note"), term.Plural(len(doctor.Checks), "check"))
	}
}
