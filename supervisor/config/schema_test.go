package config

import (
	"bytes"
	"fmt"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/BurntSushi/toml"
	"github.com/santhosh-tekuri/jsonschema/v6"
)

// compiledSchema is the JSON Schema, as editors use it.
func compiledSchema(t *testing.T) *jsonschema.Schema {
	t.Helper()
	made, err := JSONSchema()
	if err != nil {
		t.Fatal(err)
	}
	document, err := jsonschema.UnmarshalJSON(bytes.NewReader(made))
	if err != nil {
		t.Fatal(err)
	}
	compiler := jsonschema.NewCompiler()
	if err := compiler.AddResource("tideover.schema.json", document); err != nil {
		t.Fatal(err)
	}
	compiled, err := compiler.Compile("tideover.schema.json")
	if err != nil {
		t.Fatal(err)
	}
	return compiled
}

// asJSON converts the value of a TOML decoder to that of a JSON decoder.
func asJSON(v any) any {
	switch v := v.(type) {
	case map[string]any:
		all := map[string]any{}
		for key, value := range v {
			all[key] = asJSON(value)
		}
		return all
	case []map[string]any:
		var all []any
		for _, value := range v {
			all = append(all, asJSON(value))
		}
		return all
	case []any:
		all := []any{}
		for _, value := range v {
			all = append(all, asJSON(value))
		}
		return all
	case string, bool, int64, float64:
		return v
	}
	return fmt.Sprint(v)
}

// validate returns what the schema has against a file; isTOML is false for a file with errors
// of syntax.
func validate(t *testing.T, s *jsonschema.Schema, path string) (fault error, isTOML bool) {
	t.Helper()
	var document map[string]any
	if _, err := toml.DecodeFile(path, &document); err != nil {
		return err, false
	}
	return s.Validate(asJSON(document)), true
}

// The schema accepts each configuration that is published, and those which only get warnings.
func TestSchemaAcceptsTheExamples(t *testing.T) {
	t.Parallel()
	s := compiledSchema(t)
	examples, _ := filepath.Glob("../../examples/*/tideover.toml")
	warned, _ := filepath.Glob("testdata/warned/*.toml")
	if len(examples) < 3 || len(warned) < 5 {
		t.Fatalf("only %d examples and %d files with warnings", len(examples), len(warned))
	}
	for _, path := range append(examples, warned...) {
		if fault, _ := validate(t, s, path); fault != nil {
			t.Errorf("%s: %v", path, fault)
		}
	}
}

// The schema accepts each default value, and each value of the keys with a few values.
func TestSchemaAcceptsTheDefaults(t *testing.T) {
	t.Parallel()
	s := compiledSchema(t)
	accepts := func(text string) {
		t.Helper()
		var document map[string]any
		if _, err := toml.Decode(text, &document); err != nil {
			t.Fatalf("%s: %v", text, err)
		}
		if err := s.Validate(asJSON(document)); err != nil {
			t.Errorf("%s: %v", text, err)
		}
	}
	for table, keys := range map[string][]Key{"defaults": AppKeys(), "daemon": DaemonKeys(), "fleet": FleetKeys()} {
		for _, k := range keys {
			values := []string{k.Default}
			for _, v := range k.Values {
				values = append(values, v.Value)
			}
			for _, value := range values {
				if value != "" {
					accepts(fmt.Sprintf("[%s]\n%s = %s\n", table, k.Path, value))
				}
			}
		}
	}
	for _, value := range []string{`"1h30m"`, `"7d"`, `"7d12h"`, `".5s"`, `"1.5m"`} {
		accepts("[defaults.ready]\ntimeout = " + value)
	}
	for _, value := range []string{`"1.5MiB"`, `"64 KB"`, `"10g"`, `"0B"`, `"1kb"`} {
		accepts("[defaults.limits]\nbody = " + value)
	}
}

// The schema rejects what it can of the broken configurations: all but those in the golden file,
// whose errors concern several keys, a command, or this machine.
func TestSchemaRejectsWhatItCan(t *testing.T) {
	t.Parallel()
	s := compiledSchema(t)
	broken, _ := filepath.Glob("testdata/broken/*.toml")
	var accepted strings.Builder
	for _, path := range broken {
		fault, isTOML := validate(t, s, path)
		if !isTOML {
			continue // the editor itself reports it
		}
		if fault == nil {
			fmt.Fprintln(&accepted, filepath.Base(path))
		}
	}
	golden(t, "testdata/beyond-the-schema.txt", accepted.String())
}

// What the schema rejects, the loader rejects, too: here each key with many values.
func TestSchemaIsNotStricterThanTheLoader(t *testing.T) {
	quietEnvironment(t)
	s := compiledSchema(t)
	values := []string{`""`, `"x"`, `"1"`, `"0s"`, `"5s"`, `"1d"`, `"64KiB"`, `"0B"`, `"/a b"`, `"/a"`, `"~/a"`, `"all"`, `"0640"`, `"0999"`, `"TERM"`,
		`0`, `1`, `-1`, `70000`, `1.5`, `true`, `[]`, `["a"]`, `[1]`, `{}`, `{ A = "b" }`, `{ A = 1 }`, `1979-05-27`}
	values = append(values, `":8000"`, `"[::1]:80"`, `"localhost:1"`, `"unix:/run/a"`, `"unix:/"`, `"unix://a"`, `"unix:a"`, `"systemd:a"`, `"systemd:"`, `"127.0.0.1:+80"`,
		`"sigterm"`, `"KILL"`, `"kil"`, `"rtmin"`, `"IO"`, `"2xx, 404"`, `"<=399"`, `"200-"`, `"a.example:80"`, `"[::1]"`, `"a,b"`, `"10.0.0.0/8"`, `"::1"`, `"unix"`, `"::ffff:1.2.3.4"`, `"10.0.0.0/33"`)
	for _, k := range AppKeys() {
		for _, value := range values {
			content := fmt.Sprintf("[app.shop]\ncommand = \"sleep 1\"\n%s = %s\n", k.Path, value)
			if k.Path == "command" {
				content = "[app.shop]\ncommand = " + value + "\n"
			}
			var document map[string]any
			if _, err := toml.Decode(content, &document); err != nil {
				t.Fatalf("%s: %v", content, err)
			}
			if s.Validate(asJSON(document)) == nil {
				continue
			}
			problems, err := Check("/etc/tideover/tideover.toml", content)
			if err == nil && !slices.ContainsFunc(problems, func(p Problem) bool { return !p.Warning }) {
				t.Errorf("%s = %s: the loader accepts it, the schema does not", k.Path, value)
			}
		}
	}
}
