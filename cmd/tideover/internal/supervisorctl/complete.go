package supervisorctl

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"maps"
	"slices"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"tideover/supervisor/supervisordrpc"
	"tideover/supervisor/xmlrpc"
)

// completionTimeout is how long the server may take to list its processes when TAB is pressed.
const completionTimeout = 500 * time.Millisecond

// The last line of an answer to a completion script, as cobra writes it for tideover's own verbs: the
// same scripts complete both programs.
const (
	filesToo = ":0"
	noFiles  = ":4"
)

// isCompletion reports whether a completion script calls.
func isCompletion(args []string) bool {
	return len(args) > 1 && (args[0] == "__complete" || args[0] == "__completeNoDesc")
}

// complete prints what the last of the words may become, one in a line.
func complete(ctx context.Context, words, env []string, stdout io.Writer) {
	candidates, directive := candidates(ctx, words[:len(words)-1], words[len(words)-1], env)
	for _, one := range candidates {
		if strings.HasPrefix(one, words[len(words)-1]) {
			fmt.Fprintln(stdout, one)
		}
	}
	fmt.Fprintln(stdout, directive)
}

// candidates are what may follow the words before.
func candidates(ctx context.Context, before []string, word string, env []string) (all []string, directive string) {
	given := map[string]string{}
	words, err := parseFlags(before, given)
	if err != nil { // an option that waits for its value, or is none
		switch before[len(before)-1] {
		case "-c", "--configuration", "-r", "--history_file":
			return nil, filesToo
		}
		return nil, noFiles
	}
	switch {
	case len(words) == 0 && strings.HasPrefix(word, "-"):
		for _, f := range flags {
			all = append(all, "-"+f.short, "--"+f.long)
		}
		return all, noFiles
	case len(words) == 0, len(words) == 1 && words[0] == "help":
		return slices.Sorted(maps.Keys(helps)), noFiles
	}
	o, err := readOptions(before, env)
	if err != nil {
		return nil, noFiles
	}
	ctx, cancel := context.WithTimeout(ctx, completionTimeout)
	defer cancel()
	s := &shell{options: o, ctx: ctx, client: newClient(o.URL, o.Username, o.Password), in: bufio.NewReader(strings.NewReader("")), out: io.Discard, errors: io.Discard}
	all = s.arguments(words[0], words[1:])
	return slices.DeleteFunc(all, func(name string) bool { return slices.Contains(words[1:], name) }), noFiles
}

// arguments are what may follow a verb and those of its arguments that were typed.
func (s *shell) arguments(verb string, typed []string) []string {
	switch verb {
	case "start", "stop", "restart", "status", "clear":
		return append(s.knownProcesses(), append(s.knownGroups(":*"), "all")...)
	case "signal":
		if len(typed) == 0 {
			return signalNames()
		}
		return append(s.knownProcesses(), append(s.knownGroups(":*"), "all")...)
	case "pid":
		return append(s.knownProcesses(), "all")
	case "fg":
		if len(typed) == 0 {
			return s.knownProcesses()
		}
	case "tail":
		if len(typed) > 0 && !strings.HasPrefix(typed[len(typed)-1], "-") {
			return []string{"stdout", "stderr"}
		}
		return append(s.knownProcesses(), "-f")
	case "maintail":
		return []string{"-f"}
	case "remove":
		return s.knownGroups("")
	case "update":
		return append(s.configuredGroups(true), "all")
	case "add":
		return s.configuredGroups(false)
	}
	return nil
}

// knownProcesses are the processes that the server has; nil: it does not answer.
func (s *shell) knownProcesses() (all []string) {
	for _, info := range s.list("getAllProcessInfo") {
		all = append(all, supervisordrpc.JoinName(text(info, "group"), text(info, "name")))
	}
	return all
}

// knownGroups are the groups that are no single process of the same name, with an ending.
func (s *shell) knownGroups(ending string) (all []string) {
	for _, info := range s.list("getAllProcessInfo") {
		if group := text(info, "group") + ending; (ending == "" || group != text(info, "name")+ending) && !slices.Contains(all, group) {
			all = append(all, group)
		}
	}
	return all
}

// configuredGroups are those of the configuration file: all, or those that the server does not have.
func (s *shell) configuredGroups(used bool) (all []string) {
	for _, info := range s.list("getAllConfigInfo") {
		members, _ := info.(xmlrpc.Struct)
		if group := text(info, "group"); (used || members["inuse"] != true) && !slices.Contains(all, group) {
			all = append(all, group)
		}
	}
	return all
}

func (s *shell) list(method string) []any {
	v, _ := s.call(method)
	all, _ := v.([]any)
	return all
}

func signalNames() (all []string) {
	for number := unix.SIGHUP; number <= unix.SIGTTOU; number++ {
		all = append(all, strings.TrimPrefix(unix.SignalName(number), "SIG"))
	}
	return all
}
