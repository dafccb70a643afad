# shellcheck shell=bash
# A Docker Engine that answers. One that already does (local, remote, Docker Desktop) is left as it is.

docker_log=/var/log/dynamic-mcp-dockerd.log

docker_ensure() {
  docker_answers && return 0
  docker_bring_up
  docker_answers || docker_admit
}

# The same where Docker is welcome and not needed: docker_here says whether it is there. Not to be called where bash ignores
# a failed command (in a condition): it would go on after one.
# shellcheck disable=SC2034 # docker_here is the caller's to read
docker_try() {
  docker_here=1
  ! docker_answers || return 0
  set +e
  (set -e && docker_possible && docker_bring_up)
  local status=$?
  set -e
  if ((status != 0)); then
    docker_here=
  else
    docker_answers || docker_admit
  fi
}

# What takes minutes to fail is not begun: a container that is not privileged can't run an Engine of its own.
docker_possible() {
  [[ -z ${DOCKER_HOST:-} ]] || return 0
  [[ $(id -u) == 0 ]] || { have sudo && { [[ -t 0 ]] || sudo --non-interactive true 2>/dev/null; }; } ||
    die "Docker Engine does not answer $(id -un), who can't become root here to set it up"
  as_root unshare --mount true 2>/dev/null || die "Docker Engine can't run here: this looks like a container without privileges"
}

docker_bring_up() {
  [[ -z ${DOCKER_HOST:-} ]] ||
    die "the Docker Engine at DOCKER_HOST=$DOCKER_HOST does not answer: start it, or unset DOCKER_HOST to use one here"
  may_be_root || die "Docker Engine does not answer $(id -un), and there is no sudo to set it up with: run this once as root"
  docker_install
  docker_answers_root || docker_start
}

docker_answers() { have docker && timeout 10 docker info >/dev/null 2>&1; }

docker_answers_root() { as_root timeout 10 docker info >/dev/null 2>&1; }

docker_install() {
  local packages=(docker.io iptables ca-certificates)
  # A kernel with AppArmor refuses containers whose profile nothing can load.
  [[ $(cat /sys/module/apparmor/parameters/enabled 2>/dev/null) != Y ]] || packages+=(apparmor)
  have dockerd || [[ -x /usr/sbin/dockerd ]] || apt_install "${packages[@]}"
  # Newer releases of Debian ship the client apart from the Engine.
  have docker || apt_install docker-cli
}

docker_start() {
  if [[ -d /run/systemd/system ]]; then
    say "starting Docker Engine (systemctl start docker)"
    as_root systemctl start docker >/dev/null 2>&1 ||
      die "Docker Engine did not start: see 'journalctl -u docker', mend what it names, then run this again"
  else
    docker_start_by_hand
  fi
  docker_wait
}

docker_start_by_hand() {
  say "starting Docker Engine (dockerd in the background, log in $docker_log)"
  docker_forget dockerd /run/docker.pid
  docker_forget containerd /run/docker/containerd/containerd.pid

  # crun takes a hybrid cgroup layout for version 2 and fails, so dockerd runs where that mount is not seen.
  # Descriptor 9 is the lock of a caller; a daemon that outlives the caller must not keep it.
  # shellcheck disable=SC2016 # the inner shell expands these
  as_root setsid --fork sh -c '
    exec >>"$1" 2>&1 </dev/null 9>&-
    if mountpoint -q /sys/fs/cgroup/unified; then
      exec unshare --mount --propagation slave sh -c "umount /sys/fs/cgroup/unified; exec dockerd"
    fi
    exec dockerd' sh "$docker_log"
}

# A killed Engine leaves its pid files. A number that is in use again, or is a zombie's, would keep the next one from starting.
docker_forget() {
  local program=$1 file=$2 pid
  pid=$(as_root cat "$file" 2>/dev/null || true)
  [[ -z $pid ]] || docker_runs "$program" "$pid" || as_root rm -f "$file"
}

# A zombie has no executable any more.
docker_runs() { [[ $(as_root readlink "/proc/$2/exe" 2>/dev/null) == */"$1" ]]; }

docker_wait() {
  local started=$SECONDS
  until docker_answers_root; do
    if ((SECONDS > started + 60)) || { ((SECONDS > started + 3)) && docker_gone_by_hand; }; then
      die "Docker Engine cannot start here ($(docker_last_words)): mend that, or set DOCKER_HOST to an Engine that runs, then run this again"
    fi
    sleep 0.5
  done
}

