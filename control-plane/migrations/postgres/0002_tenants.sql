-- What the operator set for a tenant. A tenant without a row has the deployment's defaults.
CREATE TABLE tenants (
    tenant_id  text COLLATE "C" PRIMARY KEY CHECK (tenant_id <> ''),
    revision   bigint NOT NULL CHECK (revision >= 1),
    settings   json NOT NULL,
    actor      text NOT NULL,
    updated_at timestamptz NOT NULL
);

ALTER TABLE tenants ENABLE ROW LEVEL SECURITY;
ALTER TABLE tenants FORCE ROW LEVEL SECURITY;
CREATE POLICY tenants_of_the_tenant ON tenants
    USING (tenant_id = current_setting('app.tenant', true))
    WITH CHECK (tenant_id = current_setting('app.tenant', true));
