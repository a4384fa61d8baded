package gunicorn

import (
	"fmt"
	"slices"
	"strings"

	"tideover/supervisor/lazyregexp"
)

// parsedArgs are arguments as argparse understands them.
type parsedArgs struct {
	values      map[string][]string // by option name, in order; "" for a flag
	positionals []string
}

func (a parsedArgs) last(name string) (string, bool) {
	values := a.values[name]
	if len(values) == 0 {
		return "", false
	}
	return values[len(values)-1], true
}

var negativeNumber = lazyregexp.New(`^-\d+$|^-\d*\.\d+$`)

// parseArgs reads words as Python's argparse does for gunicorn's options, with
// abbreviations, -bX, -b=X and clusters such as -Rb:8000. An unknown option is
// taken for a flag.
func parseArgs(words []string) (parsedArgs, error) {
	a := parsedArgs{values: map[string][]string{}}
	for len(words) > 0 {
		word := words[0]
		words = words[1:]
		if word == "--" {
			a.positionals = append(a.positionals, words...)
			break
		}
		if isValue(word) {
			a.positionals = append(a.positionals, word)
			continue
		}
		var err error
		if words, err = a.option(word, words); err != nil {
			return a, err
		}
	}
	return a, nil
}

// isValue reports whether word can be the value of an option.
func isValue(word string) bool {
	return !strings.HasPrefix(word, "-") || word == "-" || negativeNumber.MatchString(word)
}

// option reads one option, or a cluster of short ones. It takes the value from
// next if word does not contain it, and returns the rest of next.
func (a *parsedArgs) option(word string, next []string) ([]string, error) {
	for {
		o, explicit, given, err := findOption(word)
		if err != nil || o == nil {
			return next, err
		}
		switch {
		case given && (o.value || o.optional):
			a.add(o, explicit)
			return next, nil
		case given && !strings.HasPrefix(word, "--") && explicit != "":
			a.add(o, "")
			word = "-" + explicit // the rest of a cluster
			continue
		case given:
			return next, fmt.Errorf("gunicorn's --%s takes no value", o.name)
		case o.value && (len(next) == 0 || !isValue(next[0])):
			return next, fmt.Errorf("gunicorn's %s needs a value", word)
		case o.value:
			a.add(o, next[0])
			return next[1:], nil
		}
		a.add(o, "")
		return next, nil
	}
}

func (a *parsedArgs) add(o *option, value string) {
	a.values[o.name] = append(a.values[o.name], value)
}

// findOption returns the option that a word beginning with a dash means, and the
// value that is attached to it. It tries in the order of argparse: the whole word,
// the part before "=", an abbreviation or a short option with its value attached.
// An unknown option is nil. A lone dash is a value (see isValue) and no option.
func findOption(word string) (o *option, explicit string, given bool, err error) {
	if o := exactOption(word); o != nil {
		return o, "", false, nil
	}
	head, value, hasValue := strings.Cut(word, "=")
	if hasValue {
		if o := exactOption(head); o != nil {
			return o, value, true, nil
		}
	}
	if !strings.HasPrefix(word, "--") {
		if len(word) > 2 {
			if o := exactOption(word[:2]); o != nil {
				return o, word[2:], true, nil
			}
		}
		return nil, "", false, nil
	}
	o, err = abbreviated(head)
	return o, value, hasValue, err
}

func exactOption(word string) *option {
	for i, o := range knownOptions() {
		if slices.Contains(o.spellings, word) {
			return &knownOptions()[i]
		}
	}
	return nil
}

// abbreviated returns the only option that begins with head. An abbreviation that
// newer versions of gunicorn made ambiguous means what it meant in 20.1.
func abbreviated(head string) (*option, error) {
	var found []*option
	var names []string
	for i, o := range knownOptions() {
		for _, s := range o.spellings {
			if strings.HasPrefix(s, head) {
				found = append(found, &knownOptions()[i])
				names = append(names, s)
			}
		}
	}
	if len(found) > 1 {
		if old := slices.DeleteFunc(slices.Clone(found), func(o *option) bool { return o.newer }); len(old) == 1 {
			return old[0], nil
		}
		return nil, fmt.Errorf("gunicorn's %s is ambiguous: it could be %s", head, strings.Join(names, ", "))
	}
	if len(found) == 0 {
		return nil, nil
	}
	return found[0], nil
}

// Option returns the last value that gunicorn's arguments give to an option, by
// its long name without dashes; GUNICORN_CMD_ARGS does not count.
func (c *Command) Option(name string) (value string, ok bool) {
	args, err := parseArgs(c.Args)
	if err != nil {
		return "", false
	}
	return args.last(name)
}

// RemoveOptions splits args into those without the named options and the words
// of these options. names are long names without dashes.
func RemoveOptions(args []string, names ...string) (rest, removed []string) {
	for i := 0; i < len(args); i++ {
		if isValue(args[i]) {
			rest = append(rest, args[i])
			continue
		}
		o, explicit, given, err := findOption(args[i])
		if args[i] == "--" || err != nil {
			return append(rest, args[i:]...), removed
		}
		if o == nil || given && !o.value && explicit != "" {
			rest = append(rest, args[i])
			continue
		}
		words := args[i : i+1]
		if o.value && !given && i+1 < len(args) {
			words, i = args[i:i+2], i+1
		}
		if slices.Contains(names, o.name) {
			removed = append(removed, words...)
		} else {
			rest = append(rest, words...)
		}
	}
	return rest, removed
}
