/* raw.pml - two endpoints, a proxy between them, and the switch to raw in both directions (docs/PROTOCOL.md, Relay, section 6).
 *
 * What stands for what:
 *   endpoint()   src/tunnel/tunnel.c with src/tunnel/stream.c: go_raw() sends RAW after the handshake
 *   push*, mark  src/proxy/pump.c: flow_push(), flow_push_pipe(), flow_push_mark(); guards are flow_may_read(), flow_has_work()
 *   fetch*       src/proxy/pump.c: flow_fetch(), flow_take(); src/leg/leg_tcp.c: recv_wrapped(), recv_plain(), tcp_splice_in()
 *   flush        src/leg/leg_tcp.c: push_out()
 *   finish       src/proxy/session.c: session_end(); src/proxy/conn.c: tell(); src/leg/leg_tcp.c: bye()
 *
 * One message is one record, one run of bare bytes or one FIN. Direction f goes from side f to the other; an endpoint may end its
 * direction, never turn it raw, or reset its leg at any point, the proxy may give up at any point, and every queue may stay full
 * for as long as it likes. Units are numbered, so that loss, repetition and a wrong order show.
 *
 * A property is an assertion; a deadlock is an invalid end state, which only -DPATIENT can show: without it somebody may always give
 * up. Each -DMUT_x puts a fault in, each -DREACH_x claims that something cannot happen that does: spin has to refute all of them
 * (tests/integration/labs/test_models.py).
 */
#ifdef PATIENT
#define UNITS 3 /* that an endpoint may send */
#else
#define UNITS 2
#endif
#define SHAKE 1 /* of them its handshake */
#define NEAR  2 /* messages that fit a socket towards the proxy: RAW and what follows it may be read at once */
#define FAR   1 /* and one from the proxy: a slow peer */
#define OUT   2

mtype = { DATA, RAW, EOF, ABORT, BYE, BARE, FIN };    /* the first five are outer records */
mtype = { OPEN, RAW_QUEUED, PLAIN, EOF_QUEUED, SHUT }; /* halves of a leg */

#define OTHER(i) (1 - (i))
#define OUTER(kind) (kind != BARE && kind != FIN)

chan up[2] = [NEAR] of { mtype, byte };  /* from side i */
chan down[2] = [FAR] of { mtype, byte }; /* to side i */

/* Of the proxy, per direction. */
chan unread[2] = [NEAR] of { mtype, byte };  /* wire.in of the leg it comes from */
chan unsent[2] = [OUT] of { mtype, byte };  /* wire.out of the leg it leaves by */
chan pipe[2] = [NEAR] of { byte };
mtype leg_rx[2] = OPEN;               /* of the leg it comes from */
mtype leg_tx[2] = OPEN;               /* of the leg it leaves by */
bool rx_raw[2], rx_eof[2];            /* pump_flow.rx */
bool tx_raw[2], tx_done[2];           /* pump_flow.tx */
byte held[2];                         /* the frame's unit; 0: none */
byte taken[2];                        /* units that have come in, for the assertions */
byte passed[2];                       /* units that have left */
bool freed[2];                        /* the outer session of leg i is gone */
bool over;                            /* the session has ended */

/* Of the network and the endpoints. */
bool cut[2];      /* leg i was reset */
byte sent[2];     /* units that endpoint i has sent */
bool ended[2];    /* it has ended its direction */
byte got[2];      /* units that endpoint i has got */
bool proper[2];   /* it has got a proper end */
bool up_raw[2], down_raw[2]; /* RAW has gone by on the way to and from side i */

#ifdef REACH_SAME_SEGMENT
bool together; /* RAW and bare bytes were read from the socket at once */
#endif
#ifdef REACH_SPLICED
bool spliced;
#endif

/* ---- what is put on a wire ---- */

/* No outer byte after RAW, no raw byte before it. */
inline put_up(i, kind, n) {
    assert(!(OUTER(kind) && up_raw[i]));
    assert(!(kind == BARE && !up_raw[i]));
    assert(!(kind == BARE && n <= SHAKE)); /* the handshake is never bare */
    if
    :: kind == RAW -> up_raw[i] = true
    :: else
    fi;
    up[i]!kind(n)
}

inline put_down(i, kind, n) {
    assert(!(OUTER(kind) && down_raw[i]));
    assert(!(kind == BARE && !down_raw[i]));
    if
    :: kind == RAW -> down_raw[i] = true
    :: else
    fi;
    down[i]!kind(n)
}

