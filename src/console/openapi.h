/* openapi.h - the API's description (OpenAPI 3.1), made from the same table that routes. */
#ifndef FL_CONSOLE_OPENAPI_H
#define FL_CONSOLE_OPENAPI_H

#include "console/api.h"

/* openapi_make - the whole document; NULL out of memory. */
json_t *openapi_make(void);
/* openapi_answer - GET /api/v1/openapi.json. */
void openapi_answer(struct api_call *call);

#endif
