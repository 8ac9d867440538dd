"""The models of the raw switch and of pairing (tests/model), checked through all their states by spin; and each of their properties is
shown to be able to fail: a fault put into the model must be found."""

import pathlib
import re
import subprocess

import fairlead
import pytest

pytestmark = pytest.mark.early
MODELS = fairlead.ROOT / "tests/model"

# What is put in, and what spin must say of it.
FAULTS = {
    "raw": {
        "MUT_RAW_IN_HANDSHAKE": r"assertion violated .*sent\[i\]<=1",  # the handshake is never bare
        "MUT_STRAY_BYE": r"assertion violated .*down_raw",             # no outer byte after RAW
        "MUT_BARE_OVERTAKES": r"assertion violated .*!\(down_raw",     # no raw byte before it
        "MUT_ONE_FLAG": r"assertion violated",                         # the directions are independent
        "MUT_UNWRAPS_EARLY": r"assertion violated .*freed",            # the outer session lives as long as it is needed
        "MUT_SPLICES_OVER_UNREAD PATIENT": r"assertion violated .*got\[i\]",   # order
        "MUT_FORGETS_PIPE": r"assertion violated .*pipe",              # FIN only after an empty pipe
        "MUT_FORGETS_FRAME": r"assertion violated .*held",             # and after the frame before it
        "MUT_CUT_IS_END": r"assertion violated .*ended",               # a cut never looks like an end
        "MUT_FORGETS_RAW_DUE PATIENT": r"invalid end state",           # no deadlock
        "REACH_SAME_SEGMENT": r"assertion violated .*together",
        "REACH_SPLICED": r"assertion violated .*spliced",
        "REACH_BOTH_ENDS": r"assertion violated .*proper",
        "REACH_ONE_RAW": r"assertion violated .*proper",
        "REACH_TWO_RAW": r"assertion violated .*proper",
    },
    "pair": {
        "MUT_KEY_SURVIVES": r"assertion violated .*used",         # a key is used once
        "MUT_LOOKS_THEN_KILLS": r"assertion violated",            # looked for and killed under one lock
        "MUT_OWNER_UNCHECKED": r"assertion violated .*3!=3",      # by its owner
        "MUT_REFUSAL_KEEPS_KEY": r"assertion violated .*key",     # and dead after a refusal too
        "MUT_LEAVES_SILENTLY": r"(assertion violated|invalid end state)",  # no session with, or for, legs that have gone
        "MUT_DROPS_UNDER_OTHER": r"assertion violated .*session", # nobody touches a session that was freed
        "MUT_SWEEPS_HALF": r"assertion violated .*session",
        "MUT_BEGINS_ANYWHERE": r"assertion violated .*home",      # a session lives on one thread
        "MUT_FORWARDS_AT_FIRST": r"assertion violated .*leg",     # JOINED to both before a byte
        "MUT_PAIRED_BY_POINTER": r"assertion violated",           # nor a leg that has
        "MUT_LOSES_MOVE PATIENT": r"invalid end state",           # no deadlock
        "MUT_FORGETS_FIRST PATIENT": r"invalid end state",
        "MUT_NAME_UNCHECKED": r"assertion violated .*names",      # for what it was made for: a meeting's for that meeting
        "MUT_FOUND_BY_NAME": r"assertion violated .*brings",
        "MUT_MEETS_BY_TCP": r"assertion violated .*udp",          # a meeting is joined by UDP alone
        "MUT_TCP_KEEPS_KEY": r"assertion violated .*key",
        "MUT_TELLS_AFTER_END": r"assertion violated .*session",   # both are told in one turn, or it is over
        "MUT_MEETING_ENDS_AT_FIRST": r"assertion violated .*told",  # and it ends when both have heard it
        "MUT_MEETING_STAYS PATIENT": r"invalid end state",
        "MUT_MEETING_RELAYS": r"assertion violated .*!\(meet\)",  # no byte is passed in it
        "MUT_REFUSES_ONE PATIENT": r"invalid end state",          # nobody is left behind by a refusal
        "MUT_DIES_ALONE": r"assertion violated",                  # nor by the other's death
        "REACH_MEETS": r"assertion violated",
        "REACH_FAMILIES": r"assertion violated",
        "REACH_MOVES": r"assertion violated",
        "REACH_ALONE": r"assertion violated",
        "REACH_FORWARDS": r"assertion violated",
    },
}


# Most checks are shorter than their compilation, so it is the fastest there is; and states are not compressed (-DCOLLAPSE), since they
# fit into some 250 MB, and that takes as long as the search itself.
FAST = ["clang", "-O0"]
LARGE = ["gcc", "-O1"]  # raw.pml as a whole


def check(folder, model, *macros, compiler=FAST):
    """All states of a model, or those up to the first error. Returns what pan said."""
    folder.mkdir()
    made = subprocess.run(["spin", "-a", *(f"-D{macro}" for macro in macros), str(MODELS / f"{model}.pml")], cwd=folder,
                          capture_output=True, text=True, check=False)
    assert made.returncode == 0 and (folder / "pan.c").exists(), made.stdout + made.stderr
    subprocess.run([*compiler, "-w", "-DSAFETY", "-DMEMLIM=2000", "-o", "pan", "pan.c"], cwd=folder, check=True)
    done = subprocess.run(["./pan", "-m100000", "-w22"], cwd=folder, capture_output=True, text=True, check=False,
                          timeout=300 * fairlead.SLOW)
    for left in pathlib.Path(folder).glob("pan*"):
        left.unlink()
    return done.stdout + done.stderr


@pytest.mark.parametrize("macros", [(), ("PATIENT",)])
@pytest.mark.parametrize("model", FAULTS)
def test_model_holds(tmp_path, model, macros):
    """Every property in every state: the whole space was searched, and no error found."""
    said = check(tmp_path / "model", model, *macros, compiler=LARGE if model == "raw" else FAST)
    assert re.search(r"errors: 0\b", said), said
    assert "Search not completed" not in said and "max search depth too small" not in said, said
    assert int(re.search(r"(\d+) states, stored", said).group(1)) > 300, said


@pytest.mark.parametrize("model", FAULTS)
def test_faults_are_found(tmp_path, model):
    """Each fault is refuted, for the reason it was put in for."""
    for macros, says in FAULTS[model].items():
        said = check(tmp_path / macros.replace(" ", "-"), model, *macros.split())
        assert re.search(rf"pan:1: {says}", said), f"{model} with {macros}:\n{said}"


def test_every_fault_is_tried():
    """No macro of a model is left out above."""
    for model, faults in FAULTS.items():
        macros = set(re.findall(r"\b(?:MUT|REACH)_[A-Z_]+\b", (MODELS / f"{model}.pml").read_text()))
        assert macros == {word for fault in faults for word in fault.split() if word != "PATIENT"}
