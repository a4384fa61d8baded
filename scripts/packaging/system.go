package main

import (
	"bytes"
	"compress/gzip"
	"embed"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
)

// files are the parts of the system packages that are not made of other things.
//
//go:embed files
var files embed.FS

// installed is a file of a system package. kind is that of nfpm: "", or "config|noreplace".
type installed struct {
	path, kind string
	mode       os.FileMode
	data       []byte
}

// rpmArches are the names that RPM has for the architectures.
var rpmArches = map[string]string{"amd64": "x86_64", "arm64": "aarch64"}

// systemPackages writes the .deb and the .rpm of one architecture.
func (p *packager) systemPackages(arch, binary string) error {
	program, err := os.ReadFile(binary)
	if err != nil {
		return err
	}
	common, err := p.systemFiles(program)
	if err != nil {
		return err
	}
	targets := map[string]string{
		"deb": fmt.Sprintf("tideover_%s_%s.deb", p.source.system(), arch),
		"rpm": fmt.Sprintf("tideover-%s-1.%s.rpm", p.source.system(), rpmArches[arch]),
	}
	completion := map[string]string{
		"deb": "/usr/share/zsh/vendor-completions/_tideover", "rpm": "/usr/share/zsh/site-functions/_tideover",
	}
	for kind, target := range targets {
		all := append(common[:len(common):len(common)], installed{completion[kind], "", 0o644, p.pages.zsh})
		if err := p.runNfpm(kind, arch, target, all); err != nil {
			return fmt.Errorf(".%s: %w", kind, err)
		}
	}
	return nil
}

// systemFiles lists what both packages have. There is no supervisorctl among them: that path belongs
// to the package of supervisord, which may be installed beside.
func (p *packager) systemFiles(program []byte) ([]installed, error) {
	unit, err := p.unit("/usr/bin/tideover")
	if err != nil {
		return nil, err
	}
	all := []installed{
		{"/usr/bin/tideover", "", 0o755, program},
		{"/usr/lib/systemd/system/tideover.service", "", 0o644, unit},
		{"/usr/share/man/man1/tideover.1.gz", "", 0o644, gzipped(p.pages.command)},
		{"/usr/share/man/man5/tideover.toml.5.gz", "", 0o644, gzipped(p.pages.config)},
		{"/usr/share/man/man7/tideover.7.gz", "", 0o644, gzipped(p.pages.guide)},
		{"/usr/share/bash-completion/completions/tideover", "", 0o644, p.pages.bash},
		{"/usr/share/fish/vendor_completions.d/tideover.fish", "", 0o644, p.pages.fish},
		{"/usr/share/tideover/tideover.schema.json", "", 0o644, p.pages.schema},
	}
	for _, own := range []installed{
		{"/etc/tideover/tideover.toml", "config|noreplace", 0o644, []byte("tideover.toml")},
		{"/usr/lib/sysusers.d/tideover.conf", "", 0o644, []byte("sysusers.conf")},
		{"/usr/lib/tmpfiles.d/tideover.conf", "", 0o644, []byte("tmpfiles.conf")},
	} {
		if own.data, err = files.ReadFile("files/" + string(own.data)); err != nil {
			return nil, err
		}
		all = append(all, own)
	}
	documents, err := p.repositoryFiles("LICENSE", "README.md", "CHANGELOG.md", "SECURITY.md")
	if err != nil {
		return nil, err
	}
	for _, d := range documents {
		if d.name == "LICENSE" {
			d.name = "copyright"
		}
		all = append(all, installed{"/usr/share/doc/tideover/" + d.name, "", 0o644, d.data})
	}
	return all, nil
}

// runNfpm makes one package. nfpm reads a configuration in YAML, of which JSON is a part.
func (p *packager) runNfpm(kind, arch, target string, all []installed) error {
	folder, err := os.MkdirTemp(p.work, kind)
	if err != nil {
		return err
	}
	var contents []map[string]any
	for n, f := range all {
		path := filepath.Join(folder, fmt.Sprintf("%d-%s", n, filepath.Base(f.path)))
		if err := os.WriteFile(path, f.data, 0o600); err != nil {
			return err
		}
		contents = append(contents, map[string]any{"src": path, "dst": f.path, "type": f.kind,
			"file_info": map[string]any{"mode": f.mode, "owner": "root", "group": "root", "mtime": p.source.date}})
	}
	for _, own := range []string{"/etc/tideover", "/usr/share/tideover", "/usr/share/doc/tideover"} { // rpm removes no others
		contents = append(contents, map[string]any{"dst": own, "type": "dir",
			"file_info": map[string]any{"mode": 0o755, "owner": "root", "group": "root", "mtime": p.source.date}})
	}
	scripts, err := writeScripts(kind, folder)
	if err != nil {
		return err
	}
	needs := map[string]string{"deb": "passwd", "rpm": "shadow-utils"}[kind]
	configuration, err := json.Marshal(map[string]any{
		"name": "tideover", "arch": arch, "platform": "linux", "version": p.source.system(), "version_schema": "none", "release": release(kind),
		"mtime": p.source.date, "maintainer": "the tideover maintainers <maintainers@tideover.invalid>", "license": "MIT",
		"section": "httpd", "priority": "optional", "depends": []string{needs},
		"description": "Keeps Python web apps answering while they restart.\n" +
			"It owns the public socket, runs gunicorn behind it, and holds requests\nwhile no process can answer.",
		"contents": contents, "scripts": scripts, "deb": map[string]any{"compression": "gzip"},
	})
	if err != nil {
		return err
	}
	path := filepath.Join(folder, "nfpm.yaml")
	if err := os.WriteFile(path, configuration, 0o600); err != nil {
		return err
	}
	cmd := exec.Command(p.nfpm, "package", "--config", path, "--packager", kind, "--target", filepath.Join(p.out, target))
	cmd.Env = append(os.Environ(), fmt.Sprintf("SOURCE_DATE_EPOCH=%d", p.source.date.Unix()))
	if out, err := cmd.CombinedOutput(); err != nil {
		return fmt.Errorf("nfpm: %w\n%s", err, out)
	}
	return nil
}

// release is the number of a package of one version. Debian needs none for a package of the
// program's own authors.
func release(kind string) string {
	if kind == "rpm" {
		return "1"
	}
	return ""
}

// writeScripts writes the scripts of a package into folder: each one begins with common.sh.
func writeScripts(kind, folder string) (map[string]string, error) {
	common, err := files.ReadFile("files/common.sh")
	if err != nil {
		return nil, err
	}
	all := map[string]string{}
	for _, name := range []string{"postinstall", "preremove", "postremove"} {
		own, err := files.ReadFile("files/" + kind + "-" + name + ".sh")
		if err != nil {
			return nil, err
		}
		path := filepath.Join(folder, name)
		if err := os.WriteFile(path, append(common[:len(common):len(common)], own...), 0o700); err != nil {
			return nil, err
		}
		all[name] = path
	}
	return all, nil
}

// gzipped compresses a page, without a time.
func gzipped(text []byte) []byte {
	var b bytes.Buffer
	w, err := gzip.NewWriterLevel(&b, gzip.BestCompression)
	if err == nil {
		_, err = io.Copy(w, bytes.NewReader(text))
	}
	if err == nil {
		err = w.Close()
	}
	if err != nil {
		panic(err) // a bytes.Buffer takes everything
	}
	return b.Bytes()
}
