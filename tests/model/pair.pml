/* pair.pml - two legs, and two who try, become one session across two workers (docs/PROTOCOL.md, Relay, section 5).
 *
 * What stands for what:
 *   join        src/proxy/conn.c: take_join(); src/proxy/pair.c: join_locked(), session_join(); src/proxy/keys.c: key_take()
 *   pair_up     src/proxy/conn.c: pair_up(), conn_paired(), settle_in(); the letter names the leg by src/proxy/conn_ref.c
 *   go_home     src/proxy/conn.c: go_home(); src/proxy/worker.c: post(), by way of worker_post_move()
 *   arrive      src/proxy/conn.c: conn_arrive(); src/proxy/session.c: session_arrived(), begin()
 *   refuse      src/proxy/session.c: refuse(), of a meeting whose sides came by IPv4 and by IPv6
 *   tell        src/proxy/session.c: greet_both(); src/proxy/conn.c: conn_greet(), conn_send()
 *   greeted     src/proxy/session.c: session_greeted(), session_run(); of a meeting session_fail(), which is its proper end
 *   close       src/proxy/conn.c: conn_close(); src/proxy/pair.c: pair_leave(), pair_end(); src/proxy/session.c: session_fail()
 *   sweep       src/proxy/pair.c: pair_sweep()
 *
 * One session, which may be a meeting, with a key for each side. Legs 0 and 1 are its caller and its callee; leg 2 is the caller's as
 * well and brings the same key again, or one of two halves: this key with the name of another session, which is of the other kind, or
 * that one's key with the name of this. Leg 3 belongs to somebody else who has got hold of the callee's key. Each comes to either
 * worker, and may be of a kind that cannot leave it; one by UDP, which alone joins a meeting, is always at worker 0 and of that kind.
 * What a worker does under the table's lock is one step, and what it does between two such steps may meet anything of the other worker.
 * A leg may break, a letter be refused and time run out at any point.
 *
 * A property is an assertion; a deadlock is an invalid end state, which only -DPATIENT can show: without it a leg may always give up.
 * -DMUT_x and -DREACH_x as in raw.pml.
 */
#define LEGS    4
#define SIDE(l) ((l) & 1)
#define OWNS(l) ((l) != 3) /* may its identity use the key? */
#define NOBODY  9

/* Of a leg. WAITING: the first to join; PAIRING: the second, within take_join(); ACCEPTED: on its way home. TRIED is of a fault. */
mtype = { READY, TRIED, WAITING, PAIRING, ACCEPTED, AWAY, JOINING, GREETING, SESSION, CLOSED };
mtype = { OFFERED, HALF, LIVE, FREED }; /* of the session */
mtype = { PAIRED, MOVE };               /* letters */

/* Under the table's lock. */
mtype session = OFFERED;
bool key[2] = true;      /* still good? */
byte conn[2] = NOBODY;   /* the leg on each side */
byte first;              /* who joined first; a reference, good after the leg has gone */
byte home;               /* LIVE: the session's worker */
bool expired;

/* On the home's thread. */
bool here[2], greeted[2];

/* Of legs: where each is, and in which state. */
byte at[LEGS];
mtype leg[LEGS] = READY;
bool fixed[LEGS]; /* it cannot leave its worker */

bool meet;                 /* the session is a meeting */
bool udp[LEGS];            /* of a meeting only: else nobody asks */
bool brings = true;        /* leg 2: this session's key? */
bool names = true;         /* and this session's name? */
#define BRINGS(l) ((l) != 2 || brings)
#define NAMES(l)  ((l) != 2 || names)

chan mail[2] = [LEGS] of { mtype, byte };

byte used[2];    /* times that a key was accepted, for the assertions */
byte begun;      /* times that the session began */
bool told[2];    /* JOINED was said, in a meeting with the other's address */
bool forwards;

/* Whoever touches the session must find it there. */
inline touch() {
    assert(session != FREED)
}

inline free_session() {
    assert(session != FREED);
    session = FREED;
    key[0] = false;
    key[1] = false
}

