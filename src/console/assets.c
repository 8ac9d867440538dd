#include "console/assets.h"

const char assets_page[] =
    "<!doctype html>\n"
    "<html lang=\"en\">\n"
    "<meta charset=\"utf-8\">\n"
    "<meta name=\"viewport\" content=\"width=device-width\">\n"
    "<title>Fairlead console</title>\n"
    "<h1>Fairlead console</h1>\n"
    "<p>The console runs. It is operated with the command line program:</p>\n"
    "<pre>fairlead --console https://HOST:8443 --token-file DIR/admin.token --ca DIR/ca.pem "
    "status\n"
    "fairlead help</pre>\n"
    "<p>DIR is the directory that was given to <code>fairlead-console --state</code>. The API is "
    "under "
    "<code>/api/v1/</code>.</p>\n"
    "</html>\n";
