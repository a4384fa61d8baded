package supervisordconf

import (
	"bytes"
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"reflect"
	"strings"
	"testing"
)

// questions are asked of supervisord's own code, answers are its and ours. A
// null is what it does not accept.
type questions struct {
	Files        [][]string `json:"files"` // texts read one after another
	Environments []string   `json:"environments"`
	Shared       []string   `json:"shared"` // of [supervisord]
	Percents     []string   `json:"percents"`
	Sizes        []string   `json:"sizes"`
}

type answers struct {
	Files        [][]section   `json:"files"`
	Environments [][][2]string `json:"environments"`
	Shared       [][][2]string `json:"shared"`
	Percents     []*string     `json:"percents"`
	Sizes        []*int64      `json:"sizes"`
}

// section is a name with its options in order.
type section struct {
	Name    string
	Options [][2]string
}

func (s *section) UnmarshalJSON(text []byte) error {
	return json.Unmarshal(text, &[]any{&s.Name, &s.Options})
}

// askSupervisord needs the virtual environment that scripts/setup makes.
func askSupervisord(t *testing.T, q questions) answers {
	t.Helper()
	dir := os.Getenv("TIDEOVER_TEST_VENVS")
	if dir == "" {
		dir = filepath.Join("..", "..", ".local", "venvs")
	}
	python := filepath.Join(dir, "supervisor", "bin", "python")
	if _, err := os.Stat(python); err != nil {
		t.Fatalf("no supervisor in %s: run scripts/setup", dir)
	}
	q.Files = append([][]string{}, q.Files...) // no null
	q.Environments, q.Percents, q.Sizes = append([]string{}, q.Environments...), append([]string{}, q.Percents...), append([]string{}, q.Sizes...)
	q.Shared = append([]string{}, q.Shared...)
	input, err := json.Marshal(q)
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.CommandContext(t.Context(), python, "testdata/supervisord.py")
	cmd.Stdin = bytes.NewReader(input)
	var stderr bytes.Buffer
	cmd.Stderr = &stderr
	output, err := cmd.Output()
	if err != nil {
		t.Fatalf("%v: %s", err, stderr.String())
	}
	var a answers
	if err := json.Unmarshal(output, &a); err != nil {
		t.Fatal(err)
	}
	return a
}

// What supervisord reads in a file is what Import reads in it.
func TestFilesAreReadAsSupervisordReadsThem(t *testing.T) {
	_, paths := supervisordFiles(t)
	var q questions
	for _, path := range paths {
		texts := []string{readText(t, path)}
		if filepath.Base(path) == "supervisord.conf" {
			included, _ := filepath.Glob(filepath.Join(filepath.Dir(path), "*", "*"))
			for _, path := range included {
				texts = append(texts, readText(t, path))
			}
		}
		q.Files = append(q.Files, texts)
	}
	r := rand.New(rand.NewPCG(4, 2026))
	for range 2000 {
		var texts []string
		for range 1 + r.IntN(2) {
			texts = append(texts, randomLines(r))
		}
		q.Files = append(q.Files, texts)
	}
	accepted := 0
	for i, want := range askSupervisord(t, q).Files {
		got := readTexts(q.Files[i])
		if want != nil {
			accepted++
		}
		if !reflect.DeepEqual(got, want) {
			t.Errorf("%q\n is to us  %q\n and really %q", q.Files[i], got, want)
		}
	}
	if accepted < len(q.Files)/4 {
		t.Errorf("supervisord accepts only %d of %d files", accepted, len(q.Files))
	}
}

func readText(t *testing.T, path string) string {
	t.Helper()
	text, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}

// readTexts reads texts in the form of supervisord.py's answers.
func readTexts(texts []string) (all []section) {
	var d iniFile
	for i, text := range texts {
		if d.read(fmt.Sprint(i), text); len(d.problems) > 0 {
			return nil
		}
	}
	defaults := section{"DEFAULT", [][2]string{}}
	if d.defaults != nil {
		defaults = sectionOf(d.defaults)
	}
	all = append(all, defaults)
	for _, s := range d.sections {
		all = append(all, sectionOf(s))
	}
	return all
}

func sectionOf(s *iniSection) section {
	all := section{s.name, [][2]string{}}
	for _, o := range s.options {
		all.Options = append(all.Options, [2]string{o.name, o.value})
	}
	return all
}

// randomLines are pieces at which readers of such files differ.
func randomLines(r *rand.Rand) string {
	starts := []string{"[program:a]", "[supervisord]", "[a] b]", "[DEFAULT]", "  [indented]", "[a];c", "[a] ;c"}
	pieces := []string{"a=1", "b : 2", "a:b=c", "KEY = v", "k=", " more", "\tmore=1", "", "   ", "; c", "# c", " ; c", "k=v ; c", "k=v;c", "k=a # b ; c",
		"k=a;b # c", "k=;x", "k= ;x", "k= #x", "c = '\"; x'", "two words = 3", "\x0bk=v", "k=\u00a0v\u00a0", "ü=ß", "a==b", "k = %(here)s%%", "\x1ck=v", "  deep\n    deeper",
		"x;y=z", "x #y=z ; w", "k=v\r", "k=1\rj=2", "#;#", "k=v\t;c", "k=v\u00a0;c"}
	rare := []string{"no delimiter", "= v", "[]", "]x[", ":"}
	var lines []string
	if r.IntN(12) > 0 {
		lines = append(lines, starts[r.IntN(len(starts))])
	}
	for range r.IntN(9) {
		switch n := r.IntN(40); {
		case n == 0:
			lines = append(lines, rare[r.IntN(len(rare))])
		case n < 7:
			lines = append(lines, starts[r.IntN(len(starts))])
		default:
			lines = append(lines, pieces[r.IntN(len(pieces))])
		}
	}
	return strings.Join(lines, "\n") + strings.Repeat("\n", r.IntN(2))
}

