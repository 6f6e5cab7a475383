"""A process that has imported everything and forks runs of the command line from itself.

A cold start costs seconds of imports; a forked one a tenth of that, so that hundreds of kills are
affordable. What is forked is the whole program from `cli.main` on, in a process of its own.
"""

from __future__ import annotations

import json
import os
import signal
import socket
import sys
import threading
from typing import Any


def serve(path: str) -> None:
    """Fork a run for every connection until standard input closes."""
    _import_everything()
    assert threading.active_count() == 1, f"threads do not survive a fork: {threading.enumerate()}"
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)
    with socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET) as listener:
        listener.bind(path)
        listener.listen(16)
        print("ready", flush=True)  # noqa: T201 - what the parent waits for
        if os.fork() == 0:
            _end_with_parent(os.getppid())
        while True:
            connection, _ = listener.accept()
            message, fds, _, _ = socket.recv_fds(connection, 1 << 18, 2)
            if os.fork() == 0:
                listener.close()
                _keep(connection, json.loads(message), fds)
            connection.close()
            for fd in fds:
                os.close(fd)


def _import_everything() -> None:
    """All that a run imports at some time; nothing of it may start a thread that stays."""
    import ml_intern.cli  # noqa: PLC0415 - seconds: paid once, here
    import ml_intern.gateways.approve  # noqa: PLC0415 - as above
    import ml_intern.gateways.crash  # noqa: PLC0415 - as above
    import ml_intern.gateways.run  # noqa: PLC0415 - as above
    import ml_intern.threads.budget  # noqa: PLC0415 - as above
    import ml_intern.threads.checkpointer  # noqa: PLC0415 - as above
    import ml_intern.threads.context  # noqa: PLC0415 - as above
    import ml_intern.threads.heal  # noqa: PLC0415 - as above
    import ml_intern.threads.session  # noqa: F401, PLC0415 - as above
    from ml_intern.llm.loading import load_now  # noqa: PLC0415 - as above
    from ml_intern.tools.registry import default_tools  # noqa: PLC0415 - as above

    load_now()
    default_tools()


def _end_with_parent(zygote: int) -> None:
    """Take the zygote along when whoever started it is gone or closes our standard input."""
    while os.read(0, 4096):
        pass
    os.kill(zygote, signal.SIGKILL)
    os._exit(0)


def _keep(connection: socket.socket, request: dict[str, Any], fds: list[int]) -> None:
    """Be the parent of one run: tell its pid, then how it ended."""
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    pid = os.fork()
    if pid == 0:
        connection.close()
        _become(request, fds)
    for fd in fds:
        os.close(fd)
    connection.send(str(pid).encode())
    _, status = os.waitpid(pid, 0)
    try:
        connection.send(str(os.waitstatus_to_exitcode(status)).encode())
    finally:
        os._exit(0)


def _become(request: dict[str, Any], fds: list[int]) -> None:
    """Turn this fork into the command line."""
    from ml_intern.cli import main  # noqa: PLC0415 - loaded already
    from ml_intern.llm.loading import prepare_environment  # noqa: PLC0415 - loaded already
    from ml_intern.tests.crash import fuse  # noqa: PLC0415 - loaded already

    os.setsid()
    null = os.open(os.devnull, os.O_RDONLY)
    for number, fd in enumerate((null, *fds)):
        os.dup2(fd, number)
        os.close(fd)
    os.environ.clear()
    os.environ.update(request["env"])
    prepare_environment(os.environ)
    os.chdir(request["cwd"])
    sys.argv = ["ml-intern", *request["arguments"]]
    for name, value in request.get("limits", {}).items():
        _limit(name, value)
    fuse.install()
    main()


def _limit(name: str, value: int) -> None:
    import resource  # noqa: PLC0415 - only runs with limits need it

    number = getattr(resource, f"RLIMIT_{name}")
    resource.setrlimit(number, (value, resource.getrlimit(number)[1]))


if __name__ == "__main__":
    serve(sys.argv[1])
