CREATE SCHEMA old_store;
CREATE TABLE old_store.schema_version (version integer NOT NULL);
CREATE TABLE old_store.stops (
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
) WITH (fillfactor = 60);
CREATE INDEX stops_open ON old_store.stops (exchange, account, number) WHERE NOT closed;
CREATE TABLE old_store.intents (
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
);
CREATE TABLE old_store.events (
    number bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    at timestamptz NOT NULL,
    exchange text NOT NULL,
    account text NOT NULL,
    type text GENERATED ALWAYS AS (event ->> 'type') STORED,
    event jsonb NOT NULL
);
CREATE INDEX events_at ON old_store.events (at);
CREATE TABLE old_store.writers (
    writer uuid PRIMARY KEY,
    commits bigint NOT NULL CONSTRAINT committed_already CHECK (commits > 0),
    at timestamptz NOT NULL DEFAULT now()
);
CREATE TABLE old_store.leases (
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
) WITH (fillfactor = 50);
CREATE FUNCTION old_store.require_lease(wanted_exchange text, wanted_account text, wanted_fence bigint)
RETURNS void LANGUAGE plpgsql AS $$
BEGIN
    PERFORM FROM old_store.leases
    WHERE exchange = wanted_exchange AND account = wanted_account AND fence = wanted_fence FOR SHARE;
    IF NOT FOUND THEN
        RAISE EXCEPTION 'the lease is lost' USING ERRCODE = 'TR001';
    END IF;
END $$;
ALTER TABLE old_store.stops
    DROP COLUMN state, DROP COLUMN quantity, DROP COLUMN entry_price, DROP COLUMN stop_price;
ALTER TABLE old_store.stops RENAME TO stop_records;
CREATE TABLE old_store.plans (hash text PRIMARY KEY, plan json NOT NULL);
INSERT INTO old_store.plans
SELECT encode(sha256(convert_to(plan, 'UTF8')), 'hex'), plan::json
FROM (SELECT DISTINCT record ->> 'plan' AS plan FROM old_store.stop_records) AS used;
ALTER TABLE old_store.stop_records SET (fillfactor = 50);
ALTER TABLE old_store.stop_records ADD COLUMN plan text;
ALTER TABLE old_store.stop_records
    ALTER COLUMN plan SET DATA TYPE text
        USING encode(sha256(convert_to(record ->> 'plan', 'UTF8')), 'hex'),
    ALTER COLUMN plan SET NOT NULL,
    ALTER COLUMN record SET DATA TYPE json
        USING (record || jsonb_build_object('plan', jsonb_build_object()))::json;
CREATE VIEW old_store.stops AS
SELECT number, exchange, account, symbol, side, identity, closed,
    record ->> 'state' AS state,
    (record ->> 'quantity')::numeric AS quantity,
    (record -> 'position' ->> 'entry_price')::numeric AS entry_price,
    (record -> 'orders' -> -1 ->> 'price')::numeric AS stop_price,
    opened_at, written_at,
    (SELECT plans.plan FROM old_store.plans WHERE plans.hash = stop_records.plan) AS plan
FROM old_store.stop_records;
ALTER TABLE old_store.intents
    DROP COLUMN symbol, DROP COLUMN side, DROP COLUMN purpose, DROP COLUMN quantity, DROP COLUMN price;
ALTER TABLE old_store.intents RENAME TO intent_records;
ALTER TABLE old_store.intent_records ALTER COLUMN intent SET DATA TYPE json USING intent::json;
CREATE VIEW old_store.intents AS
SELECT number, exchange, account, client_order_id,
    intent ->> 'symbol' AS symbol,
    intent ->> 'side' AS side,
    intent ->> 'purpose' AS purpose,
    (intent ->> 'quantity')::numeric AS quantity,
    (intent ->> 'price')::numeric AS price,
    at
FROM old_store.intent_records;
DO $migration$
DECLARE
    given record;
BEGIN
    FOR given IN
        SELECT new, privilege_type,
            CASE grantee WHEN 0 THEN 'PUBLIC' ELSE quote_ident(pg_get_userbyid(grantee)) END AS role
        FROM (VALUES ('stop_records', 'plans'), ('stop_records', 'stops'), ('intent_records', 'intents'))
            AS names (old, new)
        JOIN pg_namespace ON nspname = 'old_store'
        JOIN pg_class ON relnamespace = pg_namespace.oid AND relname = old
        CROSS JOIN aclexplode(relacl)
        WHERE grantee <> relowner AND privilege_type IN ('SELECT', 'INSERT', 'UPDATE', 'DELETE')
    LOOP
        EXECUTE format('GRANT %s ON %I.%I TO %s', given.privilege_type, 'old_store', given.new, given.role);
    END LOOP;
