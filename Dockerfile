# Generated from images/*/Dockerfile, for those who have docker only: TAZPOD_UPDATE=1 go test ./images
#
#	docker build --target gemini --tag tazpod/gemini .
#	docker build --target binaries --tag tazpod-binaries .    # then docker create and docker cp
#
# Extra certificates go into images/ca-certificates.

FROM debian:trixie-slim AS compile
COPY images/ca-certificates/ /usr/local/share/ca-certificates/
RUN apt-get update --error-on=any \
 && mirror="$(apt-get indextargets --format '$(RELEASE) $(REPO_URI)' 'Created-By: Packages' | sed -n 's/^trixie //p' | head -n 1)" \
 && echo "deb [signed-by=/usr/share/keyrings/debian-archive-keyring.gpg] $mirror trixie-backports main" > /etc/apt/sources.list.d/backports.list \
 && apt-get update --error-on=any \
 && DEBIAN_FRONTEND=noninteractive apt-get install -y --no-install-recommends ca-certificates golang-1.26-go make \
 && update-ca-certificates
COPY . /src
RUN make -C /src build GO=/usr/lib/go-1.26/bin/go \
 && rm -rf /root/go /root/.cache

FROM scratch AS binaries
COPY --from=compile /src/bin/ /

# tazpod/base: a Debian shell to work in, with tazpod-init as its first process.
# The context is this directory, tazpod-init beside the Dockerfile, and
# ca-certificates/ with the host's extra certificates (*.crt, often none).
# Everything here is understood by Docker's classic builder.

# Files get their modes here rather than in the image, where a chmod would
# store each of them a second time.
FROM debian:trixie-slim AS base-files
COPY --from=compile /src/bin/tazpod-init /files/usr/bin/
COPY images/base/home/ /files/usr/share/tazpod/home/
COPY images/base/etc/ /files/etc/
COPY images/base/usr/ /files/usr/
# In a pod there is no launcher: tazpod is short for tazpod-init there.
RUN chmod -R u=rwX,go=rX /files && chmod 0711 /files/usr/bin/tazpod-init \
 && ln -s tazpod-init /files/usr/bin/tazpod \
 && ln -s tazpod-init /files/usr/share/bash-completion/completions/tazpod

FROM debian:trixie-slim AS base-made
LABEL org.opencontainers.image.title="tazpod/base" \
      org.opencontainers.image.description="Debian shell whose secrets live in an encrypted vault and appear only inside a ghost"
ENV LANG=C.UTF-8
STOPSIGNAL SIGTERM

# dpkg leaves out what slim images leave out, whichever image this is built on.
COPY images/base/etc/dpkg/ /etc/dpkg/

# With SNAPSHOT, such as 20261126T000000Z, packages are those of that moment, of
# snapshot.debian.org: the same set each time, without later corrections.
ARG SNAPSHOT=
RUN if [ -n "$SNAPSHOT" ]; then \
      rm -f /etc/apt/sources.list.d/debian.sources \
   && for suite in "debian/$SNAPSHOT trixie" "debian-security/$SNAPSHOT trixie-security"; do \
        echo "deb [check-valid-until=no signed-by=/usr/share/keyrings/debian-archive-keyring.gpg] http://snapshot.debian.org/archive/$suite main"; \
      done > /etc/apt/sources.list; \
    fi

