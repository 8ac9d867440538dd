/* fuzz_agent_config.c - agent.json, with the checks that look at several keys. */
#include "agent/agent_config.h"
#include "one_line.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct agent_config config;
    char consoles[AGENT_CONSOLES_MAX][AGENT_ADDRESS_MAX];
    char message[300];
    int r;

    agent_config_init(&config);
    r = config_parse("agent.json", (const char *)data, size, agent_config_keys, &config, message,
                     sizeof(message));
    if (r == 0)
        r = agent_config_check("agent.json", &config, message, sizeof(message));
    if (r)
        must_be_one_line(message, sizeof(message), "agent.json");
    else
        must(agent_config_consoles(&config, consoles) <= AGENT_CONSOLES_MAX);
    agent_config_done(&config);
    return 0;
}
