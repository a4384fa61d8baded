package config

import (
	"errors"
	"fmt"
	"net/netip"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// valueType describes values of type T in TOML.
type valueType[T any] struct {
	name   string               // in the documentation
	schema schema               // what read accepts, as far as JSON Schema can say it
	read   func(any) (T, error) // converts a decoded TOML value
}

// where returns k with a schema that is narrower than the one of its kind of value.
func (k valueType[T]) where(narrower schema) valueType[T] {
	k.schema = merged(k.schema, narrower)
	return k
}

// elementError is an error in one element of an array.
type elementError struct {
	index int
	err   error
}

func (e *elementError) Error() string { return e.err.Error() }

// expected returns an error that says that a value has the wrong TOML type.
func expected(what string, got any) error {
	name := "a table"
	switch got.(type) {
	case string:
		name = "a string"
	case int64:
		name = "a number"
	case float64:
		name = "a number with a point"
	case bool:
		name = "true or false"
	case []any, []map[string]any:
		name = "an array"
	case time.Time:
		name = "a date"
	}
	return fmt.Errorf("expected %s, not %s", what, name)
}

// parsed is a type that is written as a string and converted by parse.
func parsed[T any](name string, parse func(string) (T, error)) valueType[T] {
	return valueType[T]{name, schema{"type": "string"}, func(v any) (T, error) {
		if s, ok := v.(string); ok {
			return parse(s)
		}
		var none T
		err := expected(article(name)+" in quotes", v)
		if n, ok := v.(int64); ok {
			err = inQuotes(err, n, parse)
		}
		return none, err
	}}
}

func article(name string) string {
	if strings.IndexByte("aeiou", name[0]) >= 0 {
		return "an " + name
	}
	return "a " + name
}

// inQuotes adds a hint to the error of a number that should be a string.
func inQuotes[T any](err error, n int64, parse func(string) (T, error)) error {
	var h *hintedError
	_, parseErr := parse(strconv.FormatInt(n, 10))
	switch {
	case parseErr == nil:
		return &hintedError{err.Error(), fmt.Sprintf(`write "%d"`, n)}
	case errors.As(parseErr, &h):
		return &hintedError{err.Error(), h.hint}
	}
	return err
}

// checked is a string that check accepts.
func checked(name string, check func(string) error) valueType[string] {
	return parsed(name, func(s string) (string, error) { return s, check(s) })
}

var (
	text     = checked("string", func(string) error { return nil })
	duration = parsed("duration", parseDuration).where(durationSchema)
	size     = parsed("size", parseSize).where(sizeSchema)
	statuses = parsed("set of status codes", ParseStatuses).where(schema{"pattern": statusPattern})
	mode     = parsed("octal mode", ParseMode).where(schema{"pattern": "^0*[0-7]{1,3}$"})
	signal   = parsed("signal", ParseSignal).where(schema{"pattern": signalPattern()})
	urlPath  = checked("path of a URL", checkURLPath).where(schema{"pattern": `^/[^\x00-\x20\x7f#]*$`})
	appName  = checked("name", checkName).where(schema{"pattern": nameText.String(), "not": schema{"const": "all"}})
	address  = checked("address", checkListen).where(schema{"pattern": listenPattern})
	hostName = checked("host", checkHostHeader).where(schema{"pattern": `^[!"$-+.0->A-\[\]-~-]*$`})
	filePath = checked("path", checkFilePath).where(schema{"pattern": "^[^~]"})

	boolean = valueType[bool]{"true or false", schema{"type": "boolean"}, func(v any) (bool, error) {
		if b, ok := v.(bool); ok {
			return b, nil
		}
		err := expected("true or false", v)
		switch strings.ToLower(fmt.Sprint(v)) {
		case "true", "yes", "on", "1":
			err = &hintedError{err.Error(), "write true"}
		case "false", "no", "off", "0":
			err = &hintedError{err.Error(), "write false"}
		}
		return false, err
	}}
	umask = valueType[*int]{"octal mode", mode.schema, func(v any) (*int, error) {
		m, err := mode.read(v)
		n := int(m)
		return &n, err
	}}
	network = checked("address", checkTrusted).where(schema{"pattern": `^(unix|[0-9A-Fa-f.:]+(%[^/]+)?(/[0-9]+)?)$`})
	codes   = list(integer(0, 255))
	words   = valueType[[]string]{"command: string (shell words, no shell) or array of strings", commandSchema, readCommand}
	pairs   = valueType[map[string]string]{"table of strings", pairsSchema, readPairs}
)

// oneOf is one of a few strings.
func oneOf[T ~string](choices ...T) valueType[T] {
	var quoted []string
	for _, c := range choices {
		quoted = append(quoted, strconv.Quote(string(c)))
	}
	name := strings.Join(quoted, " or ")
	return valueType[T]{name, schema{"enum": choices}, func(v any) (T, error) {
		s, ok := v.(string)
		if !ok {
			return "", expected(name, v)
		}
		for _, c := range choices {
			if string(c) == s {
				return c, nil
			}
		}
		message := fmt.Sprintf("%q is not one of %s", s, strings.Join(quoted, ", "))
		if near := Nearest(s, choices); near != "" {
			return "", &hintedError{message, fmt.Sprintf("did you mean %q?", near)}
		}
		return "", errors.New(message)
	}}
}

// hintedError is an error with a hint how to correct it.
type hintedError struct {
	message string
	hint    string
}

func (h *hintedError) Error() string { return h.message + ": " + h.hint }

// integer is a whole number from low to high.
func integer(low, high int64) valueType[int] {
	accepted := schema{"type": "integer", "minimum": low, "maximum": high}
	return valueType[int]{fmt.Sprintf("number from %d to %d", low, high), accepted, func(v any) (int, error) {
		n, ok := v.(int64)
		if !ok {
			err := expected("a whole number", v)
			if f, e := strconv.ParseFloat(fmt.Sprint(v), 64); e == nil && f == float64(int64(f)) {
				err = &hintedError{err.Error(), fmt.Sprintf("write %d", int64(f))}
			}
			return 0, err
		}
		if n < low || n > high {
			return 0, fmt.Errorf("%d is not between %d and %d", n, low, high)
		}
		return int(n), nil
	}}
}

// positive is a number that is not 0.
func positive[T ~int64](k valueType[T]) valueType[T] {
	return valueType[T]{k.name + " above 0", merged(k.schema, schema{"not": schema{"pattern": zeroText}}), func(v any) (T, error) {
		n, err := k.read(v)
		if err == nil && n == 0 {
			err = fmt.Errorf("%q is too little: it must be more than 0", fmt.Sprint(v))
		}
		return n, err
	}}
}

// optional is a value that may be left out.
func optional[T any](k valueType[T]) valueType[*T] {
	return valueType[*T]{k.name, k.schema, func(v any) (*T, error) {
		value, err := k.read(v)
		return &value, err
	}}
}

// count is a number of type uint64.
func count(k valueType[int]) valueType[uint64] {
	return valueType[uint64]{k.name, k.schema, func(v any) (uint64, error) {
		n, err := k.read(v)
		return uint64(n), err
	}}
}

// list is an array, or a single element without brackets.
func list[T any](k valueType[T]) valueType[[]T] {
	accepted := schema{"anyOf": []schema{k.schema, {"type": "array", "items": k.schema}}}
	return valueType[[]T]{k.name + ", or an array of them", accepted, func(v any) ([]T, error) {
		elements, ok := v.([]any)
		if !ok {
			one, err := k.read(v)
			return []T{one}, err
		}
		all := make([]T, len(elements))
		var errs []error
		for i, e := range elements {
			one, err := k.read(e)
			if err != nil {
				errs = append(errs, &elementError{i, err})
			}
			all[i] = one
		}
		return all, errors.Join(errs...)
	}}
}

func readCommand(v any) ([]string, error) {
	if s, ok := v.(string); ok {
		return ParseCommand(s)
	}
	if elements, ok := v.([]any); ok && len(elements) == 0 {
		return nil, errors.New("the command is empty")
	}
	return list(text).read(v)
}

func readPairs(v any) (map[string]string, error) {
	table, ok := v.(map[string]any)
	if !ok {
		return nil, expected("a table of strings", v)
	}
	all := make(map[string]string, len(table))
	var errs []error
	for name, value := range table {
		one, err := readVariable(name, value)
		if err != nil {
			errs = append(errs, &memberError{name, err})
		}
		all[name] = one
	}
	return all, errors.Join(errs...)
}

func readVariable(name string, value any) (string, error) {
	if name == "" || strings.ContainsAny(name, "=\x00") {
		return "", fmt.Errorf("%q is not the name of a variable", name)
	}
	switch v := value.(type) {
	case string:
		if strings.ContainsRune(v, 0) {
			return "", errors.New("a variable cannot hold a NUL")
		}
		return v, nil
	case int64, bool, float64:
		return "", &hintedError{expected("a string in quotes", value).Error(), fmt.Sprintf(`write "%v"`, v)}
	}
	return "", expected("a string in quotes", value)
}

// memberError is an error in one member of a table.
type memberError struct {
	name string
	err  error
}

func (e *memberError) Error() string { return e.err.Error() }

func ParseMode(s string) (os.FileMode, error) {
	n, err := strconv.ParseUint(s, 8, 32)
	if err != nil || n > 0o777 {
		return 0, fmt.Errorf(`%q is not an octal mode such as "0660"`, s)
	}
	return os.FileMode(n), nil
}

func ParseSignal(s string) (syscall.Signal, error) {
	name := strings.TrimPrefix(strings.ToUpper(s), "SIG")
	sig := unix.SignalNum("SIG" + name)
	if sig == 0 {
		message := fmt.Sprintf(`%q is not a signal such as "TERM", "INT" or "QUIT"`, s)
		if near := Nearest(name, []string{"TERM", "INT", "QUIT", "HUP", "KILL", "USR1", "USR2", "ABRT"}); near != "" {
			return 0, &hintedError{message, fmt.Sprintf("did you mean %q?", near)}
		}
		return 0, errors.New(message)
	}
	return sig, nil
}

func checkURLPath(s string) error {
	if !strings.HasPrefix(s, "/") || strings.ContainsFunc(s, func(r rune) bool { return r <= ' ' || r == 0x7f || r == '#' }) {
		return fmt.Errorf("%q is not the path of a URL: it begins with / and has no blanks", s)
	}
	return nil
}

func checkHostHeader(s string) error {
	if strings.ContainsFunc(s, func(r rune) bool { return r <= ' ' || r >= 0x7f || strings.ContainsRune(`/\?#@,`, r) }) {
		return fmt.Errorf("%q is not a host", s)
	}
	return nil
}

func checkFilePath(s string) error {
	switch {
	case s == "" || strings.ContainsRune(s, 0):
		return errors.New("the path is empty")
	case strings.HasPrefix(s, "~"):
		return errors.New("~ is not expanded: write the whole path")
	}
	return nil
}

func checkTrusted(s string) error {
	if s == "unix" {
		return nil
	}
	if _, err := netip.ParseAddr(s); err == nil {
		return nil
	}
	if _, err := netip.ParsePrefix(s); err == nil {
		return nil
	}
	return fmt.Errorf(`%q is not an IP address, a network such as "10.0.0.0/8", or "unix"`, s)
}

// checkWatched checks a path or a pattern of watch.files.
func checkWatched(s string) error {
	if err := checkFilePath(s); err != nil {
		return err
	}
	for part := range strings.SplitSeq(s, "/") {
		if _, err := filepath.Match(part, ""); err != nil {
			return fmt.Errorf("%q is not a pattern: a [ is not closed, or a \\ is the last character", part)
		}
		if strings.Contains(part, "**") && part != "**" {
			return &hintedError{fmt.Sprintf("%q is not a pattern: ** stands alone between two /", part), `write it like "**/*.py"`}
		}
	}
	return nil
}
