// What Flux does with objects: its library for server-side apply with the options of its kustomize-controller, and its reading of status.
//
// A list of objects in JSON stands on standard input; a list of answers goes to standard output.
//
//	flux apply KUBECONFIG    applies them, and says of each: created, configured, unchanged, skipped
//	flux status              says of each: Current, InProgress, Failed, Terminating
package main

import (
	"context"
	"encoding/json"
	"fmt"
	"os"
	"time"

	"github.com/fluxcd/cli-utils/pkg/kstatus/status"
	"github.com/fluxcd/pkg/ssa"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/client-go/tools/clientcmd"
	"sigs.k8s.io/controller-runtime/pkg/client"
)

const group = "kustomize.toolkit.fluxcd.io"

type answer struct {
	Subject string `json:"subject"`
	Action  string `json:"action"`
	Message string `json:"message,omitempty"`
}

func main() {
	if err := run(os.Args[1:]); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

func run(arguments []string) error {
	var objects []*unstructured.Unstructured
	if err := json.NewDecoder(os.Stdin).Decode(&objects); err != nil {
		return fmt.Errorf("the objects: %w", err)
	}
	var answers []answer
	var err error
	switch {
	case len(arguments) == 2 && arguments[0] == "apply":
		answers, err = apply(arguments[1], objects)
	case len(arguments) == 1 && arguments[0] == "status":
		answers, err = statuses(objects)
	default:
		err = fmt.Errorf("usage: flux apply KUBECONFIG | flux status")
	}
	if err != nil {
		return err
	}
	return json.NewEncoder(os.Stdout).Encode(answers)
}

func apply(kubeconfig string, objects []*unstructured.Unstructured) ([]answer, error) {
	config, err := clientcmd.BuildConfigFromFlags("", kubeconfig)
	if err != nil {
		return nil, err
	}
	cluster, err := client.New(config, client.Options{Scheme: runtime.NewScheme()})
	if err != nil {
		return nil, err
	}
	manager := ssa.NewResourceManager(cluster, nil, ssa.Owner{Field: "kustomize-controller", Group: group})
	manager.SetOwnerLabels(objects, "sessions", "flux-system")
	context, cancel := context.WithTimeout(context.Background(), 2*time.Minute)
	defer cancel()
	changes, err := manager.ApplyAll(context, objects, options())
	if err != nil {
		return nil, err
	}
	var answers []answer
	for _, change := range changes.Entries {
		answers = append(answers, answer{Subject: change.Subject, Action: change.Action.String()})
	}
	return answers, nil
}

// options are those of kustomize-controller: fields that kubectl set are taken over.
func options() ssa.ApplyOptions {
	options := ssa.DefaultApplyOptions()
	options.ExclusionSelector = map[string]string{group + "/reconcile": "disabled", group + "/ssa": "Ignore"}
	options.IfNotPresentSelector = map[string]string{group + "/ssa": "IfNotPresent"}
	options.ForceSelector = map[string]string{group + "/force": "Enabled"}
	options.Cleanup = ssa.ApplyCleanupOptions{
		Annotations: []string{corev1.LastAppliedConfigAnnotation},
		FieldManagers: []ssa.FieldManager{
			{Name: "kubectl", OperationType: metav1.ManagedFieldsOperationApply},
			{Name: "kubectl", OperationType: metav1.ManagedFieldsOperationUpdate},
			{Name: "before-first-apply", OperationType: metav1.ManagedFieldsOperationUpdate},
			{Name: "kustomize-controller", OperationType: metav1.ManagedFieldsOperationUpdate},
		},
		Exclusions: map[string]string{group + "/ssa": "Merge"},
	}
	return options
}

func statuses(objects []*unstructured.Unstructured) ([]answer, error) {
	var answers []answer
	for _, object := range objects {
		result, err := status.Compute(object)
		if err != nil {
			return nil, err
		}
		answers = append(answers, answer{
			Subject: object.GetKind() + "/" + object.GetNamespace() + "/" + object.GetName(),
			Action:  result.Status.String(),
			Message: result.Message,
		})
	}
	return answers, nil
}
