// Packaging makes the packages of a release out of the source: static binaries,
// archives, Python wheels, Debian and RPM packages, each for amd64 and arm64.
// Two runs for one commit make equal files: see scripts/package.
package main

import (
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"strings"
)

func main() {
	root := flag.String("root", ".", "the repository")
	out := flag.String("out", "dist", "folder for the packages; it is replaced")
	arches := flag.String("arch", "amd64,arm64", "architectures, as Go calls them")
	nfpm := flag.String("nfpm", "nfpm", "program that makes .deb and .rpm")
	flag.Parse()
	if err := run(*root, *out, strings.Split(*arches, ","), *nfpm); err != nil {
		fmt.Fprintln(os.Stderr, "package:", err)
		os.Exit(1)
	}
}

// packager holds what all packages have in common.
type packager struct {
	root, out string
	work      string // for files that are not published
	nfpm      string
	source    source
	pages     pages
}

func run(root, out string, arches []string, nfpm string) error {
	work, err := os.MkdirTemp("", "tideover-package-")
	if err != nil {
		return err
	}
	defer os.RemoveAll(work)
	p := &packager{root: root, out: out, work: work, nfpm: nfpm}
	if p.source, err = readSource(root); err != nil {
		return err
	}
	if err := replaceFolder(out); err != nil {
		return err
	}
	binaries := map[string]string{}
	for _, arch := range arches {
		if binaries[arch], err = p.build(arch); err != nil {
			return err
		}
	}
	if err := p.makePages(binaries); err != nil {
		return err
	}
	for _, arch := range arches {
		for _, pack := range []func(arch, binary string) error{p.archive, p.wheel, p.systemPackages, p.sbom} {
			if err := pack(arch, binaries[arch]); err != nil {
				return fmt.Errorf("%s: %w", arch, err)
			}
		}
	}
	return p.checksums()
}

// replaceFolder makes an empty folder out of one that has only packages in it.
func replaceFolder(path string) error {
	entries, err := os.ReadDir(path)
	if err != nil && !os.IsNotExist(err) {
		return err
	}
	for _, e := range entries {
		if !strings.HasPrefix(e.Name(), "tideover") && e.Name() != sumsName {
			return fmt.Errorf("%s has a file of somebody else: %s", path, e.Name())
		}
	}
	for _, e := range entries {
		if err := os.Remove(filepath.Join(path, e.Name())); err != nil {
			return err
		}
	}
	return os.MkdirAll(path, 0o755)
}

// makePages lets a binary that runs on this machine print its pages.
func (p *packager) makePages(binaries map[string]string) (err error) {
	native, ok := binaries[runtime.GOARCH]
	if !ok {
		if native, err = p.build(runtime.GOARCH); err != nil {
			return err
		}
	}
	p.pages, err = readPages(native)
	return err
}
