"""A server of the pages for this machine alone, for as long as somebody looks.

    view("judge.db", ready=print)                  until Ctrl-C, for `rrm view`
    with viewing("judge.db") as url: ...           in a thread, for a program that goes on

It listens on 127.0.0.1, so that other machines cannot reach it; other accounts of this one can. Left out: HTTPS and
passwords, which an SSH tunnel has.
"""

from __future__ import annotations

import contextlib
import os
import socket
import threading
import time
from collections.abc import Callable, Iterator
from typing import Any

from rrm_plugin.errors import ConfigError, MissingExtraError
from rrm_plugin.viewer.links import ServerLinks
from rrm_plugin.viewer.pages import Pages
from rrm_plugin.viewer.reading import LedgerReader
from rrm_plugin.viewer.summary import Summary

__all__ = ["view", "viewing"]

HOST = "127.0.0.1"


def view(
    ledger: str | os.PathLike[str],
    *,
    port: int = 0,
    ready: Callable[[str], None] = lambda _: None,
    on_counted: Callable[[int], None] = lambda _: None,
) -> None:
    """Serves the pages of a ledger until it is interrupted.

    Args:
        ledger: the file.
        port: to listen on; 0 takes a free one.
        ready: told the address when pages are answered.
        on_counted: told how many groups of a ledger of an older version are counted so far.

    Raises:
        MissingExtraError: starlette or uvicorn is not installed.
        LedgerError: there is no such ledger.
        ConfigError: the port is taken.
    """
    server, listener = _made(ledger, port, on_counted)
    threading.Thread(target=_tell, args=(server, _address(listener), ready), daemon=True).start()
    try:
        server.run([listener])
    except KeyboardInterrupt:
        # How one ends it.
        pass
    finally:
        listener.close()


@contextlib.contextmanager
def viewing(ledger: str | os.PathLike[str], *, port: int = 0) -> Iterator[str]:
    """The pages of a ledger as long as the block; gives their address.

    Raises:
        MissingExtraError, LedgerError, ConfigError: see `view`.
    """
    server, listener = _made(ledger, port, lambda _: None)
    thread = threading.Thread(target=server.run, args=([listener],), name="rrm-view", daemon=True)
    thread.start()
    try:
        while not server.started and thread.is_alive():
            time.sleep(0.005)
        yield _address(listener)
    finally:
        server.should_exit = True
        thread.join(10)
        listener.close()


def _made(ledger: str | os.PathLike[str], port: int, on_counted: Callable[[int], None]) -> tuple[Any, socket.socket]:
    try:
        import uvicorn

        from rrm_plugin.viewer.app import application
    except ImportError as error:
        raise MissingExtraError("rrm view", "view") from error
    reader = LedgerReader(ledger, on_counted)
    summary = Summary(reader)
    summary.refresh()
    config = uvicorn.Config(
        application(Pages(reader, summary, ServerLinks())),
        log_config=None,
        access_log=False,
        lifespan="off",
        proxy_headers=False,
        server_header=False,
        timeout_graceful_shutdown=1,
    )
    return uvicorn.Server(config), _listening(port)


def _listening(port: int) -> socket.socket:
    listener = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
    try:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind((HOST, port))
    except OSError as error:
        listener.close()
        raise ConfigError(f"cannot listen on {HOST} port {port} ({error.strerror}): leave out --port") from error
    return listener


def _address(listener: socket.socket) -> str:
    return f"http://{HOST}:{listener.getsockname()[1]}"


def _tell(server: Any, address: str, ready: Callable[[str], None]) -> None:
    while not server.started:
        if server.should_exit:
            return
        time.sleep(0.005)
    ready(address)
