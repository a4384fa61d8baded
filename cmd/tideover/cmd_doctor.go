package main

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"tideover/cmd/tideover/internal/daemon"
	"tideover/cmd/tideover/internal/doctor"
	"tideover/cmd/tideover/internal/term"
	"tideover/supervisor/api"
	"tideover/supervisor/config"
)

// frontEndFiles are the usual places of configurations of front-ends.
var frontEndFiles = []string{"/etc/nginx/nginx.conf", "/etc/nginx/conf.d/*.conf", "/etc/nginx/sites-enabled/*", "/etc/haproxy/haproxy.cfg",
	"/etc/apache2/apache2.conf", "/etc/apache2/sites-enabled/*", "/etc/apache2/conf-enabled/*", "/etc/httpd/conf/httpd.conf", "/etc/httpd/conf.d/*.conf", "/etc/caddy/Caddyfile"}

func newDoctorCommand(c *cli) *cobra.Command {
	var fronts, units, urls []string
	verb := &cobra.Command{
		Use:   "doctor [FILE]",
		Short: "Find what will hurt, with its remedy",
		Example: `  tideover doctor
  tideover doctor --url https://shop.example/
  tideover doctor --front-end /etc/nginx/sites-available/shop --json`,
		Long: `Checks the configuration as tideover check does, the daemon and its apps,
whether what runs is what is on the disk, public addresses, versions of gunicorn
and Python, limits of descriptors and of the listen queue, memory for two
generations, the disk of the spool, units of systemd, and the timeouts and
mistakes of front-ends (Apache, nginx, HAProxy, Caddy) that have the address of
an app in their configuration. With --url a front-end is recognised by its
response to a GET. Each finding has its remedy; a note needs none. Nothing is
changed. Exits 0 when nothing but notes was found, else 1.`,
		Args: maxNames(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			return examine(c, cmd.Context(), firstArg(args), doctor.Examined{Version: version, Root: "/", URLs: urls,
				FrontEnds: append(slices.Clone(frontEndFiles), fronts...),
				Units:     append([]string{"/etc/systemd/system/*.service", "/usr/lib/systemd/system/tideover*.service"}, units...)})
		},
	}
	verb.Flags().StringArrayVar(&fronts, "front-end", nil, "`FILE` more configurations of front-ends")
	verb.Flags().StringArrayVar(&urls, "url", nil, "`URL` of an app, through its front-end")
	verb.Flags().StringArrayVar(&units, "unit", nil, "`FILE` more units of systemd")
	return verb
}

func examine(c *cli, ctx context.Context, path string, e doctor.Examined) error {
	path, err := c.configPath(path)
	var typed *api.Error
	switch {
	case err == nil:
		if err = loadForDoctor(ctx, path, &e); err != nil {
			return err
		}
	case !errors.As(err, &typed):
		return err
	default:
		e.Problems, e.Missing = []config.Problem{{Message: typed.Message, Hint: typed.Hint}}, true
	}
	queryForDoctor(c, ctx, &e)
	found := doctor.Examine(ctx, e)
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

// loadForDoctor reads a configuration, which may have errors, and all its problems.
func loadForDoctor(ctx context.Context, path string, e *doctor.Examined) error {
	file, err := config.Load(path)
	var faulty *config.Error
	if errors.As(err, &faulty) {
		file = faulty.Loaded()
	}
	e.File = file
	if e.Problems, err = problemsOf(file, err); err != nil || file == nil {
		return err
	}
	ofGunicorn, asked := daemon.CheckGunicorns(ctx, file)
	e.Asked = asked
	e.Problems = config.NewError(slices.Concat(e.Problems, file.Inspect(), ofGunicorn)).Problems
	return nil
}

// queryForDoctor asks the daemon for its status, with the memory of its apps, and for what apply would
// change. Both stay nil where there is none, or it does not say.
func queryForDoctor(c *cli, ctx context.Context, e *doctor.Examined) {
	ctx, cancel := c.waitContext(ctx)
	defer cancel()
	one, err := c.oneDaemon(ctx)
	if err != nil {
		return
	}
	if st, err := one.Client.Status(ctx, one.Apps()...); err == nil {
		e.Status = &st
	}
	if r, err := one.Client.Apply(ctx, api.ApplyRequest{DryRun: true}, func(api.Phase) {}); err == nil && r.Exit == api.ExitOK {
		e.Applied = &r
	}
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
			fmt.Fprintf(s.Out, "    remedy: %s\n", strings.ReplaceAll(f.Remedy, "\n", "\n            "))
		}
	}
	if !c.quiet || bad > 0 {
		fmt.Fprintf(s.Out, "%s, %s in %s\n", term.Plural(bad, "finding"), term.Plural(len(found)-bad, "note"), term.Plural(len(doctor.Checks), "check"))
	}
}
