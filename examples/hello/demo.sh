#!/usr/bin/env bash
# The main job without a terminal, in a copy of this project: create a vault,
# write a secret, look at it from inside and from outside, leave, look for what
# is left, open again. Ends with a status other than 0 if anything isn't as
# promised.
set -euo pipefail
export PATH="$PATH:/usr/sbin"

example=$(cd "$(dirname "$0")" && pwd)
tazpod=$example/../../bin/tazpod
project=$(mktemp -d "${TMPDIR:-/tmp}/tazpod-hello.XXXXXX")

# Made here, used here, printed nowhere: nothing that greps finds by accident.
random() { od --address-radix=n --format=x1 --read-bytes=16 /dev/urandom | tr -d ' \n'; }
passphrase=$(random)
secret=$(random)

step() { printf '\n\033[1m%s\033[0m\n' "$*"; }
good() { printf '  ok: %s\n' "$*"; }
bad() {
	printf '  NOT AS PROMISED: %s\n' "$*"
	exit 1
}

pod() { docker ps --all --quiet --filter "label=io.tazpod.project=$project"; }

finish() {
	local status=$?
	local id
	id=$(pod)
	if [ -n "$id" ]; then
		if [ $status != 0 ]; then docker logs --tail 20 "$id"; fi
		docker rm --force --volumes "$id" >/dev/null
	fi
	rm -rf "$project"
}
trap finish EXIT

# The passphrase comes on a descriptor, by programs that are part of the shell.
with_passphrase() { "$@" 3< <(printf '%s\n' "$passphrase"); }

# outside runs a command beside the ghost, as the same user, in the same pod.
outside() { docker exec --user tazpod "$(pod)" "$@"; }

# A long session: lines go to a shell in the ghost, answers come back up to a mark.
open_session() {
	coproc GHOST { with_passphrase "$tazpod" run base --passphrase-fd 3 -- bash; }
	session=$GHOST_PID
	exec {to}>&"${GHOST[1]}" {from}<&"${GHOST[0]}"
}

inside() {
	local line
	printf '%s\necho == $?\n' "$*" >&"$to"
	while IFS= read -r -t 60 -u "$from" line; do
		if [[ $line =~ ^==\ ([0-9]+)$ ]]; then return "${BASH_REMATCH[1]}"; fi
		printf '%s\n' "$line"
	done
	bad "the session ended or gave no answer to: $*"
}

