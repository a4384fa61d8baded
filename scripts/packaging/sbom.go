package main

import (
	"crypto/sha256"
	"debug/buildinfo"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"os"
	"strings"
	"time"
)

// component is one in a bill of materials of CycloneDX.
type component struct {
	Type    string     `json:"type"`
	Name    string     `json:"name"`
	Version string     `json:"version"`
	Purl    string     `json:"purl"`
	Hashes  []hash     `json:"hashes,omitempty"`
	Details []property `json:"properties,omitempty"`
}

type hash struct {
	Algorithm string `json:"alg"`
	Content   string `json:"content"`
}

type property struct {
	Name  string `json:"name"`
	Value string `json:"value"`
}

// sbom writes the bill of materials of a binary: what the toolchain has recorded in it.
func (p *packager) sbom(arch, binary string) error {
	info, err := buildinfo.ReadFile(binary)
	if err != nil {
		return err
	}
	program, err := os.ReadFile(binary)
	if err != nil {
		return err
	}
	sum := sha256.Sum256(program)
	compiler := strings.TrimPrefix(info.GoVersion, "go")
	parts := []component{{Type: "library", Name: "stdlib", Version: compiler, Purl: "pkg:golang/stdlib@" + compiler}}
	for _, module := range info.Deps {
		parts = append(parts, component{Type: "library", Name: module.Path, Version: module.Version,
			Purl: "pkg:golang/" + module.Path + "@" + module.Version, Details: []property{{"go.sum", module.Sum}}})
	}
	document := map[string]any{
		"$schema": "http://cyclonedx.org/schema/bom-1.5.schema.json", "bomFormat": "CycloneDX", "specVersion": "1.5", "version": 1,
		"serialNumber": serialNumber(sum),
		"metadata": map[string]any{
			"timestamp": p.source.date.Format(time.RFC3339),
			"component": component{Type: "application", Name: "tideover", Version: p.source.version,
				Purl:   "pkg:generic/tideover@" + p.source.version + "?arch=" + arch,
				Hashes: []hash{{"SHA-256", hex.EncodeToString(sum[:])}}, Details: []property{{"commit", p.source.commit}}},
		},
		"components": parts,
	}
	text, err := json.MarshalIndent(document, "", "  ")
	if err != nil {
		return err
	}
	return p.publish(fmt.Sprintf("tideover-%s-linux-%s.cdx.json", p.source.version, arch), append(text, '\n'))
}

// serialNumber is a UUID that the binary determines (version 8 of RFC 9562).
func serialNumber(sum [sha256.Size]byte) string {
	id := sum[:16]
	id[6] = id[6]&0x0f | 0x80
	id[8] = id[8]&0x3f | 0x80
	return fmt.Sprintf("urn:uuid:%x-%x-%x-%x-%x", id[:4], id[4:6], id[6:8], id[8:10], id[10:])
}
