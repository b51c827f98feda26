"""The suite. Helpers are imported by full path: `from tests.ops.table import ROWS`."""
