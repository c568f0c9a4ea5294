# Interactive shells of this image.
alias k=kubectl
alias ctx=kubectx
alias ns=kubens
