package main

import (
	"strings"
	"testing"
)

func TestVersion(t *testing.T) {
	t.Parallel()
	dir := runtimeDir(t)
	if got := tideover(t, dir, "version"); got.exit != 0 || !strings.HasPrefix(got.stdout, "tideover "+version+" (go") {
		t.Errorf("%+v", got)
	}
	if document := oneDocument(t, tideover(t, dir, "version", "--json").stdout); document["version"] != version {
		t.Errorf("%v", document)
	}
}
