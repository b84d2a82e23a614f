package kube_test

import (
	"strings"
	"testing"
	"time"

	"github.com/calroll/calroll/testenv/kube"
)

// The API is of the pinned version, knows who may do what, serves the aggregation layer's settings, and its controllers run.
func TestAPI(t *testing.T) {
	a := kube.APIForTest(t, kube.APIOptions{Controllers: true})
	kubectl := func(args ...string) string {
		t.Helper()
		out, err := a.Kubectl(t.Context(), args...).CombinedOutput()
		if err != nil {
			t.Fatalf("kubectl %v: %v\n%s", args, err, out)
		}
		return string(out)
	}
	if got := kubectl("version"); !strings.Contains(got, "Server Version: v1.29.15") {
		t.Errorf("version: %s", got)
	}
	for end := time.Now().Add(time.Minute); ; time.Sleep(50 * time.Millisecond) { // its controller makes it
		if a.Kubectl(t.Context(), "get", "serviceaccount", "default").Run() == nil {
			break
		}
		if time.Now().After(end) {
			t.Fatal("nobody made the default service account")
		}
	}
	out, _ := a.Kubectl(t.Context(), "auth", "can-i", "create", "pods", "--as=system:serviceaccount:default:default").CombinedOutput()
	if strings.TrimSpace(string(out)) != "no" {
		t.Errorf("a service account without rights may create pods: %s", out)
	}
	if got := kubectl("-n", "kube-system", "get", "configmap", "extension-apiserver-authentication", "-o", "yaml"); !strings.Contains(got, "requestheader-client-ca-file") {
		t.Errorf("the aggregation layer is not set up: %s", got)
	}
}