docker_gone_by_hand() { [[ ! -d /run/systemd/system && -z $(docker_pid) ]]; }

docker_pid() {
  local pid
  while read -r pid; do
    ! docker_runs dockerd "$pid" || echo "$pid"
  done < <(grep -lx dockerd /proc/[0-9]*/comm 2>/dev/null | cut -d / -f 3)
}

docker_last_words() {
  local words
  words=$(as_root tail -n 1 "$docker_log" 2>/dev/null | cut -c 1-200 || true)
  echo "${words:-no answer in 60 s}"
}

# The Engine runs, but this user may not talk to it yet: its group is joined and the script starts again inside it.
docker_admit() {
  local user
  user=$(id -un)
  [[ -z ${DYNAMIC_MCP_IN_DOCKER_GROUP:-} ]] ||
    die "Docker Engine runs but $user may not use it: check who owns /run/docker.sock, or run this as root"
  say "adding $user to the group docker (it may then drive the Engine, which is as good as root)"
  as_root usermod -aG docker "$user"
  export DYNAMIC_MCP_IN_DOCKER_GROUP=1
  exec sg docker -c "$(printf '%q ' "$(readlink -f "$0")" "${script_args[@]}")"
}

# What dynamic-mcp made in the Engine, as lines of "executor kind name".
docker_ours() {
  docker ps --all --filter label=app=dynamic-mcp --format '{{.Label "executor"}} container {{.ID}}'
  docker volume ls --filter label=app=dynamic-mcp --format '{{.Label "executor"}} volume {{.Name}}'
}

# Tests run over more than one OCI runtime. A daemon.json that someone wrote is never touched.
docker_runtimes() {
  local file=/etc/docker/daemon.json package
  if ! may_be_root || [[ -z $(docker_pid) ]]; then
    say "the Engine is not ours to set up: tests of crun and runsc run only if it has them as runtimes"
    return 0
  fi
  for package in crun runsc; do
    have "$package" || ! apt_offers "$package" || apt_install "$package"
  done
  docker_knows_runtimes && return 0
  if [[ -e $file ]]; then
    say "leaving $file as it is: tests of crun and runsc run only if it has them as runtimes"
    return 0
  fi
  say "registering $(docker_runtime_names) as Docker runtimes ($file)"
  as_root mkdir -p /etc/docker
  docker_daemon_json | as_root tee "$file" >/dev/null
  # Runtimes are among what the Engine reads again on SIGHUP; running containers stay.
  as_root kill -HUP "$(docker_pid)"
  local deadline=$((SECONDS + 10))
  until docker_knows_runtimes; do
    ((SECONDS < deadline)) || die "Docker Engine did not take the runtimes in $file: restart it, then run this again"
    sleep 0.2
  done
}

docker_runtime_names() {
  local names=()
  ! have crun || names+=(crun)
  ! have runsc || names+=(runsc)
  echo "${names[*]}"
}

docker_knows_runtimes() {
  local known name
  known=$(docker info --format '{{range $name, $_ := .Runtimes}}{{$name}} {{end}}')
  for name in $(docker_runtime_names); do
    [[ " $known" == *" $name "* ]] || return 1
  done
}

docker_daemon_json() {
  local entries=()
  ! have crun || entries+=("\"crun\": {\"path\": \"$(command -v crun)\"}")
  # gVisor brings its own network stack and wants to own the cgroups; a sandbox has no network, and runc's parent holds the limits.
  ! have runsc ||
    entries+=("\"runsc\": {\"path\": \"$(command -v runsc)\", \"runtimeArgs\": [\"--network=none\", \"--ignore-cgroups\"]}")
  local IFS=,
  printf '{"runtimes": {%s}}\n' "${entries[*]}"
}

# docker_build ARGUMENT…: `docker build` by a client that has BuildKit: one with the plugin buildx, or one of before 23, which
# needed none.
docker_build() {
  docker_builder_find
  DOCKER_BUILDKIT=1 "$docker_builder" build --progress plain "$@"
}

docker_builder_find() {
  [[ -z ${docker_builder:-} ]] || return 0
  local client version
  while read -r client; do
    version=$("$client" version --format '{{.Client.Version}}' 2>/dev/null || true)
    if "$client" buildx version >/dev/null 2>&1 || ((${version%%.*} < 23)); then
      docker_builder=$client
      return 0
    fi
  done < <(type -ap docker)
  die "no docker client here has BuildKit: install docker-buildx (docker-buildx-plugin), then run this again"
}
