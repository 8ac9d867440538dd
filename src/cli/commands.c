/* commands.c - the table of commands: parser, dispatch, help and suggestions come from it. */
#include "cli/cli.h"

const struct option_def global_options[] = {
    {"console", "URL", 0, "the console's address (FAIRLEAD_CONSOLE)"},
    {"token-file", "FILE", 0, "file with the access token (FAIRLEAD_TOKEN)"},
    {"ca", "FILE", 0, "the console's ca.pem (FAIRLEAD_CA)"},
    {"json", NULL, 0, "print what the console answers, or why it does not, as JSON"},
    {"help", NULL, 0, "this help"},
    {"version", NULL, 0, "print the version"},
    {NULL},
};

static const struct option_def proxy_add_options[] = {
    {"address", "HOST:PORT[,…]", OPTION_REQUIRED | OPTION_REPEAT,
     "where endpoints and the console reach the proxy"},
    {"listen", "ADDR:PORT", OPTION_REPEAT,
     "where the proxy listens (default: the addresses' ports)"},
    {NULL},
};

static const struct option_def proxy_set_options[] = {
    {"confirm-within", "SECONDS", 0, "time for the console to confirm, 5 to 60 (60)"},
    {"timeout", "SECONDS", 0, "give up waiting after this time, with exit status 3 (90)"},
    {NULL},
};

static const struct option_def proxy_drain_options[] = {
    {"within", "SECONDS", 0, "time over which its agents leave, one by one (60)"},
    {"hard-stop", "SECONDS", 0, "end the sessions that are left then (they may finish)"},
    {"timeout", "SECONDS", 0, "give up waiting after this time, with exit status 3 (90)"},
    {NULL},
};

static const struct option_def proxy_resume_options[] = {
    {"timeout", "SECONDS", 0, "give up waiting after this time, with exit status 3 (90)"},
    {NULL},
};

static const struct option_def agent_config_options[] = {
    {"via", "PROXY", OPTION_REPEAT, "reach the console through this proxy"},
    {"tag", "TAG", OPTION_REPEAT, "label the agents that use the file"},
    {"name", "NAME", 0, "put this device_name into the file"},
    {"days", "N", 0, "days for which the file lets agents in"},
    {"approval", NULL, 0, "agents stay pending until `fairlead agent approve`"},
    {NULL},
};

static const struct option_def agent_set_options[] = {
    {"timeout", "SECONDS", 0, "give up waiting after this time, with exit status 3 (90)"},
    {NULL},
};

static const struct option_def distribution_options[] = {
    {"name", "NAME", OPTION_REQUIRED, "name of the job"},
    {"from", "AGENT:/path", OPTION_REQUIRED, "folder or file to send"},
    {"to", "AGENT:/path", OPTION_REQUIRED | OPTION_REPEAT, "folder in which its content appears"},
    {"hold", NULL, 0, "do not start yet"},
    {NULL},
};

static const struct option_def consolidation_options[] = {
    {"name", "NAME", OPTION_REQUIRED, "name of the job"},
    {"from", "AGENT:/path", OPTION_REQUIRED | OPTION_REPEAT, "folder or file to fetch"},
    {"to", "AGENT:/path", OPTION_REQUIRED, "folder for one subfolder per source agent"},
    {"hold", NULL, 0, "do not start yet"},
    {NULL},
};

static const struct option_def forward_options[] = {
    {"name", "NAME", OPTION_REQUIRED, "name of the job"},
    {"listen", "AGENT:ADDR:PORT", OPTION_REQUIRED, "where connections come in"},
    {"to", "AGENT:HOST:PORT", OPTION_REQUIRED, "where they lead, as seen from that agent"},
    {"hold", NULL, 0, "do not start yet"},
    {NULL},
};

static const struct option_def retry_options[] = {
    {"file", "NAME", OPTION_REPEAT, "only this one, as the run's errors show it (all of them)"},
    {NULL},
};

static const struct option_def wait_options[] = {
    {"timeout", "SECONDS", 0, "give up after this time, with exit status 3"},
    {NULL},
};

#define TIME_OPTIONS                                                                               \
    {"since", "TIME", 0, "from then on: 2h, 3d, 2026-11-30, 2026-11-30T08:15:00Z"},                \
    {                                                                                              \
        "until", "TIME", 0, "up to then, the same"                                                 \
    }
#define EVENT_FILTERS                                                                              \
    {"level", "LEVEL", 0, "only info, warn or error"},                                             \
        {"kind", "KIND", 0, "only this kind, such as agent.offline"},                              \
        {"agent", "AGENT", 0, "only what is about this agent"},                                    \
        {"proxy", "PROXY", 0, "only what is about this proxy"},                                    \
        {"job", "JOB", 0, "only what is about this job and its runs"}, TIME_OPTIONS,               \
    {                                                                                              \
        "text", "TEXT", 0, "only what holds this, of three characters or more"                     \
    }
