package deploy

import (
	"bytes"
	"errors"
	"io"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/yannh/kubeconform/pkg/validator"
	"go.yaml.in/yaml/v3"

	"github.com/ringside/ringside/config"
)

const folder = "../../deploy/"

// TestSchemas validates every manifest, strictly, and shows that what is wrong would be found.
func TestSchemas(t *testing.T) {
	v, err := validator.New([]string{"schemas/{{.ResourceKind}}{{.KindSuffix}}.json"}, validator.Opts{Strict: true})
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range manifests(t) {
		text := read(t, "kubernetes/"+name)
		for _, r := range v.Validate(name, io.NopCloser(strings.NewReader(text))) {
			if r.Status != validator.Valid {
				t.Errorf("%s: %v %+v", name, r.Err, r.ValidationErrors)
			}
		}
		wrong := strings.Replace(text, "\nmetadata:", "\nsurplus: 1\nmetadata:", 1)
		if r := v.Validate(name, io.NopCloser(strings.NewReader(wrong))); len(r) != 1 || r[0].Status != validator.Invalid {
			t.Errorf("%s with an unknown field: %+v, want it to be invalid", name, r)
		}
	}
}

// TestKustomization holds the list of resources against the files.
func TestKustomization(t *testing.T) {
	var k struct{ Resources []string }
	if err := yaml.Unmarshal([]byte(read(t, "kubernetes/kustomization.yaml")), &k); err != nil {
		t.Fatal(err)
	}
	slices.Sort(k.Resources)
	if files := manifests(t); !slices.Equal(k.Resources, files) {
		t.Errorf("resources %v, files %v", k.Resources, files)
	}
}

// TestDaemonSet holds the pod to the least privileges, and to the configuration that it mounts.
func TestDaemonSet(t *testing.T) {
	pod, c := podOf(t), configuration(t)
	if len(pod.Containers) != 1 {
		t.Fatalf("%d containers, want 1", len(pod.Containers))
	}
	box := pod.Containers[0]
	s := box.SecurityContext
	if s.Privileged || s.AllowPrivilegeEscalation || !s.ReadOnlyRootFilesystem || s.SeccompProfile.Type != "RuntimeDefault" {
		t.Errorf("security context %+v", s)
	}
	if !slices.Equal(s.Capabilities.Drop, []string{"ALL"}) || !slices.Equal(s.Capabilities.Add, []string{"NET_RAW", "NET_ADMIN"}) {
		t.Errorf("capabilities %+v", s.Capabilities)
	}
	if !pod.HostNetwork || pod.HostPID || pod.HostIPC || pod.AutomountServiceAccountToken == nil || *pod.AutomountServiceAccountToken {
		t.Errorf("host network %v, PID %v, IPC %v, token %v", pod.HostNetwork, pod.HostPID, pod.HostIPC, pod.AutomountServiceAccountToken)
	}
	if grace := pod.TerminationGracePeriodSeconds; float64(grace) <= c.ShutdownTimeout.Seconds() {
		t.Errorf("grace period %d s, shutdown_timeout %v", grace, c.ShutdownTimeout)
	}
	if box.Resources.Limits["memory"] == "" || box.Resources.Requests["memory"] == "" || box.Resources.Requests["cpu"] == "" {
		t.Errorf("resources %+v", box.Resources)
	}
	for name, p := range map[string]probe{"startup": box.StartupProbe, "liveness": box.LivenessProbe, "readiness": box.ReadinessProbe} {
		if at := net.JoinHostPort(p.HTTPGet.Host, strconv.Itoa(p.HTTPGet.Port)); at != c.Listen {
			t.Errorf("%s probe asks %s, listen is %s", name, at, c.Listen)
		}
	}
	if box.LivenessProbe.HTTPGet.Path != "/healthz" || box.ReadinessProbe.HTTPGet.Path != "/readyz" {
		t.Errorf("probes %+v %+v", box.LivenessProbe, box.ReadinessProbe)
	}
	if _, port, _ := net.SplitHostPort(c.MetricsListen); len(box.Ports) != 1 || strconv.Itoa(box.Ports[0].ContainerPort) != port {
		t.Errorf("ports %+v, metrics_listen %s", box.Ports, c.MetricsListen)
	}
	for _, path := range []string{c.Rotate.Dir, strings.TrimPrefix(c.Upload.To, "file://"), filepath.Dir(c.Socket)} {
		if !slices.ContainsFunc(box.VolumeMounts, func(m mount) bool { return !m.ReadOnly && within(path, m.MountPath) }) {
			t.Errorf("%s is on no volume that can be written", path)
		}
	}
	if i := slices.Index(box.Args, "-c"); i < 0 || !slices.ContainsFunc(box.VolumeMounts, func(m mount) bool { return within(box.Args[i+1], m.MountPath) }) {
		t.Errorf("arguments %v name no mounted configuration", box.Args)
	}
}

