// Command witness says of Go programs what Go's own packages read in them, as JSON: of one program,
// or of each file in a zip. The tests compare it with what rr-patch reads.
package main

import (
	"archive/zip"
	"bytes"
	"crypto/sha256"
	"debug/buildinfo"
	"debug/dwarf"
	"debug/elf"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"strings"
)

type program struct {
	Name        string `json:"name"`
	Size        int    `json:"size"`
	Sha256      string `json:"sha256"`
	Go          string `json:"go"`
	Package     string `json:"package"`
	Dwarf       bool   `json:"dwarf"`
	Unoptimised bool   `json:"unoptimised"`
	Symbols     bool   `json:"symbols"`
	Dynamic     bool   `json:"dynamic"`
	Sources     bool   `json:"sources"`
}

func main() {
	path := os.Args[1]
	content, err := os.ReadFile(path)
	check(err)
	programs := []program{}
	if !strings.HasSuffix(path, ".zip") {
		programs = append(programs, read(path, content))
	} else {
		files, err := zip.NewReader(bytes.NewReader(content), int64(len(content)))
		check(err)
		for _, file := range files.File {
			opened, err := file.Open()
			check(err)
			content, err := io.ReadAll(opened)
			check(err)
			programs = append(programs, read(file.Name, content))
		}
	}
	check(json.NewEncoder(os.Stdout).Encode(programs))
}

func read(name string, content []byte) program {
	p := program{Name: name, Size: len(content), Sha256: fmt.Sprintf("%x", sha256.Sum256(content))}
	file, err := elf.NewFile(bytes.NewReader(content))
	if err != nil {
		return p
	}
	if info, err := buildinfo.Read(bytes.NewReader(content)); err == nil {
		p.Go, p.Package = info.GoVersion, info.Path
	}
	p.Symbols = file.Section(".symtab") != nil
	for _, segment := range file.Progs {
		p.Dynamic = p.Dynamic || segment.Type == elf.PT_INTERP
	}
	if file.Section(".debug_info") == nil && file.Section(".zdebug_info") == nil {
		return p
	}
	data, err := file.DWARF()
	check(err)
	p.Dwarf, p.Unoptimised, p.Sources = true, true, true
	entries := data.Reader()
	for {
		entry, err := entries.Next()
		check(err)
		if entry == nil {
			return p
		}
		if entry.Tag == dwarf.TagCompileUnit {
			unit(&p, data, entry)
		}
		entries.SkipChildren()
	}
}

// unit looks at the main package and at what the fixture is made of: nobody compiles the runtime with -N.
func unit(p *program, data *dwarf.Data, entry *dwarf.Entry) {
	name, _ := entry.Val(dwarf.AttrName).(string)
	if name != "main" && !strings.Contains(name, "openshift") {
		return
	}
	producer, _ := entry.Val(dwarf.AttrProducer).(string)
	p.Unoptimised = p.Unoptimised && strings.Contains(producer, "-N -l")
	lines, err := data.LineReader(entry)
	check(err)
	if lines == nil {
		return
	}
	for _, file := range lines.Files() {
		if file != nil && strings.HasSuffix(file.Name, ".go") && !strings.HasPrefix(file.Name, "<") {
			_, err := os.Stat(file.Name)
			p.Sources = p.Sources && err == nil
		}
	}
}

func check(err error) {
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}
