// Command yaml prints the documents of a YAML file as a JSON array.
package main

import (
	"bytes"
	"encoding/json"
	"fmt"
	"os"

	"sigs.k8s.io/yaml"
)

func main() {
	text, err := os.ReadFile(os.Args[1])
	if err != nil {
		fail(err)
	}
	documents := []json.RawMessage{}
	for _, document := range bytes.Split(text, []byte("\n---\n")) {
		document, err := yaml.YAMLToJSONStrict(document)
		if err != nil {
			fail(err)
		}
		documents = append(documents, document)
	}
	if err := json.NewEncoder(os.Stdout).Encode(documents); err != nil {
		fail(err)
	}
}

func fail(err error) {
	fmt.Fprintln(os.Stderr, err)
	os.Exit(1)
}