END $migration$;
INSERT INTO old_store.schema_version (version) VALUES ('3');
INSERT INTO old_store.plans (hash, plan) VALUES ('080bdac1df8b8e2c690b9153ec28c2d050d288ac013fe99f8c353b769be8ac2a', '{"call_seconds":10.0,"candle_seconds":60.0,"cleanup_seconds":5.0,"exit_grace":2.0,"initial_stop":{"percent":"2"},"journal_wait":1.0,"liquidation_buffer":{"percent":"0.5"},"max_entry_gap":{"percent":"10"},"max_jump":{"percent":"10"},"min_stop_ticks":2,"native":false,"on_late_order":"adopt","on_stop_cancelled":"replace","on_store_failure":"protect","on_unprotected":"retry","on_wave_cancelled":"withdraw","on_would_trigger":"exit","pacing":{"min_improvement":{"percent":"0"},"min_interval":0.0,"override":null},"reconcile_every":60.0,"retry_for":300.0,"retry_then":"report","rules":[{"activation":{"percent":"1"},"distance":{"percent":"1"},"type":"Callback"}],"stale_after":60.0,"trigger":"last"}');
INSERT INTO old_store.plans (hash, plan) VALUES ('b2a475a39299cccf409d672d3a7fdc42a93d274dbd0b21d824d63bafd8137375', '{"call_seconds":10.0,"candle_seconds":60.0,"cleanup_seconds":5.0,"exit_grace":2.0,"initial_stop":{"percent":"2"},"journal_wait":1.0,"liquidation_buffer":{"percent":"0.5"},"max_entry_gap":{"percent":"10"},"max_jump":{"percent":"10"},"min_stop_ticks":2,"native":false,"on_late_order":"adopt","on_stop_cancelled":"replace","on_store_failure":"protect","on_unprotected":"report","on_wave_cancelled":"withdraw","on_would_trigger":"exit","pacing":{"min_improvement":{"percent":"0"},"min_interval":0.0,"override":null},"reconcile_every":60.0,"retry_for":300.0,"retry_then":"report","rules":[{"activation":{"percent":"1"},"distance":{"percent":"1"},"type":"Callback"}],"stale_after":60.0,"trigger":"last"}');
INSERT INTO old_store.plans (hash, plan) VALUES ('e6e45e1758e6ab46e3dab7e81d2942fc168aadb08656337df760dfdc446371ff', '{"call_seconds":10.0,"candle_seconds":60.0,"cleanup_seconds":5.0,"exit_grace":2.0,"initial_stop":{"percent":"2"},"journal_wait":1.0,"liquidation_buffer":{"percent":"0.5"},"max_entry_gap":{"percent":"10"},"max_jump":{"percent":"10"},"min_stop_ticks":2,"native":false,"on_late_order":"adopt","on_stop_cancelled":"replace","on_store_failure":"protect","on_unprotected":"retry","on_wave_cancelled":"withdraw","on_would_trigger":"exit","pacing":{"min_improvement":{"percent":"0"},"min_interval":0.0,"override":null},"reconcile_every":60.0,"retry_for":300.0,"retry_then":"report","rules":[{"activation":{"percent":"0"},"distance":{"percent":"0.5"},"type":"Callback"}],"stale_after":60.0,"trigger":"last"}');
INSERT INTO old_store.stop_records (number, exchange, account, symbol, side, identity, closed, opened_at, written_at, record, plan) OVERRIDING SYSTEM VALUE VALUES ('1', 'paper', 'default', 'WAITING/USDT:USDT', 'short', '2026-01-01T00:00:00+00:00', 'false', '2026-01-01 00:00:00+00', '2026-11-30 00:10:21.889762+00', '{"position":{"symbol":"WAITING/USDT:USDT","side":"short","quantity":"1.5","entry_price":"100","opened_at":"2026-01-01T00:00:00Z","stop_price":null,"id":null},"plan":{},"state":"waiting","quantity":"1.5","best":"100","last":"100","suspect":null,"target":"102","trailed":false,"orders":[{"symbol":"WAITING/USDT:USDT","side":"short","quantity":"1.5","price":"102","client_order_id":"tr84bf9b82992b8e7bba17","order_id":"paper-WAITING/USDT:USDT-1","source":"last","callback":null,"triggered":false}],"asked":null,"since_move":null,"since_crossing":null,"due_in":null,"early":{},"candles":[],"foreign_ticks":0,"reported_entry":"100","given_up":false,"first_price":"102","native":null,"native_task":null,"saved_at":"2026-01-01T00:00:00.500000Z","exposure":{"opening":0.5,"move":0.0,"outage":0.0,"refused":0.0,"cancelled":0.0},"heard_until":"2026-01-01T00:00:00.250000Z","moves":0,"filled":"0","proceeds":"0","floor":"102","close_reason":null,"release":null,"end_reason":null,"replaced_by":null,"is_waiting":false}', '080bdac1df8b8e2c690b9153ec28c2d050d288ac013fe99f8c353b769be8ac2a');
INSERT INTO old_store.stop_records (number, exchange, account, symbol, side, identity, closed, opened_at, written_at, record, plan) OVERRIDING SYSTEM VALUE VALUES ('2', 'paper', 'default', 'MOVED/USDT:USDT', 'long', 'bot "№ 1"', 'false', '2026-01-01 00:00:00+00', '2026-11-30 00:10:21.922736+00', E'{"position":{"symbol":"MOVED/USDT:USDT","side":"long","quantity":"1.5","entry_price":"100","opened_at":"2026-01-01T00:00:00Z","stop_price":null,"id":"bot \\"№ 1\\""},"plan":{},"state":"trailing","quantity":"1.5","best":"104.123456","last":"104.123456","suspect":null,"target":"103.09000000","trailed":true,"orders":[{"symbol":"MOVED/USDT:USDT","side":"long","quantity":"1.5","price":"103.09000000","client_order_id":"tr84bfaa67cf0709c6fd92","order_id":"paper-MOVED/USDT:USDT-2","source":"last","callback":null,"triggered":false}],"asked":null,"since_move":null,"since_crossing":null,"due_in":null,"early":{},"candles":[],"foreign_ticks":0,"reported_entry":"100","given_up":false,"first_price":"98","native":null,"native_task":null,"saved_at":"2026-01-01T00:00:12.750000Z","exposure":{"opening":0.5,"move":0.375,"outage":0.0,"refused":0.0,"cancelled":0.0},"heard_until":"2026-01-01T00:00:12.250000Z","moves":1,"filled":"0","proceeds":"0","floor":"103.09000000","close_reason":null,"release":null,"end_reason":null,"replaced_by":null,"is_waiting":false}', '080bdac1df8b8e2c690b9153ec28c2d050d288ac013fe99f8c353b769be8ac2a');
INSERT INTO old_store.stop_records (number, exchange, account, symbol, side, identity, closed, opened_at, written_at, record, plan) OVERRIDING SYSTEM VALUE VALUES ('3', 'paper', 'default', 'UPDATED/USDT:USDT', 'long', '2026-01-01T00:00:00+00:00', 'false', '2026-01-01 00:00:00+00', '2026-11-30 00:10:21.95034+00', '{"position":{"symbol":"UPDATED/USDT:USDT","side":"long","quantity":"1.5","entry_price":"100","opened_at":"2026-01-01T00:00:00Z","stop_price":null,"id":null},"plan":{},"state":"trailing","quantity":"1.5","best":"104.123456","last":"104.123456","suspect":null,"target":"103.610000000","trailed":true,"orders":[{"symbol":"UPDATED/USDT:USDT","side":"long","quantity":"1.5","price":"103.610000000","client_order_id":"tr84bfa8798f0951db18b5","order_id":"paper-UPDATED/USDT:USDT-3","source":"last","callback":null,"triggered":false}],"asked":null,"since_move":0.375,"since_crossing":null,"due_in":null,"early":{},"candles":[],"foreign_ticks":0,"reported_entry":"100","given_up":false,"first_price":"98","native":null,"native_task":null,"saved_at":"2026-01-01T00:00:17.625000Z","exposure":{"opening":0.5,"move":0.0,"outage":0.0,"refused":0.0,"cancelled":0.0},"heard_until":"2026-01-01T00:00:12.250000Z","moves":2,"filled":"0","proceeds":"0","floor":"103.610000000","close_reason":null,"release":null,"end_reason":null,"replaced_by":null,"is_waiting":false}', 'e6e45e1758e6ab46e3dab7e81d2942fc168aadb08656337df760dfdc446371ff');
INSERT INTO old_store.stop_records (number, exchange, account, symbol, side, identity, closed, opened_at, written_at, record, plan) OVERRIDING SYSTEM VALUE VALUES ('4', 'paper', 'default', 'EXITING/USDT:USDT', 'long', 'bot "№ 3"', 'false', '2026-01-01 00:00:00+00', '2026-11-30 00:10:21.970212+00', E'{"position":{"symbol":"EXITING/USDT:USDT","side":"long","quantity":"1.5","entry_price":"100","opened_at":"2026-01-01T00:00:00Z","stop_price":null,"id":"bot \\"№ 3\\""},"plan":{},"state":"exiting","quantity":"1.5","best":"100","last":"100","suspect":null,"target":"98","trailed":false,"orders":[{"symbol":"EXITING/USDT:USDT","side":"long","quantity":"1.5","price":"98","client_order_id":"tr84bf56868270965ade07","order_id":"paper-EXITING/USDT:USDT-1","source":"last","callback":null,"triggered":false}],"asked":null,"since_move":null,"since_crossing":null,"due_in":null,"early":{},"candles":[],"foreign_ticks":0,"reported_entry":"100","given_up":false,"first_price":"98","native":null,"native_task":null,"saved_at":"2026-01-01T00:00:37.250000Z","exposure":{"opening":0.5,"move":0.0,"outage":0.0,"refused":0.0,"cancelled":0.0},"heard_until":"2026-01-01T00:00:00.250000Z","moves":0,"filled":"0","proceeds":"0","floor":"98","close_reason":"closed by the bot","release":null,"end_reason":null,"replaced_by":null,"is_waiting":false}', '080bdac1df8b8e2c690b9153ec28c2d050d288ac013fe99f8c353b769be8ac2a');
INSERT INTO old_store.stop_records (number, exchange, account, symbol, side, identity, closed, opened_at, written_at, record, plan) OVERRIDING SYSTEM VALUE VALUES ('5', 'paper', 'default', 'UNRESOLVED/USDT:USDT', 'long', '2026-01-01T00:00:00+00:00', 'false', '2026-01-01 00:00:00+00', '2026-11-30 00:10:21.966031+00', '{"position":{"symbol":"UNRESOLVED/USDT:USDT","side":"long","quantity":"1.5","entry_price":"100","opened_at":"2026-01-01T00:00:00Z","stop_price":null,"id":null},"plan":{},"state":"unprotected","quantity":"1.5","best":"100","last":"100","suspect":null,"target":"98","trailed":false,"orders":[],"asked":null,"since_move":null,"since_crossing":null,"due_in":null,"early":{},"candles":[],"foreign_ticks":0,"reported_entry":"100","given_up":false,"first_price":"98","native":null,"native_task":null,"saved_at":"2026-01-01T00:00:27.750000Z","exposure":{"opening":3.25,"move":0.0,"outage":24.5,"refused":0.0,"cancelled":0.0},"heard_until":"2026-01-01T00:00:00.250000Z","moves":0,"filled":"0","proceeds":"0","floor":null,"close_reason":null,"release":null,"end_reason":null,"replaced_by":null,"is_waiting":false}', '080bdac1df8b8e2c690b9153ec28c2d050d288ac013fe99f8c353b769be8ac2a');
INSERT INTO old_store.stop_records (number, exchange, account, symbol, side, identity, closed, opened_at, written_at, record, plan) OVERRIDING SYSTEM VALUE VALUES ('6', 'paper', 'default', 'ABANDONED/USDT:USDT', 'long', 'bot "№ 5"', 'false', '2026-01-01 00:00:00+00', '2026-11-30 00:10:21.889762+00', E'{"position":{"symbol":"ABANDONED/USDT:USDT","side":"long","quantity":"1.5","entry_price":"100","opened_at":"2026-01-01T00:00:00Z","stop_price":null,"id":"bot \\"№ 5\\""},"plan":{},"state":"closed","quantity":"1.5","best":"100","last":"100","suspect":null,"target":"98","trailed":false,"orders":[],"asked":null,"since_move":null,"since_crossing":null,"due_in":null,"early":{},"candles":[],"foreign_ticks":0,"reported_entry":"100","given_up":true,"first_price":"98","native":null,"native_task":null,"saved_at":"2026-01-01T00:00:00.500000Z","exposure":{"opening":0.25,"move":0.0,"outage":0.0,"refused":0.25,"cancelled":0.0},"heard_until":"2026-01-01T00:00:00.250000Z","moves":0,"filled":"0","proceeds":"0","floor":null,"close_reason":null,"release":null,"end_reason":null,"replaced_by":null,"is_waiting":false}', 'b2a475a39299cccf409d672d3a7fdc42a93d274dbd0b21d824d63bafd8137375');
INSERT INTO old_store.stop_records (number, exchange, account, symbol, side, identity, closed, opened_at, written_at, record, plan) OVERRIDING SYSTEM VALUE VALUES ('7', 'paper', 'default', 'RELEASED/USDT:USDT', 'long', '2026-01-01T00:00:00+00:00', 'false', '2026-01-01 00:00:00+00', '2026-11-30 00:10:21.933235+00', '{"position":{"symbol":"RELEASED/USDT:USDT","side":"long","quantity":"1.5","entry_price":"100","opened_at":"2026-01-01T00:00:00Z","stop_price":null,"id":null},"plan":{},"state":"closed","quantity":"1.5","best":"104.123456","last":"104.123456","suspect":null,"target":"103.09000000","trailed":true,"orders":[{"symbol":"RELEASED/USDT:USDT","side":"long","quantity":"1.5","price":"103.09000000","client_order_id":"tr84bf1744b23b6c0d2ab2","order_id":"paper-RELEASED/USDT:USDT-2","source":"last","callback":null,"triggered":false}],"asked":null,"since_move":5.0,"since_crossing":null,"due_in":null,"early":{},"candles":[],"foreign_ticks":0,"reported_entry":"100","given_up":false,"first_price":"98","native":null,"native_task":null,"saved_at":"2026-01-01T00:00:17.250000Z","exposure":{"opening":0.5,"move":0.0,"outage":0.0,"refused":0.0,"cancelled":0.0},"heard_until":"2026-01-01T00:00:12.250000Z","moves":1,"filled":"0","proceeds":"0","floor":"103.09000000","close_reason":null,"release":"keep stop","end_reason":null,"replaced_by":null,"is_waiting":false}', '080bdac1df8b8e2c690b9153ec28c2d050d288ac013fe99f8c353b769be8ac2a');
INSERT INTO old_store.stop_records (number, exchange, account, symbol, side, identity, closed, opened_at, written_at, record, plan) OVERRIDING SYSTEM VALUE VALUES ('8', 'paper', 'default', 'CLOSED/USDT:USDT', 'long', 'bot "№ 7"', 'true', '2026-01-01 00:00:00+00', '2026-11-30 00:10:21.954022+00', E'{"position":{"symbol":"CLOSED/USDT:USDT","side":"long","quantity":"1.5","entry_price":"100","opened_at":"2026-01-01T00:00:00Z","stop_price":null,"id":"bot \\"№ 7\\""},"plan":{},"state":"closed","quantity":"0","best":"104.123456","last":"95","suspect":null,"target":"103.09000000","trailed":true,"orders":[],"asked":null,"since_move":5.5,"since_crossing":null,"due_in":null,"early":{},"candles":[],"foreign_ticks":0,"reported_entry":"100","given_up":false,"first_price":"98","native":null,"native_task":null,"saved_at":"2026-01-01T00:00:17.750000Z","exposure":{"opening":0.5,"move":0.0,"outage":0.0,"refused":0.0,"cancelled":0.0},"heard_until":"2026-01-01T00:00:17.250000Z","moves":1,"filled":"1.5","proceeds":"142.5","floor":"103.09000000","close_reason":null,"release":null,"end_reason":"the stop was filled","replaced_by":null,"is_waiting":false}', '080bdac1df8b8e2c690b9153ec28c2d050d288ac013fe99f8c353b769be8ac2a');
INSERT INTO old_store.stop_records (number, exchange, account, symbol, side, identity, closed, opened_at, written_at, record, plan) OVERRIDING SYSTEM VALUE VALUES ('40', 'paper', 'default', 'RARE/USDT:USDT', 'long', '2026-01-01T00:00:00+00:00', 'false', '2026-01-01 00:00:00+00', '2026-11-30 00:10:21.97798+00', E'{"position":{"symbol":"RARE/USDT:USDT","side":"long","quantity":"1.5","entry_price":"100","opened_at":"2026-01-01T00:00:00Z","stop_price":null,"id":null},"plan":{},"state":"opening","quantity":"1.5","best":"100","last":"100","suspect":null,"target":"98","trailed":false,"orders":[],"asked":"98.10","since_move":1234567.123457,"since_crossing":1e-6,"due_in":17.654322,"early":{"t3":"0.250"},"candles":[],"foreign_ticks":0,"reported_entry":null,"given_up":false,"first_price":"98","native":null,"native_task":null,"saved_at":"2026-01-01T00:00:00.250000Z","exposure":{"opening":0.30000000000000004,"move":1e-6,"outage":123456789.12345678,"refused":0.0,"cancelled":0.0},"heard_until":"2026-01-01T00:00:00.250000Z","moves":0,"filled":"0","proceeds":"0","floor":null,"close_reason":"\\"exposure\\":1, \\"early\\":{}, \\"asked\\":null, \\"given_up\\":true 😀 \\"stop_stands\\":1","release":null,"end_reason":null,"replaced_by":null,"is_waiting":true}', '080bdac1df8b8e2c690b9153ec28c2d050d288ac013fe99f8c353b769be8ac2a');
ALTER TABLE old_store.stop_records ALTER COLUMN number RESTART WITH 1009;
INSERT INTO old_store.intent_records (number, exchange, account, client_order_id, at, intent) OVERRIDING SYSTEM VALUE VALUES ('14', 'paper', 'default', 'tr84bf359077c345745b20', '2026-01-01 00:00:27.75+00', '{"exchange":"paper","account":"default","symbol":"UNRESOLVED/USDT:USDT","side":"long","identity":"2026-01-01T00:00:00+00:00","client_order_id":"tr84bf359077c345745b20","purpose":"stop","quantity":"1.5","price":"98","at":"2026-01-01T00:00:27.750000Z"}');
INSERT INTO old_store.intent_records (number, exchange, account, client_order_id, at, intent) OVERRIDING SYSTEM VALUE VALUES ('15', 'paper', 'default', 'tr84bfc407ad05e8633e74', '2026-01-01 00:00:37.25+00', E'{"exchange":"paper","account":"default","symbol":"EXITING/USDT:USDT","side":"long","identity":"bot \\"№ 3\\"","client_order_id":"tr84bfc407ad05e8633e74","purpose":"exit","quantity":"1.5","price":null,"at":"2026-01-01T00:00:37.250000Z"}');
ALTER TABLE old_store.intent_records ALTER COLUMN number RESTART WITH 1002;
INSERT INTO old_store.events (number, at, exchange, account, event) OVERRIDING SYSTEM VALUE VALUES ('1', '2026-01-01 00:00:00.25+00', 'paper', 'default', '{"at": "2026-01-01T00:00:00.250000Z", "side": "long", "type": "OpeningFailed", "error": "StopRejected: refused on purpose", "symbol": "ABANDONED/USDT:USDT", "unresolved": false}');
INSERT INTO old_store.events (number, at, exchange, account, event) OVERRIDING SYSTEM VALUE VALUES ('2', '2026-01-01 00:00:00.5+00', 'paper', 'default', '{"at": "2026-01-01T00:00:00.500000Z", "side": "short", "type": "StopOpened", "price": "102", "symbol": "WAITING/USDT:USDT", "exposure": 0.5, "quantity": "1.5", "exposure_by": {"move": 0.0, "outage": 0.0, "opening": 0.5, "refused": 0.0, "cancelled": 0.0}, "client_order_id": "tr84bf9b82992b8e7bba17"}');
INSERT INTO old_store.events (number, at, exchange, account, event) OVERRIDING SYSTEM VALUE VALUES ('3', '2026-01-01 00:00:00.5+00', 'paper', 'default', '{"at": "2026-01-01T00:00:00.500000Z", "side": "long", "type": "StopOpened", "price": "98", "symbol": "MOVED/USDT:USDT", "exposure": 0.5, "quantity": "1.5", "exposure_by": {"move": 0.0, "outage": 0.0, "opening": 0.5, "refused": 0.0, "cancelled": 0.0}, "client_order_id": "tr84bf7e3c24893c572ffc"}');
INSERT INTO old_store.events (number, at, exchange, account, event) OVERRIDING SYSTEM VALUE VALUES ('4', '2026-01-01 00:00:00.5+00', 'paper', 'default', '{"at": "2026-01-01T00:00:00.500000Z", "side": "long", "type": "StopOpened", "price": "98", "symbol": "UPDATED/USDT:USDT", "exposure": 0.5, "quantity": "1.5", "exposure_by": {"move": 0.0, "outage": 0.0, "opening": 0.5, "refused": 0.0, "cancelled": 0.0}, "client_order_id": "tr84bf42a6c4e8ab5798b4"}');
INSERT INTO old_store.events (number, at, exchange, account, event) OVERRIDING SYSTEM VALUE VALUES ('5', '2026-01-01 00:00:00.5+00', 'paper', 'default', '{"at": "2026-01-01T00:00:00.500000Z", "side": "long", "type": "StopOpened", "price": "98", "symbol": "EXITING/USDT:USDT", "exposure": 0.5, "quantity": "1.5", "exposure_by": {"move": 0.0, "outage": 0.0, "opening": 0.5, "refused": 0.0, "cancelled": 0.0}, "client_order_id": "tr84bf56868270965ade07"}');
INSERT INTO old_store.events (number, at, exchange, account, event) OVERRIDING SYSTEM VALUE VALUES ('6', '2026-01-01 00:00:00.5+00', 'paper', 'default', '{"at": "2026-01-01T00:00:00.500000Z", "side": "long", "type": "StopOpened", "price": "98", "symbol": "RELEASED/USDT:USDT", "exposure": 0.5, "quantity": "1.5", "exposure_by": {"move": 0.0, "outage": 0.0, "opening": 0.5, "refused": 0.0, "cancelled": 0.0}, "client_order_id": "tr84bf72efb979bc439e3a"}');
INSERT INTO old_store.events (number, at, exchange, account, event) OVERRIDING SYSTEM VALUE VALUES ('7', '2026-01-01 00:00:00.5+00', 'paper', 'default', '{"at": "2026-01-01T00:00:00.500000Z", "side": "long", "type": "StopOpened", "price": "98", "symbol": "CLOSED/USDT:USDT", "exposure": 0.5, "quantity": "1.5", "exposure_by": {"move": 0.0, "outage": 0.0, "opening": 0.5, "refused": 0.0, "cancelled": 0.0}, "client_order_id": "tr84bfacca6766089d603a"}');
INSERT INTO old_store.events (number, at, exchange, account, event) OVERRIDING SYSTEM VALUE VALUES ('8', '2026-01-01 00:00:00.5+00', 'paper', 'default', '{"at": "2026-01-01T00:00:00.500000Z", "side": "long", "type": "OpeningFailed", "error": "StopRejected: refused on purpose", "symbol": "ABANDONED/USDT:USDT", "unresolved": false}');
INSERT INTO old_store.events (number, at, exchange, account, event) OVERRIDING SYSTEM VALUE VALUES ('9', '2026-01-01 00:00:07.25+00', 'paper', 'default', '{"at": "2026-01-01T00:00:07.250000Z", "side": "long", "type": "Alarm", "what": "a clean-up did not end in time", "detail": "Cancelled", "symbol": "UNRESOLVED/USDT:USDT"}');
INSERT INTO old_store.events (number, at, exchange, account, event) OVERRIDING SYSTEM VALUE VALUES ('10', '2026-01-01 00:00:07.25+00', 'paper', 'default', '{"at": "2026-01-01T00:00:07.250000Z", "side": "long", "type": "OpeningFailed", "error": "OutcomeUnknown: Cancelled", "symbol": "UNRESOLVED/USDT:USDT", "unresolved": true}');
INSERT INTO old_store.events (number, at, exchange, account, event) OVERRIDING SYSTEM VALUE VALUES ('11', '2026-01-01 00:00:12.5+00', 'paper', 'default', '{"at": "2026-01-01T00:00:12.500000Z", "side": "long", "type": "StopMoved", "price": "103.09000000", "reason": "trailing", "symbol": "UPDATED/USDT:USDT", "exposure": 0.0, "previous": "98", "exposure_by": {"move": 0.0, "outage": 0.0, "opening": 0.0, "refused": 0.0, "cancelled": 0.0}, "client_order_id": "tr84bffcbad95f5797f426"}');
INSERT INTO old_store.events (number, at, exchange, account, event) OVERRIDING SYSTEM VALUE VALUES ('12', '2026-01-01 00:00:12.5+00', 'paper', 'default', '{"at": "2026-01-01T00:00:12.500000Z", "side": "long", "type": "StopMoved", "price": "103.09000000", "reason": "trailing", "symbol": "CLOSED/USDT:USDT", "exposure": 0.0, "previous": "98", "exposure_by": {"move": 0.0, "outage": 0.0, "opening": 0.0, "refused": 0.0, "cancelled": 0.0}, "client_order_id": "tr84bf8092eef3e9bd67ce"}');
INSERT INTO old_store.events (number, at, exchange, account, event) OVERRIDING SYSTEM VALUE VALUES ('13', '2026-01-01 00:00:12.5+00', 'paper', 'default', '{"at": "2026-01-01T00:00:12.500000Z", "side": "long", "type": "StopMoved", "price": "103.09000000", "reason": "trailing", "symbol": "RELEASED/USDT:USDT", "exposure": 0.0, "previous": "98", "exposure_by": {"move": 0.0, "outage": 0.0, "opening": 0.0, "refused": 0.0, "cancelled": 0.0}, "client_order_id": "tr84bf1744b23b6c0d2ab2"}');
INSERT INTO old_store.events (number, at, exchange, account, event) OVERRIDING SYSTEM VALUE VALUES ('14', '2026-01-01 00:00:12.75+00', 'paper', 'default', '{"at": "2026-01-01T00:00:12.750000Z", "side": "long", "type": "StopMoved", "price": "103.09000000", "reason": "trailing", "symbol": "MOVED/USDT:USDT", "exposure": 0.375, "previous": "98", "exposure_by": {"move": 0.375, "outage": 0.0, "opening": 0.0, "refused": 0.0, "cancelled": 0.0}, "client_order_id": "tr84bfaa67cf0709c6fd92"}');
INSERT INTO old_store.events (number, at, exchange, account, event) OVERRIDING SYSTEM VALUE VALUES ('15', '2026-01-01 00:00:17.25+00', 'paper', 'default', '{"at": "2026-01-01T00:00:17.250000Z", "plan": {"rules": [{"type": "Callback", "distance": {"percent": "0.5"}, "activation": {"percent": "0"}}], "native": false, "pacing": {"override": null, "min_interval": 0.0, "min_improvement": {"percent": "0"}}, "trigger": "last", "max_jump": {"percent": "10"}, "retry_for": 300.0, "exit_grace": 2.0, "retry_then": "report", "stale_after": 60.0, "call_seconds": 10.0, "initial_stop": {"percent": "2"}, "journal_wait": 1.0, "max_entry_gap": {"percent": "10"}, "on_late_order": "adopt", "candle_seconds": 60.0, "min_stop_ticks": 2, "on_unprotected": "retry", "cleanup_seconds": 5.0, "reconcile_every": 60.0, "on_store_failure": "protect", "on_would_trigger": "exit", "on_stop_cancelled": "replace", "on_wave_cancelled": "withdraw", "liquidation_buffer": {"percent": "0.5"}}, "side": "long", "type": "PlanChanged", "symbol": "UPDATED/USDT:USDT", "previous": {"rules": [{"type": "Callback", "distance": {"percent": "1"}, "activation": {"percent": "1"}}], "native": false, "pacing": {"override": null, "min_interval": 0.0, "min_improvement": {"percent": "0"}}, "trigger": "last", "max_jump": {"percent": "10"}, "retry_for": 300.0, "exit_grace": 2.0, "retry_then": "report", "stale_after": 60.0, "call_seconds": 10.0, "initial_stop": {"percent": "2"}, "journal_wait": 1.0, "max_entry_gap": {"percent": "10"}, "on_late_order": "adopt", "candle_seconds": 60.0, "min_stop_ticks": 2, "on_unprotected": "retry", "cleanup_seconds": 5.0, "reconcile_every": 60.0, "on_store_failure": "protect", "on_would_trigger": "exit", "on_stop_cancelled": "replace", "on_wave_cancelled": "withdraw", "liquidation_buffer": {"percent": "0.5"}}}');
INSERT INTO old_store.events (number, at, exchange, account, event) OVERRIDING SYSTEM VALUE VALUES ('16', '2026-01-01 00:00:17.25+00', 'paper', 'default', '{"at": "2026-01-01T00:00:17.250000Z", "side": "long", "type": "PositionReleased", "symbol": "RELEASED/USDT:USDT", "stop_stands": true}');
INSERT INTO old_store.events (number, at, exchange, account, event) OVERRIDING SYSTEM VALUE VALUES ('17', '2026-01-01 00:00:17.25+00', 'paper', 'default', '{"at": "2026-01-01T00:00:17.250000Z", "left": "0", "side": "long", "type": "StopFilled", "price": "95", "symbol": "CLOSED/USDT:USDT", "quantity": "1.5", "client_order_id": "tr84bf8092eef3e9bd67ce"}');
INSERT INTO old_store.events (number, at, exchange, account, event) OVERRIDING SYSTEM VALUE VALUES ('18', '2026-01-01 00:00:17.5+00', 'paper', 'default', '{"at": "2026-01-01T00:00:17.500000Z", "side": "long", "type": "StopMoved", "price": "103.610000000", "reason": "trailing", "symbol": "UPDATED/USDT:USDT", "exposure": 0.0, "previous": "103.09000000", "exposure_by": {"move": 0.0, "outage": 0.0, "opening": 0.0, "refused": 0.0, "cancelled": 0.0}, "client_order_id": "tr84bfa8798f0951db18b5"}');
INSERT INTO old_store.events (number, at, exchange, account, event) OVERRIDING SYSTEM VALUE VALUES ('19', '2026-01-01 00:00:17.75+00', 'paper', 'default', '{"at": "2026-01-01T00:00:17.750000Z", "side": "long", "type": "PositionClosed", "moves": 1, "profit": "-7.5", "reason": "the stop was filled", "symbol": "CLOSED/USDT:USDT", "exposure": 0.5, "quantity": "1.5", "entry_price": "100", "exposure_by": {"move": 0.0, "outage": 0.0, "opening": 0.5, "refused": 0.0, "cancelled": 0.0}}');
INSERT INTO old_store.events (number, at, exchange, account, event) OVERRIDING SYSTEM VALUE VALUES ('20', '2026-01-01 00:00:37.25+00', 'paper', 'default', '{"at": "2026-01-01T00:00:37.250000Z", "side": "long", "type": "ExitStarted", "reason": "closed by the bot", "symbol": "EXITING/USDT:USDT"}');
INSERT INTO old_store.events (number, at, exchange, account, event) OVERRIDING SYSTEM VALUE VALUES ('21', '2026-01-01 00:00:00+00', 'paper', 'default', E'{"at": "2026-01-01T00:00:00Z", "side": "long", "type": "StopMoved", "price": "98.10", "reason": "\\"exposure\\":1, \\"early\\":{}, \\"asked\\":null, \\"given_up\\":true 😀 \\"stop_stands\\":1", "symbol": "RARE/USDT:USDT", "exposure": 123456789.42345777, "previous": "98", "exposure_by": {"move": 0.000001, "outage": 123456789.12345678, "opening": 0.30000000000000004, "refused": 0.0, "cancelled": 0.0}, "client_order_id": "t3"}');
INSERT INTO old_store.events (number, at, exchange, account, event) OVERRIDING SYSTEM VALUE VALUES ('22', '2026-01-01 00:00:00+00', 'paper', 'default', E'{"at": "2026-01-01T00:00:00Z", "side": "long", "type": "Alarm", "what": "JSON in a text", "detail": "\\"exposure\\":1, \\"early\\":{}, \\"asked\\":null, \\"given_up\\":true 😀 \\"stop_stands\\":1", "symbol": "RARE/USDT:USDT"}');
ALTER TABLE old_store.events ALTER COLUMN number RESTART WITH 1022;
INSERT INTO old_store.writers (writer, commits, at) VALUES ('a24b7d84-baa6-4b6b-9856-bf375dd8a434', '27', '2026-11-30 00:10:21.97798+00');
INSERT INTO old_store.leases (exchange, account, fence, holder, owner, sessions, taken_at, expires_at, marks) VALUES ('paper', 'default', '1', '5a12380e-5405-4cef-b803-e79065ad2936', 'old-host process 4711', NULL, '2025-01-01 00:00:00+00', '2025-01-02 00:00:00+00', '{beef}');
