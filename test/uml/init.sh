#!/bin/bash
# The guest's first process: makes / an overlay in RAM over the host's files,
# mounts what the table says, then runs the jobs whose numbers come in by the
# first serial line and answers there with "NUMBER STATUS".
#
# $machine comes from the kernel's command line: the directory of the host that
# has the table of mounts and the jobs, the guest's /run/uml.
# shellcheck disable=SC2154
export PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin HOME=/root TMPDIR=/tmp
trap 'echo o >/proc/sysrq-trigger; sleep infinity' EXIT

mount -t proc proc /proc
insmod /usr/lib/uml/modules/*/kernel/fs/overlayfs/overlay.ko || exit
mount -t tmpfs -o mode=755 tmpfs /mnt && mkdir /mnt/{upper,work,root} || exit
mount -t overlay -o lowerdir=/,upperdir=/mnt/upper,workdir=/mnt/work overlay /mnt/root || exit
cd /mnt/root && pivot_root . mnt && cd / || exit
umount -l /mnt/proc
# One mount(8) for all of it: starting a program takes 30 ms here.
mount -a -T "/mnt$machine/fstab" || exit
umount -l /mnt
modprobe -a loop dm-crypt
ip link set lo up
echo uml >/proc/sys/kernel/hostname
ln -s /proc/self/fd /dev/fd
chmod 1777 /tmp /scratch
swap=$(</run/uml/swap)
[ -z "$swap" ] || swapon "$swap" || exit

# Output is synced because a process that lives on may hold the file open: hostfs
# writes it to the host when the last one lets go.
run() {
	local job=/run/uml/$1 argv status
	mapfile -d '' -t argv <"$job/argv"
	setsid "${argv[@]}" </dev/null >"$job/out" 2>"$job/err"
	status=$?
	sync "$job/out" "$job/err"
	echo "$1 $status" >&3
}

stty -F /dev/ttyS0 raw -echo
exec 3<>/dev/ttyS0 </dev/null
echo 0 0 >&3
while read -r -u 3 number; do run "$number" & done
