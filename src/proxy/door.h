/* door.h - how many connections that have proved nothing there may be: in all, of one address, and
 * of one network (prefix.h). Shared by the workers, guards itself; no socket and no clock.
 *
 * Beside the places for everybody there are some that only the console gets. Who is there is not
 * known before its proof, so those are for the addresses from which a console has been proved
 * before, since the start of the program. For a console that comes from elsewhere a flood is what
 * it is for all: who lasts and speaks gets in, see worker_evict_stranger().
 *
 * As many again are for data legs. When an endpoint is told to open one, a connection from the
 * address of its control leg is expected, and the next one from there is taken for it: so the
 * sessions of who is here already do not stand behind thousands who only come in. A neighbour at
 * the same address may be quicker; then that one goes first once, and nothing else is gained.
 */
#ifndef FL_PROXY_DOOR_H
#define FL_PROXY_DOOR_H

#include <stdbool.h>
#include <stdint.h>

#include "leg/prefix.h"

#define DOOR_CONSOLES 8 /* addresses remembered, the latest ones */

enum door_answer {
    DOOR_IN,
    DOOR_FULL,    /* no place left; one that makes room may ask again */
    DOOR_CROWDED, /* its address or network has too many */
};

/* What a connection holds from door_enter() to door_leave(). */
struct door_place {
    struct prefix from;
    bool taken;    /* false: nothing to give back */
    bool kept;     /* one of those that are not for everybody */
    bool console;  /* from where a console has been proved */
    bool expected; /* from where a data leg was expected */
    bool narrow;   /* set by whoever lets it in: may prove itself, but only the console may stay */
};

struct door;

/* door_new - Returns 0, -ENOMEM or -FL_EKEY (no random numbers). */
int door_new(uint32_t all, uint32_t per_address, uint32_t per_network, struct door **ret_door);
void door_free(struct door *door);

/* door_set_max - from now on; who is in stays. */
void door_set_max(struct door *door, uint32_t all, uint32_t per_address, uint32_t per_network);

/* door_enter - a connection from @from has come. On DOOR_IN @ret_place is to be given back by
 * door_leave(), once: when the peer has proved who it is, or the connection ends. */
enum door_answer door_enter(struct door *door, const struct prefix *from,
                            struct door_place *ret_place);
void door_leave(struct door *door, struct door_place *place);

/* door_console - at @from a console has proved itself. door_is_console - has one? */
void door_console(struct door *door, const struct prefix *from);
bool door_is_console(struct door *door, const struct prefix *from);

/* door_expect - soon a data leg will come from @from; door_age() a second time forgets it.
 * door_age - as often as a session's key lives. */
void door_expect(struct door *door, const struct prefix *from);
void door_age(struct door *door);

/* door_count - places taken. door_peak - the most that were taken since the last call of it. */
uint32_t door_count(struct door *door);
uint32_t door_peak(struct door *door);

/* door_kept - how many places are kept for the console beside @all, and for data legs. */
static inline uint32_t door_kept(uint32_t all)
{
    return all / 16 + 4;
}

#endif
