"""Whether the tracking store answers, asked without importing MLflow."""

import sqlite3
import urllib.error
import urllib.request

from expkit.tracking import resolve_uri
from expkit.tracking.names import has_password
from expkit.tracking.runinfo import database_path

TIMEOUT = 3.0  # seconds


def look() -> tuple[str, str, str]:
    """(store, what it holds, what is wrong with it). ConfigError for a store that there cannot be."""
    uri = resolve_uri(None)
    path = database_path(uri)
    if path is not None:
        return uri, *_database(str(path), path.is_file())
    shown = f"{uri.partition(':')[0]}:..." if has_password(uri) else uri
    if uri.startswith(("http://", "https://")):
        return shown, *_server(uri)
    return shown, "a database of another kind, which is not asked here", ""


def _database(path: str, there: bool) -> tuple[str, str]:
    if not there:
        return "does not exist yet; the first run makes it", ""
    try:
        with sqlite3.connect(f"file:{path}?mode=ro", uri=True, timeout=TIMEOUT) as database:
            [count] = database.execute("SELECT COUNT(*) FROM runs").fetchone()
        database.close()
    except sqlite3.Error as error:
        return "cannot be read", f"{error}. Move the file away; `expkit sync` then fills a new one"
    return f"{count:,} runs", ""


def _server(uri: str) -> tuple[str, str]:
    try:
        with urllib.request.urlopen(f"{uri.rstrip('/')}/health", timeout=TIMEOUT) as answer:
            return f"answers ({answer.status})", ""
    except (urllib.error.URLError, OSError, ValueError) as error:
        reason = getattr(error, "reason", error)
        return "does not answer", f"{reason}. Start it, or unset MLFLOW_TRACKING_URI; runs are journalled meanwhile"
