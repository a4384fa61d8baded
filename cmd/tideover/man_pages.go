package main

import (
	"fmt"
	"runtime/debug"
	"strings"

	"github.com/spf13/cobra"

	"tideover/cmd/tideover/internal/term"
	"tideover/supervisor/config"
)

// buildDate is the date of the man pages, YYYY-MM-DD. scripts/package sets it.
var buildDate string

// releaseDate is the date of the source that this program was built from; empty: not recorded.
func releaseDate() string {
	if buildDate != "" {
		return buildDate
	}
	if info, ok := debug.ReadBuildInfo(); ok {
		for _, s := range info.Settings {
			if s.Key == "vcs.time" {
				date, _, _ := strings.Cut(s.Value, "T")
				return date
			}
		}
	}
	return ""
}

// generatedPages are the pages of help that are for other programs: man, and editors.
func generatedPages() map[string]func(root *cobra.Command) (string, error) {
	return map[string]func(*cobra.Command) (string, error){
		"tideover.1":      func(root *cobra.Command) (string, error) { return commandManPage(root, releaseDate()), nil },
		"tideover.toml.5": func(*cobra.Command) (string, error) { return configManPage(releaseDate()), nil },
		"tideover.7":      func(*cobra.Command) (string, error) { return guideManPage(releaseDate()), nil },
		"guide":           func(*cobra.Command) (string, error) { return guide, nil },
		"schema": func(*cobra.Command) (string, error) {
			text, err := config.JSONSchema()
			return string(text), err
		},
	}
}

// commandManPage is tideover(1), from the same verbs, flags and pages as `tideover help`.
func commandManPage(root *cobra.Command, date string) string {
	m := newManPage("TIDEOVER", 1, date, "tideover \\- keeps Python web apps answering while they restart")
	m.section("SYNOPSIS")
	m.command("tideover run \\-\\- COMMAND...")
	m.raw(".br\n")
	m.command("tideover [flags] VERB [APP...] [flags]")
	m.section("DESCRIPTION")
	m.text(`tideover owns the public socket of a web app, runs the app behind it, and holds requests while no process can answer.
"run" is the daemon, which stays in the foreground. The other verbs send requests to it over its control socket, and exit when they know the result.`)
	m.text("The keys of the configuration are in tideover.toml(5). How tideover behaves is in tideover(7), topic by topic.")
	m.section("VERBS")
	for _, verb := range root.Commands() {
		if verb.Runnable() && !verb.Hidden {
			m.verb(verb)
		}
	}
	for _, page := range []struct{ title, text string }{{"FLAGS", globalFlags}, {"EXIT STATUS", exitCodes}, {"SIGNALS", daemonSignals}, {"FILES", filePlaces}} {
		m.section(page.title)
		_, text, _ := strings.Cut(page.text, "\n") // its first line is a title
		m.text(text)
	}
	m.section("ENVIRONMENT")
	m.entry("TIDEOVER_CONFIG, TIDEOVER_SOCKET", "as --config and --socket")
	m.entry("TIDEOVER_APP", "the app that a verb without APP means; set in the environment of each app")
	m.entry("TIDEOVER_GENERATION", "in the environment of each app: the number of its generation")
	m.entry("TIDEOVER_LOG_LEVEL, TIDEOVER_LOG_FORMAT", "as daemon.log_level and daemon.log_format")
	m.entry("NO_COLOR", "if it is set, no colours are used")
	m.seeAlso("tideover.toml(5), tideover(7), gunicorn(1), systemd(1)")
	return m.String()
}

// configManPage is tideover.toml(5), from the table by which the configuration is read.
func configManPage(date string) string {
	m := newManPage("TIDEOVER.TOML", 5, date, "tideover.toml \\- configuration of tideover")
	m.section("DESCRIPTION")
	m.text(`The file is TOML. It has a table [app.NAME] for each app, [defaults] with the same keys for all apps, [daemon], and [fleet] for many hosts.
An unknown key is an error. "tideover check FILE" finds all errors; "tideover apply" puts a changed file into effect.`)
	m.text(`Durations and sizes have units: "500ms", "30s", "2m", "7d"; "8190B", "64KiB", "100MiB". ` +
		`The word in brackets says when a change takes effect: at once (live), with the next generation (reload), ` +
		`with new sockets (listen), or when tideover is started again (boot).`)
	m.text(`include = ["conf.d/*.toml"] at the top of the main file reads more files.`)
	m.section("EXAMPLE")
	m.text("  [app.shop]\n  command   = \"venv/bin/gunicorn -w 4 shop.wsgi\"\n  directory = \"/srv/shop/current\"\n" +
		"  listen    = \"127.0.0.1:8000\"\n  user      = \"www-data\"\n\n  [app.shop.ready]\n  path = \"/login\"")
	m.section("KEYS OF AN APP")
	m.text("In [app.NAME], and for all apps in [defaults].")
	m.keys(config.AppKeys())
	m.section("KEYS OF THE DAEMON")
	m.text("In [daemon].")
	m.keys(config.DaemonKeys())
	m.section("KEYS OF THE FLEET")
	m.text("In [fleet].")
	m.keys(config.FleetKeys())
	m.seeAlso("tideover(1), tideover(7)")
	return m.String()
}

