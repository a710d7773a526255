"""The service: names are resolved or refused, one click decides, and every request is audited."""

from __future__ import annotations

from dataclasses import replace

import pytest

from engine.clock import VirtualClock
from engine.commands.service import Service
from engine.errors import Refused
from engine.language import grammar
from engine.model import ApprovalState, Fleet, Host, MoveState, Options, RunState, Vm
from engine.policy.approvals.approval import Glass, digest
from engine.settings import RunDefaults, Settings
from engine.store import events, queries
from engine.store.pen import writing
from engine.store.store import Store
from tests.fleets import keep_fleet

NOW = 1_767_650_400.0
HOSTS = ("hv01.corp.example", "hv02.corp.example", "hv03.corp.example", "hv03.lab.example")
PLACES = [
    ("web01", "hv01"),
    ("web02", "hv01"),
    ("Old CRM", "hv01"),
    ("db01", "hv02"),
    ("twin", "hv01"),
    ("twin", "hv02"),
    ("same", "hv02"),
    ("same", "hv02"),
    ("log[1]", "hv02"),
]


def fleet(at: float = NOW) -> Fleet:
    vms = tuple(
        Vm(
            id=f"id-{number}",
            name=name,
            vmm_host=f"{host}.corp.example",
            vmm_status="Running",
            seen_on=(f"{host}.corp.example",),
        )
        for number, (name, host) in enumerate(PLACES, 1)
    )
    template = Vm("id-lib", "template", None, "Stored", stored=True)
    return Fleet("vmm01", at, at, tuple(Host(name, seen_at=at) for name in HOSTS), (*vms, template))


@pytest.fixture
def store(tmp_path):
    made = Store(tmp_path / "vmferry.db", durable=False)
    yield made
    made.close()


@pytest.fixture
def service(store):
    with writing(store, NOW) as pen:
        keep_fleet(pen, fleet())
    return Service(store, VirtualClock(NOW), Settings(run=RunDefaults(attempts=5)))


def submit(service, text, by="slack:ann", **options):
    return service.submit(grammar.parse(text), by=by, **options)


def refusal(service, text) -> Refused:
    """The refusal of a request. Nothing is written and nothing is woken."""
    before = len(events.since(service.store)), queries.runs(service.store)
    with pytest.raises(Refused) as refused:
        submit(service, text)
    assert (len(events.since(service.store)), queries.runs(service.store)) == before
    assert not service.wake.is_set()
    return refused.value


def moved(service, run=1) -> list[tuple[str, str]]:
    record = queries.record(service.store, run)
    return [(entry.move.vm_id, entry.move.source.split(".")[0]) for entry in record.moves]


# --- names ---------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "text",
    [
        "host hv01 to hv02",
        "HOST HV01 to HV02",
        "host hv01.corp.example to HV02.CORP.EXAMPLE",
        "host hv01,HV01,hv01.corp.example to hv02,hv02",
    ],
)
def test_hosts_are_found_by_short_name_or_fqdn_in_any_case(text, service):
    run = submit(service, text).run

    assert run.sources == ("hv01.corp.example",)
    assert run.destinations == ("hv02.corp.example",)
    assert moved(service) == [
        ("id-1", "hv01"),
        ("id-2", "hv01"),
        ("id-3", "hv01"),
        ("id-5", "hv01"),
    ]


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("vm web01 to hv02", ["id-1"]),
        ("vm WEB01 to hv02", ["id-1"]),
        ("vm web01,web01 to hv02", ["id-1"]),
        ("vm web* to hv02", ["id-1", "id-2"]),
        ("vm WEB?? to hv02", ["id-1", "id-2"]),
        ("vm web01,web* to hv02", ["id-1", "id-2"]),
        ('vm "Old CRM" to hv02', ["id-3"]),
        ("vm twin@hv01 to hv03.lab.example", ["id-5"]),
        ("vm twin@HV02.corp.example to hv01", ["id-6"]),
        ("vm t*@hv01 to hv02", ["id-5"]),
        ("vm tw* to hv03.lab.example", ["id-5", "id-6"]),
        ("vm id:id-7 to hv01", ["id-7"]),
        ("vm ID:ID-7 to hv01", ["id-7"]),
        ("vm log[1] to hv01", ["id-9"]),
        ("vm log[* to hv01", ["id-9"]),
    ],
)
def test_vms_are_found_by_name_wildcard_host_or_id(text, found, service):
    submit(service, text)

    assert [vm for vm, _ in moved(service)] == found