// What values mean to supervisord is what they mean to Import.
func TestValuesMeanWhatSupervisordTakesThemFor(t *testing.T) {
	q := questions{
		Environments: []string{"", "A=1", `A="1",B='2'`, "A=1,B", "A", "A=", ",", "A=1 B=2", "A=1;B=2", "A=1,,B=2", `A="b,c",B=d=e`, "A=b:c/d.e+f-g()",
			`A="x"y`, `A="it's"`, `A='say "x"'`, "A=\"1\",\n  B=2,\n", "A=1,A=2", "A=#x\n1", "A=a#x\nb", `A="`, "A=ü", "Ü=1", `A=a"b`, "A=%", "A=@", `A="@"`, "A-B=1", `"A"=1`},
		Percents: []string{"", "x", "%%", "%", "100%", "%s", "%d", "%(here)s", "%(here)d", "%(process_num)d", "%(process_num)02d", "%(process_num)-4d|", "%(process_num)+d",
			"%(process_num)x", "%(process_num)s", "%(process_num)05s", "%(program_name)8s", "%(program_name)-8s|", "%(program_name).2s", "%(none)s", "%(ENV_HOME)s/%(here)s",
			"%(here)", "%(here)z", "%(here", "%()s", "%(process_num)i", "%(process_num)u", "%(process_num).3d", "a%%b%(here)s%%", "%(program_name)02s"},
		Sizes: []string{"0", "50MB", "1gb", "512kb", "10", " 5 MB", "5 mb", "MB", "x", "", "1.5MB", "5B"},
	}
	r := rand.New(rand.NewPCG(7, 2026))
	pieces := []string{"A", "=", `"`, "'", ",", " ", "b c", "1", "#", "\n", "x/y", "@", "B=2,", `C="3"`, "ü"}
	for range 1500 {
		var b strings.Builder
		for range r.IntN(10) {
			b.WriteString(pieces[r.IntN(len(pieces))])
		}
		q.Environments = append(q.Environments, b.String())
	}
	want := askSupervisord(t, q)
	for i, text := range q.Environments {
		all, err := readVariables(text)
		got := [][2]string{}
		for _, v := range all {
			got = append(got, [2]string{v.name, v.value})
		}
		if err != nil {
			got = nil
		}
		if !reflect.DeepEqual(got, want.Environments[i]) {
			t.Errorf("environment=%q is to us %q, and really %q", text, got, want.Environments[i])
		}
	}
	values := map[string]any{"here": "/etc/sv", "program_name": "shop", "process_num": 7, "ENV_HOME": "/root"}
	for i, text := range q.Percents {
		got, err := expandPercent(text, values, func(name string) (string, error) { return "", fmt.Errorf("no %s", name) })
		if really := want.Percents[i]; (err != nil) != (really == nil) || really != nil && got != *really {
			if text != "%s" { // which Python replaces by all values at once
				t.Errorf("%q is to us %q (%v), and really %v", text, got, err, really)
			}
		}
	}
	for i, text := range q.Sizes {
		got, err := parseSize(text)
		if really := want.Sizes[i]; (err != nil) != (really == nil) || really != nil && got != *really {
			t.Errorf("%q is to us %d (%v), and really %v", text, got, err, really)
		}
	}
}

// supervisord expands the environment of [supervisord] twice. 4.2.5 and 4.3.0 give the same answers.
func TestTheEnvironmentOfSupervisordIsExpandedTwice(t *testing.T) {
	q := questions{Shared: []string{`A="p%%%%40ss"`, `A="5%%"`, `A="5%%%%"`, `A="100%%%%",B="x"`, `A="%%(host)s"`, `A="%%%%(here)s"`, `A="%"`, `A="%%%"`, `A="%%%%%%"`,
		`A="%%%%%%%%"`, `A="50%%%% off",B='%%%%'`, `A="%%d"`, `URL="amqp://u:p%%%%2F@h/%%%%2Fv"`, `A="%%%%d",A="2"`}}
	accepted := 0
	for i, want := range askSupervisord(t, q).Shared {
		dir := files(t, map[string]string{"supervisord.conf": "[supervisord]\nenvironment=" + q.Shared[i] + "\n[program:a]\ncommand=/bin/cat\n"})
		im, err := convert(filepath.Join(dir, "supervisord.conf"), Options{})
		var got [][2]string
		if err == nil {
			for _, v := range im.sharedEnv {
				got = append(got, [2]string{v.name, v.value})
			}
		}
		if want != nil {
			accepted++
		}
		if !reflect.DeepEqual(got, want) {
			t.Errorf("%s is to us %q (%v), and really %q", q.Shared[i], got, err, want)
		}
	}
	if accepted < 5 {
		t.Errorf("supervisord accepts only %d of %d", accepted, len(q.Shared))
	}
}
