"""Stores as earlier versions made them: the schema's steps word for word as they were released, and rows for each.

These texts are never changed; a new version of the schema adds one.
"""

import sqlite3

STEPS = {
    1: """
    CREATE TABLE settings(key TEXT PRIMARY KEY, value TEXT NOT NULL) WITHOUT ROWID;
    CREATE TABLE api_tokens(hash BLOB PRIMARY KEY, name TEXT NOT NULL, created INTEGER NOT NULL) WITHOUT ROWID;
    CREATE TABLE proxies(id BLOB PRIMARY KEY, name TEXT NOT NULL UNIQUE, addresses TEXT NOT NULL, listen TEXT NOT NULL, created INTEGER NOT NULL);
    CREATE TABLE agents(id BLOB PRIMARY KEY, name TEXT NOT NULL UNIQUE, state INTEGER NOT NULL, token BLOB NOT NULL, tags TEXT NOT NULL,
     addresses TEXT NOT NULL, software TEXT NOT NULL, system TEXT NOT NULL, first_seen INTEGER NOT NULL, last_seen INTEGER NOT NULL,
     expires INTEGER NOT NULL);
    CREATE TABLE tokens(id BLOB PRIMARY KEY, tags TEXT NOT NULL, approval INTEGER NOT NULL, revoked INTEGER NOT NULL, created INTEGER NOT NULL,
     expires INTEGER NOT NULL, uses INTEGER NOT NULL);
    CREATE TABLE denied(id BLOB PRIMARY KEY, name TEXT NOT NULL, time INTEGER NOT NULL) WITHOUT ROWID;
    CREATE TABLE jobs(id BLOB PRIMARY KEY, name TEXT NOT NULL UNIQUE, kind INTEGER NOT NULL, created INTEGER NOT NULL);
    CREATE TABLE job_ends(job BLOB NOT NULL REFERENCES jobs(id) ON DELETE CASCADE, position INTEGER NOT NULL, side INTEGER NOT NULL,
     agent BLOB NOT NULL, path TEXT NOT NULL, PRIMARY KEY(job, position)) WITHOUT ROWID;
    CREATE TABLE runs(id BLOB PRIMARY KEY, job BLOB NOT NULL REFERENCES jobs(id) ON DELETE CASCADE, number INTEGER NOT NULL,
     action INTEGER NOT NULL, state INTEGER NOT NULL, started INTEGER NOT NULL, ended INTEGER NOT NULL, UNIQUE(job, number));
    CREATE TABLE flows(id BLOB PRIMARY KEY, run BLOB NOT NULL REFERENCES runs(id) ON DELETE CASCADE, position INTEGER NOT NULL,
     source BLOB NOT NULL, target BLOB NOT NULL, source_path TEXT NOT NULL, target_path TEXT NOT NULL, subfolder TEXT NOT NULL,
     token BLOB NOT NULL, generation INTEGER NOT NULL, state INTEGER NOT NULL, files_total INTEGER NOT NULL, files_done INTEGER NOT NULL,
     files_failed INTEGER NOT NULL, files_same INTEGER NOT NULL, bytes_total INTEGER NOT NULL, bytes_done INTEGER NOT NULL,
     bytes_moved INTEGER NOT NULL, micros INTEGER NOT NULL, list_complete INTEGER NOT NULL, via TEXT NOT NULL, text TEXT NOT NULL);
    CREATE TABLE flow_errors(n INTEGER PRIMARY KEY AUTOINCREMENT, run BLOB NOT NULL REFERENCES runs(id) ON DELETE CASCADE,
     flow BLOB NOT NULL, source INTEGER NOT NULL, number INTEGER NOT NULL, name BLOB NOT NULL, code TEXT NOT NULL, text TEXT NOT NULL,
     UNIQUE(flow, source, number));
    CREATE TABLE events(n INTEGER PRIMARY KEY AUTOINCREMENT, time INTEGER NOT NULL, level INTEGER NOT NULL, kind TEXT NOT NULL,
     subject BLOB NOT NULL, text TEXT NOT NULL);
    """,
    2: """
    CREATE INDEX flows_run ON flows(run, position);
    CREATE INDEX flow_errors_run ON flow_errors(run, n);
    CREATE INDEX runs_state ON runs(state);
    """,
    3: """
    CREATE TABLE users(name TEXT PRIMARY KEY, role INTEGER NOT NULL, hash TEXT NOT NULL, must_change INTEGER NOT NULL,
     disabled INTEGER NOT NULL, totp BLOB NOT NULL, totp_step INTEGER NOT NULL, created INTEGER NOT NULL, last_login INTEGER NOT NULL)
     WITHOUT ROWID;
    ALTER TABLE api_tokens ADD COLUMN role INTEGER NOT NULL DEFAULT 2;
    ALTER TABLE api_tokens ADD COLUMN expires INTEGER NOT NULL DEFAULT 0;
    ALTER TABLE api_tokens ADD COLUMN used INTEGER NOT NULL DEFAULT 0;
    CREATE TABLE audit(n INTEGER PRIMARY KEY AUTOINCREMENT, time INTEGER NOT NULL, user TEXT NOT NULL, peer TEXT NOT NULL,
     action TEXT NOT NULL, subject TEXT NOT NULL, before TEXT NOT NULL, after TEXT NOT NULL);
    CREATE TRIGGER audit_stays BEFORE DELETE ON audit BEGIN SELECT raise(ABORT, 'the audit log is only added to'); END;
    CREATE TRIGGER audit_is_true BEFORE UPDATE ON audit BEGIN SELECT raise(ABORT, 'the audit log is only added to'); END;
    """,
    4: """
    CREATE TABLE proxy_settings(proxy BLOB PRIMARY KEY REFERENCES proxies(id) ON DELETE CASCADE, state INTEGER NOT NULL,
     version INTEGER NOT NULL, good_version INTEGER NOT NULL, confirm_within INTEGER NOT NULL, good TEXT NOT NULL, tried TEXT NOT NULL,
     error TEXT NOT NULL) WITHOUT ROWID;
    """,
    5: """
    CREATE TABLE hooks(id BLOB PRIMARY KEY, name TEXT NOT NULL UNIQUE, kind INTEGER NOT NULL, target TEXT NOT NULL, events TEXT NOT NULL,
     secret BLOB NOT NULL, enabled INTEGER NOT NULL, created INTEGER NOT NULL);
    CREATE TABLE deliveries(n INTEGER PRIMARY KEY AUTOINCREMENT, hook BLOB NOT NULL REFERENCES hooks(id) ON DELETE CASCADE,
     event TEXT NOT NULL, body TEXT NOT NULL, created INTEGER NOT NULL, due INTEGER NOT NULL, attempts INTEGER NOT NULL,
     state INTEGER NOT NULL, status INTEGER NOT NULL, error TEXT NOT NULL, ended INTEGER NOT NULL);
    CREATE INDEX deliveries_due ON deliveries(state, due);
    CREATE INDEX deliveries_hook ON deliveries(hook, n);
    CREATE TABLE missing(id BLOB PRIMARY KEY, since INTEGER NOT NULL) WITHOUT ROWID;
    """,
    6: """
    ALTER TABLE jobs ADD COLUMN removed INTEGER NOT NULL DEFAULT 0;
    """,
    7: """
    CREATE TABLE agent_settings(agent BLOB PRIMARY KEY REFERENCES agents(id) ON DELETE CASCADE,
     state INTEGER NOT NULL, version INTEGER NOT NULL, good_version INTEGER NOT NULL,
     confirm_within INTEGER NOT NULL, good TEXT NOT NULL, tried TEXT NOT NULL, error TEXT NOT NULL) WITHOUT ROWID;
    """,
    8: """
    ALTER TABLE flows ADD COLUMN only BLOB NOT NULL DEFAULT x'';
    """,
    9: """
    ALTER TABLE events ADD COLUMN about BLOB NOT NULL DEFAULT x'';
    UPDATE events SET about = coalesce((SELECT job FROM runs WHERE id = subject), subject);
    CREATE INDEX events_time ON events(time);
    CREATE INDEX events_level ON events(level, time);
    CREATE INDEX events_kind ON events(kind, time);
    CREATE INDEX events_about ON events(about, time);
    CREATE VIRTUAL TABLE events_text USING fts5(text, content='', columnsize=0, tokenize='trigram', detail='none');
    INSERT INTO events_text(rowid, text) SELECT n, text FROM events;
    CREATE INDEX audit_time ON audit(time);
    CREATE INDEX audit_user ON audit(user, time);
    CREATE VIRTUAL TABLE audit_text USING fts5(what, content='', columnsize=0, tokenize='trigram', detail='none');
    INSERT INTO audit_text(rowid, what) SELECT n, action || ' ' || subject FROM audit;
    """,
    10: """
    CREATE TABLE sessions(hash BLOB PRIMARY KEY, user TEXT NOT NULL, started INTEGER NOT NULL, seen INTEGER NOT NULL) WITHOUT ROWID;
    """,
}

