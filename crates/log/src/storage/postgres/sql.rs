//! The statements. Each is a transaction of its own, and each that writes under a lease locks the lease's row first:
//! a takeover waits for it, and it finds no row once the lease has passed on.

/// Whether there are notifications, and the settings that say whether a commit is durable.
pub(super) const SETTINGS: &str =
    "SELECT current_setting('fsync', true), current_setting('synchronous_commit', true),
    EXISTS (SELECT 1 FROM pg_proc WHERE proname = 'pg_notify')";

pub(super) const READY: &str = "SELECT count(*) = 5 FROM information_schema.tables WHERE table_name IN
    ('countersign_lease', 'countersign_file', 'countersign_key', 'countersign_keys', 'countersign_queue')
    AND table_schema = current_schema()";

pub(super) const TABLES: &str = "
CREATE TABLE IF NOT EXISTS countersign_lease (
    log text PRIMARY KEY, holder text NOT NULL, token bigint NOT NULL, ends timestamptz NOT NULL);
CREATE TABLE IF NOT EXISTS countersign_file (
    log text NOT NULL, path text NOT NULL, written bigint GENERATED ALWAYS AS IDENTITY,
    at bigint NOT NULL, content bytea NOT NULL, PRIMARY KEY (log, path, written));
CREATE INDEX IF NOT EXISTS countersign_file_at ON countersign_file (log, path, at);
CREATE TABLE IF NOT EXISTS countersign_key (
    log text NOT NULL, key bytea NOT NULL, position bigint NOT NULL, PRIMARY KEY (log, key));
CREATE TABLE IF NOT EXISTS countersign_keys (log text PRIMARY KEY, upto bigint NOT NULL);
CREATE TABLE IF NOT EXISTS countersign_queue (
    id bytea PRIMARY KEY, log text NOT NULL, place bigint GENERATED ALWAYS AS IDENTITY,
    key bytea NOT NULL, form bytea NOT NULL, made timestamptz NOT NULL DEFAULT clock_timestamp(),
    position bigint, duplicate boolean, refusal smallint, reason text);
CREATE INDEX IF NOT EXISTS countersign_queue_waiting ON countersign_queue (log, place)
    WHERE position IS NULL AND refusal IS NULL;
";

/// Entries do not get smaller by being compressed.
pub(super) const STORAGE: &str = "ALTER TABLE countersign_file ALTER COLUMN content SET STORAGE EXTERNAL";

pub(super) const LISTEN: &str = "LISTEN countersign";
pub(super) const NOTIFY: &str = "SELECT pg_notify('countersign', $1)";

pub(super) const ACQUIRE: &str = "
INSERT INTO countersign_lease AS l (log, holder, token, ends)
    VALUES ($1, $2, 1, clock_timestamp() + $3::float8 * interval '1 millisecond')
ON CONFLICT (log) DO UPDATE SET holder = $2, token = l.token + 1,
    ends = clock_timestamp() + $3::float8 * interval '1 millisecond'
    WHERE l.ends < clock_timestamp() OR l.holder = $2
RETURNING token";

/// Whoever holds it; statements that write under its old token are waited for.
pub(super) const TAKE_OVER: &str = "
INSERT INTO countersign_lease AS l (log, holder, token, ends)
    VALUES ($1, $2, 1, clock_timestamp() + $3::float8 * interval '1 millisecond')
ON CONFLICT (log) DO UPDATE SET holder = $2, token = l.token + 1,
    ends = clock_timestamp() + $3::float8 * interval '1 millisecond'
RETURNING token";

pub(super) const HOLDER: &str = "SELECT holder FROM countersign_lease WHERE log = $1";

pub(super) const RENEW: &str = "
UPDATE countersign_lease SET ends = clock_timestamp() + $3::float8 * interval '1 millisecond'
    WHERE log = $1 AND token = $2 RETURNING token";

pub(super) const RELEASE: &str = "
UPDATE countersign_lease SET ends = clock_timestamp() - interval '1 second' WHERE log = $1 AND token = $2";

/// The pieces of a file in the order in which they were written.
pub(super) const READ: &str =
    "SELECT at, content FROM countersign_file WHERE log = $1 AND path = $2 ORDER BY written";

pub(super) const PATHS: &str = "SELECT DISTINCT path FROM countersign_file WHERE log = $1 ORDER BY path";

/// A statement that writes under a lease; it says whether the lease was ours, and how many pieces it made.
macro_rules! fenced {
    ($writes:literal) => {
        concat!(
            "WITH held AS (SELECT 1 FROM countersign_lease WHERE log = $1 AND token = $2 FOR SHARE), ",
            $writes,
            " SELECT (SELECT count(*) FROM held), (SELECT count(*) FROM made)"
        )
    };
}

