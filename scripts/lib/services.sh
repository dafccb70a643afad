# shellcheck shell=bash
# shellcheck source-path=SCRIPTDIR
# What the tests find by TEST_ variables: PostgreSQL, Redis, and the public clients.

. "$root/scripts/lib/cache.sh"
. "$root/scripts/lib/node.sh"
. "$root/scripts/lib/python.sh"
. "$root/scripts/lib/postgres.sh"
. "$root/scripts/lib/redis.sh"

services_clients() {
  local clients=$root/tests/clients
  node_clients "$clients"
  export TEST_NODE=$node_bin TEST_NODE_MODULES=$node_modules
  # So that a script in tests/clients finds its imports.
  [[ -d $clients/node_modules && ! -L $clients/node_modules ]] || ln -sfn "$node_modules" "$clients/node_modules"
  python_venv mcp2 "$clients/requirements-mcp2.txt"
  export TEST_PYTHON_MCP2=$python_bin
  python_venv mcp1 "$clients/requirements-mcp1.txt"
  export TEST_PYTHON_MCP1=$python_bin
}

# services_start DIRECTORY
services_start() {
  postgres_ensure
  redis_ensure
  services_dir=$1
  # PostgreSQL's own user has to reach its part.
  chmod 711 "$services_dir"
  postgres_start "$services_dir/postgres"
  redis_start "$services_dir/redis"
  export TEST_POSTGRES_URL=$postgres_url TEST_REDIS_URL=$redis_url
}

services_stop() {
  [[ -n ${services_dir:-} ]] || return 0
  postgres_stop "$services_dir/postgres"
  redis_stop "$services_dir/redis"
  rm -rf "$services_dir"
}
