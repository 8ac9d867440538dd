"""Fixtures that every integration test may use."""

import pathlib
import sys

import pytest

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent))
sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[2] / "scripts"))

import fairlead  # noqa: E402  (lies beside this file)


def pytest_configure(config):
    config.addinivalue_line("markers", "asan: run with the ASan and UBSan build too")
    config.addinivalue_line("markers", "tsan: run with the TSan build too")
    config.addinivalue_line("markers", "long: takes minutes; in `make test-long` only")
    config.addinivalue_line("markers", "early: takes long enough to be begun before what does not, so that nothing is waited for in the end")
    config.addinivalue_line("markers", "xdist_group(name): of these one runs at a time (pytest-xdist)")


def pytest_collection_modifyitems(config, items):
    """What is marked long runs only when it is asked for: -m long. What is marked early runs first."""
    items.sort(key=lambda item: not item.get_closest_marker("early"))
    if "long" in config.option.markexpr:
        return
    config.hook.pytest_deselected(items=[item for item in items if item.get_closest_marker("long")])
    items[:] = [item for item in items if not item.get_closest_marker("long")]


@pytest.hookimpl(hookwrapper=True)
def pytest_runtest_makereport(item, call):
    outcome = yield
    if call.when in ("setup", "call") and outcome.get_result().failed:
        item.has_failed = True


@pytest.fixture
def world(request):
    """A folder and real programs; see fairlead.py. Logs are kept when the test fails."""
    made = fairlead.World(request.node.name)
    yield made
    made.close(failed=getattr(request.node, "has_failed", False))
