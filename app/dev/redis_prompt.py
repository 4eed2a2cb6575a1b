"""A minimal redis-cli: the wheel has a server only."""

from __future__ import annotations

import shlex
from collections.abc import Sequence

import redis


def run(url: str, words: Sequence[str]) -> int:
    """Sends one command, or those typed at a prompt until Ctrl-D; the exit code."""
    with redis.Redis.from_url(url, decode_responses=True, encoding_errors="replace") as client:
        if words:
            return _send(client, words)
        while True:
            try:
                line = input("redis> ")
            except (EOFError, KeyboardInterrupt):
                print()
                return 0
            if line.strip() in ("exit", "quit"):
                return 0
            _send_line(client, line)


def _send_line(client: redis.Redis, line: str) -> None:
    try:
        words = shlex.split(line)
    except ValueError as error:
        print(f"(error) {error}")
        return
    if words:
        _send(client, words)


def _send(client: redis.Redis, words: Sequence[str]) -> int:
    try:
        answer = client.execute_command(*words)
    except redis.RedisError as error:
        print(f"(error) {error}")
        return 1
    if isinstance(answer, dict):
        answer = [f"{key}: {value}" for key, value in answer.items()]
    for line in answer if isinstance(answer, list | set | tuple) else [answer]:
        print("(nil)" if line is None else line)
    return 0
