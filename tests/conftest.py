"""What every test shares: PyTorch as an oracle where it is installed, a clean engine, a working directory of its own.

- `@pytest.mark.torch`, or asking for the `torch` fixture, marks a comparison with PyTorch. Without torch such tests are
  deselected and one line of the summary says how many.
- `@pytest.mark.soak` tests run only when the marker expression names them (`make soak`).
- Before each test the seed and the default dtype are reset; a test that leaves gradients switched off fails.
"""

import importlib.util
import os
import sys
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType

import pytest

HAVE_TORCH = importlib.util.find_spec("torch") is not None
LEFT_OUT = pytest.StashKey[int]()
# Files whose tests take seconds each (processes, databases, whole runs, much compiling): slow as a whole.
SLOW_FILES = (
    "cli/test_startup.py", "cli/test_train.py", "kernels/test_reduce.py", "tracking/test_dashboard.py",
    "tracking/test_shipping.py", "tracking/test_syncing.py", "trainer/test_experiment.py", "trainer/test_resume.py",
)  # fmt: skip
# Settings of whoever runs the suite that would change what the tests see.
FOREIGN_ENVIRONMENT = ("EXPKIT_", "MLFLOW_", "HYDRA_")


def pytest_configure(config: pytest.Config) -> None:
    config.stash[LEFT_OUT] = 0
    for name in [name for name in os.environ if name.startswith(FOREIGN_ENVIRONMENT)]:
        del os.environ[name]
    if config.pluginmanager.hasplugin("xdist"):
        config.pluginmanager.register(_CountFromWorkers(config))


class _CountFromWorkers:
    """Under pytest-xdist the workers collect; every worker deselects the same tests, so one count is the whole."""

    def __init__(self, config: pytest.Config) -> None:
        self.config = config

    @pytest.hookimpl(optionalhook=True)
    def pytest_testnodedown(self, node: object, error: object) -> None:
        self.config.stash[LEFT_OUT] = getattr(node, "workeroutput", {}).get("left_out", 0)


def pytest_sessionfinish(session: pytest.Session) -> None:
    workeroutput = getattr(session.config, "workeroutput", None)
    if workeroutput is not None:
        workeroutput["left_out"] = session.config.stash[LEFT_OUT]


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    for item in items:
        if "torch" in getattr(item, "fixturenames", ()):
            item.add_marker("torch")
        if item.path.as_posix().endswith(SLOW_FILES):
            item.add_marker("slow")
    soak_wanted = "soak" in config.getoption("markexpr")
    left_out = [item for item in items if not HAVE_TORCH and item.get_closest_marker("torch")]
    too_long = [item for item in items if not soak_wanted and item.get_closest_marker("soak")]
    config.stash[LEFT_OUT] = len(left_out)
    dropped = {*left_out, *too_long}
    if dropped:
        config.hook.pytest_deselected(items=list(dropped))
        items[:] = [item for item in items if item not in dropped]


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter, config: pytest.Config) -> None:
    count = config.stash[LEFT_OUT]
    if count:
        terminalreporter.write_line(f"{count} comparisons with PyTorch were left out: torch is not installed.")


@pytest.fixture(scope="session")
def torch() -> ModuleType:
    """PyTorch, on one thread so that its results do not depend on the machine."""
    module = importlib.import_module("torch")
    module.set_num_threads(1)
    return module


@pytest.fixture(autouse=True)
def clean_engine() -> Iterator[None]:
    """Seed and default dtype as in a fresh process; gradients must be on again when the test is over."""
    _reset_engine()
    yield
    tensor = sys.modules.get("expkit.tensor")
    if tensor is not None and not tensor.is_grad_enabled():
        tensor.set_grad_enabled(True)
        pytest.fail("the test left gradients switched off")


def _reset_engine() -> None:
    # Tests that never touch the engine must not import it: the structure tests count on that.
    tensor = sys.modules.get("expkit.tensor")
    if tensor is not None:
        tensor.manual_seed(0)
        if hasattr(tensor, "set_default_dtype"):
            tensor.set_default_dtype(tensor.float32)
    if "numpy" in sys.modules:
        sys.modules["numpy"].random.seed(0)


@pytest.fixture
def workdir(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty working directory; runs go to its outputs/."""
    monkeypatch.chdir(tmp_path)
    return tmp_path
