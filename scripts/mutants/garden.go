package main

import (
	"context"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
)

// A garden is a package with all its mutants planted, compiled once. The source on disk stays as it is: the compiler is told to
// read other files in its place.
type garden struct {
	folder  string // of the package, from the module's root
	room    string // a temporary folder of its own
	binary  string
	mutants []mutant // number n is at n-1
}

// theSwitch is the file that the planted package gets beside its own ones. MUTANT is the number of the one that is switched on;
// in the file named by MUTANTS_MET each number is noted that is met for the first time.
const theSwitch = `package %s

import (
	"fmt"
	"os"
	"strconv"
	"sync/atomic"
)

var (
	theMutant, _    = strconv.Atoi(os.Getenv("MUTANT"))
	metMutants      [%d]atomic.Bool
	metMutantsIn, _ = os.OpenFile(os.Getenv("MUTANTS_MET"), os.O_WRONLY|os.O_APPEND, 0)
)

func mutated(number int) bool {
	if metMutantsIn != nil && !metMutants[number].Swap(true) {
		fmt.Fprintln(metMutantsIn, number)
	}
	return number == theMutant
}
`

// newGarden plants and compiles a package of the module in the current directory.
func newGarden(ctx context.Context, folder, room string) (*garden, error) {
	g := &garden{folder: filepath.Clean(folder), room: room, binary: filepath.Join(room, "test")}
	files, err := sources(g.folder)
	if err != nil {
		return nil, err
	}
	replaced := map[string]string{}
	put := func(name, text string) error {
		replaced[filepath.Join(g.folder, name)] = filepath.Join(room, name)
		return os.WriteFile(filepath.Join(room, name), []byte(text), 0o600)
	}
	for _, name := range files {
		source, err := os.ReadFile(filepath.Join(g.folder, name))
		if err != nil {
			return nil, err
		}
		text, mutants, err := plant(name, string(source), len(g.mutants)+1)
		if err != nil {
			return nil, err
		}
		g.mutants = append(g.mutants, mutants...)
		if err := put(name, text); err != nil {
			return nil, err
		}
	}
	text := fmt.Sprintf(theSwitch, filepath.Base(g.folder), len(g.mutants)+1)
	if err := put("the_mutant.go", text); err != nil {
		return nil, err
	}
	return g, g.compile(ctx, replaced)
}

// sources are the files of a package for this machine, without its tests.
func sources(folder string) ([]string, error) {
	list, err := exec.Command("go", "list", "-f", `{{join .GoFiles "\n"}}`, "./"+folder).Output()
	if err != nil {
		return nil, fmt.Errorf("no package in %s: %w", folder, err)
	}
	return strings.Fields(string(list)), nil
}

func (g *garden) compile(ctx context.Context, replaced map[string]string) error {
	overlay, err := json.Marshal(map[string]any{"Replace": replaced})
	if err != nil {
		return err
	}
	list := filepath.Join(g.room, "overlay.json")
	if err := os.WriteFile(list, overlay, 0o600); err != nil {
		return err
	}
	if said, err := exec.CommandContext(ctx, "go", "test", "-c", "-overlay", list, "-o", g.binary, "./"+g.folder).CombinedOutput(); err != nil {
		return fmt.Errorf("the mutants do not compile: %w\n%s", err, said)
	}
	return nil
}
