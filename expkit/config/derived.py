"""Values that are known only once the data is loaded, and what else YAML files can refer to.

`${derived:input_shape}` in a config stays as it is (also in `--cfg job --resolve`) until `derived_values` gives it a
value; a key that nothing derives is an error at once. `${outputs:}` is the folder where runs go.
"""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from pathlib import Path
from typing import Any

from omegaconf import OmegaConf

from expkit import flags
from expkit.config.filled import DERIVED
from expkit.errors import ConfigError, did_you_mean

_values: ContextVar[Mapping[str, Any] | None] = ContextVar("derived", default=None)


@contextmanager
def derived_values(values: Mapping[str, Any]) -> Iterator[None]:
    """Within it `${derived:KEY}` is `values[KEY]`; outside it stays symbolic."""
    token = _values.set(values)
    try:
        yield
    finally:
        _values.reset(token)


def is_derived(value: Any) -> bool:
    """Whether a resolved value still waits for the data."""
    return isinstance(value, str) and "${derived:" in value


def register_resolvers() -> None:
    """Makes `${derived:KEY}` and `${outputs:}` known to OmegaConf."""
    OmegaConf.register_new_resolver("derived", _derived, replace=True)
    OmegaConf.register_new_resolver("outputs", _outputs, replace=True)


def _derived(key: str) -> Any:
    values = _values.get()
    if key not in DERIVED and key not in (values or {}):
        raise ConfigError(
            f"nothing is derived under the name {key!r}.{did_you_mean(key, DERIVED)} Names: {', '.join(DERIVED)}."
        )
    if values is None:
        return f"${{derived:{key}}}"
    if key not in values:
        raise ConfigError(
            f"nothing says what {key!r} ({DERIVED.get(key, '')}) is here. Known are: {', '.join(values)}."
        )
    value = values[key]
    return list(value) if isinstance(value, tuple) else value


def _outputs() -> str:
    return str(Path(str(flags.read("OUTPUTS") or "outputs")).expanduser().absolute())
