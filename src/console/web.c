#include "console/web.h"

#include <microhttpd.h>
#include <string.h>

#include "console/http.h"

const struct web_file *web_find(const char *path)
{
    for (size_t i = 0; i < web_file_count; i++)
        if (!strcmp(web_files[i].path, path))
            return &web_files[i];
    return NULL;
}

/* A client that lists gzip takes it; one that gives it a quality of 0 does not (RFC 9110 12.5.3).
 */
static bool takes_gzip(const struct http_request *request)
{
    const char *accepted = http_header(request, MHD_HTTP_HEADER_ACCEPT_ENCODING);
    const char *gzip = accepted ? strstr(accepted, "gzip") : NULL;

    return gzip && strncmp(gzip, "gzip;q=0", 8) != 0;
}

void web_answer(const struct web_file *file, const struct http_request *request,
                struct http_reply *reply)
{
    const char *has = http_header(request, MHD_HTTP_HEADER_IF_NONE_MATCH);

    reply->type = file->type;
    http_reply_header(reply, MHD_HTTP_HEADER_ETAG, file->etag);
    http_reply_header(reply, MHD_HTTP_HEADER_VARY, MHD_HTTP_HEADER_ACCEPT_ENCODING);
    http_reply_header(reply, MHD_HTTP_HEADER_CACHE_CONTROL,
                      file->immutable ? "public, max-age=31536000, immutable" : "no-cache");
    if (has && strstr(has, file->etag)) {
        reply->status = MHD_HTTP_NOT_MODIFIED;
        return;
    }
    reply->status = MHD_HTTP_OK;
    if (takes_gzip(request)) {
        http_reply_header(reply, MHD_HTTP_HEADER_CONTENT_ENCODING, "gzip");
        reply->fixed = file->gzip;
        reply->len = file->gzip_len;
    } else {
        reply->fixed = file->plain;
        reply->len = file->plain_len;
    }
}
