package main

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	"crypto/sha256"
	"fmt"
	"os"
	"path/filepath"
	"strings"
)

// sumsName is the file with the checksums of all others.
const sumsName = "SHA256SUMS"

// entry is a file in a package.
type entry struct {
	name string
	data []byte
	mode int64
}

// repositoryFiles reads files of the repository into entries with the same names.
func (p *packager) repositoryFiles(names ...string) (all []entry, err error) {
	for _, name := range names {
		data, err := os.ReadFile(filepath.Join(p.root, name))
		if err != nil {
			return nil, err
		}
		all = append(all, entry{name, data, 0o644})
	}
	return all, nil
}

// archive writes tideover-VERSION-linux-ARCH.tar.gz.
func (p *packager) archive(arch, binary string) error {
	program, err := os.ReadFile(binary)
	if err != nil {
		return err
	}
	unit, err := p.unit("/usr/local/bin/tideover")
	if err != nil {
		return err
	}
	files, err := p.repositoryFiles("LICENSE", "README.md", "CHANGELOG.md", "SECURITY.md")
	if err != nil {
		return err
	}
	files = append(files, entry{"tideover", program, 0o755},
		entry{"man/man1/tideover.1", p.pages.command, 0o644}, entry{"man/man5/tideover.toml.5", p.pages.config, 0o644},
		entry{"man/man7/tideover.7", p.pages.guide, 0o644},
		entry{"completions/tideover.bash", p.pages.bash, 0o644}, entry{"completions/_tideover", p.pages.zsh, 0o644},
		entry{"completions/tideover.fish", p.pages.fish, 0o644},
		entry{"tideover.schema.json", p.pages.schema, 0o644}, entry{"systemd/tideover.service", unit, 0o644})
	name := fmt.Sprintf("tideover-%s-linux-%s", p.source.version, arch)
	packed, err := p.tarGzip(name+"/", files)
	if err != nil {
		return err
	}
	return p.publish(name+".tar.gz", packed)
}

// tarGzip packs files; all have the date of the commit and belong to root.
func (p *packager) tarGzip(folder string, files []entry) ([]byte, error) {
	var packed bytes.Buffer
	compressed, err := gzip.NewWriterLevel(&packed, gzip.BestCompression)
	if err != nil {
		return nil, err
	}
	archive := tar.NewWriter(compressed)
	for _, f := range files {
		header := &tar.Header{Name: folder + f.name, Size: int64(len(f.data)), Mode: f.mode, ModTime: p.source.date, Format: tar.FormatUSTAR,
			Uname: "root", Gname: "root", Typeflag: tar.TypeReg}
		if err := archive.WriteHeader(header); err != nil {
			return nil, err
		}
		if _, err := archive.Write(f.data); err != nil {
			return nil, err
		}
	}
	if err := archive.Close(); err != nil {
		return nil, err
	}
	if err := compressed.Close(); err != nil {
		return nil, err
	}
	return packed.Bytes(), nil
}

// unit is the systemd unit of the examples, without their socket unit, and with the path of the
// program in the package.
func (p *packager) unit(program string) ([]byte, error) {
	text, err := os.ReadFile(filepath.Join(p.root, "examples/systemd/tideover.service"))
	if err != nil {
		return nil, err
	}
	var kept []string
	for paragraph := range strings.SplitSeq(string(text), "\n\n") {
		if !strings.Contains(paragraph, "\nSockets=") {
			kept = append(kept, paragraph)
		}
	}
	return []byte(strings.ReplaceAll(strings.Join(kept, "\n\n"), "/usr/local/bin/tideover", program)), nil
}

func (p *packager) publish(name string, data []byte) error {
	return os.WriteFile(filepath.Join(p.out, name), data, 0o644)
}

// checksums writes SHA256SUMS, which sha256sum --check reads.
func (p *packager) checksums() error {
	entries, err := os.ReadDir(p.out)
	if err != nil {
		return err
	}
	var lines bytes.Buffer
	for _, e := range entries {
		data, err := os.ReadFile(filepath.Join(p.out, e.Name()))
		if err != nil {
			return err
		}
		fmt.Fprintf(&lines, "%x  %s\n", sha256.Sum256(data), e.Name())
	}
	return p.publish(sumsName, lines.Bytes())
}