# What each version could hold, and its successors keep. Ids are 16 bytes; the token's hash is that of "an old token".
ROWS = {
    1: """
    INSERT INTO api_tokens(hash, name, created) VALUES(x'{token}', 'old', 1700000000);
    INSERT INTO proxies VALUES(x'{p}', 'gate', '192.0.2.1:1080', ':1080', 1700000001);
    INSERT INTO agents VALUES(x'{a}', 'left', 1, x'{t}', 'office' || char(10) || 'fast', '10.0.0.1:3839', '0.0.9', 'Linux', 1700000002,
     1700000003, 1900000000);
    INSERT INTO agents VALUES(x'{b}', 'right', 2, x'{t}', '', '', '0.0.9', 'Linux', 1700000002, 1700000003, 1900000000);
    INSERT INTO tokens VALUES(x'{t}', 'office', 1, 0, 1700000004, 1900000000, 2);
    INSERT INTO denied VALUES(x'{b}', 'right', 1700000005);
    INSERT INTO settings VALUES('denied.revision', '7');
    INSERT INTO jobs VALUES(x'{j}', 'photos', 0, 1700000006);
    INSERT INTO job_ends VALUES(x'{j}', 0, 0, x'{a}', '/photos');
    INSERT INTO job_ends VALUES(x'{j}', 1, 1, x'{b}', '/copy');
    INSERT INTO runs VALUES(x'{r}', x'{j}', 1, 0, 4, 1700000007, 1700000008);
    INSERT INTO flows VALUES(x'{f}', x'{r}', 0, x'{a}', x'{b}', '/photos', '/copy', '', x'{token}', 1, 4, 10, 9, 1, 0, 1000, 900, 900,
     5000000, 1, 'direct tcp', '');
    INSERT INTO flow_errors(run, flow, source, number, name, code, text) VALUES(x'{r}', x'{f}', 1, 1, 'a.jpg', 'EACCES', 'Permission denied');
    INSERT INTO events(time, level, kind, subject, text) VALUES(1700000009, 0, 'job.created', x'{j}', 'job photos was created');
    """,
    2: "",
    3: """
    INSERT INTO users VALUES('vera', 0, '$argon2id$none', 0, 1, x'', 0, 1700000010, 1700000011);
    INSERT INTO audit(time, user, peer, action, subject, before, after) VALUES(1700000012, 'vera', '127.0.0.1', 'POST a new user',
     '/api/v1/users', 'null', '{{"name":"vera"}}');
    """,
    4: """
    INSERT INTO proxy_settings VALUES(x'{p}', 2, 3, 3, 60, '{{"raw":"never"}}', '', '');
    """,
    5: """
    INSERT INTO hooks VALUES(x'{h}', 'pager', 0, 'http://127.0.0.1:9/', 'run.failed' || char(10) || 'agent.missing', x'{token}', 0, 1700000013);
    INSERT INTO deliveries(hook, event, body, created, due, attempts, state, status, error, ended)
     VALUES(x'{h}', 'run.failed', '{{}}', 1700000014, 1700000015, 1, 0, 500, 'it answered with status 500', 0);
    INSERT INTO missing VALUES(x'{a}', 1700000016);
    """,
    6: """
    INSERT INTO jobs VALUES(x'{k}', '{k}', 0, 1700000017, 1);
    INSERT INTO runs VALUES(x'{q}', x'{k}', 1, 0, 4, 1700000018, 1700000019);
    """,
    7: """
    INSERT INTO agent_settings VALUES(x'{a}', 2, 3, 3, 0, '{{"rate_limit_upload":512}}', '', '');
    """,
    8: """
    UPDATE flows SET only = CAST('a.jpg' || char(0) AS BLOB);
    """,
    9: """
    INSERT INTO events(time, level, kind, subject, text, about) VALUES(1700000020, 2, 'run.finished', x'{r}', 'run 1 of job photos failed', x'{j}');
    INSERT INTO events_text(rowid, text) SELECT n, text FROM events WHERE kind = 'run.finished';
    """,
    10: """
    INSERT INTO sessions VALUES(x'{token}', 'vera', 1700000021, 1700000022);
    """,
}

IDS = {name: (name.encode() * 16).hex() for name in "abfhjkpqrt"}
TOKEN = "an-old-token"


def make(path, version, token_hash):
    """A store of schema @version at @path, with its rows."""
    database = sqlite3.connect(path)
    for step in range(1, version + 1):
        database.executescript(STEPS[step])
        database.executescript(ROWS[step].format(token=token_hash, **IDS))
    database.execute(f"PRAGMA user_version = {version}")
    database.commit()
    database.close()


def shape(path):
    """What a store consists of: {name: SQL without white space} of its tables, indexes and triggers."""
    database = sqlite3.connect(path)
    found = {name: "".join((sql or "").split()) for name, sql in database.execute("SELECT name, sql FROM sqlite_master")}
    version = database.execute("PRAGMA user_version").fetchone()[0]
    database.close()
    return version, found
