package supervisorctl

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"strings"
	"unicode"

	"golang.org/x/sys/unix"
)

// Exit codes, of the Linux Standard Base.
const (
	exitGeneric       = 1
	exitInvalidArgs   = 2
	exitUnimplemented = 3
	exitPrivileges    = 4
	exitNotInstalled  = 5
	exitNotRunning    = 7
	exitStatusDown    = 3 // of status
	exitStatusUnknown = 4 // of status
)

// shell runs commands.
type shell struct {
	options
	ctx    context.Context
	client *client
	in     *bufio.Reader
	input  io.Reader
	out    io.Writer
	errors io.Writer
	exit   int
	ended  bool
}

// Run runs one command line and returns its exit code.
func Run(ctx context.Context, program string, args []string, stdin io.Reader, stdout, stderr io.Writer, env []string) int {
	if isCompletion(args) {
		complete(ctx, args[1:], env, stdout)
		return 0
	}
	o, err := readOptions(args, env)
	if err != nil {
		fmt.Fprintf(stderr, "Error: %v\nFor help, use %s -h\n", err, program)
		return 2
	}
	if o.help {
		fmt.Fprintf(stdout, usage, program)
		return 0
	}
	s := &shell{options: o, ctx: ctx, client: newClient(o.URL, o.Username, o.Password), in: bufio.NewReader(stdin), input: stdin, out: stdout, errors: stderr}
	if len(o.words) > 0 {
		s.run(strings.Join(o.words, " "))
		return s.exit
	}
	s.loop()
	return 0
}

func (s *shell) say(format string, args ...any) { fmt.Fprintf(s.out, format+"\n", args...) }

// fail is say for an error.
func (s *shell) fail(exit int, format string, args ...any) {
	s.say(format, args...)
	s.exit = exit
}

// loop runs the commands that are typed. The first one is status.
func (s *shell) loop() {
	s.run("status")
	for !s.ended {
		fmt.Fprintf(s.out, "%s> ", s.Prompt)
		line, err := s.in.ReadString('\n')
		if err != nil && line == "" {
			s.say("")
			return
		}
		s.run(strings.TrimRight(line, "\r\n"))
	}
}

// run runs one line: a word and its arguments, as Python's cmd.Cmd splits it.
func (s *shell) run(line string) {
	line = strings.TrimSpace(line)
	if line == "" {
		return
	}
	if rest, ok := strings.CutPrefix(line, "?"); ok {
		line = "help " + rest
	}
	end := strings.IndexFunc(line, func(r rune) bool { return r != '_' && !unicode.IsLetter(r) && !unicode.IsDigit(r) })
	if end < 0 {
		end = len(line)
	}
	do, ok := verbs()[line[:end]]
	if !ok {
		s.fail(exitGeneric, "*** Unknown syntax: %s", line)
		return
	}
	err := do(s, strings.TrimSpace(line[end:]))
	var status *statusError
	switch {
	case err == nil:
	case errors.As(err, &status) && status.code == http.StatusUnauthorized:
		s.authenticate(line)
	default:
		s.fail(exitGeneric, "%s", pythonError(err))
	}
}

// authenticate asks for a user name and a password, and runs the command again.
func (s *shell) authenticate(line string) {
	s.say("Server requires authentication")
	if !s.interactive {
		s.exit = exitGeneric
		return
	}
	fmt.Fprint(s.out, "Username:")
	user, err := s.in.ReadString('\n')
	if err != nil {
		s.ended = true
		return
	}
	fmt.Fprint(s.out, "Password:")
	password, err := s.readHidden()
	s.say("")
	if err != nil {
		s.ended = true
		return
	}
	s.Username, s.Password = strings.TrimRight(user, "\r\n"), password
	s.client = newClient(s.URL, s.Username, s.Password)
	s.run(line)
}

// readHidden reads a line without the terminal showing it.
func (s *shell) readHidden() (string, error) {
	if file, ok := s.input.(*os.File); ok {
		fd := int(file.Fd())
		if before, err := unix.IoctlGetTermios(fd, unix.TCGETS); err == nil {
			hidden := *before
			hidden.Lflag &^= unix.ECHO
			unix.IoctlSetTermios(fd, unix.TCSETS, &hidden)
			defer unix.IoctlSetTermios(fd, unix.TCSETS, before)
		}
	}
	line, err := s.in.ReadString('\n')
	return strings.TrimRight(line, "\r\n"), err
}

// confirmed asks whether to go on, in the shell.
func (s *shell) confirmed(question string) bool {
	if !s.interactive {
		return true
	}
	fmt.Fprint(s.out, question)
	line, _ := s.in.ReadString('\n')
	return strings.HasPrefix(strings.ToLower(line), "y")
}
