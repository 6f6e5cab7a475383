"""One answer to what is secret."""

from __future__ import annotations

import time

import pytest

from ml_intern.configs.project import without_secrets
from ml_intern.configs.secret_names import is_secret


@pytest.mark.parametrize(
    "name",
    [
        *("HF_TOKEN", "TOKEN", "GITHUB_TOKEN_WORK", "GITHUB_TOKEN2", "hf_token", "SLACK_TOKENS", "MYTOKEN"),
        *("OPENAI_API_KEY", "APIKEY", "AWS_ACCESS_KEY_ID", "OPENAI_API_KEYS", "JWT_PUBLIC_KEY"),
        *(
            "CLIENT_SECRET",
            "DJANGO_SECRET_KEY",
            "DB_PASSWORD",
            "PGPASSWORD",
            "DB_PASSWD",
            "GPG_PASSPHRASE",
            "NPM_AUTH",
        ),
        *(
            "MYSQL_PWD",
            "DB_PASS",
            "SSHPASS",
            "NPM_AUTH",
            "DOCKER_AUTH_CONFIG",
            "SESSION_COOKIE",
            "SENTRY_DSN",
        ),
        *("GOOGLE_CREDENTIAL", "GOOGLE_CREDENTIALS", "AZURE_PAT", "SLACK_WEBHOOK_URL", "PROXY_AUTHORIZATION"),
        *("OTEL_EXPORTER_OTLP_HEADERS", "AZURE_STORAGE_CONNECTION_STRING"),
        *("apiKey", "X-Api-Key", "--api-key", "--token", "Authorization", "clientSecret"),
    ],
)
def test_names_that_say_so_are_secret(name: str) -> None:
    assert is_secret(name)


@pytest.mark.parametrize(
    "name",
    [
        *("PWD", "OLDPWD", "SSH_AUTH_SOCK", "SSH_AGENT_PID", "GPG_TTY", "XAUTHORITY", "SSH_ASKPASS"),
        *("GIT_ASKPASS", "TOKENIZERS_PARALLELISM", "KEYBOARD_LAYOUT", "GNOME_KEYRING_CONTROL", "PATH"),
        *("PYTHONPATH", "HF_TOKEN_PATH", "TLS_KEY_FILE", "HF_HOME", "AUTHOR", "GIT_AUTHOR_NAME", "PATIENCE"),
        *("COMPASS", "BYPASS", "tokenizer", "keywords", ""),
    ],
)
def test_names_that_only_sound_like_it_are_not(name: str) -> None:
    assert not is_secret(name)


@pytest.mark.parametrize(
    ("value", "secret"),
    [
        ("postgres://ann:hunter2@db/x", True),
        ("redis://:hunter2@127.0.0.1:6379/0", True),
        ("postgres://ann:p@ss@db/x", True),
        ("https://x.test:443/a@b", False),
        ("https://ann@x.test/a:b", False),
        ("ssh://git@host:22/x", False),
    ],
)
def test_an_address_with_a_password_is_secret_under_any_name(value: str, secret: bool) -> None:
    assert is_secret("DATABASE_URL", value) is secret


def test_a_number_of_tokens_is_no_secret() -> None:
    assert not is_secret("MAX_NEW_TOKENS", "512")
    assert is_secret("SLACK_TOKENS", "xoxb-1,xoxb-2")


def test_a_project_file_reads_what_is_no_secret_and_nothing_else() -> None:
    env = {"SESSION_COOKIE": "a", "DATABASE_URL": "x://u:p@h", "TOKENIZERS_PARALLELISM": "0", "MODEL": "m"}
    assert without_secrets(env) == {"TOKENIZERS_PARALLELISM": "0", "MODEL": "m"}


@pytest.mark.parametrize("piece", ["://", "://a:", ":", "_KEY", "aB", "--"])
def test_long_names_and_values_take_no_quadratic_time(piece: str) -> None:
    text = piece * (300_000 // len(piece))
    before = time.process_time()
    is_secret(text, text)
    assert time.process_time() - before < 10
