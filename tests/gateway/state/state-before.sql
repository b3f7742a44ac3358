BEGIN TRANSACTION;
CREATE TABLE adapters (
    name TEXT NOT NULL, upstream TEXT NOT NULL, path TEXT NOT NULL, added_at REAL NOT NULL, base TEXT,
    PRIMARY KEY (name, upstream)
);
INSERT INTO "adapters" VALUES('a@111111','gpu','/a',1000000000.25,'base');
INSERT INTO "adapters" VALUES('b@222222','gpu','/b',1000000000.25,NULL);
CREATE TABLE documents (kind TEXT NOT NULL, key TEXT NOT NULL, data TEXT NOT NULL, PRIMARY KEY (kind, key))
WITHOUT ROWID;
INSERT INTO "documents" VALUES('alarm','b','{"x": null}');
INSERT INTO "documents" VALUES('drift','triage	novelty','{"at": 1.5}');
CREATE TABLE events (
    id INTEGER PRIMARY KEY AUTOINCREMENT, time REAL NOT NULL, subject TEXT NOT NULL, who TEXT NOT NULL, what TEXT NOT NULL
);
INSERT INTO "events" VALUES(1,1000000000.25,'route/triage','controller','{"rollout": "triage-1", "mode": "shadow", "weight_bp": 0, "why": "prechecked: prechecks passed"}');
INSERT INTO "events" VALUES(2,1000000000.25,'route/triage','ann','{"rollout": "triage-1", "mode": "teacher", "weight_bp": 0, "why": "abort: because"}');
INSERT INTO "events" VALUES(3,1000000000.25,'route/triage','controller','{"rollout": "triage-2", "mode": "shadow", "weight_bp": 0, "why": "prechecked: prechecks passed"}');
INSERT INTO "events" VALUES(4,1000000000.25,'adapter/a@111111','ann','{"add": "/a", "upstream": "gpu"}');
INSERT INTO "events" VALUES(5,1000000000.25,'adapter/b@222222','ann','{"add": "/b", "upstream": "gpu"}');
INSERT INTO "events" VALUES(6,1000000000.25,'route/other','bob','{"mode": "canary", "weight_bp": 1000, "why": "by hand"}');
CREATE TABLE lease (name TEXT PRIMARY KEY, holder TEXT NOT NULL, token INTEGER NOT NULL, until REAL NOT NULL);
INSERT INTO "lease" VALUES('controller','tmpky5xzq38-controller-1',1,1.76446810942345595363e+09);
CREATE TABLE meta (version INTEGER NOT NULL);
INSERT INTO "meta" VALUES(7);
CREATE TABLE rollout_course (rollout TEXT NOT NULL, at REAL NOT NULL, point TEXT NOT NULL);
INSERT INTO "rollout_course" VALUES('triage-1',1.76446804522345662116e+09,'{"phase": "precheck", "step": "", "share": 0.0, "pairs": 0, "agreement": null, "low": 0.0, "high": 1.0, "log_e": {"agreement": 0.0}, "harm_log_e": {"agreement": 0.0, "errors": 0.0}}');
INSERT INTO "rollout_course" VALUES('triage-2',1.76446810642345595357e+09,'{"phase": "precheck", "step": "", "share": 0.0, "pairs": 0, "agreement": null, "low": 0.0, "high": 1.0, "log_e": {"agreement": 0.0}, "harm_log_e": {"agreement": 0.0, "errors": 0.0}}');
CREATE TABLE rollout_disagreements (
    number INTEGER PRIMARY KEY AUTOINCREMENT, rollout TEXT NOT NULL, at REAL NOT NULL, record TEXT NOT NULL,
    seen TEXT NOT NULL
);
INSERT INTO "rollout_disagreements" VALUES(1,'triage-1',1.76446804552345633504e+09,'id-2','{"prompt": "?", "teacher": "yes", "student": "no", "slices": [], "why": ""}');
INSERT INTO "rollout_disagreements" VALUES(2,'triage-1',1.76446804552345633504e+09,'id-3','{"prompt": "?", "teacher": "yes", "student": "no", "slices": [], "why": ""}');
INSERT INTO "rollout_disagreements" VALUES(3,'triage-2',1.76446810692345547677e+09,'rec-1','{"prompt": "h\u00e9", "teacher": "yes", "student": "no"}');
INSERT INTO "rollout_disagreements" VALUES(4,'triage-2',1.76446810792345547668e+09,'rec-2','{"prompt": "?", "teacher": "yes", "student": "no"}');
CREATE TABLE rollout_events (
    rollout TEXT NOT NULL, version INTEGER NOT NULL, token INTEGER NOT NULL, phase TEXT NOT NULL, event TEXT NOT NULL,
    PRIMARY KEY (rollout, version)
);
INSERT INTO "rollout_events" VALUES('triage-1',1,0,'precheck','{"kind": "start", "at": 1764468045.1234567, "version": 0, "actor": "ann", "reason": "", "key": "start-1", "data": {}}');
INSERT INTO "rollout_events" VALUES('triage-1',2,1,'shadow','{"kind": "prechecked", "at": 1764468045.2234566, "version": 1, "actor": "controller", "reason": "prechecks passed", "key": "", "data": {}}');
INSERT INTO "rollout_events" VALUES('triage-1',3,1,'aborted','{"kind": "abort", "at": 1764468045.823456, "version": 2, "actor": "ann", "reason": "because", "key": "", "data": {}}');
INSERT INTO "rollout_events" VALUES('triage-2',1,0,'precheck','{"kind": "start", "at": 1764468106.323456, "version": 0, "actor": "ann", "reason": "", "key": "start-2", "data": {}}');
INSERT INTO "rollout_events" VALUES('triage-2',2,1,'shadow','{"kind": "prechecked", "at": 1764468106.423456, "version": 1, "actor": "controller", "reason": "prechecks passed", "key": "", "data": {}}');
CREATE TABLE rollout_judged (
    rollout TEXT NOT NULL, day INTEGER NOT NULL, pairs INTEGER NOT NULL, PRIMARY KEY (rollout, day)
);
INSERT INTO "rollout_judged" VALUES('triage-2',20422,3);
INSERT INTO "rollout_judged" VALUES('triage-1',20421,1);
CREATE TABLE rollout_judging (
    number INTEGER PRIMARY KEY AUTOINCREMENT, rollout TEXT NOT NULL, wanted TEXT NOT NULL, verdicts TEXT NOT NULL,
    data TEXT NOT NULL
);
INSERT INTO "rollout_judging" VALUES(2,'triage-2','[0, 1]','{"0": "A"}','{"conversation": "c1"}');
INSERT INTO "rollout_judging" VALUES(3,'triage-2','[0, 1]','{}','{"conversation": "c2"}');
INSERT INTO "rollout_judging" VALUES(4,'triage-1','[0]','{}','{"conversation": "old"}');
CREATE TABLE rollout_samples (
    number INTEGER PRIMARY KEY AUTOINCREMENT, rollout TEXT NOT NULL, attempt INTEGER NOT NULL, sample TEXT NOT NULL
);
INSERT INTO "rollout_samples" VALUES(1,'triage-2',1,'[[0.0, 0.3333333333333333], false]');
INSERT INTO "rollout_samples" VALUES(2,'triage-2',1,'[[0.1, 0.3333333333333333], true]');
INSERT INTO "rollout_samples" VALUES(3,'triage-2',1,'[[0.2, 0.3333333333333333], false]');
CREATE TABLE rollout_told (
    rollout TEXT NOT NULL, hook INTEGER NOT NULL, version INTEGER NOT NULL, PRIMARY KEY (rollout, hook)
);
INSERT INTO "rollout_told" VALUES('triage-1',0,2);
CREATE TABLE rollout_units (
    rollout TEXT NOT NULL, entry INTEGER NOT NULL, unit INTEGER NOT NULL, failed_at REAL,
    PRIMARY KEY (rollout, entry, unit)
) WITHOUT ROWID;
INSERT INTO "rollout_units" VALUES('triage-2',1,7,NULL);
INSERT INTO "rollout_units" VALUES('triage-2',1,18446744073709551,1.76446810692345547677e+09);
CREATE TABLE rollouts (
    id TEXT PRIMARY KEY, route TEXT NOT NULL, spec_hash TEXT NOT NULL, phase TEXT NOT NULL, version INTEGER NOT NULL,
    token INTEGER NOT NULL, salt TEXT NOT NULL, created_at REAL NOT NULL, started_at REAL NOT NULL,
    entry_version INTEGER NOT NULL, attempt_version INTEGER NOT NULL, table_version INTEGER NOT NULL,
    tries INTEGER NOT NULL, learning TEXT NOT NULL, task TEXT NOT NULL, threshold TEXT NOT NULL, state TEXT NOT NULL,
    ledger TEXT NOT NULL, counts TEXT NOT NULL, incumbent TEXT NOT NULL DEFAULT 'null'
);
INSERT INTO "rollouts" VALUES('triage-1','triage','b4d09b3a0515','aborted',3,1,'salt-1',1.76446804512345671654e+09,1.76446804512345671654e+09,2,2,3,0,'','{"kind": "label", "labels": ["yes", "no"]}','null','{"id": "triage-1", "spec": {"route": "triage", "student": "triage@3f9c1a0b22de", "steps": [{"kind": "shadow", "weight_bp": 0, "n_min": 50, "dwell_s": 0.0, "t_max_s": 3600.0, "approval": false, "risk": 0.05, "delta": 0.1}, {"kind": "canary", "weight_bp": 1000, "n_min": 20, "dwell_s": 10.0, "t_max_s": 604800.0, "approval": false, "risk": 0.05, "delta": 0.1}, {"kind": "full", "weight_bp": 10000, "n_min": 20, "dwell_s": 10.0, "t_max_s": 604800.0, "approval": false, "risk": 0.05, "delta": 0.1}], "gates": [{"name": "agreement", "signal": "agreement", "start": {"kind": "agreement", "p0": 0.5, "harm": false, "agreed": 0, "disagreed": 0}, "log_threshold": 2.995732273553991, "needed_in": ["shadow", "canary", "hybrid", "full"]}], "harm": [{"name": "agreement", "signal": "agreement", "start": {"kind": "agreement", "p0": 0.45, "harm": true, "agreed": 0, "disagreed": 0}, "log_threshold": 5.298317366548036, "needed_in": ["shadow", "canary", "hybrid", "full"]}, {"name": "errors", "signal": "errors", "start": {"kind": "error_ratio", "tolerance": 0.25, "multiples": [1.25, 1.5, 2.0, 3.0, 5.0], "n": 0, "logs": [0.0, 0.0, 0.0, 0.0, 0.0]}, "log_threshold": 5.298317366548036, "needed_in": ["canary"]}], "watch": {"name": "watch", "signal": "agreement", "start": {"kind": "watch", "p0": 0.5, "multiples": [1.5], "n": 0, "log_m1": [0.0]}, "log_threshold": 9.210340371976184, "needed_in": []}, "srm_log_threshold": 6.907755278982137, "stale_s": 900.0, "audit": 0.05, "on_inconclusive": "hold", "notify": [{"url": "http://127.0.0.1:9/x", "url_env": null, "events": []}], "task": {"kind": "label", "labels": ["yes", "no"]}, "slices": []}, "salt": "salt-1", "updated_at": 1764468045.823456, "phase": "aborted", "step": 0, "version": 3, "attempt": 1, "entry": 1, "entered_at": 1764468045.2234566, "held_s": 0.0, "held": null, "held_at": 0.0, "hold": null, "note": "because", "approval": "none", "goal": "rolled_back", "keys": ["start-1"]}','{"attempt": 1, "entry": 1, "weight_bp": 0, "step_n": 3, "step_last_at": 1764468045.5234563, "pairs": 3, "unparsed": 0, "promote": {"agreement": {"signal": "agreement", "gate": {"kind": "agreement", "p0": 0.5, "harm": false, "agreed": 1, "disagreed": 2}, "last_at": 1764468045.5234563}}, "harm": {"agreement": {"signal": "agreement", "gate": {"kind": "agreement", "p0": 0.45, "harm": true, "agreed": 1, "disagreed": 2}, "last_at": 1764468045.5234563}, "errors": {"signal": "errors", "gate": {"kind": "error_ratio", "tolerance": 0.25, "multiples": [1.25, 1.5, 2.0, 3.0, 5.0], "n": 0, "logs": [0.0, 0.0, 0.0, 0.0, 0.0]}, "last_at": null}}, "phase": "aborted", "watch": {"signal": "agreement", "gate": {"kind": "watch", "p0": 0.5, "multiples": [1.5], "n": 0, "log_m1": [0.0]}, "last_at": null}, "srm": null}','{}','null');
INSERT INTO "rollouts" VALUES('triage-2','triage','91773d957c07','shadow',2,1,'salt-1',1.76446810632345604894e+09,1.76446810632345604894e+09,4,4,4,0,'','{"kind": "label", "labels": ["yes", "no"]}','null','{"id": "triage-2", "spec": {"route": "triage", "student": "triage@3f9c1a0b22de", "steps": [{"kind": "shadow", "weight_bp": 0, "n_min": 50, "dwell_s": 0.0, "t_max_s": 3600.0, "approval": false, "risk": 0.05, "delta": 0.1}, {"kind": "canary", "weight_bp": 1000, "n_min": 20, "dwell_s": 10.0, "t_max_s": 604800.0, "approval": false, "risk": 0.05, "delta": 0.1}, {"kind": "full", "weight_bp": 10000, "n_min": 20, "dwell_s": 10.0, "t_max_s": 604800.0, "approval": false, "risk": 0.05, "delta": 0.1}], "gates": [{"name": "agreement", "signal": "agreement", "start": {"kind": "agreement", "p0": 0.5, "harm": false, "agreed": 0, "disagreed": 0}, "log_threshold": 2.995732273553991, "needed_in": ["shadow", "canary", "hybrid", "full"]}], "harm": [{"name": "agreement", "signal": "agreement", "start": {"kind": "agreement", "p0": 0.45, "harm": true, "agreed": 0, "disagreed": 0}, "log_threshold": 5.298317366548036, "needed_in": ["shadow", "canary", "hybrid", "full"]}, {"name": "errors", "signal": "errors", "start": {"kind": "error_ratio", "tolerance": 0.25, "multiples": [1.25, 1.5, 2.0, 3.0, 5.0], "n": 0, "logs": [0.0, 0.0, 0.0, 0.0, 0.0]}, "log_threshold": 5.298317366548036, "needed_in": ["canary"]}], "watch": {"name": "watch", "signal": "agreement", "start": {"kind": "watch", "p0": 0.5, "multiples": [1.5], "n": 0, "log_m1": [0.0]}, "log_threshold": 9.210340371976184, "needed_in": []}, "srm_log_threshold": 6.907755278982137, "stale_s": 900.0, "audit": 0.05, "on_inconclusive": "hold", "notify": [], "task": {"kind": "label", "labels": ["yes", "no"]}, "slices": []}, "salt": "salt-1", "updated_at": 1764468106.423456, "phase": "shadow", "step": 0, "version": 2, "attempt": 1, "entry": 1, "entered_at": 1764468106.423456, "held_s": 0.0, "held": null, "held_at": 0.0, "hold": null, "note": "prechecks passed", "approval": "none", "goal": "rolled_back", "keys": ["start-2"]}','{"attempt": 1, "entry": 1, "weight_bp": 0, "step_n": 2, "step_last_at": 1764468106.7234557, "pairs": 2, "unparsed": 0, "promote": {"agreement": {"signal": "agreement", "gate": {"kind": "agreement", "p0": 0.5, "harm": false, "agreed": 2, "disagreed": 0}, "last_at": 1764468106.7234557}}, "harm": {"agreement": {"signal": "agreement", "gate": {"kind": "agreement", "p0": 0.45, "harm": true, "agreed": 2, "disagreed": 0}, "last_at": 1764468106.7234557}, "errors": {"signal": "errors", "gate": {"kind": "error_ratio", "tolerance": 0.25, "multiples": [1.25, 1.5, 2.0, 3.0, 5.0], "n": 0, "logs": [0.0, 0.0, 0.0, 0.0, 0.0]}, "last_at": null}}, "phase": "shadow", "watch": {"signal": "agreement", "gate": {"kind": "watch", "p0": 0.5, "multiples": [1.5], "n": 0, "log_m1": [0.0]}, "last_at": null}, "srm": null}','{}','null');
CREATE TABLE routes (
    name TEXT PRIMARY KEY, mode TEXT, weight_bp INTEGER, adapter TEXT, version INTEGER NOT NULL,
    rollout TEXT, salt TEXT, audit_bp INTEGER, logprobs INTEGER, threshold TEXT, incumbent TEXT, limit_bp INTEGER
);
INSERT INTO "routes" VALUES('triage','shadow',0,'triage@3f9c1a0b22de',4,'triage-2','salt-1',500,0,NULL,NULL,NULL);
INSERT INTO "routes" VALUES('other','canary',1000,NULL,2,NULL,NULL,NULL,NULL,NULL,NULL,NULL);
CREATE TABLE served (worker TEXT PRIMARY KEY, version INTEGER NOT NULL, time REAL NOT NULL);
INSERT INTO "served" VALUES('0',4,1000000000.25);
CREATE TABLE tail (file TEXT PRIMARY KEY, read_to INTEGER NOT NULL);
INSERT INTO "tail" VALUES('w0.jsonl',8648);
CREATE TABLE tail_seen (id TEXT PRIMARY KEY, time REAL NOT NULL) WITHOUT ROWID;
INSERT INTO "tail_seen" VALUES('id-1',1.76446804552345633504e+09);
INSERT INTO "tail_seen" VALUES('id-2',1.76446804552345633504e+09);
INSERT INTO "tail_seen" VALUES('id-3',1.76446804552345633504e+09);
INSERT INTO "tail_seen" VALUES('shadow-1',1.76446804552345633504e+09);
INSERT INTO "tail_seen" VALUES('shadow-2',1.76446804552345633504e+09);
INSERT INTO "tail_seen" VALUES('shadow-3',1.76446804552345633504e+09);
INSERT INTO "tail_seen" VALUES('id-4',1.76446804562345623966e+09);
INSERT INTO "tail_seen" VALUES('id-5',1.76446810672345566744e+09);
INSERT INTO "tail_seen" VALUES('id-6',1.76446810672345566744e+09);
INSERT INTO "tail_seen" VALUES('shadow-5',1.76446810672345566744e+09);
INSERT INTO "tail_seen" VALUES('shadow-6',1.76446810672345566744e+09);
INSERT INTO "tail_seen" VALUES('id-7',1.76446810682345557215e+09);
CREATE TABLE tail_waiting (
    id TEXT NOT NULL, role TEXT NOT NULL, file TEXT NOT NULL, at INTEGER NOT NULL, length INTEGER NOT NULL,
    time REAL NOT NULL, PRIMARY KEY (id, role)
) WITHOUT ROWID;
INSERT INTO "tail_waiting" VALUES('id-4','served','w0.jsonl',4334,711,1.76446804562345623966e+09);
INSERT INTO "tail_waiting" VALUES('id-7','served','w0.jsonl',7938,709,1.76446810682345557215e+09);
CREATE INDEX rollout_course_at ON rollout_course (rollout, at);
CREATE INDEX rollout_disagreements_of ON rollout_disagreements (rollout, number);
CREATE INDEX rollout_samples_of ON rollout_samples (rollout, attempt, number);
CREATE INDEX rollout_judging_of ON rollout_judging (rollout, number);
CREATE INDEX tail_seen_time ON tail_seen (time);
DELETE FROM "sqlite_sequence";
INSERT INTO "sqlite_sequence" VALUES('events',6);
INSERT INTO "sqlite_sequence" VALUES('rollout_disagreements',4);
INSERT INTO "sqlite_sequence" VALUES('rollout_samples',3);
INSERT INTO "sqlite_sequence" VALUES('rollout_judging',4);
COMMIT;
