#!/usr/bin/env bash
# prompt.sh [IMAGE]: how long an interactive shell in a ghost takes to its first
# prompt, beside a bash that reads no start file: milliseconds, the shortest, the
# median and the longest of 31 each, in turn.
set -euo pipefail
tazpod=$(realpath "$(dirname "$0")/../bin/tazpod")
project=$(mktemp -d)
cd "$project"
trap '"$tazpod" down >/dev/null 2>&1 || true; rm -rf "$project"' EXIT
"$tazpod" init 2>log
# Progress and notes are shown only if it fails: they aren't the result.
"$tazpod" run "${1:-base}" --passphrase-file <(echo 'correct horse battery staple') -- python3 -c '
import os, pty, time
os.environ["TERM"] = "xterm-256color"
os.environ["PS1"] = "$ "
shells = {"as people have it": ["-bash"], "bash alone": ["bash", "--noprofile", "--norc"]}
times = {name: [] for name in shells}
for _ in range(31):
    for name, argv in shells.items():
        start = time.monotonic()
        pid, fd = pty.fork()
        if pid == 0:
            os.execv("/bin/bash", argv)
        seen = b""
        while b"$" not in seen:
            seen += os.read(fd, 4096)
        times[name].append(1000 * (time.monotonic() - start))
        os.close(fd)
        os.waitpid(pid, 0)
for name, t in times.items():
    t.sort()
    print("%s: %.0f %.0f %.0f" % (name, t[0], t[15], t[-1]))
' 2>>log || { cat log >&2; exit 1; }
