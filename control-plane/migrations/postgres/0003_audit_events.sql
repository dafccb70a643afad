-- Runs with search_path set to the product's schema, so no name here is qualified.

-- The audit log's lines, to the byte, and what they say in columns to look for. `chain`, `seq` and the codes at the end
-- of `line` are what `dynamic-mcp audit verify` goes by; the columns must agree with the line.
CREATE TABLE audit_events (
    chain       text COLLATE "C" NOT NULL CHECK (length(chain) = 32),
    seq         bigint NOT NULL CHECK (seq >= 1),
    at          timestamptz NOT NULL,
    line        text NOT NULL,
    phase       text NOT NULL,
    -- NULL for what is about the log itself, and of no tenant.
    tenant_id   text COLLATE "C",
    entry_id    text COLLATE "C",
    action      text,
    target      text,
    subject     text,
    client      text,
    request_id  text,
    trace_id    text,
    verdict     text,
    outcome     text,
    reason      text,
    revision    bigint,
    duration_ms double precision,
    PRIMARY KEY (chain, seq, at)
) PARTITION BY RANGE (at);

CREATE INDEX audit_events_newest ON audit_events (tenant_id, at DESC, chain DESC, seq DESC) WHERE phase = 'opened';
CREATE INDEX audit_events_by_entry ON audit_events (entry_id) WHERE phase = 'closed';

-- How far each chain has come. Written with its lines, and never back.
CREATE TABLE audit_anchors (
    chain text COLLATE "C" PRIMARY KEY CHECK (length(chain) = 32),
    -- The files that the chain is in: their id, and the host and path where they are.
    log   text COLLATE "C" NOT NULL,
    place text NOT NULL,
    seq   bigint NOT NULL,
    mac   text NOT NULL,
    at    timestamptz NOT NULL
);

CREATE FUNCTION refuse_to_change_the_audit() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    RAISE EXCEPTION 'the audit is append-only';
END
$$;

CREATE TRIGGER audit_events_are_immutable BEFORE UPDATE OR DELETE ON audit_events
    FOR EACH ROW EXECUTE FUNCTION refuse_to_change_the_audit();
CREATE TRIGGER audit_events_are_not_emptied BEFORE TRUNCATE ON audit_events
    FOR EACH STATEMENT EXECUTE FUNCTION refuse_to_change_the_audit();
CREATE TRIGGER audit_anchors_are_not_taken_back BEFORE UPDATE ON audit_anchors
    FOR EACH ROW WHEN (NEW.chain <> OLD.chain OR NEW.seq <= OLD.seq)
    EXECUTE FUNCTION refuse_to_change_the_audit();
CREATE TRIGGER audit_anchors_are_kept BEFORE DELETE ON audit_anchors
    FOR EACH ROW EXECUTE FUNCTION refuse_to_change_the_audit();
CREATE TRIGGER audit_anchors_are_not_emptied BEFORE TRUNCATE ON audit_anchors
    FOR EACH STATEMENT EXECUTE FUNCTION refuse_to_change_the_audit();

-- A batch holds lines of many tenants, so anything may be appended; what can be read is one tenant's. The last policy is
-- for the owner of the table alone, who verifies and retains, and must say so.
ALTER TABLE audit_events ENABLE ROW LEVEL SECURITY;
ALTER TABLE audit_events FORCE ROW LEVEL SECURITY;
CREATE POLICY audit_events_are_appended ON audit_events FOR INSERT WITH CHECK (true);
CREATE POLICY audit_events_of_the_tenant ON audit_events FOR SELECT
    USING (tenant_id = current_setting('app.tenant', true));
CREATE POLICY audit_events_for_verification ON audit_events FOR SELECT TO CURRENT_USER
    USING (current_setting('app.audit_verify', true) = 'on');

