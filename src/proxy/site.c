/* site.c - what a visitor of the port sees: a small page that stands by itself. It names no
 * software and no owner, asks for nothing from elsewhere, and has no script. */
#include "proxy/site.h"

#include "base/cleanup.h"

static const char index_html[] =
    "<!doctype html>\n"
    "<html lang=\"en\">\n"
    "<head>\n"
    "<meta charset=\"utf-8\">\n"
    "<meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">\n"
    "<title>Welcome</title>\n"
    "<link rel=\"icon\" href=\"/favicon.svg\" type=\"image/svg+xml\">\n"
    "<link rel=\"stylesheet\" href=\"/style.css\">\n"
    "</head>\n"
    "<body>\n"
    "<main>\n"
    "<h1>Welcome</h1>\n"
    "<p>This server is up and running.</p>\n"
    "<p>There are no public pages here. If you were given an address on this server, "
    "please check that it is complete.</p>\n"
    "</main>\n"
    "</body>\n"
    "</html>\n";

static const char style_css[] =
    ":root { color-scheme: light dark; }\n"
    "body { margin: 0; min-height: 100vh; display: grid; place-items: center;\n"
    "  font: 1.05rem/1.6 system-ui, sans-serif; color: #1d2733; background: #f4f6f8; }\n"
    "main { max-width: 34rem; padding: 2.5rem; margin: 1rem; background: #fff;\n"
    "  border: 1px solid #d8dee4; border-radius: .5rem; }\n"
    "h1 { margin: 0 0 1rem; font-size: 1.6rem; line-height: 1.2; }\n"
    "p { margin: 0 0 .75rem; }\n"
    "p:last-child { margin-bottom: 0; }\n"
    "@media (prefers-color-scheme: dark) {\n"
    "  body { color: #dbe2ea; background: #12171d; }\n"
    "  main { background: #1a2129; border-color: #2e3945; }\n"
    "}\n";

static const char favicon_svg[] = "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 16 16\">"
                                  "<rect width=\"16\" height=\"16\" rx=\"3\" fill=\"#3b5b7a\"/>"
                                  "<path d=\"M4 5h8M4 8h8M4 11h5\" stroke=\"#fff\" "
                                  "stroke-width=\"1.5\" stroke-linecap=\"round\"/>"
                                  "</svg>\n";

static const char robots_txt[] = "User-agent: *\nDisallow: /\n";

#define FILE_OF(path, type, text)                                                                  \
    {                                                                                              \
        (path), (type), (text), sizeof(text) - 1                                                   \
    }

const struct site_file site_files[] = {
    FILE_OF("/", "text/html; charset=utf-8", index_html),
    FILE_OF("/index.html", "text/html; charset=utf-8", index_html),
    FILE_OF("/style.css", "text/css; charset=utf-8", style_css),
    FILE_OF("/favicon.svg", "image/svg+xml", favicon_svg),
    FILE_OF("/robots.txt", "text/plain; charset=utf-8", robots_txt),
};
const size_t site_count = ARRAY_SIZE(site_files);
