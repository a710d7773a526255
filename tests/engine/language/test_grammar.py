"""The request grammar: accepted requests, refusals, and the text of the errors."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from engine.errors import UsageError
from engine.language import text as words
from engine.language.grammar import (
    Ask,
    duration,
    matches,
    nearest,
    option_value,
    parse,
    parse_words,
    render,
    run_number,
    spell_duration,
)
from engine.language.vocabulary import KEYWORDS, VERBS
from engine.model import Options, Request


def request(text: str) -> Request:
    command = parse(text)

    assert isinstance(command, Request)
    return command


def refusal(text: str) -> UsageError:
    with pytest.raises(UsageError) as caught:
        parse(text)
    return caught.value


def understood_or_refused(text: str) -> UsageError | None:
    try:
        parse(text)
    except UsageError as error:
        return error
    return None


# --- what is understood --------------------------------------------------------------------


def test_a_host_request_names_sources_and_destinations():
    assert request("host HV01,HV02 to HV03") == Request(
        kind="host", sources=("HV01", "HV02"), destinations=("HV03",)
    )


def test_every_option_of_a_request_is_stored_in_its_field():
    asked = request(
        r"vm web*,db01@hv03,id:5f1c to HV02 path D:\VMs except web09,web10 parallel 0 attempts 5 "
        "backup 90m bulletproof stop-on-failure now"
    )

    assert asked.vms == ("web*", "db01@hv03", "id:5f1c")
    assert asked.options == Options(
        path=r"D:\VMs",
        parallel=0,
        attempts=5,
        backup=5400.0,
        bulletproof=True,
        stop_on_failure=True,
        now=True,
        excluding=("web09", "web10"),
    )
    assert asked.given == {
        "path",
        "except",
        "parallel",
        "attempts",
        "backup",
        "bulletproof",
        "stop-on-failure",
        "now",
    }


def test_options_of_the_command_line_are_refused_in_free_text():
    said = ["host", "a", "to", "b", "pass", "30s", "lookups", "5", "lookup-interval", "5s"]
    command = parse_words([*said, "refreshes", "0", "refresh-interval", "2m"])

    assert isinstance(command, Request)
    assert command.options == Options(
        pass_=30.0, lookups=5, lookup_interval=5.0, refreshes=0, refresh_interval=120.0
    )
    assert "only at the command line" in str(refusal("host a to b pass 30s"))


def test_keywords_are_not_case_sensitive_and_names_keep_their_case():
    assert request("HOST Hv01 TO hV02 NOW").destinations == ("hV02",)


def test_the_clauses_after_the_names_may_come_in_any_order():
    assert request("vm web* except web01 to HV02") == request("vm web* to HV02 except web01")


@pytest.mark.parametrize(
    "text",
    [
        "vm web01,web02 to HV02",
        "vm web01 , web02 to HV02",
        "vm web01, web02 to HV02",
        "vm web01 ,web02 to HV02",
        'vm "web01","web02" to HV02',
        "vm `web01`,web02 to `HV02`",
        "vm *web01*,*web02* to *HV02*",
        'vm *"web01"*,web02 to HV02',
        "vm\u00a0web01,\u2009web02\r\nto \u200bHV02\ufeff",
        "vm \u201cweb01\u201d,\u2018web02\u2019 to \u201eHV02\u201c",
        "vm <http://web01|web01>,<https://web02/> to <http://HV02|HV02>",
    ],
)
def test_typographic_changes_by_slack_and_editors_are_undone(text):
    asked = request(text)

    assert (asked.vms, asked.destinations) == (("web01", "web02"), ("HV02",))


@pytest.mark.parametrize(
    ("typed", "name"),
    [
        ("web\u201301", "web-01"),
        ("web\u2014a", "web-a"),
        ("r&amp;d", "r&d"),
        ("&lt;old&gt;", "<old>"),
        ("web\u2026", "web..."),
        ("ann's", "ann's"),
        ("web*", "web*"),
        ("*web*01*", "*web*01*"),
        ("*.<http://shop.example.com|shop.example.com>", "*.shop.example.com"),
        ("<mailto:web01@hv03.example|web01@hv03.example>", "web01@hv03.example"),
        ('"db ""old"" 01"', 'db "old" 01'),
        ('"*web*"', "*web*"),
        ('"to"', "to"),
        ('"a,b"', "a,b"),
        ('"db 01"@hv03', "db 01@hv03"),
    ],
)
def test_a_quoted_or_formatted_name_is_read_as_plain_text(typed, name):
    assert request(f"vm {typed} to HV02").vms == (name,)


@pytest.mark.parametrize(
    "typed",
    [r"D:\VMs", r":anguished:\VMs", "D:confused:VMs", "\U0001f627\\VMs", "D\U0001f615VMs"],
)
def test_a_path_that_slack_turned_into_an_emoji_is_restored(typed):
    assert request(f"host a to b path {typed}").options.path == r"D:\VMs"


def test_stars_around_a_name_in_a_shell_argument_are_a_wildcard():
    command = parse_words(["vm", "*web*", "to", "HV02"])

    assert isinstance(command, Request)
    assert command.vms == ("*web*",)


def test_a_shell_argument_keeps_its_spaces_and_is_split_at_commas():
    command = parse_words(["vm", "web01, db 01", "to", "HV02", "path", r"D:\My VMs"])

    assert isinstance(command, Request)
    assert command.vms == ("web01", "db 01")
    assert command.options.path == r"D:\My VMs"


def test_a_whole_request_in_one_shell_argument_is_read_as_free_text():
    assert parse_words(["host HV01 to HV02 pass 30s"]) == parse_words(
        ["host", "HV01", "to", "HV02", "pass", "30s"]
    )


@pytest.mark.parametrize(
    ("text", "asked"),
    [
        ("status", Ask("status")),
        ("Status R1", Ask("status", ("R1",))),
        ("report 214", Ask("report", ("214",))),
        ("help host", Ask("help", ("host",))),
    ],
)
def test_a_verb_is_read_with_its_words(text, asked):
    assert parse(text) == asked


@pytest.mark.parametrize(
    ("text", "asked"),
    [
        ("pause R1", Ask("pause", ("R1",))),
        ("GO-ON R1 HV02", Ask("go-on", ("R1", "HV02"))),
        ("go\u2013on R1 HV02", Ask("go-on", ("R1", "HV02"))),
        ("abort R1 yes", Ask("abort", ("R1", "yes"))),
        ("set R1 parallel 0", Ask("set", ("R1", "parallel", "0"))),
        ('settle R1 "db 01"', Ask("settle", ("R1", "db 01"))),
        ("retry R1", Ask("retry", ("R1",))),
        ('retry R1 web01, "db 01"', Ask("retry", ("R1", "web01", "db 01"))),
        ("retry R1 web01 web02", Ask("retry", ("R1", "web01", "web02"))),
        ("skip R1 web*,web01@hv03", Ask("skip", ("R1", "web*", "web01@hv03"))),
        ('skip R1 "a,b"', Ask("skip", ("R1", "a,b"))),
        ("approve A1 id:5f1c , to", Ask("approve", ("A1", "id:5f1c", "to"))),
        ("approve A1", Ask("approve", ("A1",))),
        ("deny A1", Ask("deny", ("A1",))),
    ],
)
def test_a_verb_accepts_names_with_or_without_commas(text, asked):
    assert parse(text) == asked


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("deny A1 vendor works on it, until Monday", "vendor works on it, until Monday"),
        ("withdraw A1 wrong card", "wrong card"),
        ("deny A1  two   spaces ,and a comma", "two spaces, and a comma"),
        ("deny A1 host hv01 to hv02 now", "host hv01 to hv02 now"),
        ("deny A1 it's Ann's VM", "it's Ann's VM"),
        ("deny A1 not now, 'cause of the backup", "not now, 'cause of the backup"),
        ('deny A1 wait 30" or so', 'wait 30" or so'),
        ("deny A1 'tis late", "'tis late"),
        ('deny A1 she said "never"', "she said never"),
        ("deny A1 see <https://wiki.example/x|the wiki> &amp; ask", "see the wiki & ask"),
        ("deny A1 --reason not tonight", "not tonight"),
        ("deny A1 no --reason", "no --reason"),
    ],
)
def test_the_reason_of_a_denial_is_one_text(text, reason):
    assert parse(text) == Ask(text.split()[0], ("A1", reason))


def test_a_review_takes_its_finding_as_one_text():
    assert parse("reviewed R1") == Ask("reviewed", ("R1",))
    assert parse("reviewed R1 no ticket, and no call") == Ask(
        "reviewed", ("R1", "no ticket, and no call")
    )


def test_a_reason_in_one_shell_argument_stays_one_text():
    said = ["deny", "A1", "vendor works on it, until Monday"]

    assert parse_words(said) == Ask("deny", ("A1", "vendor works on it, until Monday"))
    assert parse_words(["retry", "R1", "db 01", "web01"]) == Ask("retry", ("R1", "db 01", "web01"))


@pytest.mark.parametrize(
    ("name", "value", "meant"),
    [
        ("parallel", "2", 2),
        ("parallel", "0", 0),
        ("backup", "90m", 5400.0),
        ("backup", "0s", 0.0),
    ],
)
def test_the_value_of_an_option_can_be_parsed_on_its_own(name, value, meant):
    assert option_value(name, value) == meant


@pytest.mark.parametrize(
    ("name", "value", "sentence"),
    [
        ("parallel", "-1", 'parallel needs a whole number, 0 or more; "-1" is not one.'),
        ("parallel", "now", '"now" is not one.'),
        ("parallel", "2 3", '"2 3" is not one.'),
        ("parallel", "2,3", '"2,3" is not one.'),
        ("parallel", "", '"" is not one.'),
        ("backup", "20", 'backup needs a duration; "20" is not one.'),
        ("backup", "to", '"to" is not one.'),
        ("backup", "400d", "longer than a year"),
    ],
)
def test_an_error_shows_the_wrong_value_as_typed(name, value, sentence):
    with pytest.raises(UsageError) as caught:
        option_value(name, value)
    error = caught.value

    assert sentence in str(error)
    assert error.what == value
    assert error.text[error.at :] == value


# --- what is refused -----------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "what", "sentence"),
    [
        ("hots a to b", "hots", 'I do not know the word "hots". Did you mean host?'),
        ("xyzzy", "xyzzy", "Start with host, vm or status; or type: help"),
        (
            "xyzzy to hv02",
            "xyzzy",
            "Is this a host or a VM? Type: host xyzzy to ..., or: vm xyzzy to ...",
        ),
        ("host a to b paralel 2", "paralel", "Did you mean parallel?"),
        ("host a tp b", "tp", 'I do not know the word "tp". Did you mean to?'),
        ("host HV01 HV02", "HV02", "Type: host HV01 to HV02"),
        ("vm db 01 to HV02", "01", 'quotation marks: "db 01".'),
        ("vm web01 web02 to HV02", "web02", "Separate names with a comma: web01,web02."),
        ("host a to b path C:\\My VMs", "VMs", "Put a path with spaces in quotation marks"),
        ("host a to b now 5", "5", "Options: path, except,"),
        ("host a to b parallel -2", "-2", 'whole number, 0 or more; "-2" is not one.'),
        ("host a to b parallel 1.5", "1.5", "whole number, 0 or more"),
        ("host a to b parallel \u0662", "\u0662", "whole number"),
        ("host a to b parallel 99999999999", "99999999999", "whole number"),
        ("host a to b attempts 0", "0", 'whole number, 1 or more; "0" is not one.'),
        ("host a to b attempts now", "now", "1 or more; there is none."),
        ("host a to b backup 10", "10", 'a duration; "10" is not one.'),
        ("host a to b backup 400d", "400d", "longer than a year"),
        ("host a to b now now", "now", "now is used twice."),
        ("host a to b attempts 1 attempts 2", "attempts", "attempts is used twice."),
        ("host a to b to c", "to", "Join the hosts"),
        ("host to b", "to", 'There is no host after "host".'),
        ("host a, to b", "to", "There is no host after the comma."),
        ("vm a,,b to c", ",", "There is no VM after the comma."),
        ("host , to b", ",", 'There is no host after "host".'),
        ("host hv* to b", "hv*", 'Hosts take no wildcards: "hv*".'),
        ("host a to b,hv?", "hv?", "Hosts take no wildcards"),
        ('vm "" to b', '""', "The name of a VM is empty."),
        ("vm id: to b", "id:", "There is no id after id:."),
        ("vm web01@ to b", "web01@", "There is no host after the @"),
        ("vm @hv01 to b", "@hv01", "There is no VM before the @"),
        ("vm 'db 01 to b", "'", "opened but never closed"),
        ("host a to b path D:VMs", "D:VMs", "has no \\ after the drive"),
        ("host a to b path now", "now", "There is no folder after path."),
        ("host a to b now, b", ",", "A comma is not allowed here."),
        ("status R1 R2", "R2", '"R2" is one word too many. Type: status [RUN]'),
        ("status ,", ",", "A name is missing here."),
        ("pause R1, R2", ",", '"," is one word too many. Type: pause RUN'),
        ("settle R1 db 01", "01", '"01" is one word too many. Type: settle RUN VM'),
        ("abort R1 yes yes", "yes", "Type: abort RUN yes"),
        ("set R1 backup 1h now", "now", "Type: set RUN parallel|backup VALUE"),
        ('retry R1 ""', '""', "A name is missing here. Type: retry RUN [VM...]"),
        ("pasue R1", "pasue", "Did you mean pause?"),
        ("goon R1 hv02", "goon", "Did you mean go-on?"),
    ],
)
def test_an_error_names_the_wrong_word_its_position_and_what_to_do(text, what, sentence):
    error = refusal(text)

    assert error.what == what
    assert error.text == text
    assert text[error.at : error.at + len(what)] == what
    assert sentence in str(error)


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("host", 'There is no host after "host". Type: host HV01 to HV02'),
        ("vm", 'There is no VM after "vm".'),
        ("host HV01", "Type: host HV01 to HV02"),
        ('vm "db 01"', 'Type: vm "db 01" to HV02'),
        ("host a to", 'There is no host after "to".'),
        ("host a to b,", "There is no host after the comma."),
        ("host a to b path", "There is no folder after path."),
        ("host a to b parallel", "there is none."),
        ("host a to b except", 'There is no VM after "except".'),
        ("report", "report needs one more word. Type: report RUN"),
        ("deny", "deny needs one more word. Type: deny APPROVAL [WHY]"),
        ("approve ,", "approve needs one more word. Type: approve APPROVAL [VM...]"),
        ("set R1 parallel", "set needs one more word. Type: set RUN parallel|backup VALUE"),
        ("go-on R1", "go-on needs one more word. Type: go-on RUN HOST"),
    ],
)
def test_the_caret_for_a_missing_word_stands_after_the_text(text, sentence):
    error = refusal(text)

    assert (error.what, error.at) == ("", len(text))
    assert sentence in str(error)


@pytest.mark.parametrize("text", ["", "  ", "\r\n", "\u200b", '""'])
def test_the_error_for_an_empty_text_says_what_to_type(text):
    assert str(refusal(text)) == "The command is empty. Type: host HV01 to HV02, or: help"


def test_an_empty_command_line_is_refused_as_an_empty_request():
    with pytest.raises(UsageError, match="The command is empty"):
        parse_words([])


def test_the_caret_points_at_the_whole_word_as_typed():
    text = "vm \u201cdb\u00a001\u201d,<http://a.example|a.example> to b paralel\u2014x 2"
    pointed = refusal(text).pointer()

    assert pointed[0] == text
    assert text[pointed[1].index("^") :].startswith("paralel\u2014x")
    assert pointed[1].count("^") == len("paralel\u2014x")


def test_the_caret_points_into_the_joined_arguments_of_a_shell():
    with pytest.raises(UsageError) as caught:
        parse_words(["vm", "db 01", "to", "HV02", "paralel", "2"])

    assert caught.value.text == "vm db 01 to HV02 paralel 2"
    assert caught.value.at == caught.value.text.index("paralel")


def test_an_empty_shell_argument_is_refused_as_an_empty_name():
    with pytest.raises(UsageError, match="The name of a VM is empty"):
        parse_words(["vm", "", "to", "HV02"])


# --- the small words -----------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "seconds"),
    [("90s", 90.0), ("10m", 600.0), ("1h", 3600.0), ("1d", 86400.0), ("0s", 0.0), ("1.5H", 5400.0)],
)
def test_a_duration_is_a_number_with_its_unit(text, seconds):
    assert duration(text) == seconds


@pytest.mark.parametrize("text", ["", "10", "h", "-1h", "1 h", "1e3s", "1h30m", "infs", "367d"])
def test_any_other_text_is_refused_as_a_duration(text):
    with pytest.raises(UsageError):
        duration(text)


@given(st.integers(0, 366 * 86400) | st.sampled_from([0.1, 0.5, 1.25, 90.5]))
def test_a_spelled_duration_is_read_back_unchanged(seconds):
    assert duration(spell_duration(float(seconds))) == seconds


@pytest.mark.parametrize(("word", "number"), [("R214", 214), ("r7", 7), (" 12 ", 12)])
def test_a_run_is_read_from_its_label_or_number(word, number):
    assert run_number(word) == number


@pytest.mark.parametrize("word", ["", "R", "R0", "-1", "HV01", "R1.5", "\u0661"])
def test_any_other_word_is_refused_as_a_run(word):
    with pytest.raises(UsageError, match="is not a run"):
        run_number(word)


@pytest.mark.parametrize(
    ("pattern", "name", "fits"),
    [
        ("WEB*", "web01", True),
        ("web0?", "Web01", True),
        ("web", "web01", False),
        ("web[1]", "web[1]", True),
        ("web[1]", "web1", False),
        ("*[a-b]", "x[a-b]", True),
    ],
)
def test_only_stars_and_question_marks_are_wildcards(pattern, name, fits):
    assert matches(pattern, name) is fits


def test_the_nearest_name_is_found_in_any_case_and_returned_in_its_own():
    assert nearest("HV1O", ["hv10.corp.example", "HV10", "web01"]) == "HV10"
    assert nearest("zzz", ["HV10"]) is None


def test_every_verb_has_a_usage_and_a_description():
    for verb in VERBS:
        assert verb.usage.split()[0] == verb.name
        assert verb.about


# --- round trip ----------------------------------------------------------------------------

LETTERS = st.characters(codec="utf-8", exclude_categories=("Cc", "Cs"))


def _typable(name: str) -> bool:
    """Check that normalising leaves the name unchanged, and that an @ in it has text on both
    sides."""
    clean = words.plain(name).text == name and name.strip() == name
    name_part, at, host = name.rpartition("@")
    return (
        clean and bool(name) and name.casefold() != "id:" and (not at or bool(name_part and host))
    )


ODD = ["to", "now", "db 01", '"x" y', "*web*", "a,b", "id:9f", "web*@hv?", "'a", "`", '*"', "&"]
VMS = st.text(LETTERS, min_size=1, max_size=8).filter(_typable) | st.sampled_from(ODD)
HOSTS = VMS.filter(lambda name: not set(name) & set("*?"))
SECONDS = st.integers(1, 86400).map(float)
OPTIONS = st.builds(
    Options,
    path=st.none() | st.sampled_from(["D:\\VMs", "C:\\My VMs", "\\\\nas\\a,b", "to"]),
    parallel=st.integers(0, 99),
    attempts=st.integers(1, 99),
    backup=SECONDS,
    bulletproof=st.booleans(),
    stop_on_failure=st.booleans(),
    now=st.booleans(),
    excluding=st.lists(VMS, max_size=3).map(tuple),
    pass_=SECONDS,
    lookups=st.integers(1, 9),
    lookup_interval=SECONDS,
    refreshes=st.integers(0, 9),
    refresh_interval=SECONDS,
)
REQUESTS = st.builds(
    Request,
    kind=st.just("host"),
    sources=st.lists(HOSTS, min_size=1, max_size=3).map(tuple),
    destinations=st.lists(HOSTS, min_size=1, max_size=3).map(tuple),
    options=OPTIONS,
) | st.builds(
    Request,
    kind=st.just("vm"),
    vms=st.lists(VMS, min_size=1, max_size=3).map(tuple),
    destinations=st.lists(HOSTS, min_size=1, max_size=3).map(tuple),
    options=OPTIONS,
)


@given(REQUESTS)
def test_a_rendered_request_is_read_back_unchanged(asked):
    command = parse(render(asked), "terminal")

    assert isinstance(command, Request)
    assert (command.kind, command.sources, command.vms) == (asked.kind, asked.sources, asked.vms)
    assert (command.destinations, command.options) == (asked.destinations, asked.options)


@given(st.text(max_size=60) | st.lists(st.sampled_from([*KEYWORDS, "vm", "a", ",", '"', " "])))
def test_every_text_is_either_understood_or_refused(text):
    said = text if isinstance(text, str) else " ".join(["vm", *text])
    error = understood_or_refused(said)

    if error is not None and error.at >= 0:
        assert said[error.at : error.at + len(error.what)] == error.what


@given(st.text(st.characters(codec="utf-8") | st.sampled_from("*\"',@: "), max_size=30))
def test_a_parsed_request_renders_and_parses_to_the_same_request(name):
    try:
        first = parse_words(["vm", name, "to", "HV02"])
        again = parse(render(first), "terminal") if isinstance(first, Request) else first
    except UsageError:
        return
    if words.plain(words.plain(name).text).text == words.plain(name).text:
        assert again == first


GAPS = ("  ", "\u00a0", "\r\n", "\t", "\u2009", " \u200b", "\u202f")
MARKS = ('""', "''", "``", "\u201c\u201d", "\u201e\u201c", "\u2018\u2019", "\u00ab\u00bb")
PLAIN = st.from_regex(r"[a-z][a-z0-9-]{0,8}[0-9]", fullmatch=True)


@st.composite
def mangled(draw):
    """A request as typed, and the same request as changed by an editor, a phone or Slack."""
    plain_words, odd_words = ["vm"], ["vm"]
    names = [draw(PLAIN) for _ in range(draw(st.integers(1, 3)))]
    for name in names:
        odd = draw(st.sampled_from([name, f"<http://{name}|{name}>", f"<https://{name}/>"]))
        if odd == name:
            first, last = draw(st.sampled_from(MARKS))
            odd = f"{first}{name}{last}"
        plain_words[-1] += f" {name}" if plain_words == ["vm"] else f",{name}"
        odd_words[-1] += f" {odd}" if odd_words == ["vm"] else f",{odd}"
    tail = ["stop-on-failure", "parallel", "2", "to", "hv02"]
    dash = draw(st.sampled_from(words.DASHES))
    odd_tail = [word.replace("-", dash) for word in tail]
    gap = draw(st.sampled_from(GAPS))
    return " ".join([*plain_words, *tail]), gap.join([*odd_words, *odd_tail]) + gap


@given(mangled())
def test_a_request_keeps_its_meaning_after_chat_clients_change_its_characters(pair):
    typed, odd = pair

    assert parse(odd) == parse(typed)
