/* api_traffic.c - how much was moved over the latest hour. */
#include <microhttpd.h>
#include <stdlib.h>

#include "base/cleanup.h"
#include "console/api_handlers.h"
#include "console/traffic.h"
#include "console/view.h"

static json_t *whole(double rate)
{
    return json_integer((json_int_t)(rate + 0.5));
}

/* answer - the samples of @agent, or of all runs. */
static void answer(struct api_call *call, const struct fl_id *agent)
{
    _cleanup_free_ struct traffic_sample *samples = calloc(TRAFFIC_SAMPLES, sizeof(*samples));
    json_t *items = json_array();
    size_t count =
        samples ? traffic_read(runs_traffic(call->api->runs), agent, samples, TRAFFIC_SAMPLES) : 0;

    for (size_t i = 0; i < count; i++) {
        json_t *item = json_pack("{s:o}", "time", view_time(samples[i].time));

        if (agent) {
            (void)json_object_set_new(item, "sent", whole(samples[i].sent));
            (void)json_object_set_new(item, "received", whole(samples[i].received));
        } else {
            (void)json_object_set_new(item, "rate", whole(samples[i].sent));
        }
        (void)json_array_append_new(items, item);
    }
    api_answer(call, MHD_HTTP_OK,
               json_pack("{s:o, s:I}", "items", items, "total", (json_int_t)count));
}

void api_list_throughput(struct api_call *call)
{
    answer(call, NULL);
}

void api_list_agent_throughput(struct api_call *call)
{
    const struct fleet_agent *agent = api_named_agent(call);

    if (agent)
        answer(call, &agent->row.id);
}