# Debian's archive is signed and read over http as a rule, so the certificates
# can come from it; after this, https works through the host's proxies too.
COPY images/ca-certificates/ /usr/local/share/ca-certificates/
RUN apt-get update --error-on=any \
 && DEBIAN_FRONTEND=noninteractive apt-get install -y --no-install-recommends ca-certificates \
 && update-ca-certificates \
 && apt-get clean \
 && rm -rf /var/lib/apt/lists/* /var/cache/debconf/*-old /var/log/apt /var/log/dpkg.log

# gcc, libc6-dev and make build cgo and Python extensions; g++ and dpkg-dev, the
# rest of build-essential, would add 110 MB. pwscore (libpwquality-tools) rates
# new passphrases, with the dictionary that cracklib makes of wamerican.
RUN apt-get update --error-on=any \
 && DEBIAN_FRONTEND=noninteractive apt-get -y --no-install-recommends upgrade \
 && DEBIAN_FRONTEND=noninteractive apt-get install -y --no-install-recommends \
      bash bash-completion bat btop cracklib-runtime cryptsetup-bin curl e2fsprogs eza fd-find fzf gcc git jq \
      kitty-terminfo lazygit less libc6-dev libpwquality-tools make mc ncurses-term neovim openssh-client \
      openssh-sftp-server procps python3 ripgrep rsync starship tmux tzdata unzip wamerican xz-utils yq zoxide \
 && ln -s batcat /usr/bin/bat \
 && ln -s fdfind /usr/bin/fd \
 && find / -xdev -type f -perm /6000 -exec chmod ug-s {} + \
 && echo 'correct horse battery staple' | pwscore \
 && apt-get clean \
 && rm -rf /var/lib/apt/lists/* /var/cache/debconf/*-old /var/cache/ldconfig/aux-cache \
      /var/log/apt /var/log/dpkg.log /var/log/alternatives.log

# Shell integrations are written down now, so that no shell starts three
# programs to ask for them, and root owns what a shell in a ghost reads.
RUN mkdir -p /usr/share/tazpod/shell \
 && starship init bash --print-full-init > /usr/share/tazpod/shell/starship.bash \
 && zoxide init bash > /usr/share/tazpod/shell/zoxide.bash \
 && fzf --bash > /usr/share/tazpod/shell/fzf.bash

COPY --from=base-files /files/ /
RUN groupadd --gid 1000 tazpod \
 && useradd --uid 1000 --gid 1000 --shell /bin/bash --no-create-home --home-dir /home/tazpod tazpod \
 && cp -R /usr/share/tazpod/home /home/tazpod \
 && mkdir /workspace \
 && mkdir -m 0700 /var/lib/tazpod \
 && chown -R tazpod:tazpod /home/tazpod /workspace \
 && chmod 0700 /home/tazpod \
 && rm -f /etc/passwd- /etc/group- /etc/shadow- /etc/gshadow- /etc/subuid* /etc/subgid* /var/log/lastlog /var/log/faillog \
 && test "$(stat -c '%a %u %g' /usr/bin/tazpod-init)" = "711 0 0" \
 && test -z "$(find / -xdev -type f -perm /6000)"

# The list of packages is made beside the image, with what only that takes.
FROM base-made AS base-list
RUN cp /var/lib/dpkg/status /tmp/status \
 && apt-get update --error-on=any \
 && DEBIAN_FRONTEND=noninteractive apt-get install -y --no-install-recommends python3-cyclonedx-lib \
 && mkdir -p /usr/share/tazpod/packages \
 && /usr/lib/tazpod/list-packages --dpkg /tmp/status base /usr/share/tazpod/packages \
      bash bat btop cryptsetup-bin e2fsprogs eza fd-find fzf gcc git jq lazygit mc neovim openssh-client python3 ripgrep starship tmux yq zoxide

FROM base-made AS base
COPY --from=base-list /usr/share/tazpod/packages /usr/share/tazpod/packages
WORKDIR /workspace
HEALTHCHECK --interval=30s --timeout=5s --start-period=10s CMD ["/usr/bin/tazpod-init", "healthcheck"]
# By this every pod of a machine is found, however it was started.
LABEL io.tazpod.pod=1
# For editors (containers.dev/implementors/json_reference): they work as the pod's
# user, outside of the ghost.
LABEL devcontainer.metadata='[{"overrideCommand": false, "init": false, "capAdd": ["SYS_ADMIN"], "remoteUser": "tazpod", "updateRemoteUserUID": false}]'
# There is no USER: `docker exec` gives root, whose terminals the pod's user
# can't open. Commands and sessions run as tazpod all the same.
ENTRYPOINT ["/usr/bin/tazpod-init", "pid1", "--"]

# tazpod/k8s: tazpod/base with the tools of Kubernetes and Talos. Debian has kubectl
# and kubectx; the others are compiled from their modules, of which each fixes the
# versions of all that it imports. A build argument that is none leaves its tool out.

FROM debian:trixie-slim AS k8s-tools
COPY images/ca-certificates/ /usr/local/share/ca-certificates/
RUN apt-get update --error-on=any \
 && mirror="$(apt-get indextargets --format '$(RELEASE) $(REPO_URI)' 'Created-By: Packages' | sed -n 's/^trixie //p' | head -n 1)" \
 && echo "deb [signed-by=/usr/share/keyrings/debian-archive-keyring.gpg] $mirror trixie-backports main" > /etc/apt/sources.list.d/backports.list \
 && apt-get update --error-on=any \
 && DEBIAN_FRONTEND=noninteractive apt-get install -y --no-install-recommends ca-certificates golang-1.26-go \
 && update-ca-certificates \
 && ln -s ../lib/go-1.26/bin/go /usr/bin/go
ENV CGO_ENABLED=0 GOTOOLCHAIN=local
COPY images/k8s/module /usr/local/bin/
RUN mkdir -p /files/usr/bin && touch /modules
ARG HELM=v4.3.1
RUN module HELM $HELM helm.sh/helm/v4 cmd/helm -X helm.sh/helm/v4/internal/version.version=$HELM
ARG STERN=v1.33.0
RUN module STERN $STERN github.com/stern/stern . -X github.com/stern/stern/cmd.version=$STERN
ARG TALOSCTL=v1.11.5
RUN module TALOSCTL $TALOSCTL github.com/siderolabs/talos cmd/talosctl
ARG K9S=v0.50.16
RUN module K9S $K9S github.com/derailed/k9s . -X github.com/derailed/k9s/cmd.version=$K9S
COPY images/k8s/root/ /files/
RUN chmod -R u=rwX,go=rX /files

FROM base AS k8s-made
LABEL org.opencontainers.image.title="tazpod/k8s" \
      org.opencontainers.image.description="tazpod/base with kubectl, kubectx, kubens, helm, k9s, stern and talosctl"
RUN apt-get update --error-on=any \
 && DEBIAN_FRONTEND=noninteractive apt-get install -y --no-install-recommends kubectl kubectx \
 && apt-get clean \
 && rm -rf /var/lib/apt/lists/* /var/cache/debconf/*-old /var/cache/ldconfig/aux-cache /var/log/apt /var/log/dpkg.log /var/log/alternatives.log
COPY --from=k8s-tools /files/ /
RUN cd /usr/share/bash-completion/completions \
 && for tool in kubectl helm k9s talosctl; do if command -v $tool; then $tool completion bash > $tool; fi; done \
 && if command -v stern; then stern --completion bash > stern; fi \
 && rm -rf /root/.kube /root/.cache /root/.config /root/.local /root/.talos \
 && test -z "$(find / -xdev -type f -perm /6000)"

FROM k8s-made AS k8s-list
COPY --from=k8s-tools /modules /tmp/modules
RUN cp /var/lib/dpkg/status /tmp/status \
 && apt-get update --error-on=any \
 && DEBIAN_FRONTEND=noninteractive apt-get install -y --no-install-recommends python3-cyclonedx-lib \
 && /usr/lib/tazpod/list-packages --dpkg /tmp/status --go /tmp/modules k8s /usr/share/tazpod/packages \
      kubectl kubectx helm.sh/helm/v4 github.com/derailed/k9s github.com/stern/stern github.com/siderolabs/talos

FROM k8s-made AS k8s
COPY --from=k8s-list /usr/share/tazpod/packages /usr/share/tazpod/packages

# tazpod/gemini: tazpod/k8s with Google's Gemini CLI. package-lock.json pins
# every package by version and hash.

FROM debian:trixie-slim AS gemini-packages
COPY images/ca-certificates/ /usr/local/share/ca-certificates/
RUN apt-get update --error-on=any \
 && DEBIAN_FRONTEND=noninteractive apt-get install -y --no-install-recommends ca-certificates nodejs npm \
 && update-ca-certificates
ENV NODE_EXTRA_CA_CERTS=/etc/ssl/certs/ca-certificates.crt
WORKDIR /usr/lib/tazpod/gemini
COPY images/gemini/package.json images/gemini/package-lock.json ./
# What the packages would run at installation isn't run: they bring their
# native parts built.
RUN npm ci --omit=dev --ignore-scripts --no-audit --no-fund --no-update-notifier --cache=/tmp/npm
COPY images/gemini/root/ /files/
RUN chmod -R u=rwX,go=rX /files

FROM k8s AS gemini-made
LABEL org.opencontainers.image.title="tazpod/gemini" \
      org.opencontainers.image.description="tazpod/k8s with the Gemini CLI"
RUN apt-get update --error-on=any \
 && DEBIAN_FRONTEND=noninteractive apt-get install -y --no-install-recommends nodejs \
 && apt-get clean \
 && rm -rf /var/lib/apt/lists/* /var/cache/debconf/*-old /var/cache/ldconfig/aux-cache /var/log/apt /var/log/dpkg.log /var/log/alternatives.log
COPY --from=gemini-packages /usr/lib/tazpod/gemini /usr/lib/tazpod/gemini
COPY --from=gemini-packages /files/ /
RUN runuser -u tazpod -- env -i HOME=/home/tazpod PATH=/usr/bin TAZPOD_GHOST=1 gemini --version \
 && rm -rf /home/tazpod/.gemini \
 && test -z "$(find / -xdev -type f -perm /6000)"

FROM gemini-made AS gemini-list
RUN cp /var/lib/dpkg/status /tmp/status \
 && apt-get update --error-on=any \
 && DEBIAN_FRONTEND=noninteractive apt-get install -y --no-install-recommends python3-cyclonedx-lib \
 && /usr/lib/tazpod/list-packages --dpkg /tmp/status --npm /usr/lib/tazpod/gemini/node_modules/.package-lock.json gemini /usr/share/tazpod/packages nodejs @google/gemini-cli

FROM gemini-made AS gemini
COPY --from=gemini-list /usr/share/tazpod/packages /usr/share/tazpod/packages