#define AUDIT_FILTERS                                                                              \
    {"user", "USER", 0, "only what this one did; a token's is \"token NAME\""}, TIME_OPTIONS,      \
    {                                                                                              \
        "text", "TEXT", 0, "only where action or path holds this, of three characters or more"     \
    }
#define LIST_OPTIONS                                                                               \
    {"follow", NULL, 0, "go on with new ones as they come"},                                       \
    {                                                                                              \
        "limit", "N", 0, "so many of the latest that fit (default 50)"                             \
    }
#define EXPORT_OPTIONS                                                                             \
    {                                                                                              \
        "format", "FORMAT", 0, "csv, json or jsonl (as the file's name ends; json)"                \
    }

static const struct option_def event_options[] = {LIST_OPTIONS, EVENT_FILTERS, {NULL}};
static const struct option_def event_export_options[] = {EXPORT_OPTIONS, EVENT_FILTERS, {NULL}};
static const struct option_def audit_options[] = {LIST_OPTIONS, AUDIT_FILTERS, {NULL}};
static const struct option_def audit_export_options[] = {EXPORT_OPTIONS, AUDIT_FILTERS, {NULL}};

static const struct option_def user_add_options[] = {
    {"role", "ROLE", OPTION_REQUIRED, "viewer, operator or admin"},
    {NULL},
};

static const struct option_def user_set_options[] = {
    {"role", "ROLE", 0, "viewer, operator or admin"},
    {"disable", NULL, 0, "it cannot log in any more, and its sessions end"},
    {"enable", NULL, 0, "it can log in again"},
    {NULL},
};

static const struct option_def hook_options[] = {
    {"url", "URL", 0, "a web server that gets a signed POST"},
    {"mail", "ADDRESS", 0, "who gets a mail"},
    {"event", "EVENT[,…]", OPTION_REQUIRED | OPTION_REPEAT,
     "run.finished, run.failed, agent.missing, agent.back, proxy.missing, proxy.back"},
    {"secret-file", "FILE", 0, "what to sign with, in its first line (one is made)"},
    {NULL},
};

static const struct option_def mail_options[] = {
    {"server", "URL", OPTION_REQUIRED, "smtp://HOST[:PORT] or smtps://HOST[:PORT]"},
    {"from", "ADDRESS", 0, "the sender's address"},
    {"user", "NAME", 0, "to log in with"},
    {"password-file", "FILE", 0, "its password, in the first line (as it is)"},
    {"no-tls", NULL, 0, "send in clear where the server has no TLS"},
    {NULL},
};

