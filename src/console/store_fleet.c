/* store_fleet.c - proxies and their settings, agents, bootstrap tokens, denied identities. */
#include <stdio.h>
#include <string.h>

#include "base/error.h"
#include "console/store_sql.h"

/* ---- proxies ---- */

int store_proxy_add(struct store *store, const struct store_proxy *proxy)
{
    char addresses[STORE_LIST_TEXT], listen[STORE_LIST_TEXT];

    return STORE_WRITE(store, S_PROXY_ADD, "dttti", &proxy->id, proxy->name,
                       store_list_join(&proxy->addresses, addresses),
                       store_list_join(&proxy->listen, listen), proxy->created);
}

int store_proxy_remove(struct store *store, const struct fl_id *id)
{
    return STORE_WRITE(store, S_PROXY_REMOVE, "d", id);
}

int store_proxies(struct store *store, void (*each)(void *ctx, const struct store_proxy *proxy),
                  void *ctx)
{
    sqlite3_stmt *stmt;
    int rc = store_query(store, &stmt, S_PROXIES, "");

    while (!rc && (rc = store_next(store, stmt)) == 1) {
        struct store_proxy proxy = {.created = sqlite3_column_int64(stmt, 4)};

        rc = 0;
        store_id(stmt, 0, &proxy.id);
        COLUMN_COPY(proxy.name, stmt, 1);
        store_list_split(store_text(stmt, 2), &proxy.addresses);
        store_list_split(store_text(stmt, 3), &proxy.listen);
        each(ctx, &proxy);
    }
    return rc;
}

/* Settings: in two tables of the same shape. */
static int put_settings(struct store *store, enum stmt stmt, const struct fl_id *id,
                        const struct store_settings *settings)
{
    return STORE_WRITE(store, stmt, "diiiittt", id, (int64_t)settings->state,
                       (int64_t)settings->version, (int64_t)settings->good_version,
                       settings->confirm_within, settings->good, settings->tried, settings->error);
}

static int get_settings(struct store *store, enum stmt id, const struct fl_id *subject,
                        struct store_settings *ret_settings)
{
    sqlite3_stmt *stmt;
    int rc = store_query(store, &stmt, id, "d", subject);

    memset(ret_settings, 0, sizeof(*ret_settings));
    if (rc || (rc = store_next(store, stmt)) != 1)
        return rc;
    ret_settings->state = (unsigned)sqlite3_column_int(stmt, 0);
    ret_settings->version = (uint64_t)sqlite3_column_int64(stmt, 1);
    ret_settings->good_version = (uint64_t)sqlite3_column_int64(stmt, 2);
    ret_settings->confirm_within = sqlite3_column_int64(stmt, 3);
    COLUMN_COPY(ret_settings->good, stmt, 4);
    COLUMN_COPY(ret_settings->tried, stmt, 5);
    COLUMN_COPY(ret_settings->error, stmt, 6);
    sqlite3_reset(stmt);
    return 0;
}

int store_settings_put(struct store *store, const struct fl_id *proxy,
                       const struct store_settings *settings)
{
    return put_settings(store, S_SETTINGS_PUT, proxy, settings);
}

int store_settings_get(struct store *store, const struct fl_id *proxy,
                       struct store_settings *ret_settings)
{
    return get_settings(store, S_SETTINGS_GET, proxy, ret_settings);
}

/* ---- agents ---- */

int store_agent_put(struct store *store, const struct store_agent *agent)
{
    char tags[STORE_LIST_TEXT], addresses[STORE_LIST_TEXT];

    return STORE_WRITE(store, S_AGENT_PUT, "dtidttttiii", &agent->id, agent->name,
                       (int64_t)agent->state, &agent->token, store_list_join(&agent->tags, tags),
                       store_list_join(&agent->addresses, addresses), agent->software,
                       agent->system, agent->first_seen, agent->last_seen, agent->expires);
}

int store_agent_seen(struct store *store, const struct store_agent *agent)
{
    int rc = store_begin_soft(store);

    return rc ? rc : store_finish(store, store_agent_put(store, agent));
}

int store_agent_settings_put(struct store *store, const struct fl_id *agent,
                             const struct store_settings *settings)
{
    return put_settings(store, S_AGENT_SETTINGS_PUT, agent, settings);
}

