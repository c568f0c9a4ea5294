#!/usr/bin/env bash
# prompt.sh [IMAGE]: how long an interactive shell in a ghost takes to its first
# prompt, in milliseconds: the shortest, the median and the longest of 30.
set -euo pipefail
tazpod=$(realpath "$(dirname "$0")/../bin/tazpod")
project=$(mktemp -d)
cd "$project"
trap '"$tazpod" down >/dev/null 2>&1 || true; rm -rf "$project"' EXIT
"$tazpod" init 2>/dev/null
"$tazpod" run "${1:-base}" --passphrase-file <(echo 'correct horse battery staple') -- python3 -c '
import os, pty, time
times = []
for _ in range(30):
    start = time.monotonic()
    pid, fd = pty.fork()
    if pid == 0:
        os.environ["TERM"] = "xterm-256color"
        os.execv("/bin/bash", ["-bash"])
    seen = b""
    while b"$" not in seen:
        seen += os.read(fd, 4096)
    times.append(1000 * (time.monotonic() - start))
    os.close(fd)
    os.waitpid(pid, 0)
times.sort()
print("%.0f %.0f %.0f" % (times[0], times[15], times[-1]))
' 2>/dev/null