def test_the_sources_of_a_list_of_vms_are_their_hosts(service):
    run = submit(service, "vm tw* to hv03.lab.example").run

    assert run.sources == ("hv01.corp.example", "hv02.corp.example")


def test_a_vm_is_on_the_only_host_that_shows_it_or_else_where_vmm_reports_it(service):
    moved_on = fleet()
    web01 = replace(moved_on.vms[0], seen_on=("hv02.corp.example",))
    split = replace(moved_on.vms[1], seen_on=("hv01.corp.example", "hv02.corp.example"))
    with writing(service.store, NOW) as pen:
        keep_fleet(pen, replace(moved_on, vms=(web01, split, *moved_on.vms[2:])))
    submit(service, "vm web01,web02 to hv03.lab.example")

    assert moved(service) == [("id-1", "hv02"), ("id-2", "hv01")]


@pytest.mark.parametrize(
    ("text", "what", "says"),
    [
        pytest.param(
            "host hv1 to hv02", "hv1", "No host hv1. Nearest: hv01. Nothing started.", id="host"
        ),
        pytest.param(
            "host hv01 to hv2", "hv2", "No host hv2. Nearest: hv02. Nothing started.", id="dest"
        ),
        pytest.param(
            "host esx17 to hv02",
            "esx17",
            "No host esx17. There are: hv01, hv02, hv03, hv03. Nothing started.",
            id="no host like it",
        ),
        pytest.param(
            "host hv01 to hv03",
            "hv03",
            '"hv03" matches hv03.corp.example and hv03.lab.example. Write the full name.',
            id="two hosts of one short name",
        ),
        pytest.param(
            "host hv01 to hv02,HV01",
            "hv01.corp.example",
            "hv01 is both source and destination. Name another host after `to`.",
            id="same host twice",
        ),
        pytest.param(
            "vm webb01 to hv02",
            "webb01",
            "No VM webb01. Nearest: web01 on hv01. Nothing started.",
            id="vm",
        ),
        pytest.param("vm zzzzzz to hv02", "zzzzzz", "No VM zzzzzz. Nothing started.", id="no vm"),
        pytest.param(
            "vm db01@hv01 to hv02",
            "db01@hv01",
            "No VM db01 on hv01. Nearest: db01 on hv02. Nothing started.",
            id="vm elsewhere",
        ),
        pytest.param(
            "vm wen01* to hv02",
            "wen01*",
            'No VM matches "wen01*". Nearest: web01 on hv01. Nothing started.',
            id="wildcard",
        ),
        pytest.param(
            "vm web*@hv02 to hv01", "web*@hv02", 'No VM on hv02 matches "web*".', id="wildcard at"
        ),
        pytest.param("vm web01@hv9 to hv02", "hv9", "No host hv9.", id="vm at no host"),
        pytest.param(
            "vm twin to hv01",
            "twin",
            "2 VMs are named twin. Write twin@hv01 or twin@hv02.",
            id="two of one name",
        ),
        pytest.param(
            "vm same to hv01",
            "same",
            "2 VMs are named same. Write id:id-7 or id:id-8.",
            id="two of one name on one host",
        ),
        pytest.param(
            "vm same@hv02 to hv01", "same@hv02", "Write id:id-7 or id:id-8.", id="place not enough"
        ),
        pytest.param(
            "vm id:nobody to hv01", "id:nobody", "No VM has the id nobody.", id="unknown id"
        ),
        pytest.param("vm template to hv01", "template", "No VM template.", id="a stored VM"),
        pytest.param(
            "host hv01 to hv02 except wbe01",
            "wbe01",
            'No VM of this request matches "wbe01" after except. Nearest: web01. Nothing started.',
            id="except a typo",
        ),
        pytest.param(
            "host hv01 to hv02 except db01",
            "db01",
            'No VM of this request matches "db01" after except.',
            id="except a VM of another host",
        ),
        pytest.param(
            "vm web* to hv02 except zz*", "zz*", 'matches "zz*" after except.', id="except nothing"
        ),
    ],
)  # fmt: skip
def test_an_impossible_request_is_refused_with_the_wrong_word_and_nearest_match(
    text, what, says, service
):
    refused = refusal(service, text)

    assert refused.what == what
    assert says in str(refused)


def test_names_cannot_be_checked_before_the_first_observation(store):
    service = Service(store, VirtualClock(NOW), Settings())

    assert "has not been observed yet" in str(refusal(service, "host hv01 to hv02"))


def test_the_names_after_except_are_passed_to_the_policy(service):
    run = submit(service, "host hv01 to hv02 except WEB*").run

    assert run.options.excluding == ("WEB*",)
    assert len(moved(service)) == 4


