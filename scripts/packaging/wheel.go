package main

import (
	"archive/zip"
	"bytes"
	"compress/flate"
	"crypto/sha256"
	"encoding/base64"
	"fmt"
	"io"
	"io/fs"
	"os"
	"strings"
)

// wheelPlatforms are the platform tags. The program is static: it needs neither glibc nor musl.
var wheelPlatforms = map[string]string{
	"amd64": "manylinux_2_17_x86_64.manylinux2014_x86_64.musllinux_1_1_x86_64",
	"arm64": "manylinux_2_17_aarch64.manylinux2014_aarch64.musllinux_1_1_aarch64",
}

// wheel writes the wheel of one architecture. pip puts data/scripts into bin of the environment:
// bin/tideover is the program itself, without Python in front of it.
func (p *packager) wheel(arch, binary string) error {
	platforms, ok := wheelPlatforms[arch]
	if !ok {
		return fmt.Errorf("no wheel platform is known")
	}
	program, err := os.ReadFile(binary)
	if err != nil {
		return err
	}
	documents, err := p.repositoryFiles("README.md", "LICENSE")
	if err != nil {
		return err
	}
	name := "tideover-" + p.source.version
	info, data := name+".dist-info/", name+".data/"
	files := []entry{
		{data + "scripts/tideover", program, 0o755},
		{data + "data/share/man/man1/tideover.1", p.pages.command, 0o644},
		{data + "data/share/man/man5/tideover.toml.5", p.pages.config, 0o644},
		{data + "data/share/man/man7/tideover.7", p.pages.guide, 0o644},
		{info + "METADATA", wheelMetadata(p.source.version, documents[0].data), 0o644},
		{info + "WHEEL", wheelTags(platforms), 0o644},
		{info + "licenses/LICENSE", documents[1].data, 0o644},
	}
	record := info + "RECORD"
	files = append(files, entry{record, wheelRecord(files, record), 0o644})
	packed, err := p.zip(files)
	if err != nil {
		return err
	}
	return p.publish(name+"-py3-none-"+platforms+".whl", packed)
}

func wheelMetadata(version string, readme []byte) []byte {
	return fmt.Appendf(nil, `Metadata-Version: 2.4
Name: tideover
Version: %s
Summary: Keeps Python web apps answering while they restart
License-Expression: MIT
License-File: LICENSE
Keywords: gunicorn,supervisor,zero-downtime,reload,deploy,wsgi,asgi
Classifier: Development Status :: 4 - Beta
Classifier: Environment :: Console
Classifier: Intended Audience :: System Administrators
Classifier: Operating System :: POSIX :: Linux
Classifier: Programming Language :: Python :: 3
Classifier: Topic :: Internet :: WWW/HTTP :: WSGI :: Server
Classifier: Topic :: System :: Systems Administration
Requires-Python: >=3.8
Description-Content-Type: text/markdown

%s`, version, readme)
}

func wheelTags(platforms string) []byte {
	var b strings.Builder
	b.WriteString("Wheel-Version: 1.0\nGenerator: scripts/package\nRoot-Is-Purelib: false\n")
	for platform := range strings.SplitSeq(platforms, ".") {
		b.WriteString("Tag: py3-none-" + platform + "\n")
	}
	return []byte(b.String())
}

// wheelRecord lists each file with its checksum and size, and itself without them.
func wheelRecord(files []entry, itself string) []byte {
	var b strings.Builder
	for _, f := range files {
		sum := sha256.Sum256(f.data)
		fmt.Fprintf(&b, "%s,sha256=%s,%d\n", f.name, base64.RawURLEncoding.EncodeToString(sum[:]), len(f.data))
	}
	b.WriteString(itself + ",,\n")
	return []byte(b.String())
}

// zip packs files with their modes; all have the date of the commit.
func (p *packager) zip(files []entry) ([]byte, error) {
	var packed bytes.Buffer
	archive := zip.NewWriter(&packed)
	archive.RegisterCompressor(zip.Deflate, func(w io.Writer) (io.WriteCloser, error) { return flate.NewWriter(w, flate.BestCompression) })
	for _, f := range files {
		header := &zip.FileHeader{Name: f.name, Method: zip.Deflate, Modified: p.source.date}
		header.SetMode(fs.FileMode(f.mode))
		w, err := archive.CreateHeader(header)
		if err != nil {
			return nil, err
		}
		if _, err := w.Write(f.data); err != nil {
			return nil, err
		}
	}
	err := archive.Close()
	return packed.Bytes(), err
}
