#!/bin/sh
# Makes what is missing of a deployment's passwords, keys and certificates, each where only the service that needs it looks:
# /secrets/<service> is a volume of that service. Safe to run again. `setup.sh renew` makes new certificates, which the running
# processes take over by themselves.
set -eu
umask 077

secrets=/secrets
# The user of our images.
user=65532

main() {
  for service in control migrate postgres redis executor-1 executor-2; do
    chmod 755 "$secrets/$service"
  done
  passwords
  put control/audit.key "$user" random
  certificates "$@"
}

# What has no owner of its own below is read by the one service that has the volume, whatever user that runs as.
passwords() {
  put postgres/superuser.password any random
  put postgres/owner.password any random
  put postgres/service.password any random
  put postgres/audit.password any random
  put redis/redis.conf any redis_conf
  put migrate/postgres.url "$user" postgres_url mcp_owner owner
  put control/postgres.url "$user" postgres_url mcp service
  put control/redis.url "$user" redis_url
}

random() { od -An -N32 -tx1 /dev/urandom | tr -d ' \n'; }

# postgres_url ROLE PASSWORD
postgres_url() { printf 'postgres://%s:%s@postgres:5432/mcp' "$1" "$(cat "$secrets/postgres/$2.password")"; }

# What Redis holds is volatile and comes back by itself.
redis_conf() { printf 'requirepass %s\nsave ""\nappendonly no\nmaxmemory 512mb\nmaxmemory-policy noeviction\n' "$(random)"; }

redis_url() { printf 'redis://:%s@redis:6379/0' "$(sed -n 's/^requirepass //p' "$secrets/redis/redis.conf")"; }

certificates() {
  if [ "${1:-}" = renew ] || [ ! -e "$secrets/control/control-plane.key" ]; then
    dynamic-mcp certs all --force --dir "$secrets/authority" --control-plane control-1,control-2 \
      --executor exe_one=executor-1 --executor exe_two=executor-2
    hand_out executor-1 exe_one executor
    hand_out executor-2 exe_two executor
    hand_out control control-plane control-plane
  fi
}

# hand_out SERVICE PAIR NAME: the authority's own key stays where it is. The key last: it says that all is there.
hand_out() {
  replace "$1/ca.pem" "$user" cat "$secrets/authority/ca.pem"
  replace "$1/$3.pem" "$user" cat "$secrets/authority/$2.pem"
  replace "$1/$3.key" "$user" cat "$secrets/authority/$2.key"
}

# put FILE OWNER COMMAND…: unless it is there.
put() { [ -e "$secrets/$1" ] || replace "$@"; }

# replace FILE OWNER COMMAND…: the file is what the command says, whole or not at all.
replace() {
  file=$secrets/$1 owner=$2
  shift 2
  # One that was left half made may be another's, and not to be written.
  rm -f "$file.new"
  "$@" >"$file.new"
  if [ "$owner" = any ]; then
    chmod 444 "$file.new"
  else
    chmod 400 "$file.new"
    chown "$owner:$owner" "$file.new"
  fi
  mv -f "$file.new" "$file"
}

main "$@"