/* ---- endpoints ---- */

#define UP_ROOM(i)   (len(up[i]) < NEAR)
#define DOWN_ROOM(i) (len(down[i]) < FAR)
#define DOWN_HAS(i)  (len(down[i]) > 0)
#ifdef MUT_RAW_IN_HANDSHAKE
#define SHAKEN(i) true
#else
#define SHAKEN(i) (sent[i] >= SHAKE)
#endif

proctype endpoint(byte i) {
    mtype tx = OPEN;
    mtype rx = OPEN;
    mtype kind;
    byte n;
    bool dead = false;

    do
    :: dead || (tx == SHUT && rx == EOF) -> break

    :: atomic { !dead && !over && tx == OPEN && sent[i] < UNITS && UP_ROOM(i) ->
           sent[i]++;
           put_up(i, DATA, sent[i]) }
    :: atomic { !dead && !over && tx == OPEN && SHAKEN(i) && UP_ROOM(i) -> put_up(i, RAW, 0); tx = PLAIN }
    :: atomic { !dead && !over && tx == PLAIN && sent[i] < UNITS && UP_ROOM(i) ->
           sent[i]++;
           put_up(i, BARE, sent[i]) }
    :: atomic { !dead && !over && tx == OPEN && UP_ROOM(i) -> ended[i] = true; put_up(i, EOF, 0); tx = SHUT }
    :: atomic { !dead && !over && tx == PLAIN && UP_ROOM(i) -> ended[i] = true; put_up(i, FIN, 0); tx = SHUT }
    :: atomic { !dead && !over && tx == OPEN && UP_ROOM(i) -> put_up(i, FIN, 0); tx = SHUT } /* no EOF before it: a cut */

    :: atomic { !dead && rx != EOF && DOWN_HAS(i) ->
           down[i]?kind(n);
           /* What is read as a record is one, and what is read bare is bare. */
           assert(kind == FIN || (rx == OPEN) == OUTER(kind));
           if
           :: kind == DATA || kind == BARE -> assert(n == got[i] + 1); got[i] = n
           :: kind == RAW -> rx = PLAIN
           :: kind == EOF || (kind == FIN && rx == PLAIN) ->
                  assert(ended[OTHER(i)] && got[i] == sent[OTHER(i)]); /* a cut never looks like an end, an end is after all */
                  rx = EOF;
                  proper[i] = true
           :: else -> dead = true /* ABORT; FIN without EOF is a cut */
           fi;
           n = 0; kind = 0 }

#ifndef PATIENT
    :: atomic { !dead -> dead = true; cut[i] = true; tx = OPEN; rx = OPEN } /* at any point */
#endif
    :: atomic { !dead && cut[i] -> dead = true; tx = OPEN; rx = OPEN }
    od;
#ifdef REACH_BOTH_ENDS
    assert(!(proper[0] && proper[1] && sent[0] == UNITS && sent[1] == UNITS))
#endif
#ifdef REACH_ONE_RAW
    assert(!(proper[0] && proper[1] && up_raw[0] && !up_raw[1]))
#endif
#ifdef REACH_TWO_RAW
    assert(!(proper[0] && proper[1] && down_raw[0] && down_raw[1]))
#endif
}

/* ---- the proxy ---- */

#define PIPED(f)    (len(pipe[f]) > 0)
#define HOLDS(f)   (held[f] != 0 || PIPED(f))
#define RAW_DUE(f) (rx_raw[f] && !tx_raw[f])
#define EOF_DUE(f) (rx_eof[f] && !tx_done[f])

/* Both what may be read, and what a mark has to wait for. */
#ifdef MUT_FORGETS_PIPE
#define IN_THE_WAY(f) (held[f] != 0)
#else
#ifdef MUT_FORGETS_FRAME
#define IN_THE_WAY(f) (PIPED(f))
#else
#define IN_THE_WAY(f) (HOLDS(f))
#endif
#endif
#define MAY_READ(f) (!IN_THE_WAY(f) && !RAW_DUE(f) && !rx_eof[f])

#ifdef MUT_FORGETS_RAW_DUE
#define HAS_WORK(f) (HOLDS(f) || (EOF_DUE(f) && !RAW_DUE(f)))
#else
#define HAS_WORK(f) (HOLDS(f) || RAW_DUE(f) || EOF_DUE(f))
#endif

