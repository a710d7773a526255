"""Sentences: texts that keep their parts wherever they are stored."""

import ast
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from engine.language.sentence import (
    Command,
    HostName,
    Person,
    Quote,
    Sentence,
    Turn,
    VmName,
    join,
    say,
    upper_first,
    without_stop,
)

ROOT = Path(__file__).parents[3]
TEXT = st.text(st.characters(exclude_categories=["Cs"]), max_size=12)
PARTS = st.one_of(
    TEXT,
    st.builds(Person, TEXT),
    st.builds(Command, TEXT),
    st.builds(HostName, TEXT),
    st.builds(VmName, TEXT),
    st.builds(Quote, TEXT, TEXT),
    st.just(Turn()),
)


@given(st.lists(PARTS, max_size=6))
def test_a_sentence_survives_the_round_trip_through_a_row(parts):
    said = Sentence(*parts)
    read = Sentence.read(str(said), said.as_json())

    assert (read, read.parts) == (said, said.parts)


@given(TEXT, TEXT)
def test_braces_in_outside_text_are_never_placeholders(name, reason):
    said = say("{} stays: {}.", VmName(name + "{}"), Quote(reason + "{}"))

    assert said == f"{name}{{}} stays: {reason}{{}}."
    assert said.parts[0] == VmName(name + "{}")


def test_a_form_needs_a_value_for_each_placeholder():
    with pytest.raises(ValueError, match="argument"):
        say("{} is on {}.", VmName("web01"))
    with pytest.raises(KeyError, match="host"):
        say("{} is on {host}.", VmName("web01"))


def test_a_host_is_shown_by_its_short_name():
    assert say("on {}", HostName("hv01.corp.example")) == "on hv01"


def test_a_sentence_within_a_sentence_keeps_its_parts():
    hint = say("then: {}", Command("retry R1 web01"))
    said = join(" ", [say("{} did not move.", VmName("web01")), "", hint])

    assert said == "web01 did not move. then: retry R1 web01"
    assert said.parts == (VmName("web01"), " did not move. then: ", Command("retry R1 web01"))


def test_sentences_that_differ_only_in_vm_names_share_one_cause():
    def failed(vm, why):
        retry = Command(f"retry R1 {vm}")
        return say("{} is on {}. Why: {}, then: {}", VmName(vm), HostName("hv01"), why, retry)

    assert failed("web01", Quote("no room")).cause == failed("hv01", Quote("no room")).cause
    assert failed("web01", Quote("no room")).cause != failed("web01", Quote("no slot")).cause
    one, other = Quote("web01 is hot (10698)", "10698"), Quote("web02 is hot (10698)", "10698")
    assert failed("web01", one).cause == failed("web02", other).cause


def test_a_clause_can_drop_its_full_stop_or_gain_a_capital():
    assert without_stop(say("void: {}", Quote("No job was found."))) == "void: No job was found"
    assert without_stop("It is off.") == "It is off"
    assert upper_first(say("on {}", HostName("hv01"))) == "On hv01"
    assert upper_first(say("{} waits", VmName("web01"))) == "web01 waits", "a name stays as it is"


def test_values_fill_placeholders_by_name_or_in_order():
    said = say("{} is on {host}, {} of {host}.", VmName("web01"), 2, host=HostName("hv01.corp"))

    assert said == "web01 is on hv01, 2 of hv01."
    assert said.parts[2] == HostName("hv01.corp")


#: Functions that take forms, with their places and names.
TAKES_FORMS = {
    "say": {0: "form"},
    "tell": {1: "form"},
    "ended": {2: "form", 3: "hint"},
    "_spoiled": {2: "form", 3: "hint"},
}


def is_literal(form: ast.expr, scope: ast.AST) -> bool:
    """Return whether a template holds only our own words, wherever it was built."""
    if isinstance(form, ast.IfExp):
        return is_literal(form.body, scope) and is_literal(form.orelse, scope)
    if not isinstance(form, ast.Name):
        return isinstance(form, ast.Constant | ast.Attribute)
    makers = [
        n for n in ast.walk(scope) if isinstance(n, ast.Assign | ast.AnnAssign | ast.AugAssign)
    ]
    for made in makers:
        targets = made.targets if isinstance(made, ast.Assign) else [made.target]
        if any(isinstance(t, ast.Name) and t.id == form.id for t in targets):
            whole = not isinstance(made, ast.AugAssign)
            if not (
                whole and made.value is not None and is_literal(made.value, ast.Module([], []))
            ):
                return False
    return True


def forms_that_are_put_together(source: str) -> list[int]:
    """Return the lines of calls whose form is no literal."""
    return [
        call.lineno
        for scope in ast.walk(ast.parse(source))
        if isinstance(scope, ast.FunctionDef)
        for call in ast.walk(scope)
        if isinstance(call, ast.Call)
        for place, name in TAKES_FORMS.get(called(call), {}).items()
        for form in [
            *call.args[place : place + 1],
            *(k.value for k in call.keywords if k.arg == name),
        ]
        if not is_literal(form, scope)
    ]


def called(call: ast.Call) -> str:
    """Return the name of the called function, if it is one of these and no method."""
    if isinstance(call.func, ast.Attribute):
        module = isinstance(call.func.value, ast.Name) and call.func.value.id
        return call.func.attr if module in ("sentence", "verdict") else ""
    return str(getattr(call.func, "id", ""))


def test_every_template_of_a_sentence_is_a_literal():
    """A template built at run time could contain a name, and with it a placeholder."""
    found = [
        f"{path.relative_to(ROOT)}:{line}"
        for folder in ("engine", "bot")
        for path in (ROOT / folder).rglob("*.py")
        if path.name != "story.py"  # its ``tell`` is another function
        for line in forms_that_are_put_together(path.read_text(encoding="utf-8"))
    ]

    assert found == []


@pytest.mark.parametrize(
    "body",
    [
        'say(f"{vm} waits")',
        'sentence.say("{}".format(vm))',
        'ended(move, outcome, form=f"{vm} left")',
        'form = f"{vm} waits"; say(form, 1)',
        'form = "a"; form += vm; say(form)',
        'say("a" if vm else f"{vm}")',
    ],
)
def test_a_template_that_is_put_together_is_found(body):
    assert forms_that_are_put_together(f"def f(vm): {body}") == [1]
    assert forms_that_are_put_together('def f(vm): form = "{} waits"; say(form, vm)') == []
