package main

import (
	"bytes"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
)

// build compiles the program for one architecture. The result depends on the source and the
// version of Go only: no path, no time and no state of git gets into it.
func (p *packager) build(arch string) (path string, err error) {
	path = filepath.Join(p.work, arch, "tideover")
	set := func(name, value string) string { return "-X main." + name + "=" + value }
	flags := strings.Join([]string{"-s -w -buildid=", set("version", p.source.version), set("commit", p.source.commit),
		set("buildDate", p.source.date.Format("2006-01-02"))}, " ")
	cmd := exec.Command("go", "build", "-trimpath", "-buildvcs=false", "-ldflags", flags, "-o", path, "./cmd/tideover")
	cmd.Dir = p.root
	cmd.Env = append(os.Environ(), "CGO_ENABLED=0", "GOOS=linux", "GOARCH="+arch, "GOAMD64=v1", "GOARM64=v8.0", "GOFLAGS=", "GOEXPERIMENT=", "GOWORK=off")
	if out, err := cmd.CombinedOutput(); err != nil {
		return "", fmt.Errorf("go build for %s: %w\n%s", arch, err, out)
	}
	return path, nil
}

// pages are what the program prints for man, shells and editors.
type pages struct {
	command, config, guide []byte // man pages
	bash, zsh, fish        []byte // completions
	schema                 []byte // JSON Schema of the configuration
}

func readPages(binary string) (all pages, err error) {
	for _, page := range []struct {
		text *[]byte
		args string
	}{
		{&all.command, "help tideover.1"}, {&all.config, "help tideover.toml.5"}, {&all.guide, "help tideover.7"}, {&all.schema, "help schema"},
		{&all.bash, "completion bash"}, {&all.zsh, "completion zsh"}, {&all.fish, "completion fish"},
	} {
		cmd := exec.Command(binary, strings.Fields(page.args)...)
		var out bytes.Buffer
		cmd.Stdout, cmd.Stderr = &out, os.Stderr
		if err := cmd.Run(); err != nil {
			return all, fmt.Errorf("tideover %s: %w", page.args, err)
		}
		*page.text = out.Bytes()
	}
	return all, nil
}
