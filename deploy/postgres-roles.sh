#!/bin/sh
# Run once, by the image of Postgres, on a new database: who owns the schema, who serves, who reads across tenants.
set -eu

# Passwords come from files through the environment of psql, never by an argument.
OWNER=$(cat /secrets/owner.password) SERVICE=$(cat /secrets/service.password) AUDIT=$(cat /secrets/audit.password)
export OWNER SERVICE AUDIT
psql --quiet --no-psqlrc --set ON_ERROR_STOP=1 --username postgres --dbname mcp <<'SQL'
\getenv owner OWNER
\getenv service SERVICE
\getenv audit AUDIT
CREATE ROLE mcp_owner LOGIN PASSWORD :'owner';
CREATE ROLE mcp LOGIN PASSWORD :'service';
CREATE ROLE mcp_audit LOGIN PASSWORD :'audit';
ALTER DATABASE mcp OWNER TO mcp_owner;
REVOKE ALL ON DATABASE mcp FROM PUBLIC;
GRANT CONNECT ON DATABASE mcp TO mcp, mcp_audit;
SQL
