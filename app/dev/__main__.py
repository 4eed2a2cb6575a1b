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
from app.dev import DevError, demo, postgres, programs, redis_prompt, supervisor
from app.dev.instance import is_free
from app.dev.process import MakeWatch, follow_parent
from app.dev.surroundings import ROOT, running_instance, settings, surroundings

LOOK_SECONDS = 0.2


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
    run.add_argument("--only", metavar="PROGRAM", help="web or worker alone (make run ONLY=web)")
    run.set_defaults(command=_run)

    worker = commands.add_parser("worker", help="one worker thread on this terminal (make worker)")
    worker.set_defaults(command=_worker)

    psql = commands.add_parser("psql", help="psql on the development database (make psql)")
    psql.add_argument("argv", nargs="*", metavar="ARGUMENT", help="after --")
    psql.set_defaults(command=_psql)

    redis_cli = commands.add_parser("redis-cli", help="commands to Redis (make redis-cli)")
    redis_cli.add_argument("argv", nargs="*", metavar="WORD", help="after --; none: a prompt")
    redis_cli.set_defaults(command=_redis_cli)

    services = commands.add_parser("services", help="a command with DATABASE_URL and REDIS_URL set")
    services.add_argument("--fresh", action="store_true", help="new, empty, removed afterwards")
    services.add_argument("argv", nargs="+", metavar="COMMAND", help="after --")
    services.set_defaults(command=_services)

    fill = commands.add_parser("demo", help="sample jobs for a running system (make demo)")
    fill.add_argument("--url", help="default: http://127.0.0.1:$PORT, else the running `make run`")
    fill.add_argument("--seconds", type=float, default=60.0, help="0: until Ctrl-C (default 60)")
    fill.set_defaults(command=_demo)

    return parser


def _run(arguments: argparse.Namespace, environ: Mapping[str, str]) -> int:
    if "MAKELEVEL" in environ:
        follow_parent(signal.SIGTERM)  # when make is killed, this process must stop
    return supervisor.run(environ, only=arguments.only)


def _services(arguments: argparse.Namespace, environ: Mapping[str, str]) -> int:
    with surroundings(environ, fresh=arguments.fresh, share=True) as around:
        return _on_this_terminal(arguments.argv, around.env)


def _worker(arguments: argparse.Namespace, environ: Mapping[str, str]) -> int:
    command = programs.procfile()["worker"]
    with surroundings(environ, share=True) as around:
        # One thread: a debugger has the terminal to itself. SIGHUP makes a consumer start again.
        argv = programs.argv(f"{command} -w 1")
        return _on_this_terminal(argv, around.env, hangup=signal.SIGTERM)


def _psql(arguments: argparse.Namespace, environ: Mapping[str, str]) -> int:
    with surroundings(environ, share=True) as around:
        argv = [postgres.psql(), around.env["DATABASE_URL"], *arguments.argv]
        return _on_this_terminal(argv, around.env)


def _redis_cli(arguments: argparse.Namespace, environ: Mapping[str, str]) -> int:
    with surroundings(environ, share=True) as around:
        return redis_prompt.run(settings(around.env).redis_url, arguments.argv)


def _on_this_terminal(
    argv: Sequence[str], env: Mapping[str, str], *, hangup: signal.Signals = signal.SIGHUP
) -> int:
    """Runs a command that has our terminal, to its end; its exit code.

    Ctrl-C reaches it by itself. It gets ``hangup`` when the terminal closes.
    """
    command = subprocess.Popen(argv, env=env, preexec_fn=lambda: follow_parent(signal.SIGTERM))
    make = MakeWatch(signal.SIGHUP, is_under_make="MAKELEVEL" in env)
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, lambda received, _: command.send_signal(received))
    signal.signal(signal.SIGHUP, lambda received, _: command.send_signal(hangup))
    while True:
        try:
            return command.wait(LOOK_SECONDS)
        except subprocess.TimeoutExpired:
            if make.received():
                command.send_signal(hangup)


def _demo(arguments: argparse.Namespace, environ: Mapping[str, str]) -> int:
    port = settings(environ).port
    is_named = "PORT" in environ and not is_free(port)
    if not is_named and (state := running_instance()):
        port = state.web_port or port
    url = arguments.url or f"http://127.0.0.1:{port}"
    return demo.fill(url, seconds=arguments.seconds or None)


if __name__ == "__main__":
    sys.exit(main())