func within(path, dir string) bool { return path == dir || strings.HasPrefix(path, dir+"/") }

// configuration is what the ConfigMap has, as the daemon reads it. What is commented out must load too.
func configuration(t *testing.T) *config.Config {
	t.Helper()
	var m struct{ Data map[string]string }
	if err := yaml.Unmarshal([]byte(read(t, "kubernetes/configmap.yaml")), &m); err != nil {
		t.Fatal(err)
	}
	text := m.Data["ringside.yaml"]
	c := load(t, text)
	var other []string
	for line := range strings.Lines(text) {
		switch bare, commented := strings.CutPrefix(strings.TrimLeft(line, " "), "# "); {
		case strings.Contains(line, "to: file:"):
		case commented && strings.Contains(bare, ": ") && !strings.HasSuffix(bare, "):\n"):
			line = strings.Replace(line, "# ", "", 1)
			fallthrough
		default:
			other = append(other, strings.Replace(line, "BUCKET", "bucket", 1))
		}
	}
	all := load(t, strings.Join(other, ""))
	if all.Upload.To != "s3://bucket/ringside" || all.Upload.S3.Region == "" || all.Tokens == "" {
		t.Errorf("with the comments: %+v, tokens %q", all.Upload, all.Tokens)
	}
	return c
}

func load(t *testing.T, text string) *config.Config {
	t.Helper()
	file := filepath.Join(t.TempDir(), "ringside.yaml")
	if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	c, err := config.Load(file)
	if err != nil {
		t.Fatal(err)
	}
	return c
}

// pod is what the tests look at.
type pod struct {
	HostNetwork, HostPID, HostIPC bool
	AutomountServiceAccountToken  *bool
	TerminationGracePeriodSeconds int
	Containers                    []container
}

type container struct {
	Args            []string
	SecurityContext struct {
		Privileged, AllowPrivilegeEscalation, ReadOnlyRootFilesystem bool
		Capabilities                                                 struct{ Drop, Add []string }
		SeccompProfile                                               struct{ Type string }
	}
	Ports                                       []struct{ ContainerPort int }
	Resources                                   struct{ Limits, Requests map[string]string }
	StartupProbe, LivenessProbe, ReadinessProbe probe
	VolumeMounts                                []mount
}

type probe struct {
	HTTPGet struct {
		Host, Path string
		Port       int
	}
}

type mount struct {
	Name, MountPath string
	ReadOnly        bool
}

func podOf(t *testing.T) pod {
	t.Helper()
	var d struct {
		Spec struct{ Template struct{ Spec any } }
	}
	if err := yaml.Unmarshal([]byte(read(t, "kubernetes/daemonset.yaml")), &d); err != nil {
		t.Fatal(err)
	}
	var p pod
	convert(t, d.Spec.Template.Spec, &p)
	return p
}

func manifests(t *testing.T) []string {
	t.Helper()
	files, err := filepath.Glob(folder + "kubernetes/*.yaml")
	if err != nil || len(files) < 5 {
		t.Fatalf("%d manifests: %v", len(files), err)
	}
	var names []string
	for _, f := range files {
		if name := filepath.Base(f); name != "kustomization.yaml" {
			names = append(names, name)
		}
	}
	return names
}

func read(t *testing.T, name string) string {
	t.Helper()
	text, err := os.ReadFile(folder + name)
	if err := errors.Join(err, checkText(text)); err != nil {
		t.Fatalf("%s: %v", name, err)
	}
	return string(text)
}

func checkText(text []byte) error {
	if bytes.ContainsAny(text, "\t\r") {
		return errors.New("tabs or carriage returns")
	}
	return nil
}
