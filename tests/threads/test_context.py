"""What commands get to see of the environment."""

from __future__ import annotations

import subprocess
import sys

from ml_intern.threads.context import child_environment

SECRET = {
    "HF_TOKEN": "s3cret-1",
    "MYSQL_PWD": "s3cret-2",
    "SENTRY_DSN": "s3cret-3",
    "SESSION_COOKIE": "s3cret-4",
    "NPM_AUTH": "s3cret-5",
    "DATABASE_URL": "postgres://ann:s3cret-6@127.0.0.1/x",
    "GPG_PASSPHRASE": "s3cret-7",
    "openai_api_key": "s3cret-8",
}
PLAIN = {
    "PATH": "/usr/bin:/bin",
    "OLDPWD": "/tmp",
    "SSH_AUTH_SOCK": "/run/agent",
    "GPG_TTY": "/dev/pts/1",
    "XAUTHORITY": "/home/ann/.Xauthority",
    "TOKENIZERS_PARALLELISM": "false",
    "MAX_NEW_TOKENS": "512",
    "HF_ENDPOINT": "https://hub.test:8080",
}


def seen_by_a_command(env: dict[str, str]) -> dict[str, str]:
    code = "import os, sys; sys.stdout.write('\\0'.join(f'{k}={v}' for k, v in os.environ.items()))"
    listing = subprocess.run(
        [sys.executable, "-c", code], env=env, capture_output=True, text=True, check=True
    ).stdout
    return dict(line.split("=", 1) for line in listing.split("\0"))


def test_a_command_sees_no_secret_and_all_the_rest() -> None:
    seen = seen_by_a_command(child_environment({**SECRET, **PLAIN}))
    assert {name: value for name, value in seen.items() if name in PLAIN} == PLAIN
    assert not [item for item in seen.items() if "s3cret" in item[1]]


def test_a_granted_secret_is_seen_and_no_other() -> None:
    seen = seen_by_a_command(child_environment({**SECRET, **PLAIN}, ["HF_TOKEN", "DATABASE_URL"]))
    assert {value for value in seen.values() if "s3cret" in value} == {
        SECRET["HF_TOKEN"],
        SECRET["DATABASE_URL"],
    }
