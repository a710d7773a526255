"""The mechanical part of our English: how docstrings begin, and words that may not come back."""

import ast
import io
import re
import tokenize
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
SOURCES = sorted(path for top in ("engine", "bot") for path in (ROOT / top).rglob("*.py"))
DOCUMENTS = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").rglob("*.md"))]

#: A docstring begins with an imperative verb or a noun phrase, never with a clause.
CLAUSES = re.compile(
    r"(What|Whatever|Who|Whoever|Whom|Whose|Where|Wherever|When|Whether|How|Why|If|That|There"
    r"|This is|Nobody|Somebody|Everybody|Nothing|Everything)\b"
)

#: Words of earlier versions, with the word of the field.
GONE = {
    r"\bwhoever\b": "the person who, the requester, the approver",
    r"\bon (its|their) way\b": "in flight",
    r"\blost sight of\b": "location unknown",
    r"\b(had|has|have) (it|a run|the run) go\b": "resumed, retried",
    r"\bdecider": "approver",
    r"\bheard by\b": "received by",
    r"\bwhat (a|an|the) \w+ comes to\b": "the result of",
    r"\bin hand\b": "current",
    r"\bbroken glass": "break-glass approval",
    r"\bsays? yes\b": "approve",
}


def docstrings(path: Path) -> Iterator[tuple[int, str]]:
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef):
            said = ast.get_docstring(node)
            if said:
                yield getattr(node, "lineno", 1), said


def words(path: Path) -> Iterator[tuple[int, str]]:
    """Every text and comment of a module, and every line of a document."""
    text = path.read_text(encoding="utf-8")
    if path.suffix != ".py":
        yield from enumerate(text.splitlines(), 1)
        return
    for token in tokenize.generate_tokens(io.StringIO(text).readline):
        if token.type in (tokenize.STRING, tokenize.COMMENT):
            yield token.start[0], " ".join(token.string.split())


def test_no_docstring_begins_with_a_clause():
    found = [
        f"{path.relative_to(ROOT)}:{line}: {said.splitlines()[0]}"
        for path in SOURCES
        for line, said in docstrings(path)
        if CLAUSES.match(said)
    ]

    assert found == []


@pytest.mark.parametrize("word", GONE)
def test_no_replaced_word_comes_back(word):
    found = [
        f"{path.relative_to(ROOT)}:{line}: {said[:100]}"
        for path in [*SOURCES, *DOCUMENTS]
        for line, said in words(path)
        if re.search(word, said, re.IGNORECASE)
    ]

    assert found == [], f"write: {GONE[word]}"
