from __future__ import annotations

import subprocess

import pytest

from ml_intern.configs.substitution import SubstitutionError, expand

VARIABLES = {"SET": "value", "EMPTY": "", "ODD": "a }b ${SET} \\ $SET *", "B": "from b"}


@pytest.mark.parametrize(
    "text",
    [
        "plain",
        "${SET}",
        "a${SET}b${SET}c",
        "${EMPTY}",
        "${SET:-default}",
        "${EMPTY:-default}",
        "${EMPTY-default}",
        "${UNSET:-default}",
        "${UNSET-default}",
        "${UNSET:-}",
        "${A:-${B}}",
        "${A:-x${B:-y}z}",
        "${A:-${C:-${D:-deep}}}",
        "${SET:-${UNSET:-not needed}}",
        "${ODD}",
        "${A:-{json: 1}}",
        "\\${SET}",
        "${UNSET:-with blanks: and colons}",
    ],
)
def test_expands_what_a_shell_expands_inside_double_quotes(text: str) -> None:
    by_shell = subprocess.run(
        ["/bin/sh", "-c", f'printf %s "{text}"'], env=VARIABLES, capture_output=True, text=True, check=True
    ).stdout
    assert expand(text, VARIABLES.get) == by_shell


@pytest.mark.parametrize("text", ["$SET", "$$", "100 $", "{SET}", "$(date)"])
def test_leaves_everything_but_braces_after_a_dollar_alone(text: str) -> None:
    assert expand(text, VARIABLES.get) == text


def test_an_unset_variable_without_default_is_named() -> None:
    with pytest.raises(SubstitutionError, match="variable UNSET is not set"):
        expand("x ${UNSET} y", VARIABLES.get)


def test_an_unset_variable_in_a_default_that_is_not_used_does_no_harm() -> None:
    assert expand("${SET:-${UNSET}}", VARIABLES.get) == "value"


@pytest.mark.parametrize("text", ["${SET:text}", "${}", "${1}", "${A B}", "${SET:?no}", "${SET", "${A:-${B}"])
def test_anything_else_in_braces_is_refused(text: str) -> None:
    with pytest.raises(SubstitutionError):
        expand(text, VARIABLES.get)
