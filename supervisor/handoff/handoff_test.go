package handoff

import (
	"os"
	"strconv"
	"strings"
	"syscall"
	"testing"
)

func TestStateOfAnotherProgramIsRefused(t *testing.T) {
	for value, want := range map[string]string{
		"none":    "is no descriptor",
		"1000000": "cannot read",
	} {
		t.Setenv(variable, value)
		if e, err := Receive(); e != nil || err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v", value, err)
		}
		if _, left := os.LookupEnv(variable); left {
			t.Error("the apps would inherit the variable")
		}
	}
	if e, err := Receive(); e != nil || err != nil {
		t.Error(e, err)
	}
	for _, version := range []int{0, FormatVersion + 1} {
		if err := receive(t, &State{Version: version}); err == nil || !strings.Contains(err.Error(), "version "+strconv.Itoa(version)) {
			t.Errorf("version %d: %v", version, err)
		}
	}
	if err := receive(t, &State{Version: FormatVersion}); err != nil {
		t.Error(err)
	}
}

// receive reads a state as the next program does.
func receive(t *testing.T, e *State) error {
	t.Helper()
	f, err := e.write()
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	fd, err := syscall.Dup(int(f.Fd())) // Receive closes it
	if err != nil {
		t.Fatal(err)
	}
	t.Setenv(variable, strconv.Itoa(fd))
	_, err = Receive()
	return err
}