#define UNREAD(f)   (len(unread[f]) > 0)
#define ARRIVED(f)  (len(up[f]) > 0)
#define BARE_ARRIVED(f) (up[f]?[BARE, _])
#define UNSENT(f)   (len(unsent[f]) > 0)
#define OUT_ROOM(f) (len(unsent[f]) == 0) /* wire_room() */

/* unwrap(): raw both ways, the outer session of leg i is over. */
inline unwrap(i) {
#ifdef MUT_UNWRAPS_EARLY
    if :: leg_rx[i] == PLAIN || leg_tx[OTHER(i)] == PLAIN -> freed[i] = true :: else fi
#else
    if :: leg_rx[i] == PLAIN && leg_tx[OTHER(i)] == PLAIN -> freed[i] = true :: else fi
#endif
}

/* A record into wire.out. */
inline record(f, kind, n) {
    assert(!freed[OTHER(f)]);
    unsent[f]!kind(n)
}

/* push_out(): one message from wire.out into the socket. */
inline flush(f) {
    unsent[f]?kind(n);
    put_down(OTHER(f), kind, n);
    if
    :: UNSENT(f)
    :: else ->
        if
        :: leg_tx[f] == RAW_QUEUED -> leg_tx[f] = PLAIN; unwrap(OTHER(f))
        :: leg_tx[f] == EOF_QUEUED -> leg_tx[f] = SHUT
        :: else
        fi
    fi
}

inline push_frame(f) {
    if
    :: leg_tx[f] == OPEN -> record(f, DATA, held[f])
    :: else -> put_down(OTHER(f), BARE, held[f])
    fi;
    passed[f]++;
    held[f] = 0
}

inline push_pipe(f) {
    pipe[f]?n;
    put_down(OTHER(f), BARE, n);
    passed[f]++
}

inline mark_raw(f) {
    record(f, RAW, 0);
    tx_raw[f] = true;
#ifdef MUT_BARE_OVERTAKES
    leg_tx[f] = PLAIN;
    unwrap(OTHER(f))
#else
    leg_tx[f] = RAW_QUEUED
#endif
}

/* FIN only after an empty pipe. */
inline mark_eof(f) {
    assert(passed[f] == taken[f] && !PIPED(f) && held[f] == 0);
    if
    :: leg_tx[f] == OPEN -> record(f, EOF, 0); leg_tx[f] = EOF_QUEUED
    :: else -> put_down(OTHER(f), FIN, 0); leg_tx[f] = SHUT
    fi;
    tx_done[f] = true
}

/* The end of the leg that direction f leaves by: what may still be said is said in order, all else is a reset. */
inline finish(f, orderly) {
    if
    :: orderly ->
#ifdef MUT_STRAY_BYE
        record(f, BYE, 0)
#else
        if
        :: tx_raw[f] /* wire.sealed: nothing is taken from the outer session any more */
        :: else -> record(f, BYE, 0)
        fi
#endif
    :: !orderly && leg_tx[f] == OPEN && OUT_ROOM(f) -> record(f, ABORT, 0)
    :: else -> cut[OTHER(f)] = true
    fi;
    /* Nothing of the rest counts any more; it only makes for more states. */
    leg_rx[f] = OPEN; rx_raw[f] = false; rx_eof[f] = false; held[f] = 0; taken[f] = 0; passed[f] = 0;
    do
    :: PIPED(f) -> pipe[f]?_
    :: UNREAD(f) -> unread[f]?_, _
    :: ARRIVED(f) -> up[f]?_, _
    :: !PIPED(f) && !UNREAD(f) && !ARRIVED(f) -> break
    od
}

inline end(orderly) {
    over = true;
    finish(0, orderly);
    finish(1, orderly)
}

/* All that the socket has, into wire.in. */
inline fill(f) {
    do
    :: ARRIVED(f) && len(unread[f]) < NEAR -> up[f]?kind(n); unread[f]!kind(n)
    :: else -> break
    od;
#ifdef REACH_SAME_SEGMENT
    if
    :: len(unread[f]) == 2 && unread[f]?[RAW, 0] -> together = true
    :: else
    fi;
    assert(!together)
#endif
}

inline from_wire(f) {
    unread[f]?kind(n)
}

inline from_socket(f) {
    up[f]?kind(n)
}

