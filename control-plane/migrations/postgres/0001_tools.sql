-- Runs with search_path set to the product's schema, so no name here is qualified.

-- One row per write, a delete's tombstone included. It outlives its tool: the next revision of a name is one more
-- than the last one here, so that a revision number never names two things.
CREATE TABLE tool_revisions (
    tenant_id    text COLLATE "C" NOT NULL CHECK (tenant_id <> ''),
    name         text COLLATE "C" NOT NULL,
    revision     bigint NOT NULL CHECK (revision >= 1),
    action       text NOT NULL CHECK (action IN ('create', 'update', 'delete', 'import')),
    content_hash text NOT NULL CHECK (length(content_hash) = 64),
    -- json, not jsonb: it keeps the text as it was written, "\u0000" included.
    spec         json NOT NULL,
    actor        text NOT NULL,
    created_at   timestamptz NOT NULL,
    PRIMARY KEY (tenant_id, name, revision)
);

-- Current state: one row per living tool. "C": names sort by their bytes, as in every other store.
CREATE TABLE tools (
    tenant_id    text COLLATE "C" NOT NULL CHECK (tenant_id <> ''),
    name         text COLLATE "C" NOT NULL,
    revision     bigint NOT NULL CHECK (revision >= 1),
    content_hash text NOT NULL CHECK (length(content_hash) = 64),
    spec         json NOT NULL,
    created_at   timestamptz NOT NULL,
    updated_at   timestamptz NOT NULL,
    PRIMARY KEY (tenant_id, name),
    FOREIGN KEY (tenant_id, name, revision) REFERENCES tool_revisions (tenant_id, name, revision)
);

CREATE FUNCTION refuse_to_change_a_revision() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    RAISE EXCEPTION 'a revision is immutable';
END
$$;

CREATE TRIGGER tool_revisions_are_immutable BEFORE UPDATE OR DELETE ON tool_revisions
    FOR EACH ROW EXECUTE FUNCTION refuse_to_change_a_revision();

-- Counts the writes of each tenant. Its row is what a write locks first, which makes the writes of one tenant take
-- turns; replicas poll it for changes whose notification they missed. It holds nothing of a tenant but its id, and
-- the poll looks across tenants, so it has no row-level security.
CREATE TABLE registry_versions (
    tenant_id text COLLATE "C" PRIMARY KEY CHECK (tenant_id <> ''),
    version   bigint NOT NULL
);

-- Forced, so that the owner of the tables is held to it too (a superuser never is). A transaction that named no
-- tenant sees nothing: the setting is then NULL or, after an earlier transaction set it, empty.
ALTER TABLE tools ENABLE ROW LEVEL SECURITY;
ALTER TABLE tools FORCE ROW LEVEL SECURITY;
CREATE POLICY tools_of_the_tenant ON tools
    USING (tenant_id = current_setting('app.tenant', true))
    WITH CHECK (tenant_id = current_setting('app.tenant', true));

ALTER TABLE tool_revisions ENABLE ROW LEVEL SECURITY;
ALTER TABLE tool_revisions FORCE ROW LEVEL SECURITY;
CREATE POLICY tool_revisions_of_the_tenant ON tool_revisions
    USING (tenant_id = current_setting('app.tenant', true))
    WITH CHECK (tenant_id = current_setting('app.tenant', true));
