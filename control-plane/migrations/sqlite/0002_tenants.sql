-- What the operator set for a tenant. A tenant without a row has the deployment's defaults.
CREATE TABLE tenants (
    tenant_id  TEXT    NOT NULL PRIMARY KEY,
    revision   INTEGER NOT NULL CHECK (revision >= 1),
    settings   TEXT    NOT NULL CHECK (json_valid(settings)),
    actor      TEXT    NOT NULL,
    updated_at INTEGER NOT NULL
) STRICT;