inline leave(side) {
    touch();
#ifndef MUT_LEAVES_SILENTLY
    conn[side] = NOBODY;
#endif
#ifdef MUT_DROPS_UNDER_OTHER
    free_session()
#else
    if
    :: conn[1 - side] == NOBODY -> free_session()
    :: else
    fi
#endif
}

/* conn_close() of a leg that has no session yet, or waits for its other side; or of both. */
inline close(l) {
    if
    :: leg[l] == READY || leg[l] == TRIED -> leg[l] = CLOSED
    :: leg[l] == GREETING || leg[l] == SESSION ->
        touch();
        assert(at[conn[0]] == home && at[conn[1]] == home);
#ifdef MUT_DIES_ALONE
        leg[l] = CLOSED
#else
        leg[conn[0]] = CLOSED;
        leg[conn[1]] = CLOSED;
        free_session()
#endif
    :: else -> leave(SIDE(l)); leg[l] = CLOSED
    fi
}

/* The key dies whatever comes of it. */
inline join(l) {
    if
#ifndef MUT_FOUND_BY_NAME
    :: !BRINGS(l) -> leg[l] = CLOSED /* key-unknown, to this session; the other's key dies */
    :: BRINGS(l) && !key[SIDE(l)] -> leg[l] = CLOSED /* the same */
#else
    :: !key[SIDE(l)] || !NAMES(l) -> leg[l] = CLOSED
#endif
#ifdef MUT_TCP_KEEPS_KEY
    :: key[SIDE(l)] && meet && !udp[l] -> refuse_tcp(l)
#endif
    :: else ->
#ifndef MUT_KEY_SURVIVES
#ifdef MUT_REFUSAL_KEEPS_KEY
        key[SIDE(l)] = !OWNS(l);
#else
        key[SIDE(l)] = false;
#endif
#endif
        if
        :: expired -> assert(!key[SIDE(l)]); leg[l] = CLOSED
#ifndef MUT_NAME_UNCHECKED
        :: !expired && !NAMES(l) -> assert(!key[SIDE(l)]); leg[l] = CLOSED /* key-unknown */
#endif
#ifndef MUT_OWNER_UNCHECKED
        :: !expired && NAMES(l) && !OWNS(l) -> assert(!key[SIDE(l)]); leg[l] = CLOSED /* key-owner */
#endif
#ifndef MUT_MEETS_BY_TCP
        :: !expired && NAMES(l) && OWNS(l) && meet && !udp[l] -> refuse_tcp(l)
#endif
        :: else -> accept(l)
        fi
    fi
}

/* no-udp */
inline refuse_tcp(l) {
    assert(!key[SIDE(l)]);
    leg[l] = CLOSED
}

inline accept(l) {
    touch();
    assert(BRINGS(l)); /* a key opens what it was made for, a meeting's no ordinary session nor the reverse */
    assert(NAMES(l));
    assert(!meet || udp[l]);
    assert(used[SIDE(l)] == 0); /* each key is used once */
    assert(OWNS(l));            /* and by whom it was made for */
    used[SIDE(l)]++;
    conn[SIDE(l)] = l;
    if
    :: session == OFFERED ->
        session = HALF;
        first = l;
        leg[l] = WAITING
    :: else ->
        session = LIVE;
        leg[l] = PAIRING;
        if /* home_for() */
        :: fixed[l] -> home = at[l]
        :: !fixed[l] && fixed[first] -> home = at[first]
        :: else ->
            if
            :: home = 0
            :: home = 1 /* worker_lightest() */
            fi
        fi
    fi
}

/* PAIRED has come for leg l, which may have gone meanwhile. */
inline paired(l) {
    if
#ifdef MUT_PAIRED_BY_POINTER
    :: true -> leg[l] = ACCEPTED
#else
    :: leg[l] == WAITING -> leg[l] = ACCEPTED
    :: else -> assert(leg[l] == CLOSED)
#endif
    fi
}

/* Out of the rest of take_join(), or out of the letter box. */
inline arrive(l, w) {
    touch();
    assert(w == home && !here[SIDE(l)]);
    here[SIDE(l)] = true;
    leg[l] = JOINING;
    if
    :: here[0] && here[1] -> begin(l)
    :: else
    fi
}