int store_agent_settings_get(struct store *store, const struct fl_id *agent,
                             struct store_settings *ret_settings)
{
    return get_settings(store, S_AGENT_SETTINGS_GET, agent, ret_settings);
}

static void agent_row(sqlite3_stmt *stmt, struct store_agent *agent)
{
    store_id(stmt, 0, &agent->id);
    COLUMN_COPY(agent->name, stmt, 1);
    agent->state = (enum store_agent_state)sqlite3_column_int(stmt, 2);
    store_id(stmt, 3, &agent->token);
    store_list_split(store_text(stmt, 4), &agent->tags);
    store_list_split(store_text(stmt, 5), &agent->addresses);
    COLUMN_COPY(agent->software, stmt, 6);
    COLUMN_COPY(agent->system, stmt, 7);
    agent->first_seen = sqlite3_column_int64(stmt, 8);
    agent->last_seen = sqlite3_column_int64(stmt, 9);
    agent->expires = sqlite3_column_int64(stmt, 10);
}

int store_agents(struct store *store, void (*each)(void *ctx, const struct store_agent *agent),
                 void *ctx)
{
    sqlite3_stmt *stmt;
    int rc = store_query(store, &stmt, S_AGENTS, "");

    while (!rc && (rc = store_next(store, stmt)) == 1) {
        struct store_agent agent;

        rc = 0;
        agent_row(stmt, &agent);
        each(ctx, &agent);
    }
    return rc;
}

/* ---- bootstrap tokens, denied identities ---- */

int store_token_add(struct store *store, const struct store_token *token)
{
    char tags[STORE_LIST_TEXT];

    return STORE_WRITE(store, S_TOKEN_ADD, "dtiiiii", &token->id,
                       store_list_join(&token->tags, tags), (int64_t)token->approval,
                       (int64_t)token->revoked, token->created, token->expires, token->uses);
}

static void token_row(sqlite3_stmt *stmt, struct store_token *token)
{
    store_id(stmt, 0, &token->id);
    store_list_split(store_text(stmt, 1), &token->tags);
    token->approval = sqlite3_column_int(stmt, 2) != 0;
    token->revoked = sqlite3_column_int(stmt, 3) != 0;
    token->created = sqlite3_column_int64(stmt, 4);
    token->expires = sqlite3_column_int64(stmt, 5);
    token->uses = sqlite3_column_int64(stmt, 6);
}

int store_token_get(struct store *store, const struct fl_id *id, struct store_token *ret_token)
{
    sqlite3_stmt *stmt;
    int rc = store_query(store, &stmt, S_TOKEN_GET, "d", id);

    if (rc || (rc = store_next(store, stmt)) <= 0)
        return rc ? rc : -FL_ENOTFOUND;
    token_row(stmt, ret_token);
    sqlite3_reset(stmt);
    return 0;
}

int store_token_use(struct store *store, const struct fl_id *id)
{
    return STORE_WRITE(store, S_TOKEN_USE, "d", id);
}

int store_token_revoke(struct store *store, const struct fl_id *id)
{
    return STORE_WRITE(store, S_TOKEN_REVOKE, "d", id);
}

int store_tokens(struct store *store, void (*each)(void *ctx, const struct store_token *token),
                 void *ctx)
{
    sqlite3_stmt *stmt;
    int rc = store_query(store, &stmt, S_TOKENS, "");

    while (!rc && (rc = store_next(store, stmt)) == 1) {
        struct store_token token;

        rc = 0;
        token_row(stmt, &token);
        each(ctx, &token);
    }
    return rc;
}

int store_deny(struct store *store, const struct fl_id *id, const char *name, int64_t now)
{
    return STORE_WRITE(store, S_DENY, "dti", id, name, now);
}

int store_denied(struct store *store, void (*each)(void *ctx, const struct fl_id *id), void *ctx)
{
    sqlite3_stmt *stmt;
    int rc = store_query(store, &stmt, S_DENIED, "");

    while (!rc && (rc = store_next(store, stmt)) == 1) {
        struct fl_id id;

        rc = 0;
        store_id(stmt, 0, &id);
        each(ctx, &id);
    }
    return rc;
}
