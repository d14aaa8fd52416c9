"""What is read of the body of a reply."""

from __future__ import annotations

from typing import Any

import pytest

from trailing.exchanges.ccxt.http_replies import is_huge, parse_body, refusal_words


def test_a_body_of_too_many_lists_is_refused_before_they_are_made() -> None:
    with pytest.raises(ValueError, match="it has 200002 lists and objects, more than 100000"):
        parse_body("[" + "[]," * 200_000 + "[]]", 5_000)
    with pytest.raises(ValueError, match="it has 5001 entries, more than 5000"):
        parse_body("[" + "0," * 5_000 + "0]", 5_000)


@pytest.mark.parametrize("number", ['"1e999999999"', "1e999999999", '"-2.5E+400"', "1E-9999"])
def test_fm62_a_number_with_a_large_exponent_becomes_a_text_that_is_no_number(number: str) -> None:
    found: Any = parse_body(f'{{"data": [{{"last": {number}, "bid": "1.5e2", "id": "ae400"}}]}}', 5_000)
    (entry,) = found["data"]
    assert is_huge(entry["last"])
    with pytest.raises(ValueError, match="could not convert"):
        float(entry["last"])
    assert (entry["bid"], entry["id"]) == ("1.5e2", "ae400")


@pytest.mark.parametrize(
    ("body", "words"),
    [
        ('{"code":-2019,"msg":"Margin is insufficient."}', "-2019 Margin is insufficient."),
        ('{"retCode":110007,"retMsg":"ab not enough","result":{}}', "110007 ab not enough"),
        (
            '{"code":"1","data":[{"sCode":"0","sMsg":""},{"sCode":"51008","sMsg":"Insufficient margin"}],"msg":"All failed"}',
            "51008 Insufficient margin",
        ),
        ('{"code":"50011","data":[],"msg":"Too many"}', "50011 Too many"),
        ('{"code":"0","data":[{"sCode":"0"}],"msg":""}', ""),
        ('{"code":"1","data":["none"],"msg":5}', ""),
        ("[1]", ""),
        ("<html>", ""),
        ("", ""),
    ],
)
def test_a_refusal_is_told_by_its_code_and_its_words(body: str, words: str) -> None:
    assert refusal_words(body) == words