const struct command commands[] = {
    {"proxy add", "NAME", proxy_add_options, cmd_proxy_add, "Add a proxy and print its proxy.json",
     "The proxy's machine needs this file and nothing else. It holds a private key.\n\n"
     "Example:\n"
     "  fairlead proxy add gate --address proxy.example.org:1080 > proxy.json\n"},
    {"proxy list", NULL, NULL, cmd_proxy_list, "List the proxies", NULL},
    {"proxy show", "NAME", NULL, cmd_proxy_show, "Show one proxy with its counters", NULL},
    {"proxy set", "NAME", proxy_set_options, cmd_proxy_set,
     "Change settings of a proxy while it runs",
     "Keys are those of proxy.json that `fairlead-proxy --help` marks with (live); KEY= goes back\n"
     "to what the proxy's file says. The change holds at once; the console then confirms it over "
     "a\n"
     "new connection, else the proxy takes it back. Exit status: 0 confirmed; 1 refused or rolled\n"
     "back; 3 not confirmed in time.\n\n"
     "weight=N (1 to 1000, 100 where nothing is said) is the console's own key: of proxies about "
     "as\n"
     "near, agents choose one of twice the weight twice as often. agents=NAME, or a list of "
     "names,\n"
     "lets these agents alone use the proxy; the others lose their connections through it.\n\n"
     "Examples:\n"
     "  fairlead proxy set gate limits.rate_proxy=10240 raw=never\n"
     "  fairlead proxy set gate 'agents=[\"studio\",\"cinema\"]'\n",
     "KEY=VALUE"},
    {"proxy drain", "NAME", proxy_drain_options, cmd_proxy_drain,
     "Send a proxy's agents elsewhere before maintenance",
     "It takes no new sessions; those that run may finish. It stays so, also when it is started\n"
     "again, until `fairlead proxy resume`.\n\n"
     "Example:\n"
     "  fairlead proxy drain gate --within 120 --hard-stop 1h\n"},
    {"proxy resume", "NAME", proxy_resume_options, cmd_proxy_resume, "Let a proxy take work again",
     NULL},
    {"proxy remove", "NAME", NULL, cmd_proxy_remove, "Remove a proxy; its identity is denied",
     NULL},
    {"agent config", NULL, agent_config_options, cmd_agent_config,
     "Print an agent.json that lets agents in",
     "With --via, agents reach the console through the named proxies; without it they dial the\n"
     "console itself. One file may serve several agents. It holds a bootstrap token: keep it\n"
     "secret.\n\n"
     "Example:\n"
     "  fairlead agent config --via gate --tag office --name desk-7 > agent.json\n"},
    {"agent list", NULL, NULL, cmd_agent_list, "List the agents", NULL},
    {"agent show", "NAME", NULL, cmd_agent_show, "Show one agent", NULL},
    {"agent set", "NAME", agent_set_options, cmd_agent_set,
     "Change settings of an agent while it runs",
     "Keys are those of agent.json that `fairlead-agent --help` marks with (live); KEY= goes back\n"
     "to what the agent's file says. An agent that is offline gets them when it comes. Exit "
     "status:\n"
     "0 applied; 1 refused; 3 not known yet, such as when the agent is offline.\n\n"
     "Example:\n"
     "  fairlead agent set desk-7 rate_limit_upload=1024 prefer=gate \\\n"
     "      'rate_limit_schedule=[\"mon-fri 18:00-08:00 rate_limit_upload=0\"]'\n",
     "KEY=VALUE"},
    {"tag set", "TAG", agent_set_options, cmd_tag_set,
     "Change settings of all agents with a tag while they run",
     "As `fairlead agent set` does for one; each agent's other settings stay. Prints how it went\n"
     "at each. Exit status: 0 applied everywhere; 1 refused by one or more; 3 not known yet of "
     "one\n"
     "or more, such as when it is offline: it gets them when it comes.\n\n"
     "Example:\n"
     "  fairlead tag set branch rate_limit_upload=2048\n",
     "KEY=VALUE"},
    {"tag show", "TAG", NULL, cmd_tag_show, "Show the settings' states of all agents with a tag",
     NULL},
    {"agent approve", "NAME", NULL, cmd_agent_approve, "Let a pending agent in", NULL},
    {"agent revoke", "NAME", NULL, cmd_agent_revoke, "Shut an agent out for good",
     "Its identity is denied at once, at the console, at every proxy and at every agent.\n"},
    {"job create distribution", NULL, distribution_options, cmd_job_create_distribution,
     "Send a folder from one agent to others",
     "The content of the source folder appears in each target folder; a single file goes under\n"
     "its own name. The job starts at once, unless it is to be held.\n\n"
     "Example:\n"
     "  fairlead job create distribution --name web --from build:/srv/out \\\n"
     "      --to web1:/srv/www --to web2:/srv/www\n"},
    {"job create consolidation", NULL, consolidation_options, cmd_job_create_consolidation,
     "Fetch folders from several agents to one",
     "Each source's content goes into a subfolder named after its agent. The job starts at once,\n"
     "unless it is to be held.\n\n"
     "Example:\n"
     "  fairlead job create consolidation --name logs --from web1:/var/log/nginx \\\n"
     "      --from web2:/var/log/nginx --to store:/srv/logs\n"},
    {"job create forward", NULL, forward_options, cmd_job_create_forward,
     "Lead a TCP port at one agent to a host and port behind another",
     "It runs until it is stopped. Both agents must allow it in their agent.json: the first\n"
     "under forward.listen, the second under forward.connect; by default neither does.\n\n"
     "Example:\n"
     "  fairlead job create forward --name db --listen laptop:127.0.0.1:5432 \\\n"
     "      --to server:localhost:5432\n"},
    {"job create sync", NULL, NULL, NULL, "", NULL},
    {"job list", NULL, NULL, cmd_job_list, "List the jobs with their latest runs", NULL},
    {"job show", "ID", NULL, cmd_job_show,
     "Show one job, its latest run, its ways and what was not done", NULL},
    {"job start", "ID", NULL, cmd_job_start, "Start a new run", NULL},
    {"run retry", "RUN", retry_options, cmd_run_retry,
     "Start a new run of what another one has not done",
     "RUN is the id of a run, as `fairlead --json job show` tells it, or its first digits. Only "
     "the\n"
     "files with errors are listed and moved, not the rest of the folder.\n\n"
     "Example:\n"
     "  fairlead run retry 4f0c2a --file photos/a.jpg\n"},
    {"job pause", "ID", NULL, cmd_job_pause, "Pause the run", NULL},
    {"job resume", "ID", NULL, cmd_job_resume, "Go on with a paused run", NULL},
    {"job stop", "ID", NULL, cmd_job_stop, "End the run; what has arrived stays", NULL},
    {"job wait", "ID", wait_options, cmd_job_wait, "Wait for the run, with its progress",
     "Prints what was not done, with the reasons. Exit status: 0 all done; 1 failed, stopped or\n"
     "done in part; 3 not finished in time. A console that restarts meanwhile is waited for.\n\n"
     "Example:\n"
     "  fairlead job wait web --timeout 600 && echo 'web is up to date'\n"},
    {"job watch", "ID", wait_options, cmd_job_wait, "Watch the run, with its agents and files",
     "The same as `fairlead job wait`: on a terminal it shows the files that are on their way in, "
     "the\n"
     "fastest first. Ctrl-C ends the watching, not the run.\n"},
    {"job remove", "ID", NULL, cmd_job_remove, "Remove a job and its history; files stay", NULL},
    {"tunnel list", NULL, NULL, cmd_tunnel_list,
     "Show over which ways data moves between agents, and what was tried in vain",
     "Of a forwarded port each way has its number of open connections: one takes new ones, the "
     "others run out.\n"},
    {"event list", NULL, event_options, cmd_event_list, "Print what happened",
     "Examples:\n"
     "  fairlead event list --follow\n"
     "  fairlead event list --level error --since 2d --job nightly\n"},
    {"event export", "FILE", event_export_options, cmd_event_export,
     "Save all events that fit in a file",
     "Example:\n"
     "  fairlead event export november.csv --since 2026-11-01 --until 2026-11-30\n"},
    {"audit list", NULL, audit_options, cmd_audit_list, "Print who changed what",
     "What it was before and after is in --json.\n\n"
     "Example:\n"
     "  fairlead audit list --user vera --since 7d\n"},
    {"audit export", "FILE", audit_export_options, cmd_audit_export,
     "Save all entries of the audit log that fit in a file",
     "Example:\n"
     "  fairlead audit export audit.csv --text /proxies/gate\n"},
    {"hook add", "NAME", hook_options, cmd_hook_add, "Have somebody notified by web or mail",
     "Prints the secret that messages are signed with; it is not shown again.\n\n"
     "Example:\n"
     "  fairlead hook add tickets --url https://tickets.example/in --event run.failed\n"},
    {"hook list", NULL, NULL, cmd_hook_list, "List who is notified", NULL},
    {"hook show", "NAME", NULL, cmd_hook_show, "Show the latest messages to somebody", NULL},
    {"hook test", "NAME", NULL, cmd_hook_test, "Send a test", NULL},
    {"hook remove", "NAME", NULL, cmd_hook_remove, "Notify somebody no more", NULL},
    {"mail set", NULL, mail_options, cmd_mail_set, "Set the server that mail goes out by",
     "Example:\n"
     "  fairlead mail set --server smtp://mail.example.org:587 \\\n"
     "      --from fairlead@example.org\n"},
    {"mail show", NULL, NULL, cmd_mail_show, "Show the server that mail goes out by", NULL},
    {"backup", "FILE", NULL, cmd_backup, "Save all that the console knows in one file",
     "It is made while the console works, and replaces FILE once it is whole. It holds the "
     "authority's\n"
     "keys (encrypted if the console has a passphrase): who has it can be the console.\n\n"
     "Example:\n"
     "  fairlead backup /srv/backup/console.backup\n"
     "  fairlead-console --state /var/lib/fairlead-console --restore console.backup\n"},
    {"user list", NULL, NULL, cmd_user_list, "List who may log in", NULL},
    {"user add", "NAME", user_add_options, cmd_user_add, "Add a user and print a first password",
     "A viewer sees everything, an operator runs jobs too, an admin changes everything.\n\n"
     "Example:\n"
     "  fairlead user add vera --role operator\n"},
    {"user set", "NAME", user_set_options, cmd_user_set,
     "Give a user another role, or shut it out for a while",
     "It holds at once, for whoever is logged in as well. The last admin stays one.\n\n"
     "Example:\n"
     "  fairlead user set vera --role viewer\n"},
    {"user password", "NAME", NULL, cmd_user_password, "Give a user a new first password",
     "Its sessions end, and its second factor is gone.\n"},
    {"user remove", "NAME", NULL, cmd_user_remove, "Remove a user; its sessions end", NULL},
    {"status", NULL, NULL, cmd_status, "Show the console and how much is connected", NULL},
    {NULL},
};
