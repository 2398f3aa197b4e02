// What Argo CD makes of objects: its engine's comparison of what stands in Git with what stands in the cluster.
//
// A list of {config, live, predicted} in JSON stands on standard input, where `predicted` is the answer of a server-side apply of `config` in a
// dry run; a list of {client, server} goes to standard output: whether the object is out of sync, by the default comparison and by the server-side one.
package main

import (
	"context"
	"encoding/json"
	"fmt"
	"os"

	"github.com/argoproj/argo-cd/gitops-engine/pkg/diff"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
)

type object struct {
	Config    *unstructured.Unstructured `json:"config"`
	Live      *unstructured.Unstructured `json:"live"`
	Predicted json.RawMessage            `json:"predicted"`
}

type answer struct {
	Client difference `json:"client"`
	Server difference `json:"server"`
}

type difference struct {
	Modified  bool            `json:"modified"`
	Live      json.RawMessage `json:"live"`
	Predicted json.RawMessage `json:"predicted"`
}

// dryRun gives the answer that the API server gave before.
type dryRun struct{ answer json.RawMessage }

func (d dryRun) Run(context.Context, *unstructured.Unstructured, string) (string, error) {
	return string(d.answer), nil
}

// withoutStatus is Argo CD's default: ignoreResourceStatusField: all.
type withoutStatus struct{}

func (withoutStatus) Normalize(object *unstructured.Unstructured) error {
	unstructured.RemoveNestedField(object.Object, "status")
	return nil
}

func main() {
	if err := run(); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

func run() error {
	var objects []object
	if err := json.NewDecoder(os.Stdin).Decode(&objects); err != nil {
		return fmt.Errorf("the objects: %w", err)
	}
	var answers []answer
	for _, object := range objects {
		client, err := diff.Diff(object.Config.DeepCopy(), object.Live.DeepCopy(), diff.WithNormalizer(withoutStatus{}))
		if err != nil {
			return err
		}
		server, err := diff.Diff(
			object.Config.DeepCopy(), object.Live.DeepCopy(),
			diff.WithNormalizer(withoutStatus{}), diff.WithServerSideDiff(true), diff.WithIgnoreMutationWebhook(false),
			diff.WithManager("argocd-controller"), diff.WithServerSideDryRunner(dryRun{object.Predicted}),
		)
		if err != nil {
			return err
		}
		answers = append(answers, answer{Client: of(client), Server: of(server)})
	}
	return json.NewEncoder(os.Stdout).Encode(answers)
}

func of(result *diff.DiffResult) difference {
	return difference{Modified: result.Modified, Live: result.NormalizedLive, Predicted: result.PredictedLive}
}
