/* store_statements.c - what the store says in SQL, but for its schema. */
#include "console/store_sql.h"

#define RUN_COLUMNS   "id, job, number, action, state, started, ended"
#define TOKEN_COLUMNS "id, tags, approval, revoked, created, expires, uses"

#define SETTINGS_PUT(of)                                                                           \
    "INSERT INTO " of "_settings(" of ", state, version, good_version, confirm_within, good,"      \
    " tried, error) VALUES(?, ?, ?, ?, ?, ?, ?, ?) ON CONFLICT(" of ") DO UPDATE SET"              \
    " state = excluded.state, version = excluded.version, good_version = excluded.good_version,"   \
    " confirm_within = excluded.confirm_within, good = excluded.good, tried = excluded.tried,"     \
    " error = excluded.error"
#define SETTINGS_GET(of)                                                                           \
    "SELECT state, version, good_version, confirm_within, good, tried, error FROM " of "_settings" \
    " WHERE " of " = ?"

/* Each value of an indexed column once, by a step along the index for each and not for each row. */
#define EACH_OF(table, column)                                                                     \
    "WITH RECURSIVE each(v) AS (SELECT min(" column ") FROM " table                                \
    " UNION ALL SELECT (SELECT min(" column ") FROM " table " WHERE " column " > v) FROM each"     \
    " WHERE v IS NOT NULL) SELECT v FROM each WHERE v IS NOT NULL"

