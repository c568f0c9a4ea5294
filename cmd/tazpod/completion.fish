# Completion of tazpod for fish: tazpod completion fish | source
function __tazpod_complete
    set -l words (commandline -opc) (commandline -ct)
    contains -- -- $words[2..-2]; and return # behind -- stands another program's command
    $words[1] --completion-bash $words[2..-1] 2>/dev/null
end
complete -c tazpod -f -a '(__tazpod_complete)'