/* recv_wrapped() and flow_take(). */
inline fetch_record(f) {
    assert(!freed[f]);
    if
    :: UNREAD(f)
    :: else -> fill(f)
    fi;
    from_wire(f);
    assert(OUTER(kind) || kind == FIN); /* bare bytes are never fed to the outer session */
    if
    :: kind == DATA -> held[f] = n; taken[f]++
    :: kind == RAW ->
        rx_raw[f] = true;
        leg_rx[f] = PLAIN;
        unwrap(f);
#ifdef MUT_ONE_FLAG
        rx_raw[OTHER(f)] = true;
        leg_rx[OTHER(f)] = PLAIN
#endif
    :: kind == EOF -> rx_eof[f] = true; leg_rx[f] = EOF
    :: else -> end(false) /* ABORT, or cut short */
    fi
}

/* recv_plain(). */
inline fetch_plain(f) {
    if
    :: UNREAD(f) -> from_wire(f)
    :: else -> from_socket(f)
    fi;
    assert(!OUTER(kind)); /* a stray outer record */
    if
    :: kind == BARE -> held[f] = n; taken[f]++
    :: else -> rx_eof[f] = true; leg_rx[f] = EOF
    fi
}

/* tcp_splice_in(): as much as there is before a FIN. */
inline fetch_spliced(f) {
    do
    :: BARE_ARRIVED(f) -> up[f]?kind(n); pipe[f]!n; taken[f]++
    :: else -> break
    od;
#ifdef REACH_SPLICED
    spliced = true;
    assert(!spliced)
#endif
}

#ifdef MUT_SPLICES_OVER_UNREAD
#define MAY_SPLICE(f) (leg_rx[f] == PLAIN && tx_raw[f])
#else
#define MAY_SPLICE(f) (leg_rx[f] == PLAIN && tx_raw[f] && !UNREAD(f))
#endif

/* Both directions, written for either number. */
#define STEPS(f)                                                                                                       \
    :: atomic { UNSENT(f) && DOWN_ROOM(OTHER(f)) -> flush(f); n = 0; kind = 0 }                                            \
    :: atomic { !over && HAS_WORK(f) && held[f] != 0 &&                                                                 \
                ((leg_tx[f] == OPEN && OUT_ROOM(f)) || (leg_tx[f] == PLAIN && DOWN_ROOM(OTHER(f)))) -> push_frame(f) }     \
    :: atomic { !over && HAS_WORK(f) && held[f] == 0 && PIPED(f) && leg_tx[f] == PLAIN && DOWN_ROOM(OTHER(f)) ->           \
                push_pipe(f); n = 0 }                                                                                   \
    :: atomic { !over && HAS_WORK(f) && !IN_THE_WAY(f) && RAW_DUE(f) && leg_tx[f] == OPEN && OUT_ROOM(f) ->              \
                mark_raw(f) }                                                                                           \
    :: atomic { !over && HAS_WORK(f) && !IN_THE_WAY(f) && !RAW_DUE(f) && EOF_DUE(f) &&                                   \
                ((leg_tx[f] == OPEN && OUT_ROOM(f)) || (leg_tx[f] == PLAIN && DOWN_ROOM(OTHER(f)))) -> mark_eof(f) }       \
    :: atomic { !over && MAY_READ(f) && leg_rx[f] == OPEN && (UNREAD(f) || ARRIVED(f)) ->                               \
                fetch_record(f); n = 0; kind = 0 }                                                                      \
    :: atomic { !over && MAY_READ(f) && leg_rx[f] == PLAIN && (UNREAD(f) || ARRIVED(f)) ->                              \
                fetch_plain(f); n = 0; kind = 0 }                                                                       \
    :: atomic { !over && MAY_READ(f) && MAY_SPLICE(f) && BARE_ARRIVED(f) -> fetch_spliced(f); n = 0; kind = 0 }

proctype proxy() {
    mtype kind;
    byte n;

    do
    STEPS(0)
    STEPS(1)
#ifdef MUT_CUT_IS_END
    :: atomic { !over && cut[0] && !rx_eof[0] -> rx_eof[0] = true; leg_rx[0] = EOF }
#else
    :: atomic { !over && cut[0] -> end(false) }
#endif
    :: atomic { !over && cut[1] -> end(false) }
#ifndef PATIENT
    :: atomic { !over -> end(false) } /* drain, stall, volume: the proxy's own end, at any point */
#endif
    :: atomic { !over && tx_done[0] && tx_done[1] -> end(true) }
    :: over && (!UNSENT(0) || cut[1]) && (!UNSENT(1) || cut[0]) -> break
    od
}

init {
    atomic {
        run endpoint(0);
        run endpoint(1);
        run proxy()
    }
}