// manWidth is the length of a line in the source of a page.
const manWidth = 78

// manPage writes a page in the language of man(7).
type manPage struct {
	strings.Builder
	headed bool // nothing was written since the last heading
}

func newManPage(title string, number int, date, name string) *manPage {
	m := &manPage{}
	fmt.Fprintf(m, ".TH %s %d \"%s\" \"tideover %s\"\n", title, number, date, version)
	m.section("NAME")
	m.raw(name + "\n")
	return m
}

func (m *manPage) raw(text string) {
	m.headed = false
	m.WriteString(text)
}

func (m *manPage) section(title string) {
	m.raw(".SH " + title + "\n")
	m.headed = true
}

// paragraph begins a new one. A heading has begun one already.
func (m *manPage) paragraph() {
	if !m.headed {
		m.raw(".PP\n")
	}
}

// lines writes text that is filled.
func (m *manPage) lines(text string) {
	text = strings.Join(strings.Fields(text), " ")
	m.raw(escapeRoff(strings.Join(term.Wrap(text, manWidth, manWidth), "\n")) + "\n")
}

func (m *manPage) command(escaped string) { m.raw(".B " + escaped + "\n") }

// entry is a term with what it means.
func (m *manPage) entry(term, meaning string) {
	m.raw(".TP\n.B " + quoteArgument(escapeTerm(term)) + "\n")
	m.lines(meaning)
}

func (m *manPage) seeAlso(pages string) {
	m.section("SEE ALSO")
	for i, page := range strings.Split(pages, ", ") {
		name, number, _ := strings.Cut(strings.TrimSuffix(page, ")"), "(")
		if i > 0 {
			m.raw(",\n")
		}
		m.raw(".BR " + name + " (" + number + ")")
	}
	m.raw("\n")
}

// text writes paragraphs, which blank lines separate. One with an indented line is a table or a
// session, whose lines stay as they are.
func (m *manPage) text(text string) {
	for paragraph := range strings.SplitSeq(strings.Trim(text, "\n"), "\n\n") {
		if strings.HasPrefix(paragraph, " ") || strings.Contains(paragraph, "\n ") {
			m.paragraph()
			m.raw(".nf\n" + escapeRoff(strings.Trim(paragraph, "\n")) + "\n.fi\n")
			continue
		}
		m.paragraph()
		m.lines(paragraph)
	}
}

// verb writes what `tideover help VERB` prints.
func (m *manPage) verb(cmd *cobra.Command) {
	m.raw(".SS " + escapeTerm(cmd.Use) + "\n")
	m.lines(cmd.Short + ".")
	for _, f := range localFlags(cmd) {
		m.entry(strings.TrimSpace(f.flag), f.meaning)
	}
	if cmd.Long != "" {
		m.text(cmd.Long)
	}
	if cmd.Example != "" {
		m.text(cmd.Example)
	}
}

// keys writes what `tideover help config` prints.
func (m *manPage) keys(keys []config.Key) {
	section := ""
	for _, k := range keys {
		if prefix, _, nested := strings.Cut(k.Path, "."); nested && prefix != section {
			section = prefix
			m.raw(".SS " + prefix + "\n")
		}
		head := k.Path
		if k.Default != "" {
			head += " = " + k.Default
		}
		m.raw(".TP\n.BR " + quoteArgument(escapeTerm(head)) + " \" [" + string(k.Change) + "]\"\n")
		m.lines(k.Meaning)
		if len(k.Values) == 0 {
			m.raw(".br\n")
			m.lines("Type: " + k.Type)
			continue
		}
		m.raw(".RS\n")
		for _, v := range k.Values {
			m.entry(v.Value, v.Meaning)
		}
		m.raw(".RE\n")
	}
}

var roffCharacters = strings.NewReplacer(`\`, `\e`, "·", `\(bu`, "…", "...")

// escapeRoff escapes text. A line that begins with a dot or a quote would be a request.
func escapeRoff(text string) string {
	lines := strings.Split(roffCharacters.Replace(text), "\n")
	for i, line := range lines {
		if strings.HasPrefix(line, ".") || strings.HasPrefix(line, "'") {
			lines[i] = `\&` + line
		}
	}
	return strings.Join(lines, "\n")
}

// escapeTerm escapes a command, a flag or a key: its dashes are those of ASCII, also in UTF-8.
func escapeTerm(text string) string { return strings.ReplaceAll(escapeRoff(text), "-", `\-`) }

// quoteArgument makes one argument of a macro.
func quoteArgument(escaped string) string {
	return `"` + strings.ReplaceAll(escaped, `"`, `\(dq`) + `"`
}