def test_a_refusal_is_written_to_the_audit(service):
    error = refusal(service, "host hv1 to hv02")
    service.refuse("slack:ann", "host hv1 to hv02", error)
    kept = events.since(service.store)[-1]

    assert (kept.kind, kept.by, kept.text) == ("refused", "slack:ann", str(error))
    assert kept.detail == {"text": "host hv1 to hv02", "what": "hv1"}


# --- a run is made -------------------------------------------------------------------------


def test_a_new_run_is_active_and_has_a_row_for_each_vm(service):
    made = submit(service, "host hv01 to hv02 parallel 2 now", by="terminal:ann")
    moves = queries.record(service.store, made.run.id).moves

    assert (made.attached, made.run.state, made.run.by) == (False, RunState.ACTIVE, "terminal:ann")
    assert made.run.request == "host hv01 to hv02 parallel 2"
    assert {m.move.state for m in moves} == {MoveState.PENDING}
    assert service.wake.is_set()


def test_options_that_were_not_typed_come_from_the_settings(service):
    run = submit(service, "host hv01 to hv02 parallel 2 now").run

    assert run.options == Options(parallel=2, attempts=5)


def test_a_typed_option_overrides_the_settings(service):
    assert submit(service, "host hv01 to hv02 attempts 3").run.options.attempts == 3


def test_a_request_starts_only_if_its_preview_is_still_valid(service):
    shown = service.foresee(grammar.parse("host hv01 to hv02")).digest
    with writing(service.store, NOW) as pen:
        now = fleet()
        [one, *others] = [vm for vm in now.vms if vm.vmm_host == HOSTS[0]]
        keep_fleet(pen, replace(now, vms=tuple(vm for vm in now.vms if vm != one)))

    with pytest.raises(Refused, match=r"have just changed\. Nothing started\. Repeat the request"):
        submit(service, "host hv01 to hv02", shown=shown)

    assert queries.runs(service.store) == ()
    again = service.foresee(grammar.parse("host hv01 to hv02")).digest
    made = submit(service, "host hv01 to hv02", shown=again)
    assert len(moved(service, made.run.id)) == len(others)


def test_a_host_without_vms_gets_a_run(service):
    """The run proves that the host is empty."""
    made = submit(service, "host hv03.lab.example to hv02")

    assert moved(service, made.run.id) == []


def test_a_scheduled_run_waits_for_its_activation(service):
    run = submit(service, "host hv01 to hv02", scheduled=True).run
    service.activate(run.id)
    service.activate(run.id)
    service.reject(run.id, "too late")

    assert run.state is RunState.SCHEDULED
    assert queries.run(service.store, 1).state is RunState.ACTIVE
    assert [e.kind for e in events.since(service.store)] == ["run.scheduled", "run.active"]


def test_a_scheduled_run_whose_board_cannot_be_posted_never_begins(service):
    run = submit(service, "host hv01 to hv02", scheduled=True).run
    service.reject(run.id, "the channel is archived")
    service.activate(run.id)
    service.activate(99)

    assert queries.run(service.store, 1).state is RunState.REJECTED
    assert "the channel is archived" in events.since(service.store)[-1].text


# --- the same again, and crossing runs -----------------------------------------------------


@pytest.mark.parametrize(
    ("first", "again"),
    [
        ("host hv01 to hv02", "host hv01 to hv02"),
        ("host hv01 to hv02", "HOST HV01.corp.example to HV02"),
        ("host hv01 to hv02", "host hv01 to hv02 now"),
        ("host hv01 to hv02", "host hv01 to hv02 attempts 5"),
        ("vm web01,web02 to hv02", "vm WEB02,Web01 to hv02.corp.example"),
        ("vm web* to hv02", "vm WEB* to hv02"),
    ],
)
def test_a_repeated_request_returns_the_existing_run_in_any_spelling(first, again, service):
    one = submit(service, first)
    service.wake.clear()
    other = submit(service, again, by="slack:bob")

    assert (other.attached, other.run) == (True, one.run)
    assert not service.wake.is_set()
    assert len(queries.runs(service.store)) == 1


@pytest.mark.parametrize(
    ("first", "again"),
    [
        ("host hv01,hv02 to hv03.lab.example", "host hv02,hv01 to hv03.lab.example"),
        ("host hv01 to hv02,hv03.lab.example", "host hv01 to hv03.lab.example,hv02"),
        ("vm web01 to hv02", "vm web01@hv01 to hv02"),
        ("vm web01 to hv02", "vm id:id-1 to hv02"),
        ("host hv01 to hv02 except web01", "host hv01 to hv02 except WEB01"),
    ],
)
def test_a_request_for_the_same_hosts_and_vms_joins_the_existing_run(first, again, service):
    submit(service, first)

    assert submit(service, again).attached


