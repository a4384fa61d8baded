package main

import (
	"fmt"
	"os"
	"path/filepath"

	"github.com/spf13/cobra"

	"tideover/supervisor/api"
	"tideover/supervisor/supervisordconf"
)

func newImportCommand(c *cli) *cobra.Command {
	var write string
	verb := &cobra.Command{
		Use:   "import FILE",
		Short: "Convert a supervisord.conf to a tideover.toml",
		Example: `  tideover import /etc/supervisor/supervisord.conf
  tideover import supervisord.conf --write tideover.toml`,
		Long: `The result goes to standard output or to a new file; tideover check accepts it.
Comments in it and notes on standard error name every option that is different
now or could not be converted, with the reason. An error in supervisord.conf is
printed with its place (exit 5). Nothing is started or changed.`,
		Args: func(cmd *cobra.Command, args []string) error {
			if len(args) != 1 {
				return usageError(cmd, "name one supervisord.conf")
			}
			return nil
		},
		RunE: func(_ *cobra.Command, args []string) error { return importFile(c, args[0], write) },
	}
	verb.Flags().StringVar(&write, "write", "", "new `FILE` for the result, instead of standard output")
	return verb
}

func importFile(c *cli, path, write string) error {
	text, notes, err := supervisordconf.Import(path, supervisordconf.Options{Environ: c.env})
	if err != nil {
		return c.reportInvalidConfig(err)
	}
	if write != "" {
		if err := writeImported(c, path, write, text); err != nil {
			return err
		}
	}
	if c.json {
		return c.writeDocument(importDocument(path, write, text, notes))
	}
	for _, n := range notes {
		c.note("%s", n)
	}
	if write == "" {
		_, err := c.stdout.Write(text)
		return err
	}
	c.note("%s is written; next: tideover check %s", write, write)
	return nil
}

// writeImported writes the result to a new file, and the password of its supervisor_password_file to
// another one beside it.
func writeImported(c *cli, path, write string, text []byte) error {
	password, err := supervisordconf.Password(path, supervisordconf.Options{Environ: c.env})
	if err != nil {
		return err
	}
	if password != "" {
		beside := filepath.Join(filepath.Dir(write), supervisordconf.PasswordFile)
		if err := writeNew(beside, []byte(password+"\n")); err != nil {
			return err
		}
	}
	return writeNew(write, text)
}

// writeNew writes a file that does not exist yet. It can hold passwords, so
// others may not read it.
func writeNew(path string, text []byte) error {
	f, err := os.OpenFile(path, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o640)
	switch {
	case os.IsExist(err):
		return errorf(api.ExitError, "name a new file, or remove the old one", "%s exists and is left as it is", path)
	case os.IsPermission(err):
		return errorf(api.ExitDenied, "", "%s cannot be written: %v", path, err)
	case err != nil:
		return err
	}
	if _, err := f.Write(text); err != nil {
		f.Close()
		return fmt.Errorf("%s is not whole: %w", path, err)
	}
	return f.Close()
}

// importNote is a supervisordconf.Note in JSON.
type importNote struct {
	File    string `json:"file,omitempty"`
	Line    int    `json:"line,omitempty"`
	Section string `json:"section,omitempty"`
	Option  string `json:"option,omitempty"`
	Message string `json:"message"`
}

// importDocument is the document of `import --json`.
func importDocument(path, write string, text []byte, notes []supervisordconf.Note) map[string]any {
	all := []importNote{}
	for _, n := range notes {
		all = append(all, importNote(n))
	}
	return map[string]any{"file": path, "exit": api.ExitOK, "written": write, "text": string(text), "notes": all}
}
