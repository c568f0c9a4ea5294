# Interactive shells of a pod and of its ghosts. In a ghost TAZPOD_GHOST is 1,
# and this home, history included, is RAM that is zeroed at the end.
case $- in *i*) ;; *) return ;; esac

HISTCONTROL=ignoreboth
HISTSIZE=10000
HISTFILESIZE=10000
shopt -s histappend checkwinsize globstar

export EDITOR=nvim PAGER=less LESS=-FRX
export FZF_DEFAULT_COMMAND='fd --type file --hidden --exclude .git'

# A terminal that is unknown here still has colours.
__tazpod_terminfo() {
	local dir
	for dir in /etc/terminfo /lib/terminfo /usr/share/terminfo; do
		[ -e "$dir/${TERM:0:1}/$TERM" ] && return
	done
	return 1
}
if [ -n "$TERM" ] && ! __tazpod_terminfo; then TERM=xterm-256color; fi
unset -f __tazpod_terminfo

alias ls='ls --color=auto'
alias grep='grep --color=auto'
alias ll='eza --long --all --group'
alias la='eza --all'
alias lt='eza --tree --level=2'
alias v=nvim vi=nvim vim=nvim
alias g=git lg=lazygit
[ -z "$TAZPOD_GHOST" ] || alias lock='tazpod-init lock'

for __file in /usr/share/bash-completion/bash_completion /usr/share/tazpod/shell/fzf.bash /usr/share/tazpod/shell.d/*.bash; do
	[ -r "$__file" ] && . "$__file"
done
unset __file

# The prompt names the pod, and the ghost with its profile when this is one.
if [ "$TERM" != dumb ] && [ -r /usr/share/tazpod/shell/starship.bash ] && command -v starship >/dev/null; then
	. /usr/share/tazpod/shell/starship.bash
else
	PS1='${TAZPOD_NAME:-pod}:\w\$ '
	if [ -n "$TAZPOD_GHOST" ]; then
		PS1='ghost${TAZPOD_PROFILE:++$TAZPOD_PROFILE} '$PS1
	fi
fi

# After the prompt, which it hooks into.
[ ! -r /usr/share/tazpod/shell/zoxide.bash ] || . /usr/share/tazpod/shell/zoxide.bash

# What was pulled is in the variables from the next prompt on. A shell that a program
# starts, such as tmux, may have got old ones from it.
__tazpod_pulled() {
	local - record variables
	set +x # values are not for the screen
	read -r record 2>/dev/null <~/secrets/.tazpod/pulled || return
	record=${record%%,*} # its time; hashes of values are not for the environment
	[ "$record" != "$__tazpod_record" ] || return
	variables=$(tazpod-init env) || return
	eval "$variables"
	__tazpod_record=$record
}

if [ -n "$TAZPOD_GHOST" ]; then
	if [ -z "${__tazpod_record+set}" ]; then # the session's own variables are new
		read -r __tazpod_record 2>/dev/null <~/secrets/.tazpod/pulled
		export __tazpod_record=${__tazpod_record%%,*}
	fi
	# A ghost may end without asking its shells, whose history can be in the vault.
	PROMPT_COMMAND+=(__tazpod_pulled 'history -a')
fi