inline begin(l) {
    if
    :: conn[0] == NOBODY || conn[1] == NOBODY ->
#ifdef REACH_ALONE
        assert(false);
#endif
        close(l) /* the other side has gone meanwhile */
    :: else ->
        assert(session == LIVE && leg[conn[0]] == JOINING && leg[conn[1]] == JOINING);
        if
        :: meet -> refuse(l)
        :: begun++;
           assert(begun == 1);
           tell(0);
           if
#ifdef MUT_TELLS_AFTER_END
           :: tell(1)
#else
           :: leg[conn[1]] == GREETING || leg[conn[1]] == JOINING -> tell(1)
           :: else /* the session went with the caller's leg */
#endif
           fi;
           assert(session == FREED || (told[0] && told[1])) /* in one turn */
        fi
    fi
}

/* IPv4 and IPv6 */
inline refuse(l) {
#ifdef REACH_FAMILIES
    assert(false);
#endif
    other = conn[1 - SIDE(l)];
    close(l);
#ifndef MUT_REFUSES_ONE
    close(other);
    assert(session == FREED);
#endif
    other = 0
}

/* JOINED goes to the leg, which may break over it. */
inline tell(side) {
    touch();
    leg[conn[side]] = GREETING;
    if
    :: told[side] = true
#ifndef PATIENT
    :: close(conn[side])
#endif
    fi
}

/* JOINED is in the socket. */
inline greet(l) {
    touch();
    leg[l] = SESSION;
    greeted[SIDE(l)] = true;
    if
#ifdef MUT_FORWARDS_AT_FIRST
    :: greeted[0] || greeted[1] -> greeted_both(l)
#else
    :: greeted[0] && greeted[1] -> greeted_both(l)
#endif
    :: else
#ifdef MUT_MEETING_ENDS_AT_FIRST
       -> if
          :: meet -> end_meeting(l)
          :: else
          fi
#endif
    fi
}

inline greeted_both(l) {
    if
#ifdef MUT_MEETING_STAYS
    :: meet
#else
#ifndef MUT_MEETING_RELAYS
    :: meet -> end_meeting(l)
#endif
#endif
    :: else ->
        assert(leg[conn[0]] == SESSION && leg[conn[1]] == SESSION); /* JOINED to both before a byte is passed */
        assert(!meet);                                              /* and none in a meeting */
        forwards = true
#ifdef REACH_FORWARDS
        ;
        assert(false)
#endif
    fi
}

/* Both have heard it, and nothing is left of it. */
inline end_meeting(l) {
    assert(told[0] && told[1] && leg[conn[0]] == SESSION && leg[conn[1]] == SESSION);
#ifdef REACH_MEETS
    assert(false);
#endif
    close(l);
    assert(session == FREED && leg[conn[0]] == CLOSED && leg[conn[1]] == CLOSED && !key[0] && !key[1])
}

#ifdef MUT_BEGINS_ANYWHERE
#define IS_HOME(w) true
#else
#define IS_HOME(w) (home == w)
#endif

#ifdef PATIENT
#define OVER (forwards || (meet && session == FREED))
#else
#define OVER (session == FREED)
#endif
#define ALL_SETTLED                                                                                                     \
    (OVER && (leg[0] == CLOSED || forwards) && (leg[1] == CLOSED || forwards) && leg[2] == CLOSED && leg[3] == CLOSED && \
     len(mail[0]) == 0 && len(mail[1]) == 0)

/* What a worker does for leg l. */
#ifdef MUT_LOOKS_THEN_KILLS
#define JOIN_STEPS(l)                                                                                                   \
    :: atomic { at[l] == w && leg[l] == READY && key[SIDE(l)] && OWNS(l) && !expired -> leg[l] = TRIED }                \
    :: atomic { at[l] == w && leg[l] == READY && !(key[SIDE(l)] && OWNS(l) && !expired) ->                              \
                key[SIDE(l)] = false; leg[l] = CLOSED }                                                                 \
    :: atomic { at[l] == w && leg[l] == TRIED -> key[SIDE(l)] = false; accept(l) }