-- Policies of the table don't hold for who names a partition, so each partition has row-level security of its own, and
-- no policy: nobody reads it but through the table.
CREATE FUNCTION audit_guard_partition(partition text) RETURNS void LANGUAGE plpgsql AS $$
BEGIN
    EXECUTE format('ALTER TABLE %I ENABLE ROW LEVEL SECURITY', partition);
    EXECUTE format('ALTER TABLE %I FORCE ROW LEVEL SECURITY', partition);
    EXECUTE format(
        'CREATE TRIGGER audit_events_are_not_emptied BEFORE TRUNCATE ON %I
         FOR EACH STATEMENT EXECUTE FUNCTION refuse_to_change_the_audit()', partition);
END
$$;

-- For a time that no month has been made for, so that nothing is ever refused.
CREATE TABLE audit_events_other PARTITION OF audit_events DEFAULT;
SELECT audit_guard_partition('audit_events_other');

-- The partitions of whole months (UTC), by their names, with the time at which each ends.
CREATE FUNCTION audit_months() RETURNS TABLE (partition text, ends timestamptz) LANGUAGE sql STABLE AS $$
    SELECT child.relname::text,
           (make_timestamp(substr(child.relname, 14, 4)::int, substr(child.relname, 19, 2)::int, 1, 0, 0, 0)
                + interval '1 month') AT TIME ZONE 'UTC'
    FROM pg_catalog.pg_inherits
    JOIN pg_catalog.pg_class AS child ON child.oid = inhrelid
    WHERE inhparent = 'audit_events'::regclass AND child.relname ~ '^audit_events_\d{4}_\d{2}$'
$$;

-- Makes what is missing of the month of `from_time` and as many after it.
CREATE FUNCTION audit_make_partitions(from_time timestamptz, months integer) RETURNS void
    LANGUAGE plpgsql SECURITY DEFINER AS $$
DECLARE
    month timestamp := date_trunc('month', from_time AT TIME ZONE 'UTC');
    name text;
BEGIN
    FOR ahead IN 0 .. least(greatest(months, 0), 12) LOOP
        name := 'audit_events_' || to_char(month, 'YYYY_MM');
        IF to_regclass(name) IS NULL THEN
            -- Replicas take turns; the second one finds it made.
            PERFORM pg_advisory_xact_lock(hashtext(current_schema() || '.audit_events'));
        END IF;
        IF to_regclass(name) IS NULL THEN
            BEGIN
                EXECUTE format(
                    'CREATE TABLE %I PARTITION OF audit_events FOR VALUES FROM (%L) TO (%L)', name,
                    to_char(month, 'YYYY-MM-DD 00:00:00+00'),
                    to_char(month + interval '1 month', 'YYYY-MM-DD 00:00:00+00'));
                PERFORM audit_guard_partition(name);
            EXCEPTION WHEN check_violation THEN
                -- The other partition has lines of that month already, and keeps the rest of them too.
                NULL;
            END;
        END IF;
        month := month + interval '1 month';
    END LOOP;
END
$$;

-- What dropping the months that end by `cutoff` would take: one row at least where there is such a month, and one for each
-- chain that goes on after it, with the last line that would go.
CREATE FUNCTION audit_expiring(cutoff timestamptz)
    RETURNS TABLE (expires_before timestamptz, expiring_chain text, through bigint)
    LANGUAGE plpgsql SECURITY DEFINER AS $$
DECLARE
    bound timestamptz := (SELECT max(ends) FROM audit_months() WHERE ends <= cutoff);
BEGIN
    IF bound IS NULL THEN
        RETURN;
    END IF;
    PERFORM set_config('app.audit_verify', 'on', true);
    RETURN QUERY
        SELECT bound, gone.chain, gone.last
        FROM (VALUES (1)) AS one
        LEFT JOIN LATERAL (
            SELECT event.chain, max(event.seq) AS last
            FROM audit_events AS event
            WHERE event.at < bound
            GROUP BY event.chain
        ) AS gone
            ON EXISTS (SELECT FROM audit_anchors AS anchor WHERE anchor.chain = gone.chain AND anchor.seq > gone.last);
    PERFORM set_config('app.audit_verify', '', true);
END
$$;

CREATE FUNCTION audit_expire(cutoff timestamptz) RETURNS integer LANGUAGE plpgsql SECURITY DEFINER AS $$
DECLARE
    month record;
    dropped integer := 0;
BEGIN
    PERFORM pg_advisory_xact_lock(hashtext(current_schema() || '.audit_events'));
    -- Whoever calls it, no line of the last day goes.
    FOR month IN SELECT * FROM audit_months() WHERE ends <= least(cutoff, now() - interval '1 day') LOOP
        EXECUTE format('DROP TABLE %I', month.partition);
        dropped := dropped + 1;
    END LOOP;
    RETURN dropped;
END
$$;

-- They run as the owner, so the names in them must not be looked for anywhere else.
DO $$
DECLARE
    signature text;
BEGIN
    FOREACH signature IN ARRAY ARRAY[
        'audit_guard_partition(text)', 'audit_months()', 'audit_make_partitions(timestamptz, integer)',
        'audit_expiring(timestamptz)', 'audit_expire(timestamptz)'
    ] LOOP
        EXECUTE format('ALTER FUNCTION %s SET search_path = %I, pg_temp', signature, current_schema());
        EXECUTE format('REVOKE ALL ON FUNCTION %s FROM PUBLIC', signature);
    END LOOP;
END
$$;
