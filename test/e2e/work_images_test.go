package e2e

import "testing"

// TestImagesAreClean looks for what no image may have, in the one that has all the
// others' layers.
func TestImagesAreClean(t *testing.T) {
	p := withGemini(t)
	for what, script := range map[string]string{
		"setuid and setgid files":              "find / -xdev -type f -perm /6000",
		"world-writable files and directories": "find / -xdev -not -type l -perm -o+w -not -perm -1000",
		"files of others than root":            "find /usr /etc /opt /root /var -xdev -not -user root -not -path /var/cache/apt/archives/partial",
		"caches":                               "find /var/lib/apt/lists /var/cache/apt/archives /var/log /root/.cache /root/.npm /root/go /tmp /var/tmp -type f -size +0 2>/dev/null; true",
		"private keys":                         "grep -rlI --exclude-dir=node_modules -e '-----BEGIN [A-Z ]*PRIVATE KEY' /etc /root /home /usr/share /usr/lib/tazpod /var; true",
	} {
		equal(t, what, p.inPod("root", "sh", "-c", script).ok(), "")
	}
	equal(t, "mode and owner of tazpod-init", p.inPod("root", "stat", "-c", "%a %u %g", "/usr/bin/tazpod-init").ok(), "711 0 0\n")
	equal(t, "user of docker exec", p.inPod("", "id", "-u").ok(), "0\n")
	p.inPod("root", "tazpod-init", "healthcheck").ok()
	equal(t, "editor's complaints", p.inPod("tazpod", "sh", "-c", "HOME=/tmp/h && cp -r /usr/share/tazpod/home $HOME && nvim --headless +quitall 2>&1 && rm -r $HOME").ok(), "")
}
