"""Tables that are printed when something is over."""

from collections.abc import Mapping

from rich.table import Table


def results_table(values: Mapping[str, float], title: str, facts: Mapping[str, str] | None = None) -> Table:
    """Metrics by name, best read after a run; `facts` (run directory, time, ...) stand below them."""
    table = Table(title=title, title_justify="left", box=None, show_header=False, pad_edge=False)
    table.add_column(style="bold", no_wrap=True)
    table.add_column(overflow="fold")
    for name, value in values.items():
        table.add_row(name, f"{value:.4f}" if 1e-3 <= abs(value) < 1e5 or value == 0 else f"{value:.4g}")
    for name, text in (facts or {}).items():
        table.add_row(name, text, style="dim")
    return table
