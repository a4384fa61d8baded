package supervisordconf

import (
	"errors"
	"fmt"
	"strconv"
	"strings"

	"tideover/supervisor/lazyregexp"
)

// percent matches one conversion of Python's % operator: %(name)s, %(num)02d, %%.
var percent = lazyregexp.New(`%(?:\(([^()]*)\))?([#0\- +]*)(\d*)(?:\.(\d*))?[hlL]?(.?)`)

// expandPercent applies Python's % operator to a text. The values are strings or ints.
// missing returns the value of a name that is not in values.
func expandPercent(text string, values map[string]any, missing func(name string) (string, error)) (string, error) {
	var errs error
	expanded := percent.ReplaceAllStringFunc(text, func(match string) string {
		part := percent.FindStringSubmatch(match)
		if part[5] == "%" {
			return "%"
		}
		if !strings.HasPrefix(match, "%(") {
			errs = errors.Join(errs, fmt.Errorf("%q is neither %%%% nor %%(name)s", match))
			return ""
		}
		value, ok := values[part[1]]
		if !ok {
			text, err := missing(part[1])
			if err != nil {
				errs = errors.Join(errs, err)
				return ""
			}
			value = text
		}
		formatted, err := formatPercent(part, value)
		errs = errors.Join(errs, err)
		return formatted
	})
	return expanded, errs
}

// formatPercent formats one value; part is the match of percent.
func formatPercent(part []string, value any) (string, error) {
	flags, width, precision, verb := part[2], part[3], part[4], part[5]
	switch _, number := value.(int); {
	case len(width) > 3 || len(precision) > 3:
		return "", fmt.Errorf("%q is very wide", part[0])
	case strings.Contains("sra", verb) && verb != "" && !strings.ContainsAny(flags, "# +"):
		flags, verb = strings.ReplaceAll(flags, "0", ""), "v"
		if precision != "" {
			value, verb = fmt.Sprint(value), "s"
		}
	case number && strings.Contains("diu", verb) && verb != "":
		verb = "d"
	case number && (verb == "x" || verb == "X" || verb == "o"):
	default:
		return "", fmt.Errorf("%q cannot be written as %q", fmt.Sprint(value), part[0])
	}
	if precision != "" {
		precision = "." + precision
	}
	return fmt.Sprintf("%"+flags+width+precision+verb, value), nil
}

// variable is one NAME=value of an environment option.
type variable struct{ name, value string }

// wordChars are the characters of an unquoted word in an environment option.
const wordChars = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_/.+-():"

// readVariables parses A="1",B="2" as supervisord does with Python's shlex.shlex: the
// last value of a name counts, and any token separates the pairs.
func readVariables(text string) ([]variable, error) {
	tokens, err := splitTokens(text)
	if err != nil {
		return nil, err
	}
	var all []variable
	for i := 0; i < len(tokens); i += 4 {
		if i+3 > len(tokens) || tokens[i+1] != "=" {
			return nil, fmt.Errorf("it is not NAME=\"value\",NAME=\"value\" at %q", strings.Join(tokens[i:min(i+3, len(tokens))], " "))
		}
		all = setVariable(all, tokens[i], strings.Trim(tokens[i+2], `'"`))
	}
	return all, nil
}

func setVariable(all []variable, name, value string) []variable {
	for i := range all {
		if all[i].name == name {
			all[i].value = value
			return all
		}
	}
	return append(all, variable{name, value})
}

// splitTokens splits a text as shlex.shlex does in its non-POSIX mode.
func splitTokens(text string) (tokens []string, err error) {
	runes := []rune(text)
	for i := 0; i < len(runes); {
		switch c := runes[i]; {
		case strings.ContainsRune(" \t\r\n", c):
			i++
		case c == '#':
			i = endOfLine(runes, i)
		case c == '\'' || c == '"':
			end := i + 1
			for end < len(runes) && runes[end] != c {
				end++
			}
			if end == len(runes) {
				return nil, errors.New("a quote is not closed")
			}
			tokens = append(tokens, string(runes[i:end+1]))
			i = end + 1
		case strings.ContainsRune(wordChars, c):
			var word string
			word, i = readWord(runes, i)
			tokens = append(tokens, word)
		default:
			tokens = append(tokens, string(c))
			i++
		}
	}
	return tokens, nil
}

// readWord reads a word. Quotes are part of it, and a comment inside does not end it.
func readWord(runes []rune, i int) (word string, next int) {
	var b strings.Builder
	for i < len(runes) {
		c := runes[i]
		switch {
		case c == '#':
			i = endOfLine(runes, i)
			continue
		case !strings.ContainsRune(wordChars+`'"`, c):
			if strings.ContainsRune(" \t\r\n", c) {
				i++
			}
			return b.String(), i
		}
		b.WriteRune(c)
		i++
	}
	return b.String(), i
}

func endOfLine(runes []rune, i int) int {
	for i < len(runes) && runes[i] != '\n' {
		i++
	}
	return min(i+1, len(runes))
}

// parseBool parses supervisord's words for true and false.
func parseBool(text string) (bool, error) {
	switch strings.ToLower(text) {
	case "yes", "true", "on", "1":
		return true, nil
	case "no", "false", "off", "0":
		return false, nil
	}
	return false, fmt.Errorf("%q is not true or false", text)
}

// parseSize parses 50MB, 512kb, 1GB or a number of bytes. The units are powers of
// 1024.
func parseSize(text string) (int64, error) {
	number, unit := strings.ToLower(text), int64(1)
	for suffix, size := range map[string]int64{"kb": 1 << 10, "mb": 1 << 20, "gb": 1 << 30} {
		if rest, ok := strings.CutSuffix(number, suffix); ok {
			number, unit = rest, size
			break
		}
	}
	n, err := strconv.ParseInt(strings.TrimSpace(number), 10, 32)
	if err != nil || n < 0 {
		return 0, fmt.Errorf("%q is not a size", text)
	}
	return n * unit, nil
}
