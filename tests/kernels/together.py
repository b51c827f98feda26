"""The same work in several Python threads at once."""

import threading
from collections.abc import Callable, Iterable
from typing import Any


def at_once(work: Callable[[Any], None], cases: Iterable[Any]) -> None:
    """work(case) for all cases, a thread for each; what one of them raises, a failed assertion too, is raised here."""
    errors: list[BaseException] = []

    def run(case: Any) -> None:
        try:
            work(case)
        except BaseException as error:
            errors.append(error)

    threads = [threading.Thread(target=run, args=(case,)) for case in cases]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    if errors:
        raise errors[0]
