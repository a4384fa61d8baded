package main

import (
	"context"
	"errors"
	"fmt"
	"time"

	"tideover/cmd/tideover/internal/term"
	"tideover/supervisor/api"
)

// checkTimeout bounds `status --check` without --timeout. The daemon waits 5 s for the app; one
// that does not answer itself must not keep a health check.
const checkTimeout = 8 * time.Second

// checkApps asks the named apps, or all, whether they answer, and exits with 3 if one does not.
func checkApps(c *cli, ctx context.Context, names []string) error {
	ctx, cancel := c.waitContext(ctx)
	defer cancel()
	if c.timeout == 0 {
		ctx, cancel = context.WithTimeout(ctx, checkTimeout)
		defer cancel()
	}
	st, err := queryChecks(c, ctx, names)
	if err != nil {
		return err
	}
	silent := 0
	for _, a := range st.Apps {
		if answers := a.Answers != nil && *a.Answers; !answers {
			silent++
			s := c.errors()
			s.Message(term.Red, s.Mark("✗", "tideover:"), fmt.Sprintf("%s does not answer: %s", a.Name, a.Answer))
		} else if !c.quiet && !c.json {
			fmt.Fprintf(c.stdout, "%s answers: %s\n", a.Name, a.Answer)
		}
	}
	if c.json {
		c.writeDocument(st)
	}
	if silent == 0 {
		return nil
	}
	printExit(c.errors(), api.ExitNotRunning)
	return exitCode(api.ExitNotRunning)
}

// queryChecks is queryStatus with the answers of the apps.
func queryChecks(c *cli, ctx context.Context, names []string) (api.Status, error) {
	daemons, err := c.daemons(ctx, names)
	if err != nil {
		return api.Status{}, err
	}
	all := daemons[0].Status
	all.Apps = []api.AppStatus{}
	for _, d := range daemons {
		st, err := d.Client.Check(ctx, d.Selectors...)
		var typed *api.Error
		if errors.As(err, &typed) && typed.Exit == api.ExitTimeout && ctx.Err() != nil {
			err = errorf(api.ExitTimeout, "", "the daemon on %s does not answer", d.Socket())
		}
		if err != nil {
			return api.Status{}, err
		}
		all.Apps = append(all.Apps, st.Apps...)
	}
	return all, nil
}
