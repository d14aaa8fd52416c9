"""The migrations of a Postgres schema: one for each version, from an empty schema on."""

from __future__ import annotations

from typing import LiteralString

# Each migration runs once, in the transaction that raises the version. A released migration never changes; a change of the
# tables is another migration.
MIGRATIONS: tuple[tuple[LiteralString, ...], ...] = (
    (
        # `number` is the order of the first writes. The row of a settled intent is deleted. The row of a closed stop stays, so
        # that a late save does not reopen it. The JSON is what the library reads, with money as text. The generated columns
        # are for people; numeric without a scale keeps every digit.
        """
        CREATE TABLE {schema}.stops (
            number bigint GENERATED ALWAYS AS IDENTITY,
            exchange text NOT NULL,
            account text NOT NULL,
            symbol text NOT NULL,
            side text NOT NULL,
            identity text NOT NULL,
            closed boolean NOT NULL,
            state text GENERATED ALWAYS AS (record ->> 'state') STORED,
            quantity numeric GENERATED ALWAYS AS ((record ->> 'quantity')::numeric) STORED,
            entry_price numeric GENERATED ALWAYS AS ((record -> 'position' ->> 'entry_price')::numeric) STORED,
            stop_price numeric GENERATED ALWAYS AS ((record -> 'orders' -> -1 ->> 'price')::numeric) STORED,
            opened_at timestamptz NOT NULL,
            written_at timestamptz NOT NULL DEFAULT now(),
            record jsonb NOT NULL,
            PRIMARY KEY (exchange, account, symbol, side, identity)
        ) WITH (fillfactor = 60)""",
        "CREATE INDEX stops_open ON {schema}.stops (exchange, account, number) WHERE NOT closed",
        """
        CREATE TABLE {schema}.intents (
            number bigint GENERATED ALWAYS AS IDENTITY,
            exchange text NOT NULL,
            account text NOT NULL,
            client_order_id text NOT NULL,
            symbol text GENERATED ALWAYS AS (intent ->> 'symbol') STORED,
            side text GENERATED ALWAYS AS (intent ->> 'side') STORED,
            purpose text GENERATED ALWAYS AS (intent ->> 'purpose') STORED,
            quantity numeric GENERATED ALWAYS AS ((intent ->> 'quantity')::numeric) STORED,
            price numeric GENERATED ALWAYS AS ((intent ->> 'price')::numeric) STORED,
            at timestamptz NOT NULL,
            intent jsonb NOT NULL,
            PRIMARY KEY (exchange, account, client_order_id)
        )""",
        """
        CREATE TABLE {schema}.events (
            number bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
            at timestamptz NOT NULL,
            exchange text NOT NULL,
            account text NOT NULL,
            type text GENERATED ALWAYS AS (event ->> 'type') STORED,
            event jsonb NOT NULL
        )""",
        "CREATE INDEX events_at ON {schema}.events (at)",
        # The number of the last commit of each open store: see `postgres_commit`.
        """
        CREATE TABLE {schema}.writers (
            writer uuid PRIMARY KEY,
            commits bigint NOT NULL CONSTRAINT committed_already CHECK (commits > 0),
            at timestamptz NOT NULL DEFAULT now()
        )""",
    ),
    (
        # The owner of each account: see `postgres_lease`. `fence` grows with each owner. `holder` identifies the owner, and
        # `owner` names it for people. `sessions` is the key of the advisory lock that all its sessions share; null: it ended.
        """
        CREATE TABLE {schema}.leases (
            exchange text NOT NULL,
            account text NOT NULL,
            fence bigint NOT NULL,
            holder uuid NOT NULL,
            owner text NOT NULL,
            sessions bigint,
            taken_at timestamptz NOT NULL,
            expires_at timestamptz NOT NULL,
            marks text[] NOT NULL,
            PRIMARY KEY (exchange, account)
        ) WITH (fillfactor = 50)""",
        # A takeover waits until a transaction that called this function has ended; a read does not wait.
        """
        CREATE FUNCTION {schema}.require_lease(wanted_exchange text, wanted_account text, wanted_fence bigint)
        RETURNS void LANGUAGE plpgsql AS $$
        BEGIN
            PERFORM FROM {schema}.leases
            WHERE exchange = wanted_exchange AND account = wanted_account AND fence = wanted_fence FOR SHARE;
            IF NOT FOUND THEN
                RAISE EXCEPTION 'the lease is lost' USING ERRCODE = 'TR001';
            END IF;
        END $$""",
    ),
    (
        # The JSON of a record is `json`, which Postgres keeps as text, and each plan is in a table of plans. Views of the old
        # tables' names compute the columns that were generated. Both make a commit cheaper: see the benchmarks. The views have
        # no column `record` or `intent`, so that a running process of the older version fails instead of reading empty plans.
        """
        ALTER TABLE {schema}.stops
            DROP COLUMN state, DROP COLUMN quantity, DROP COLUMN entry_price, DROP COLUMN stop_price""",
        "ALTER TABLE {schema}.stops RENAME TO stop_records",
        "CREATE TABLE {schema}.plans (hash text PRIMARY KEY, plan json NOT NULL)",
        """
        INSERT INTO {schema}.plans
        SELECT encode(sha256(convert_to(plan, 'UTF8')), 'hex'), plan::json
        FROM (SELECT DISTINCT record ->> 'plan' AS plan FROM {schema}.stop_records) AS used""",
        "ALTER TABLE {schema}.stop_records SET (fillfactor = 50)",
        "ALTER TABLE {schema}.stop_records ADD COLUMN plan text",
        """
        ALTER TABLE {schema}.stop_records
            ALTER COLUMN plan SET DATA TYPE text
                USING encode(sha256(convert_to(record ->> 'plan', 'UTF8')), 'hex'),
            ALTER COLUMN plan SET NOT NULL,
            ALTER COLUMN record SET DATA TYPE json
                USING (record || jsonb_build_object('plan', jsonb_build_object()))::json""",
        """
        CREATE VIEW {schema}.stops AS
        SELECT number, exchange, account, symbol, side, identity, closed,
            record ->> 'state' AS state,
            (record ->> 'quantity')::numeric AS quantity,
            (record -> 'position' ->> 'entry_price')::numeric AS entry_price,
            (record -> 'orders' -> -1 ->> 'price')::numeric AS stop_price,
            opened_at, written_at,
            (SELECT plans.plan FROM {schema}.plans WHERE plans.hash = stop_records.plan) AS plan
        FROM {schema}.stop_records""",
        """
        ALTER TABLE {schema}.intents
            DROP COLUMN symbol, DROP COLUMN side, DROP COLUMN purpose, DROP COLUMN quantity, DROP COLUMN price""",
        "ALTER TABLE {schema}.intents RENAME TO intent_records",
        "ALTER TABLE {schema}.intent_records ALTER COLUMN intent SET DATA TYPE json USING intent::json",
        """
        CREATE VIEW {schema}.intents AS
        SELECT number, exchange, account, client_order_id,
            intent ->> 'symbol' AS symbol,
            intent ->> 'side' AS side,
            intent ->> 'purpose' AS purpose,
            (intent ->> 'quantity')::numeric AS quantity,
            (intent ->> 'price')::numeric AS price,
            at
        FROM {schema}.intent_records""",
        # Roles get the rights on the new tables and views that they had on the old tables.
        """
        DO $migration$
        DECLARE
            given record;
        BEGIN
            FOR given IN
                SELECT new, privilege_type,
                    CASE grantee WHEN 0 THEN 'PUBLIC' ELSE quote_ident(pg_get_userbyid(grantee)) END AS role
                FROM (VALUES ('stop_records', 'plans'), ('stop_records', 'stops'), ('intent_records', 'intents'))
                    AS names (old, new)
                JOIN pg_namespace ON nspname = {schema_text}
                JOIN pg_class ON relnamespace = pg_namespace.oid AND relname = old
                CROSS JOIN aclexplode(relacl)
                WHERE grantee <> relowner AND privilege_type IN ('SELECT', 'INSERT', 'UPDATE', 'DELETE')
            LOOP
                EXECUTE format('GRANT %s ON %I.%I TO %s', given.privilege_type, {schema_text}, given.new, given.role);
            END LOOP;
        END $migration$""",
    ),
    (
        # Plainer names in the JSON. The columns get another name, so that a running process of the older version fails
        # instead of reading or writing the old names.
        """
        UPDATE {schema}.stop_records SET record = (
            SELECT json_object_agg(
                CASE key
                    WHEN 'exposure' THEN 'unprotected_time'
                    WHEN 'heard_until' THEN 'prices_until'
                    WHEN 'early' THEN 'unacknowledged_fills'
                    WHEN 'given_up' THEN 'is_abandoned'
                    WHEN 'since_move' THEN 'seconds_since_move'
                    WHEN 'first_price' THEN 'first_stop'
                    ELSE key
                END, value)
            FROM json_each(record) WHERE key NOT IN ('asked', 'since_crossing', 'due_in', 'trailed')
        )""",
        """
        UPDATE {schema}.events SET event = (
            SELECT jsonb_object_agg(
                CASE key
                    WHEN 'exposure' THEN 'unprotected_seconds'
                    WHEN 'exposure_by' THEN 'unprotected_time'
                    WHEN 'stop_stands' THEN 'stop_is_live'
                    ELSE key
                END, value)
            FROM jsonb_each(event)
        )
        WHERE event ?| ARRAY['exposure', 'exposure_by', 'stop_stands']""",
        "ALTER TABLE {schema}.stop_records RENAME COLUMN record TO body",
        "ALTER TABLE {schema}.intent_records RENAME COLUMN intent TO body",
        "ALTER TABLE {schema}.events RENAME COLUMN event TO body",
    ),
)
