package config

import (
	"bytes"
	"encoding/json"
	"maps"
	"strings"
	"syscall"
	"unicode"

	"golang.org/x/sys/unix"
)

// schema is a JSON Schema, draft 7, which the TOML plugins of editors read.
type schema map[string]any

// zeroText matches a duration or a size that is 0.
const zeroText = `^[0.]*0[.]?\s*[A-Za-z]+$`

const (
	listenPattern = `^(unix:/|unix:/[^/].{0,105}|systemd:.+|\[[^\]]+\]:\+?[0-9]+|[A-Za-z0-9._-]*:\+?[0-9]+)$`
	statusPattern = `^\s*` + oneStatus + `\s*(,\s*` + oneStatus + `\s*)*$`
	oneStatus     = `(<=?[0-9]{3}|[1-9][xX]{2}|[0-9]{3}(-[0-9]{3})?)`
)

var (
	durationSchema = schema{
		"pattern":  `^([0-9]+d)?\+?(([0-9]+\.?[0-9]*|\.[0-9]+)(ns|us|µs|μs|ms|s|m|h))*$`,
		"examples": []string{"30s", "500ms", "2m"}, "minLength": 1,
	}
	sizeSchema = schema{
		"pattern":  `^[0-9]+(\.[0-9]+)?\s*([Bb]|[KkMmGg]([Ii]?[Bb])?)$`,
		"examples": []string{"64KiB", "100MiB", "8190B"},
	}
	commandSchema = schema{"anyOf": []schema{
		{"type": "string", "minLength": 1},
		{"type": "array", "items": schema{"type": "string"}, "minItems": 1},
	}}
	pairsSchema = schema{"type": "object", "additionalProperties": schema{"type": "string"}}
)

// signalPattern matches the names of all signals, with and without SIG, in any case of letters.
func signalPattern() string {
	var names []string
	for number := syscall.Signal(1); number < 32; number++ {
		var name strings.Builder
		for _, r := range strings.TrimPrefix(unix.SignalName(number), "SIG") {
			if lower := unicode.ToLower(r); lower != r {
				name.WriteString("[" + string(r) + string(lower) + "]")
			} else {
				name.WriteRune(r)
			}
		}
		if name.Len() > 0 {
			names = append(names, name.String())
		}
	}
	return "^([Ss][Ii][Gg])?(" + strings.Join(names, "|") + ")$"
}

// merged returns a schema with the keywords of both; those of b replace those of a.
func merged(a, b schema) schema {
	all := maps.Clone(a)
	maps.Copy(all, b)
	return all
}

// JSONSchema returns the JSON Schema of the configuration. It is made of the table by which
// the configuration is read. It accepts every valid configuration; what it cannot express
// (users that exist, addresses that collide, commands of gunicorn) only `tideover check` finds.
func JSONSchema() ([]byte, error) {
	settings, daemon, fleet := tableSchema(AppKeys()), tableSchema(DaemonKeys()), tableSchema(FleetKeys())
	file := schema{
		"$schema": "http://json-schema.org/draft-07/schema#",
		"title":   "tideover.toml", "description": "Configuration of tideover",
		"type": "object", "additionalProperties": false,
		"definitions": schema{"app": settings},
		"properties": schema{
			"include": merged(list(text).schema, schema{
				"description": "more files to read; in the main file only"}),
			"defaults": schema{"$ref": "#/definitions/app"},
			"app": schema{"type": "object", "propertyNames": appName.schema,
				"additionalProperties": schema{"$ref": "#/definitions/app"}},
			"daemon": daemon,
			"fleet":  fleet,
		},
		// an app has a command, unless [defaults] has one
		"if":   schema{"required": []string{"defaults"}, "properties": schema{"defaults": schema{"required": []string{"command"}}}},
		"else": schema{"properties": schema{"app": schema{"additionalProperties": schema{"required": []string{"command"}}}}},
	}
	var text bytes.Buffer
	encoder := json.NewEncoder(&text)
	encoder.SetEscapeHTML(false)
	encoder.SetIndent("", "  ")
	err := encoder.Encode(file)
	return text.Bytes(), err
}

// tableSchema is the schema of a table with these keys; a key "hold.timeout" is in the table
// "hold" of it.
func tableSchema(keys []Key) schema {
	properties := schema{}
	table := schema{"type": "object", "additionalProperties": false, "properties": properties}
	for _, k := range keys {
		name, in := k.Path, properties
		if section, rest, nested := strings.Cut(k.Path, "."); nested {
			if properties[section] == nil {
				properties[section] = schema{"type": "object", "additionalProperties": false, "properties": schema{}}
			}
			name, in = rest, properties[section].(schema)["properties"].(schema)
		}
		in[name] = k.describedSchema()
	}
	return table
}

// describedSchema is the schema of the key's value with its meaning and its default, for the
// help of editors.
func (k Key) describedSchema() schema {
	meaning := k.Meaning
	for _, v := range k.Values {
		meaning += "\n" + v.Value + ": " + v.Meaning
	}
	if k.Default != "" {
		meaning += "\nDefault: " + k.Default
	}
	return merged(k.schema, schema{"description": meaning})
}
