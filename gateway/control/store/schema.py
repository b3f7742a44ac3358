"""The tables in which gateway.control.store.sqlite keeps rollouts; beside those of gateway.state.sqlite, in the same file."""

SCHEMA = """
CREATE TABLE IF NOT EXISTS rollouts (
    id TEXT PRIMARY KEY, route TEXT NOT NULL, spec_hash TEXT NOT NULL, phase TEXT NOT NULL, version INTEGER NOT NULL,
    token INTEGER NOT NULL, salt TEXT NOT NULL, created_at REAL NOT NULL, started_at REAL NOT NULL,
    entry_version INTEGER NOT NULL, attempt_version INTEGER NOT NULL, table_version INTEGER NOT NULL,
    tries INTEGER NOT NULL, learning TEXT NOT NULL, task TEXT NOT NULL, threshold TEXT NOT NULL, state TEXT NOT NULL,
    ledger TEXT NOT NULL, counts TEXT NOT NULL, incumbent TEXT NOT NULL DEFAULT 'null',
    facts TEXT NOT NULL DEFAULT 'null'
);
CREATE TABLE IF NOT EXISTS rollout_events (
    rollout TEXT NOT NULL, version INTEGER NOT NULL, token INTEGER NOT NULL, phase TEXT NOT NULL, event TEXT NOT NULL,
    PRIMARY KEY (rollout, version)
);
CREATE TABLE IF NOT EXISTS rollout_units (
    rollout TEXT NOT NULL, entry INTEGER NOT NULL, unit INTEGER NOT NULL, PRIMARY KEY (rollout, entry, unit)
) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS rollout_once (
    rollout TEXT NOT NULL, basis INTEGER NOT NULL, what TEXT NOT NULL, unit INTEGER NOT NULL,
    PRIMARY KEY (rollout, basis, what, unit)
) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS rollout_course (rollout TEXT NOT NULL, at REAL NOT NULL, point TEXT NOT NULL);
CREATE INDEX IF NOT EXISTS rollout_course_at ON rollout_course (rollout, at);
CREATE TABLE IF NOT EXISTS rollout_disagreements (
    number INTEGER PRIMARY KEY AUTOINCREMENT, rollout TEXT NOT NULL, at REAL NOT NULL, record TEXT NOT NULL,
    seen TEXT NOT NULL
);
CREATE INDEX IF NOT EXISTS rollout_disagreements_of ON rollout_disagreements (rollout, number);
DROP TABLE IF EXISTS rollout_samples;
CREATE TABLE IF NOT EXISTS rollout_pairs (
    number INTEGER PRIMARY KEY AUTOINCREMENT, rollout TEXT NOT NULL, attempt INTEGER NOT NULL, sample TEXT NOT NULL
);
CREATE INDEX IF NOT EXISTS rollout_pairs_of ON rollout_pairs (rollout, attempt, number);
CREATE TABLE IF NOT EXISTS rollout_judging (
    number INTEGER PRIMARY KEY AUTOINCREMENT, rollout TEXT NOT NULL, wanted TEXT NOT NULL, verdicts TEXT NOT NULL,
    data TEXT NOT NULL
);
CREATE INDEX IF NOT EXISTS rollout_judging_of ON rollout_judging (rollout, number);
CREATE TABLE IF NOT EXISTS rollout_judged (
    rollout TEXT NOT NULL, day INTEGER NOT NULL, pairs INTEGER NOT NULL, PRIMARY KEY (rollout, day)
);
CREATE TABLE IF NOT EXISTS rollout_told (
    rollout TEXT NOT NULL, hook INTEGER NOT NULL, version INTEGER NOT NULL, PRIMARY KEY (rollout, hook)
);
CREATE TABLE IF NOT EXISTS tail (file TEXT PRIMARY KEY, read_to INTEGER NOT NULL);
CREATE TABLE IF NOT EXISTS tail_waiting (
    id TEXT NOT NULL, role TEXT NOT NULL, file TEXT NOT NULL, at INTEGER NOT NULL, length INTEGER NOT NULL,
    time REAL NOT NULL, PRIMARY KEY (id, role)
) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS tail_seen (id TEXT PRIMARY KEY, time REAL NOT NULL) WITHOUT ROWID;
CREATE INDEX IF NOT EXISTS tail_seen_time ON tail_seen (time);
"""
