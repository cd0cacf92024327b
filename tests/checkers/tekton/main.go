// Command tekton decodes the tasks and the pipelines of a YAML file strictly, sets their defaults and validates them, as
// Tekton's own webhook does. It prints what they are called.
package main

import (
	"bytes"
	"context"
	"fmt"
	"os"

	v1 "github.com/tektoncd/pipeline/pkg/apis/pipeline/v1"
	"knative.dev/pkg/apis"
	"sigs.k8s.io/yaml"
)

type resource interface {
	SetDefaults(context.Context)
	Validate(context.Context) *apis.FieldError
}

func main() {
	text, err := os.ReadFile(os.Args[1])
	if err != nil {
		fail(err)
	}
	for _, document := range bytes.Split(text, []byte("\n---\n")) {
		var meta struct {
			APIVersion string
			Kind       string
			Metadata   struct{ Name string }
		}
		if err := yaml.Unmarshal(document, &meta); err != nil {
			fail(err)
		}
		var checked resource
		switch meta.APIVersion + " " + meta.Kind {
		case "tekton.dev/v1 Task":
			checked = &v1.Task{}
		case "tekton.dev/v1 Pipeline":
			checked = &v1.Pipeline{}
		default:
			continue
		}
		if err := yaml.UnmarshalStrict(document, checked); err != nil {
			fail(fmt.Errorf("%s: %w", meta.Metadata.Name, err))
		}
		checked.SetDefaults(context.Background())
		if err := checked.Validate(context.Background()); err != nil {
			fail(fmt.Errorf("%s: %w", meta.Metadata.Name, err))
		}
		fmt.Println(meta.Kind, meta.Metadata.Name)
	}
}

func fail(err error) {
	fmt.Fprintln(os.Stderr, err)
	os.Exit(1)
}