# What looks for the secret in the pod. It comes on standard input, so that no
# command line has it.
# shellcheck disable=SC2016 # expanded in the pod
processes='pattern=$(cat)
	for p in /proc/[0-9]*; do
		cat $p/environ $p/cmdline $p/root/home/tazpod/secrets/* $p/root/tmp/* $p/cwd/* 2>/dev/null
	done | grep -a -c -F -f <(echo "$pattern") >/dev/null && exit 1
	exit 0'
files='! grep -r -q -s -F -f - /home /tmp /var/tmp /root /run /dev/shm /workspace'

# Waits up to ten seconds for what must become true.
becomes_true() {
	local i
	for ((i = 0; i < 50; i++)); do
		if "$@"; then return; fi
		sleep 0.2
	done
	return 1
}

chmod 0755 "$project" # as a project is
cp -R "$example/." "$project"
rm -rf "$project/.tazpod/vault"
cd "$project"
image=.tazpod/vault/vault.img

step '1. tazpod run base: an image unless there is one, a new pod, a new vault, a ghost'
"$tazpod" build base # run would do it too, but in the time that a session has to answer
open_session
inside 'id -un; pwd' | sed 's/^/  | /'
[ "$(inside 'printenv TAZPOD_GHOST')" = 1 ] || bad 'the shell is not in a ghost'
good 'a shell in a ghost'

step '2. write a secret, and use it'
# The secret goes through the session's input: no command line ever has it.
inside "echo $secret >~/secrets/token; export TOKEN=$secret"
[ "$(inside 'cat ~/secrets/token')" = "$secret" ] || bad 'the secret is not there inside'
inside 'sh /workspace/hello.sh' | sed 's/^/  | /'
inside "echo $secret >/tmp/scratch; echo $secret >~/notes"
good 'inside it is there'

step '3. meanwhile outside, in the same pod, as the same user'
outside sh /workspace/hello.sh | sed 's/^/  | /'
if outside test -e /home/tazpod/secrets/token; then bad 'the file can be seen'; fi
good 'no file'
seen=$(outside ps -e -o args= | grep -c -e 'tazpod-init role' -e '^bash$' || true)
[ "$seen" = 0 ] || bad "processes of the ghost can be seen: $seen"
good 'no process of the ghost in ps'
if docker exec --interactive --user tazpod "$(pod)" bash -c "$processes" <<<HOME=/home/tazpod; then bad 'the search for processes finds nothing'; fi
if docker exec --interactive --user tazpod "$(pod)" bash -c "$files" <<<'the token has'; then bad 'the search for files finds nothing'; fi
docker exec --interactive --user tazpod "$(pod)" bash -c "$processes" <<<"$secret" || bad 'a process shows the secret'
good "a search that finds what isn't hidden finds it in no process's environment, command line, root or working directory"
docker exec --interactive --user tazpod "$(pod)" bash -c "$files" <<<"$secret" || bad 'a file has the secret'
docker exec --interactive --user root "$(pod)" bash -c "$files" <<<"$secret" || bad 'a file has the secret'
good "in no file of the container, even for the container's root"

step '4. leave'
echo exit >&"$to"
wait "$session" || bad "the session ended with status $?"
vault_locked() { "$tazpod" status --json | grep -q '"state": *"locked"'; }
becomes_true vault_locked || bad "the vault is still open: $("$tazpod" status)"
"$tazpod" status | sed 's/^/  | /'
left=$(docker top "$(pod)" -o pid,args | sed 1d | grep -v -e ' pid1 --$' -e ' role serve$' || true)
[ -z "$left" ] || bad "processes are left: $left"
good 'its processes are gone, and the vault is locked'
if outside test -e /home/tazpod/secrets/token; then bad 'the file is left'; fi
docker exec --interactive --user root "$(pod)" bash -c "$files" <<<"$secret" || bad 'the secret is left in a file'
good 'no file has it'
if grep -r -q -F -f - . <<<"$secret"; then bad 'the secret is in the project in clear'; fi
cryptsetup luksDump "$image" | sed -n 's/^\(Version:\|\tcipher:\)/  | \1/p'
good 'on disk there is a LUKS2 vault'
printf %s "$passphrase" | cryptsetup open --test-passphrase --key-file - "$image" || bad 'cryptsetup refuses the passphrase'
good 'cryptsetup opens it with the passphrase'

step '5. a wrong passphrase'
status=0
"$tazpod" run base --passphrase-fd 3 -- true 3< <(echo wrong) 2>/dev/null || status=$?
[ $status = 12 ] || bad "status $status, not 12"
good 'is refused with status 12'

step '6. tazpod down, and open again'
"$tazpod" down
[ "$(with_passphrase "$tazpod" run base --passphrase-fd 3 -- cat /home/tazpod/secrets/token)" = "$secret" ] || bad 'the secret is lost'
good 'the secret came back'
status=0
with_passphrase "$tazpod" run base --passphrase-fd 3 -- sh -c '[ ! -e /tmp/scratch ] && [ ! -e ~/notes ]' || bad 'files of the old ghost came back'
good 'and nothing else did'
with_passphrase "$tazpod" run base --passphrase-fd 3 -- sh -c 'exit 42' || status=$?
[ $status = 42 ] || bad "status $status, not 42"
good "a command's status comes back"

step '7. tidy up'
"$tazpod" down
[ -z "$(pod)" ] || bad 'the pod is still there'
good 'tazpod down removed the pod'
echo
echo 'All is as promised. On a terminal, make run opens a ghost for you.'
