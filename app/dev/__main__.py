"""``python -m app.dev``: run the system, or a command with its services; demo data."""

from __future__ import annotations

import argparse
import os
import signal
import subprocess
import sys
from collections.abc import Mapping, Sequence

from dotenv import dotenv_values

from app.config import ConfigError
from app.dev import DevError, demo, supervisor
from app.dev.instance import is_free
from app.dev.process import follow_parent
from app.dev.surroundings import ROOT, running_web_port, settings, surroundings


def main(argv: Sequence[str] | None = None) -> int:
    """Parses the command line and runs one command; its exit code."""
    arguments = _parser().parse_args(argv)
    # Handed on to children whole, hence not read through app.config.
    environ = {**{k: v for k, v in dotenv_values(ROOT / ".env").items() if v}, **os.environ}
    try:
        code: int = arguments.command(arguments, environ)
        return code
    except (DevError, ConfigError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    except PermissionError as error:
        print(
            f"error: {error.filename} belongs to another user; "
            f"run make as that user, or have {ROOT / 'var'} removed.",
            file=sys.stderr,
        )
        return 1
    except KeyboardInterrupt:
        return 130


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m app.dev")
    commands = parser.add_subparsers(required=True)

    run = commands.add_parser("run", help="services, migrations, web and worker (make run)")
    run.set_defaults(command=_run)

    services = commands.add_parser("services", help="a command with DATABASE_URL and REDIS_URL set")
    services.add_argument("--fresh", action="store_true", help="new, empty, removed afterwards")
    services.add_argument("argv", nargs="+", metavar="COMMAND", help="after --")
    services.set_defaults(command=_services)

    fill = commands.add_parser("demo", help="lively sample work for a running system (make demo)")
    fill.add_argument("--url", help="default: http://127.0.0.1:$PORT, else the running `make run`")
    fill.add_argument("--seconds", type=float, default=60.0, help="0: until Ctrl-C (default 60)")
    fill.set_defaults(command=_demo)

    return parser


def _run(arguments: argparse.Namespace, environ: Mapping[str, str]) -> int:
    if "MAKELEVEL" in environ:
        follow_parent(signal.SIGTERM)  # a killed make must not leave us running unseen
    return supervisor.run(environ)


def _services(arguments: argparse.Namespace, environ: Mapping[str, str]) -> int:
    with surroundings(environ, fresh=arguments.fresh, share=True) as around:
        # In our own terminal session: Ctrl-C reaches the command by itself.
        command = subprocess.Popen(
            arguments.argv,
            env=around.env,
            preexec_fn=lambda: follow_parent(signal.SIGTERM),
        )
        signal.signal(signal.SIGINT, signal.SIG_IGN)
        for number in (signal.SIGTERM, signal.SIGHUP):
            signal.signal(number, lambda received, _: command.send_signal(received))
        return command.wait()


def _demo(arguments: argparse.Namespace, environ: Mapping[str, str]) -> int:
    port = settings(environ).port
    is_named = "PORT" in environ and not is_free(port)
    if not is_named:
        port = running_web_port() or port
    url = arguments.url or f"http://127.0.0.1:{port}"
    return demo.fill(url, seconds=arguments.seconds or None)


if __name__ == "__main__":
    sys.exit(main())