@pytest.mark.parametrize(
    ("first", "again"),
    [
        ("host hv01 to hv02", "host hv01 to hv02 parallel 1"),
        ("host hv01 to hv02", "host hv01 to hv02,hv03.lab.example"),
        ("host hv01 to hv02", "vm web01,web02 to hv02"),
        ("vm web01 to hv02", "vm web02 to hv02"),
        ("vm web01 to hv02", r"vm web01 to hv02 path E:\VMs"),
        ("host hv01 to hv02", "host hv01 to hv02 except web01"),
    ],
)
def test_a_different_request_makes_another_run(first, again, service):
    submit(service, first)

    assert not submit(service, again).attached
    assert len(queries.runs(service.store)) == 2


def test_a_repeated_request_does_not_attach_to_an_ended_run(service):
    submit(service, "host hv01 to hv02")
    with writing(service.store, NOW) as pen:
        pen.runs.set_state(queries.run(service.store, 1), RunState.COMPLETED, "over")

    assert submit(service, "host hv01 to hv02").run.id == 2


CROSSING = [
    pytest.param(
        "host hv01 to hv02", "host hv02 to hv03.lab.example", "hv02", id="emptying a dest"
    ),
    pytest.param("host hv01 to hv02", "host hv02 to hv01", "hv01", id="each into the other"),
    pytest.param("host hv01 to hv02", "vm db01 to hv01", "hv01", id="a VM into what is emptied"),
    pytest.param("vm db01 to hv01", "host hv01 to hv02", "hv01", id="emptying what takes a VM"),
]


@pytest.mark.parametrize(("first", "second", "name"), CROSSING)
def test_a_host_cannot_be_source_and_destination_of_two_runs_at_once(first, second, name, service):
    submit(service, first)
    service.wake.clear()
    refused = refusal(service, second)

    assert refused.what == name
    assert f"{name} is used in the opposite direction by R1" in str(refused)
    assert "requested by slack:ann" in str(refused)
    assert "Nothing started." in str(refused)


@pytest.mark.parametrize(("first", "second", "name"), CROSSING)
def test_the_opposite_run_may_begin_after_the_first_has_ended(first, second, name, service):
    submit(service, first)
    with writing(service.store, NOW) as pen:
        pen.runs.set_state(queries.run(service.store, 1), RunState.COMPLETED, "over")

    assert submit(service, second).run.id == 2


def test_runs_of_single_vms_may_move_in_opposite_directions(service):
    submit(service, "vm web01 to hv02")

    assert submit(service, "vm db01 to hv01").run.id == 2


# --- decisions -----------------------------------------------------------------------------

MAY = frozenset({"slack:bob", "slack:mei", "slack:ann"})


@pytest.fixture
def asked(service):
    """R1 by slack:ann asks about Old CRM in A1."""
    run = submit(service, "host hv01 to hv02").run
    with writing(service.store, NOW) as pen:
        pen.approvals.ask(run.id, ("id-3",), ("Old CRM",), digest(run, ("id-3",)))
    service.wake.clear()
    return service


def state(service) -> ApprovalState:
    return queries.approval(service.store, 1).state


def test_an_approval_grants_exactly_the_vms_it_names(asked):
    decision = asked.decide(1, "approve", by="slack:bob", approvers=MAY)
    granted = queries.approval(asked.store, 1)

    assert (decision.accepted, decision.code, decision.by, decision.at) == (
        True,
        "granted",
        "slack:bob",
        NOW,
    )
    assert decision.approval == granted
    assert (granted.state, granted.granted, granted.by) == (
        ApprovalState.GRANTED,
        ("id-3",),
        "slack:bob",
    )
    assert asked.wake.is_set()


def test_a_denial_grants_nothing_and_keeps_its_reason(asked):
    decision = asked.decide(1, "deny", by="slack:bob", approvers=MAY, reason="month-end")
    denied = queries.approval(asked.store, 1)

    assert (decision.accepted, decision.code) == (True, "denied")
    assert (denied.state, denied.granted, denied.reason) == (
        ApprovalState.DENIED,
        (),
        "month-end",
    )
    assert asked.wake.is_set()