#else
#define JOIN_STEPS(l) :: atomic { at[l] == w && leg[l] == READY -> join(l) }
#endif

#ifdef PATIENT
#define FAILS(l)
#define REFUSED(l)
#else
#define FAILS(l)                                                                                                        \
    :: atomic { at[l] == w && (leg[l] == READY || leg[l] == WAITING || leg[l] == JOINING || leg[l] == GREETING || leg[l] == SESSION) -> close(l) }
#define REFUSED(l) /* the leg cannot be detached, or the other worker stops: the leg stays, and ends */                 \
    :: atomic { at[l] == w && leg[l] == PAIRING -> close(l) }                                                            \
    :: atomic { at[l] == w && leg[l] == ACCEPTED && !IS_HOME(w) -> close(l) }
#endif

#ifdef MUT_LOSES_MOVE
#define POST_MOVE(l) skip
#else
#define POST_MOVE(l) mail[home]!MOVE(l)
#endif
#ifdef MUT_FORGETS_FIRST
#define POST_PAIRED skip
#else
#define POST_PAIRED mail[at[first]]!PAIRED(first)
#endif

#define STEPS(l)                                                                                                        \
    JOIN_STEPS(l)                                                                                                       \
    :: atomic { at[l] == w && leg[l] == PAIRING -> POST_PAIRED; leg[l] = ACCEPTED }                                     \
    :: atomic { at[l] == w && leg[l] == ACCEPTED && IS_HOME(w) -> arrive(l, w) }                                        \
    :: atomic { at[l] == w && leg[l] == ACCEPTED && !IS_HOME(w) && !fixed[l] ->                                        \
                leg[l] = AWAY; at[l] = NOBODY; POST_MOVE(l) }                                                           \
    REFUSED(l)                                                                                                          \
    :: atomic { at[l] == w && leg[l] == GREETING -> greet(l) }                                                          \
    FAILS(l)

proctype worker(byte w) {
    byte l, other;

    do
    STEPS(0)
    STEPS(1)
    STEPS(2)
    STEPS(3)
    :: atomic { mail[w]?PAIRED(l) -> paired(l); l = 0 }
    :: atomic { mail[w]?MOVE(l) ->
#ifdef REACH_MOVES
           assert(false);
#endif
           assert(leg[l] == AWAY);
           at[l] = w;
           if
           :: arrive(l, w)
#ifndef PATIENT
           :: close(l) /* it cannot be attached, or is denied meanwhile */
#endif
           fi;
           l = 0 }
#ifndef PATIENT
    :: atomic { w == 0 && !expired -> expired = true }
#ifdef MUT_SWEEPS_HALF
    :: atomic { w == 0 && expired && (session == OFFERED || session == HALF) -> free_session() }
#else
    :: atomic { w == 0 && expired && session == OFFERED -> free_session() }
#endif
#endif
    :: ALL_SETTLED -> break
    od
}

#define MAY_BE(b) if :: b = true :: skip fi
#ifdef PATIENT
#define BY_TCP false /* so that they meet at all */
#else
#define BY_TCP true
#endif
#define PLACE(l)                                                                                                        \
    if                                                                                                                  \
    :: meet -> at[l] = 0; fixed[l] = true; udp[l] = true                                                                \
    :: !meet || BY_TCP -> at[l] = 0                                                                                     \
    :: !meet || BY_TCP -> at[l] = 1                                                                                     \
    fi

init {
    atomic {
        if :: meet = true :: skip fi;
        PLACE(0);
        PLACE(1);
        PLACE(2);
        PLACE(3);
#ifdef PATIENT
        leg[2] = CLOSED; /* so that the right two meet */
        leg[3] = CLOSED;
        if :: !meet && at[0] != at[1] :: else -> MAY_BE(fixed[1]) fi
#else
        MAY_BE(fixed[1]);
        if :: skip :: brings = false :: names = false fi
#endif
        ;
        MAY_BE(fixed[0]);
        run worker(0);
        run worker(1)
    }
}
