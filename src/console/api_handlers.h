/* api_handlers.h - what stands behind each route; between the table in api_routes.c and the files
 * of handlers. */
#ifndef FL_CONSOLE_API_HANDLERS_H
#define FL_CONSOLE_API_HANDLERS_H

#include "console/api.h"

void api_health(struct api_call *call);
void api_metrics(struct api_call *call);
void api_status(struct api_call *call);
void api_list_proxies(struct api_call *call);
void api_add_proxy(struct api_call *call);
void api_show_proxy(struct api_call *call);
void api_change_proxy(struct api_call *call);
void api_remove_proxy(struct api_call *call);
void api_list_history(struct api_call *call);
void api_show_settings(struct api_call *call);
void api_put_settings(struct api_call *call);
void api_patch_settings(struct api_call *call);
void api_show_agent_settings(struct api_call *call);
void api_put_agent_settings(struct api_call *call);
void api_patch_agent_settings(struct api_call *call);
void api_list_agent_settings(struct api_call *call);
void api_patch_tagged_settings(struct api_call *call);
void api_list_throughput(struct api_call *call);
void api_list_agent_throughput(struct api_call *call);
void api_drain_proxy(struct api_call *call);
void api_resume_proxy(struct api_call *call);
void api_add_agent_config(struct api_call *call);
void api_list_agent_configs(struct api_call *call);
void api_remove_agent_config(struct api_call *call);
void api_list_agents(struct api_call *call);
void api_show_agent(struct api_call *call);
void api_approve_agent(struct api_call *call);
void api_revoke_agent(struct api_call *call);
void api_list_folder(struct api_call *call);

void api_list_jobs(struct api_call *call);
void api_add_job(struct api_call *call);
void api_show_job(struct api_call *call);
void api_start_job(struct api_call *call);
void api_pause_job(struct api_call *call);
void api_resume_job(struct api_call *call);
void api_stop_job(struct api_call *call);
void api_remove_job(struct api_call *call);
void api_list_runs(struct api_call *call);
void api_list_flows(struct api_call *call);
void api_show_run(struct api_call *call);
void api_list_tunnels(struct api_call *call);
void api_list_errors(struct api_call *call);
void api_retry_run(struct api_call *call);

void api_login(struct api_call *call);
void api_show_session(struct api_call *call);
void api_logout(struct api_call *call);
void api_change_password(struct api_call *call);
void api_offer_totp(struct api_call *call);
void api_confirm_totp(struct api_call *call);
void api_drop_totp(struct api_call *call);
void api_list_users(struct api_call *call);
void api_add_user(struct api_call *call);
void api_show_user(struct api_call *call);
void api_change_user(struct api_call *call);
void api_remove_user(struct api_call *call);
void api_reset_password(struct api_call *call);
void api_list_tokens(struct api_call *call);
void api_add_token(struct api_call *call);
void api_remove_token(struct api_call *call);

void api_list_events(struct api_call *call);
void api_list_event_kinds(struct api_call *call);
void api_list_audit(struct api_call *call);
void api_list_audit_users(struct api_call *call);

void api_backup(struct api_call *call);

void api_list_hooks(struct api_call *call);
void api_add_hook(struct api_call *call);
void api_show_hook(struct api_call *call);
void api_change_hook(struct api_call *call);
void api_remove_hook(struct api_call *call);
void api_test_hook(struct api_call *call);
void api_list_deliveries(struct api_call *call);
void api_show_mail(struct api_call *call);
void api_put_mail(struct api_call *call);

#endif