const char *const store_statements[S_COUNT] = {
    [S_BEGIN] = "BEGIN IMMEDIATE",
    [S_COMMIT] = "COMMIT",
    [S_ROLLBACK] = "ROLLBACK",
    [S_GET] = "SELECT value FROM settings WHERE key = ?",
    [S_PUT] =
        "INSERT INTO settings VALUES(?, ?) ON CONFLICT(key) DO UPDATE SET value = excluded.value",
    [S_PROXY_ADD] =
        "INSERT INTO proxies(id, name, addresses, listen, created) VALUES(?, ?, ?, ?, ?)",
    [S_PROXY_REMOVE] = "DELETE FROM proxies WHERE id = ?",
    [S_PROXIES] =
        "SELECT id, name, addresses, listen, created FROM proxies ORDER BY created, rowid",
    [S_SETTINGS_PUT] = SETTINGS_PUT("proxy"),
    [S_SETTINGS_GET] = SETTINGS_GET("proxy"),
    [S_AGENT_SETTINGS_PUT] = SETTINGS_PUT("agent"),
    [S_AGENT_SETTINGS_GET] = SETTINGS_GET("agent"),
    [S_AGENT_PUT] =
        "INSERT INTO agents(id, name, state, token, tags, addresses, software, system, first_seen,"
        " last_seen, expires) VALUES(?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?) ON CONFLICT(id) DO UPDATE SET"
        " name = excluded.name, state = excluded.state, token = excluded.token, tags = "
        "excluded.tags,"
        " addresses = excluded.addresses, software = excluded.software, system = excluded.system,"
        " first_seen = excluded.first_seen, last_seen = excluded.last_seen, expires = "
        "excluded.expires",
    [S_AGENTS] = "SELECT id, name, state, token, tags, addresses, software, system, first_seen, "
                 "last_seen, expires"
                 " FROM agents ORDER BY name",
    [S_TOKEN_ADD] = "INSERT INTO tokens(" TOKEN_COLUMNS ") VALUES(?, ?, ?, ?, ?, ?, ?)",
    [S_TOKEN_GET] = "SELECT " TOKEN_COLUMNS " FROM tokens WHERE id = ?",
    [S_TOKEN_USE] = "UPDATE tokens SET uses = uses + 1 WHERE id = ?",
    [S_TOKEN_REVOKE] = "UPDATE tokens SET revoked = 1 WHERE id = ?",
    [S_TOKENS] = "SELECT " TOKEN_COLUMNS " FROM tokens ORDER BY created",
    [S_DENY] = "INSERT INTO denied VALUES(?, ?, ?) ON CONFLICT(id) DO NOTHING",
    [S_DENIED] = "SELECT id FROM denied ORDER BY id",
    [S_JOB_ADD] = "INSERT INTO jobs(id, name, kind, created) VALUES(?, ?, ?, ?)",
    [S_JOB_END_ADD] =
        "INSERT INTO job_ends(job, position, side, agent, path) VALUES(?, ?, ?, ?, ?)",
    [S_JOB_REMOVE] = "UPDATE jobs SET removed = 1, name = hex(id) WHERE id = ?",
    [S_SWEEP_JOB] = "SELECT id FROM jobs WHERE removed = 1 LIMIT 1",
    [S_SWEEP_RUN] = "SELECT id FROM runs WHERE job = ? LIMIT 1",
    [S_SWEEP_ERRORS] = "DELETE FROM flow_errors WHERE n IN"
                       " (SELECT n FROM flow_errors WHERE run = ? LIMIT ?)",
    [S_SWEEP_RUN_ROW] = "DELETE FROM runs WHERE id = ?",
    [S_SWEEP_JOB_ROW] = "DELETE FROM jobs WHERE id = ?",
    [S_JOBS] = "SELECT id, name, kind, created FROM jobs WHERE removed = 0 ORDER BY created, rowid",
    [S_JOB_ENDS] = "SELECT side, agent, path FROM job_ends WHERE job = ? ORDER BY position",
    [S_RUN_NEXT] = "SELECT coalesce(max(number), 0) + 1 FROM runs WHERE job = ?",
    [S_RUN_ADD] = "INSERT INTO runs(" RUN_COLUMNS ") VALUES(?, ?, ?, ?, ?, ?, ?)",
    [S_RUN_SET] = "UPDATE runs SET action = ?, state = ?, ended = ? WHERE id = ?",
    /* The + keeps SQLite from going along the jobs' index instead. */
    [S_RUN_FIND] = "SELECT " RUN_COLUMNS " FROM runs WHERE id BETWEEN ? AND ?"
                   " AND +job IN (SELECT id FROM jobs WHERE removed = 0) LIMIT 2",
    [S_RUN_LATEST] = "SELECT " RUN_COLUMNS " FROM runs WHERE job = ? ORDER BY number DESC LIMIT 1",
    [S_RUNS] = "SELECT " RUN_COLUMNS " FROM runs WHERE job = ? ORDER BY number DESC LIMIT 1000",
    [S_RUNS_ACTIVE] = "SELECT " RUN_COLUMNS " FROM runs WHERE state < ?",
    [S_FLOW_ADD] = "INSERT INTO flows(id, run, position, source, target, source_path, target_path, "
                   "subfolder, token,"
                   " generation, state, files_total, files_done, files_failed, files_same, "
                   "bytes_total, bytes_done,"
                   " bytes_moved, micros, list_complete, via, text, only)"
                   " VALUES(?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, 0, 0, 0, 0, 0, 0, 0, 0, 0, '', ?, ?)",
    [S_FLOW_SET] = "UPDATE flows SET generation = ?, state = ?, files_total = ?, files_done = ?, "
                   "files_failed = ?,"
                   " files_same = ?, bytes_total = ?, bytes_done = ?, bytes_moved = ?, micros = ?, "
                   "list_complete = ?,"
                   " via = ?, text = ? WHERE id = ?",
    [S_FLOWS] = "SELECT id, run, source, target, source_path, target_path, subfolder, token, "
                "generation, state,"
                " files_total, files_done, files_failed, files_same, bytes_total, bytes_done, "
                "bytes_moved, micros,"
                " list_complete, via, text, only FROM flows WHERE run = ? ORDER BY position",
    [S_FLOW_ERROR_ADD] =
        "INSERT INTO flow_errors(run, flow, source, number, name, code, text)"
        " VALUES(?, ?, ?, ?, ?, ?, ?) ON CONFLICT(flow, source, number) DO NOTHING",
    [S_FLOW_ERRORS] =
        "SELECT n, flow, source, number, name, code, text FROM flow_errors WHERE run = ? AND n > ?"
        " ORDER BY n LIMIT ?",
    [S_FLOW_ERROR_COUNT] = "SELECT count(*) FROM flow_errors WHERE flow = ?",
    [S_RUN_JOB] = "SELECT job FROM runs WHERE id = ?",
    [S_EVENT_ADD] =
        "INSERT INTO events(time, level, kind, subject, text, about) VALUES(?, ?, ?, ?, ?, ?)",
    [S_EVENT_TEXT_ADD] = "INSERT INTO events_text(rowid, text) VALUES(?, ?)",
    [S_EVENTS] = "SELECT n, time, level, kind, subject, about, text FROM events WHERE n > ?"
                 " ORDER BY n LIMIT ?",
    [S_EVENT_LAST] = "SELECT coalesce(max(n), 0) FROM events",
    [S_EVENT_KINDS] = EACH_OF("events", "kind"),
    [S_EVENTS_TRIM_TEXT] = "INSERT INTO events_text(events_text, rowid, text) SELECT 'delete', n,"
                           " text FROM events WHERE n <= ? ORDER BY n LIMIT ?",
    [S_EVENTS_TRIM] = "DELETE FROM events WHERE n IN"
                      " (SELECT n FROM events WHERE n <= ? ORDER BY n LIMIT ?)",
    [S_AUDIT_ADD] = "INSERT INTO audit(time, user, peer, action, subject, before, after)"
                    " VALUES(?, ?, ?, ?, ?, ?, ?)",
    [S_AUDIT_TEXT_ADD] = "INSERT INTO audit_text(rowid, what) VALUES(?, ?)",
    [S_AUDIT_LAST] = "SELECT coalesce(max(n), 0) FROM audit",
    [S_AUDIT_USERS] = EACH_OF("audit", "user"),
};