pub(super) const CREATE: &str = fenced!(
    "made AS (INSERT INTO countersign_file (log, path, at, content) SELECT $1, $3, 0, ''::bytea FROM held
        WHERE NOT EXISTS (SELECT 1 FROM countersign_file WHERE log = $1 AND path = $3) RETURNING 1)"
);

/// Pieces which are wholly under the new one go.
pub(super) const WRITE: &str = fenced!(
    "gone AS (DELETE FROM countersign_file f USING held WHERE f.log = $1 AND f.path = $3
        AND f.at >= $4 AND f.at + length(f.content) <= $4 + length($5::bytea)),
    made AS (INSERT INTO countersign_file (log, path, at, content)
        SELECT $1, $3, $4, $5::bytea FROM held RETURNING 1)"
);

/// An empty piece at the end says how long the file is.
pub(super) const SET_LEN: &str = fenced!(
    "gone AS (DELETE FROM countersign_file f USING held WHERE f.log = $1 AND f.path = $3 AND f.at >= $4),
    cut AS (UPDATE countersign_file f SET content = substr(f.content, 1, ($4 - f.at)::int) FROM held
        WHERE f.log = $1 AND f.path = $3 AND f.at < $4 AND f.at + length(f.content) > $4),
    made AS (INSERT INTO countersign_file (log, path, at, content)
        SELECT $1, $3, $4, ''::bytea FROM held RETURNING 1)"
);

pub(super) const REPLACE: &str = fenced!(
    "gone AS (DELETE FROM countersign_file f USING held WHERE f.log = $1 AND f.path = $3),
    made AS (INSERT INTO countersign_file (log, path, at, content)
        SELECT $1, $3, 0, $4::bytea FROM held RETURNING 1)"
);

pub(super) const REMOVE: &str = fenced!(
    "made AS (DELETE FROM countersign_file f USING held WHERE f.log = $1 AND f.path = $3 RETURNING 1)"
);

pub(super) const REMOVE_DIRECTORY: &str = fenced!(
    "made AS (DELETE FROM countersign_file f USING held
        WHERE f.log = $1 AND left(f.path, length($3)) = $3 RETURNING 1)"
);

pub(super) const KEYS_UPTO: &str = "SELECT upto FROM countersign_keys WHERE log = $1";

pub(super) const FIND_KEYS: &str =
    "SELECT key, position FROM countersign_key WHERE log = $1 AND key = ANY($2::bytea[])";

pub(super) const ADD_KEYS: &str = fenced!(
    "new AS (INSERT INTO countersign_key SELECT $1, n.key, n.position
        FROM held, unnest($3::bytea[], $4::bigint[]) AS n (key, position) ORDER BY n.position
        ON CONFLICT DO NOTHING),
    made AS (INSERT INTO countersign_keys SELECT $1, $5 FROM held
        ON CONFLICT (log) DO UPDATE SET upto = EXCLUDED.upto RETURNING 1)"
);

pub(super) const CLEAR_KEYS: &str = fenced!(
    "gone AS (DELETE FROM countersign_key k USING held WHERE k.log = $1),
    made AS (DELETE FROM countersign_keys k USING held WHERE k.log = $1 RETURNING 1)"
);

pub(super) const ENQUEUE: &str = "
INSERT INTO countersign_queue (id, log, key, form)
    SELECT n.id, $1, n.key, n.form FROM unnest($2::bytea[], $3::bytea[], $4::bytea[]) AS n (id, key, form)
ON CONFLICT DO NOTHING";

pub(super) const WAITING: &str = "
SELECT id, key, form FROM countersign_queue
    WHERE log = $1 AND position IS NULL AND refusal IS NULL ORDER BY place LIMIT $2";

pub(super) const ANSWER: &str = "
UPDATE countersign_queue q SET position = n.position, duplicate = n.duplicate, refusal = n.refusal, reason = n.reason
    FROM unnest($2::bytea[], $3::bigint[], $4::boolean[], $5::smallint[], $6::text[])
        AS n (id, position, duplicate, refusal, reason)
    WHERE q.log = $1 AND q.id = n.id AND q.position IS NULL AND q.refusal IS NULL";

pub(super) const COLLECT: &str = "
DELETE FROM countersign_queue
    WHERE log = $1 AND id = ANY($2::bytea[]) AND (position IS NOT NULL OR refusal IS NOT NULL)
    RETURNING id, position, duplicate, refusal, reason";

pub(super) const WITHDRAW: &str = "DELETE FROM countersign_queue WHERE log = $1 AND id = ANY($2::bytea[])";

pub(super) const FORGET: &str = "
DELETE FROM countersign_queue WHERE log = $1 AND made < clock_timestamp() - $2::float8 * interval '1 millisecond'";