@pytest.mark.parametrize(("first", "second"), [("approve", "deny"), ("deny", "approve")])
def test_the_answer_to_a_second_click_says_who_decided_and_when(first, second, asked):
    asked.decide(1, first, by="slack:bob", approvers=MAY)
    decided = state(asked)
    asked.clock.jump(NOW + 60)
    late = asked.decide(1, second, by="slack:mei", approvers=MAY)

    assert (late.accepted, late.code, late.by, late.at) == (False, "already", "slack:bob", NOW)
    assert state(asked) is decided


REFUSED_CLICKS = [
    pytest.param({"by": "slack:ann", "approvers": MAY}, "own_run", id="whoever asked"),
    pytest.param({"by": "slack:eve", "approvers": MAY}, "not_a_decider", id="somebody else"),
    pytest.param({"by": "slack:bob", "approvers": frozenset()}, "not_a_decider", id="nobody may"),
    pytest.param(
        {"by": "slack:bob", "approvers": MAY, "digest": "of another"},
        "stale",
        id="an old button",
    ),
]


@pytest.mark.parametrize(("click", "code"), REFUSED_CLICKS)
@pytest.mark.parametrize("verdict", ["approve", "deny"])
def test_a_click_without_the_right_to_decide_changes_nothing_and_is_audited(
    click, code, verdict, asked
):
    decision = asked.decide(1, verdict, **click)
    [vote] = queries.votes(asked.store, 1)
    told = events.since(asked.store)[-1]

    assert (decision.accepted, decision.code) == (False, code)
    assert state(asked) is ApprovalState.REQUESTED
    assert not asked.wake.is_set()
    assert (vote["by"], vote["verdict"], vote["counted"], vote["answer"]) == (
        click["by"],
        verdict,
        0,
        code,
    )
    assert (told.kind, told.by, told.run) == ("refused", click["by"], 1)
    assert "A1" in told.text


def test_a_valid_click_still_counts_after_refused_ones(asked):
    asked.decide(1, "deny", by="slack:eve", approvers=MAY)
    asked.decide(1, "approve", by="slack:ann", approvers=MAY)
    asked.decide(1, "approve", by="slack:bob", approvers=MAY)
    asked.decide(1, "deny", by="slack:mei", approvers=MAY)

    assert state(asked) is ApprovalState.GRANTED
    assert [v["counted"] for v in queries.votes(asked.store, 1)] == [0, 0, 1, 0]


def test_a_click_with_the_current_digest_is_accepted(asked):
    shown = queries.approval(asked.store, 1).digest

    assert asked.decide(1, "approve", by="slack:bob", approvers=MAY, digest=shown).accepted


def test_the_terminal_user_may_approve_their_own_runs(asked):
    assert asked.decide(1, "approve", by="slack:ann").accepted


@pytest.mark.parametrize("over", [ApprovalState.EXPIRED, ApprovalState.WITHDRAWN])
def test_a_closed_approval_cannot_be_decided(over, asked):
    with writing(asked.store, NOW) as pen:
        pen.approvals.set_state(queries.approval(asked.store, 1), over, "over")
    decision = asked.decide(1, "approve", by="slack:bob", approvers=MAY)

    assert (decision.accepted, decision.code) == (False, str(over))
    assert state(asked) is over


def test_an_approval_of_an_ended_run_has_expired(asked):
    with writing(asked.store, NOW) as pen:
        pen.runs.set_state(queries.run(asked.store, 1), RunState.COMPLETED, "over")
    decision = asked.decide(1, "approve", by="slack:bob", approvers=MAY)

    assert (decision.accepted, decision.code) == (False, "expired")
    assert state(asked) is ApprovalState.REQUESTED


def test_an_unknown_approval_is_refused_and_the_refusal_is_kept(asked):
    decision = asked.decide(7, "approve", by="slack:bob", approvers=MAY)

    assert (decision.accepted, decision.code, decision.approval) == (False, "unknown", None)
    last = events.latest(asked.store, 1)[0]
    assert (last.kind, last.by) == ("refused", "slack:bob")
    assert last.text == "slack:bob tried to approve A7. Nothing changed: there is no such approval."


def test_a_requester_is_refused_as_own_run_before_any_check_for_approvers(asked):
    """Being listed does not help: own_run is said before not_a_decider."""
    assert asked.decide(1, "approve", by="slack:ann", approvers=frozenset()).code == "own_run"


def test_a_break_glass_denial_grants_nothing(asked):
    glass = Glass(allowed=True, fit=True, others=False)
    fire = {"approvers": frozenset(), "reason": "the storage is on fire", "glass": glass}
    with pytest.raises(ValueError, match="break-glass only approves"):
        asked.decide(1, "deny", by="slack:mei", **fire)

    assert state(asked) is ApprovalState.REQUESTED
