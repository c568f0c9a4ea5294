package e2e

import "testing"

// TestImagesAreClean looks for what an image must not have.
func TestImagesAreClean(t *testing.T) {
	p := newProject(t)
	p.tazpod("up", "base").ok()
	equal(t, "setuid and setgid files", p.inPod("root", "find", "/", "-xdev", "-type", "f", "-perm", "/6000").ok(), "")
	equal(t, "world-writable files and directories",
		p.inPod("root", "sh", "-c", "find / -xdev -not -type l -perm -o+w -not -perm -1000 -not -path '/proc/*' -not -path '/dev/*'").ok(), "")
	equal(t, "mode and owner of tazpod-init", p.inPod("root", "stat", "-c", "%a %u %g", "/usr/bin/tazpod-init").ok(), "711 0 0\n")
	equal(t, "user of docker exec", run(t, "docker", "exec", p.name, "id", "-u").ok(), "0\n")
	run(t, "docker", "exec", p.name, "tazpod-init", "healthcheck").ok()
}
